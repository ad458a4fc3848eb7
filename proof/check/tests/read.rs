//! Histories from text: each format, what is wrong with a text and where, and bytes that are none of it.

use hezong_base::Rng;
use hezong_check::{
    Answer, Budget, Call, End, History, IsolationVerdict, Micro, Model, ReadError, Recorded, Transactions, Verdict,
    Workload, check, check_isolation, read,
};

fn operations(text: &str) -> History {
    match read(text.as_bytes()) {
        Ok(Recorded::Operations(history)) => history,
        other => panic!("{other:?}"),
    }
}

fn transactions(text: &str) -> Transactions {
    match read(text.as_bytes()) {
        Ok(Recorded::Transactions(history)) => history,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn refused(text: &str, why: &str) {
    let error = read(text.as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), why);
}

const REGISTER: &str = "
; what a register test recorded
{:process 0, :type :invoke, :f :write, :value 1, :time 10, :index 0}
{:process :nemesis, :type :info, :f :start, :value nil, :time 11}
{:process 1, :type :invoke, :f :read, :value nil, :time 12}
{:process 0, :type :ok, :f :write, :value 1, :time 20}
{:process 1, :type :ok, :f :read, :value 1, :time 30}
#jepsen.history.Op{:process 2, :type :invoke, :f :cas, :value [1 2], :time 40}
{:process 2, :type :fail, :f :cas, :value [1 2], :time 50, :error [:conn \"refused\"]}
{:process 3, :type :invoke, :f :cas, :value [5 2], :time 60}
{:process 3, :type :fail, :f :cas, :value [5 2], :time 70}
{:process 4, :type :invoke, :f :write, :value 7, :time 80}
{:process 4, :type :info, :f :write, :value 7, :time 90, :error :timeout}
{:process 5, :type :invoke, :f :read, :value nil, :time 95}";

#[test]
fn read_edn_register() {
    let history = operations(REGISTER);
    let told: Vec<String> = history.operations.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            r#"client 0 at 10: put "register" = "1" -> done at 20"#,
            r#"client 1 at 12: get "register" -> "1" at 30"#,
            r#"client 3 at 60: cas "register" from "5" to "2" -> not swapped at 70"#,
            r#"client 4 at 80: put "register" = "7" -> nobody knows"#,
        ]
    );
    assert_eq!(check(&history, Budget::default()), Verdict::Linearizable);
    // The same in a vector, and as JSON.
    assert_eq!(operations(&format!("[{REGISTER}\n]")), history);
    let json = r#"{"process":0,"type":"invoke","f":"write","value":1,"time":10}
        {"process":0,"type":"ok","f":"write","value":1,"time":20}"#;
    assert_eq!(operations(json).operations, history.operations[..1]);
}

#[test]
fn read_edn_independent_keys() {
    let history = operations(
        "{:process 0 :type :invoke :f :write :value [:x 1]} {:process 0 :type :ok :f :write :value [:x 1]}
         {:process 0 :type :invoke :f :cas :value [:x [1 2]]} {:process 0 :type :ok :f :cas :value [:x [1 2]]}
         {:process 0 :type :invoke :f :read :value [:x nil]} {:process 0 :type :ok :f :read :value [:x 2]}
         {:process 0 :type :invoke :f :read :value [:y nil]} {:process 0 :type :ok :f :read :value [:y nil]}",
    );
    let keys: Vec<&str> = history.operations.iter().map(|operation| operation.key.as_str()).collect();
    assert_eq!(keys, [":x", ":x", ":x", ":y"]);
    assert_eq!(history.operations[1].call, Call::Cas { expected: Some("1".into()), value: "2".into() });
    assert_eq!(history.operations[3].outcome.as_ref().unwrap().answer, Answer::Found(None));
    // Without times, the order of the lines is the time.
    assert_eq!(history.operations[1].called, 3);
}

#[test]
fn read_edn_transactions() {
    let history = transactions(
        "{:process 0, :type :invoke, :f :txn, :value [[:append 3 1] [:r 3 nil]], :time 1}
         {:process 0, :type :ok, :f :txn, :value [[:append 3 1] [:r 3 [1]]], :time 2}
         {:process 1, :type :invoke, :f :txn, :value [[:append 3 2]], :time 3}
         {:process 1, :type :fail, :f :txn, :value [[:append 3 2]], :time 4}
         {:process 2, :type :invoke, :f :txn, :value [[:append 3 4] [:r 3 nil]], :time 5}
         {:process 2, :type :info, :f :txn, :value [[:append 3 4] [:r 3 nil]], :time 6}",
    );
    assert_eq!(history.workload, Workload::ListAppend);
    let ends: Vec<End> = history.all.iter().map(|transaction| transaction.end).collect();
    assert_eq!(ends, [End::Committed(2), End::Aborted, End::Unknown]);
    assert_eq!(history.show(0), "T1 (client 0 at 1, committed at 2): append 1 to 3, read 3 -> [1]");
    assert!(matches!(history.all[2].micros[1], Micro::Read { found: None, .. }));
    assert_eq!(check_isolation(&history, Model::STRICT_SERIALIZABLE), IsolationVerdict::NothingFound);
}

#[test]
fn read_json_transactions() {
    let history = transactions(
        r#"{"client":0,"called":1,"committed":2,"transaction":[["w","x","a"],["r","y",null]]}

        {"client":1,"called":3,"aborted":4,"transaction":[["w","x",2]]}
        {"client":1,"called":5,"transaction":[["r","x",null]]}"#,
    );
    assert_eq!(history.workload, Workload::Register);
    assert_eq!(history.show(0), "T1 (client 0 at 1, committed at 2): write x = a, read y -> nothing");
    assert_eq!(history.show(2), "T3 (client 1 at 5, nobody knows how it ended): read x");
}

#[test]
fn read_log() {
    let history = operations(
        "INFO  jepsen.core - Running test\n\
         INFO  jepsen.util - 0\t:invoke\t:write\t3\n\
         INFO  jepsen.util - 1\t:invoke\t:cas\t[0 3]\n\
         INFO  jepsen.util - :nemesis\t:info\t:start\tnil\n\
         INFO  jepsen.util - 0\t:ok\t:write\t3\n\
         INFO  jepsen.util - 1\t:fail\t:cas\t[0 3]\n\
         INFO  jepsen.util - 2\t:invoke\t:read\tnil\n\
         INFO  jepsen.util - 2\t:fail\t:read\t:timed-out\n\
         INFO  jepsen.util - 4\t:invoke\t:cas\t[3 4]\n\
         INFO  jepsen.util - 4\t:info\t:cas\t:timed-out\n",
    );
    let told: Vec<String> = history.operations.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            r#"client 0 at 1: put "register" = "3" -> done at 3"#,
            r#"client 1 at 2: cas "register" from "0" to "3" -> not swapped at 4"#,
            r#"client 4 at 7: cas "register" from "3" to "4" -> nobody knows"#,
        ]
    );
}

