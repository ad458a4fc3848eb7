//! A replicated counter: three nodes in one process agree on every addition. `cargo run --example counter`
use bytes::Bytes;
use hezong_base::{GroupId, LogId, NodeId};
use hezong_node::{ReadLevel, StateError, StateMachine};
use hezong_raft::{Base, Entry, Member, Membership, Payload};
use hezong_shell::{Handle, Identity, Network, Options, StateMachines, block_on, open};
use hezong_wal::model::ModelFolder;
use std::sync::{Arc, Mutex};

const GROUP: GroupId = GroupId(1);

#[derive(Clone, Default)]
struct Counter(Arc<Mutex<i64>>);

impl StateMachine for Counter {
    // Kept in memory: after a restart the log is replayed from its beginning.
    fn applied(&self) -> Result<Option<Base>, StateError> {
        Ok(None)
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Bytes>, StateError> {
        let mut count = self.0.lock().expect("nobody panics while counting");
        let apply = |entry: &Entry| {
            let Payload::Command(command) = &entry.payload else { return Bytes::new() };
            // What is no number here is none on any replica: that is a reply. An error would stop the node.
            let Ok(number) = String::from_utf8_lossy(command).parse::<i64>() else { return Bytes::from("no number") };
            *count += number;
            Bytes::from(count.to_string())
        };
        Ok(entries.iter().map(apply).collect())
    }

    fn persist(&mut self) -> Result<Option<LogId>, StateError> {
        Ok(None)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (network, cluster) = (Network::new(), Identity::bootstrap("node01").cluster);
    let member = |n| Member { name: format!("node{n}"), peer: format!("peer{n}"), client: format!("client{n}") };
    let members = Membership::of_voters((1..=3).map(|n| (NodeId(n), member(n))));
    let mut nodes: Vec<(Handle, Counter)> = Vec::new();
    for n in 1..=3 {
        let (counter, identity) = (Counter::default(), Identity::joined(cluster, NodeId(n), format!("node{n}")));
        let machines = StateMachines::from([(GROUP, Box::new(counter.clone()) as Box<dyn StateMachine>)]);
        let node = open(Options::in_memory(&network, &ModelFolder::new(), identity), machines)?;
        block_on(node.bootstrap(GROUP, members.clone()))?;
        nodes.push((node, counter));
    }
    // Any node can tell when the group has a leader: it answers a consistent read. Only the leader takes commands.
    while block_on(nodes[0].0.read(GROUP, ReadLevel::Consistent, None)).is_err() {}
    let leads = |(node, _): &&(Handle, Counter)| block_on(node.verify_leader(GROUP)).is_ok();
    let leader = &nodes.iter().find(leads).ok_or("the leader is gone already")?.0;
    (1..=100).try_for_each(|n: i64| block_on(leader.propose(GROUP, n.to_string())).map(drop))?;
    for (node, counter) in &nodes {
        block_on(node.read(GROUP, ReadLevel::Consistent, None))?;
        eprintln!("{} counts {}", node.identity().label, counter.0.lock().expect("nobody panics while counting"));
    }
    Ok(())
}
