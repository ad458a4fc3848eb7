//! Histories from files, and the verdicts on them.

use hezong_base::Rng;
use hezong_check::{Budget, Guarantee, Model, Recorded, check, check_isolation, check_sessions, read, shortest_window};

/// Small histories in every format there is.
const SAMPLES: [&str; 6] = [
    "{:process 0 :type :invoke :f :write :value [:x 1]} {:process 0 :type :ok :f :write :value [:x 1]}\n\
     {:process 0 :type :invoke :f :cas :value [:x [1 2]]} {:process 0 :type :ok :f :cas :value [:x [1 2]]}\n\
     {:process 0 :type :invoke :f :read :value [:x nil]} {:process 0 :type :ok :f :read :value [:x 2]}",
    "[{:process 0, :type :invoke, :f :txn, :value [[:append 3 1] [:r 3 nil]], :time 1}\n\
      {:process 0, :type :ok, :f :txn, :value [[:append 3 1] [:r 3 [1]]], :time 2}\n\
      {:process 1, :type :invoke, :f :txn, :value [[:append 3 2]], :time 3}\n\
      {:process 1, :type :fail, :f :txn, :value [[:append 3 2]], :time 4}]",
    "{\"client\":0,\"called\":1,\"committed\":2,\"transaction\":[[\"w\",\"x\",\"a\"],[\"r\",\"y\",null]]}\n\
     {\"client\":1,\"called\":3,\"aborted\":4,\"transaction\":[[\"w\",\"x\",2]]}\n\
     {\"client\":1,\"called\":5,\"transaction\":[[\"r\",\"x\",null]]}",
    "{\"process\":0,\"type\":\"invoke\",\"f\":\"write\",\"value\":1,\"time\":10}\n\
     {\"process\":0,\"type\":\"ok\",\"f\":\"write\",\"value\":1,\"time\":20}",
    "INFO  jepsen.core - Running test\nINFO  jepsen.util - 0\t:invoke\t:write\t3\n\
     INFO  jepsen.util - 1\t:invoke\t:cas\t[0 3]\nINFO  jepsen.util - 0\t:ok\t:write\t3\n\
     INFO  jepsen.util - 1\t:fail\t:cas\t[0 3]\nINFO  jepsen.util - 2\t:invoke\t:read\tnil\n",
    "{:process 0 :type :invoke :f :read :value nil} {:process 0 :type :ok :f :read :value 9}",
];

pub(super) fn sample(rng: &mut Rng) -> Vec<u8> {
    let at = usize::try_from(rng.below(SAMPLES.len() as u64)).unwrap_or(0);
    SAMPLES[at].as_bytes().to_vec()
}

pub(super) fn run(input: &[u8]) -> bool {
    match read(input) {
        Err(_) => false,
        Ok(Recorded::Operations(history)) => {
            if let hezong_check::Verdict::Violation(violation) = check(&history, Budget { steps: 20_000 }) {
                let _ = shortest_window(&violation);
            }
            let _ = check_sessions(&history, &Guarantee::ALL.map(|(_, guarantee)| guarantee), true);
            true
        }
        Ok(Recorded::Transactions(history)) => {
            let _ = check_isolation(&history, Model::STRICT_SERIALIZABLE);
            true
        }
    }
}