#[test]
fn read_log_passes_over_its_tale_and_minds_no_spacing() {
    let history = operations(
        "INFO  jepsen.util - 1   :invoke :write  3\n\
         12:00:01,002\tINFO\t[worker 2] jepsen.util: 2\t:invoke\t:cas\t[3 4]\n\
         INFO  jepsen.util - 1   :ok     :write  3\n\
         INFO  [12:00:01] worker 2 - jepsen.util 2\t:info\t:cas\t[3 4]\tindeterminate (\n\
         Followed by inconsistent operation:\n\
         1\t:invoke\t:read\t2\n\
         1\t:invoke\t:read\t2\n",
    );
    let told: Vec<String> = history.operations.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            r#"client 1 at 1: put "register" = "3" -> done at 3"#,
            r#"client 2 at 2: cas "register" from "3" to "4" -> nobody knows"#,
        ]
    );
}

#[test]
fn read_own_operations() {
    let history = operations(REGISTER);
    let mut text = Vec::new();
    history.write(&mut text).unwrap();
    assert_eq!(operations(str::from_utf8(&text).unwrap()), history);
}

#[test]
fn read_refuses_with_the_place() {
    refused("", "it holds no history: there is neither an operation nor a line of a log with :invoke");
    refused("hello\nworld", "it holds no history: there is neither an operation nor a line of a log with :invoke");
    assert!(matches!(read(b"{:a\n\xff"), Err(ReadError::NotText { line: 2 })));
    refused("{:process 0,\n :type", "line 2, column 7: the text ends where } was to come");
    refused("[{:process 0]", "line 1, column 14: ] where } was to come");
    refused("{:process 0, :type :invok, :f :read}", "line 1: its :type is invok, not invoke, ok, fail or info");
    refused("\n{:process 0, :type :ok, :f :read}", "line 2: process 0 completes what it has not invoked");
    refused(
        "{:process 0, :type :invoke, :f :read}\n{:process 0, :type :invoke, :f :read}",
        "line 2: process 0 is still at what it invoked in line 1",
    );
    refused("{:process 0, :type :invoke, :f :enqueue}", "line 1: its :f is enqueue, not read, write, cas or txn");
    refused(
        "{:process 0, :type :invoke, :f :txn, :value [[:append 3]]}",
        "line 1: [:append 3] is no step like [:append 3 1], [:w 3 1] or [:r 3 nil]",
    );
    let own = r#"{"client":1,"key":"x","called":3,"call":"get","outcome":{"at":2,"answer":{"found":null}}}"#;
    refused(own, "line 1: it returns before it was called: the clients' clocks are not one clock");
    refused("{\"client\":1,\n\"key\"", "line 1, column 12: EOF while parsing a value");
    refused(&"[".repeat(100_000), "line 1, column 67: nested deeper than 64");
    let mixed = "{:process 0, :type :invoke, :f :txn, :value [[:append 3 1]]}\n{:process 1, :type :invoke, :f :txn, :value [[:w 3 1]]}";
    refused(mixed, "line 2: it has a register, but line 1 has a list: a history is of one or the other");
}

/// Whatever the bytes, the reader answers; and what it reads can be checked.
#[test]
fn read_never_panics() {
    let seeds = [
        REGISTER.to_owned(),
        r#"{"client":0,"called":1,"committed":2,"transaction":[["append","x","a"],["r","x",["a"]]]}"#.to_owned(),
        r#"{"client":1,"key":"x","called":3,"call":{"put":"a"},"outcome":{"at":4,"answer":"done"}}"#.to_owned(),
        "{:process 0, :type :invoke, :f :txn, :value [[:w 3 1] [:r 3 nil]], :time 1}\n\
         {:process 0, :type :ok, :f :txn, :value [[:w 3 1] [:r 3 1]], :time 2}"
            .to_owned(),
        "INFO  jepsen.util - 0\t:invoke\t:write\t3\nINFO  jepsen.util - 0\t:ok\t:write\t3\n".to_owned(),
    ];
    let alphabet = b"{}[]()#_:\"\\;,'^nil0123456789 \n\tokinvfe\xc3\xa9\xff";
    let mut rng = Rng::new(1);
    let mut place = |bound: usize| usize::try_from(rng.below(bound as u64)).unwrap();
    let mut readable = 0;
    for round in 0..20_000 {
        let mut bytes = seeds[round % seeds.len()].clone().into_bytes();
        if round % 10 == 0 {
            bytes = (0..place(60)).map(|_| alphabet[place(alphabet.len())]).collect();
        }
        for _ in 0..place(4) {
            if bytes.is_empty() {
                break;
            }
            let (at, other) = (place(bytes.len()), place(bytes.len()));
            match place(4) {
                0 => bytes[at] = alphabet[place(alphabet.len())],
                1 => drop(bytes.remove(at)),
                2 => bytes.truncate(at),
                _ => bytes.extend_from_within(at.min(other)..at.max(other)),
            }
        }
        match read(&bytes) {
            Ok(Recorded::Operations(history)) => {
                readable += 1;
                let _ = check(&history, Budget { steps: 1_000 });
            }
            Ok(Recorded::Transactions(history)) => {
                readable += 1;
                let _ = check_isolation(&history, Model::STRICT_SERIALIZABLE);
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    assert!(readable > 2_000, "{readable}");
}
