//! Each checker sees what it is there for: runs of a few steps in which one property does not hold, and no other.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use hezong_base::{Index, LogId, NodeId, Term};
use hezong_node::{BatchId, StateMachine};
use hezong_raft::{Base, Body, Entry, Member, Membership, Message, Payload, Write};

use super::{Checkers, Recovered, Violation};
use crate::machine::{Command, Machine, Once};

const N1: NodeId = NodeId(1);
const N2: NodeId = NodeId(2);
const N3: NodeId = NodeId(3);

/// A cluster of three that nothing has happened to.
struct Story {
    checkers: Checkers,
    batches: BTreeMap<NodeId, u64>,
}

impl Story {
    fn new() -> Self {
        let mut checkers = Checkers::default();
        for node in [N1, N2, N3] {
            checkers.on_start(node, Recovered::default()).expect("an empty disk is what it should be");
        }
        Self { checkers, batches: BTreeMap::new() }
    }

    /// A node writes, and its disk stores it.
    fn store(&mut self, node: NodeId, write: Write) -> Result<(), Violation> {
        let batch = self.write(node, write)?;
        self.checkers.on_stored(node, batch);
        Ok(())
    }

    /// A node writes, and its disk is busy.
    fn write(&mut self, node: NodeId, write: Write) -> Result<BatchId, Violation> {
        let batch = self.batches.entry(node).or_default();
        *batch += 1;
        let batch = BatchId(*batch);
        self.checkers.on_store(node, batch, &write).map(|()| batch)
    }

    fn send(&mut self, from: NodeId, to: NodeId, term: u64, body: Body) -> Result<(), Violation> {
        self.checkers.on_send(from, to, &Message { term: Term(term), body })
    }

    fn lead(&mut self, node: NodeId, term: u64, committed: Option<u64>) -> Result<(), Violation> {
        let (lease, committed) = (Duration::ZERO, committed.map(Index));
        self.send(node, N3, term, Body::Heartbeat { round: 1, lease, committed })
    }
}

fn vote(term: u64, vote: Option<NodeId>) -> Write {
    Write::Vote { term: Term(term), vote, owed: None }
}

fn entry(index: u64, term: u64, command: &'static str) -> Entry {
    let payload = Payload::Command(Bytes::from_static(command.as_bytes()));
    Entry { id: LogId::new(term, index), time: Duration::ZERO, payload }
}

fn append(entries: Vec<Entry>) -> Write {
    Write::Append(entries.into())
}

fn members(count: u64) -> Membership {
    Membership::of_voters((1..=count).map(NodeId).map(|id| (id, Member::default())))
}

/// What was seen, which must be this property.
#[track_caller]
fn sees(outcome: Result<(), Violation>, property: &str) {
    assert_eq!(outcome.expect_err("something is wrong").property, property);
}

#[test]
fn election_two_leaders_one_term() -> Result<(), Violation> {
    let mut story = Story::new();
    story.store(N1, vote(1, Some(N1)))?;
    story.store(N2, vote(1, Some(N2)))?;
    story.lead(N1, 1, None)?;
    story.lead(N1, 1, None)?;
    sees(story.lead(N2, 1, None), "election safety");
    Ok(())
}

#[test]
fn append_only_leader_truncates() -> Result<(), Violation> {
    let mut story = Story::new();
    story.store(N1, vote(1, Some(N1)))?;
    story.store(N1, append(vec![entry(1, 1, "a")]))?;
    story.lead(N1, 1, None)?;
    sees(story.store(N1, Write::Truncate(Index(1))), "leader append-only");
    // As a follower of a later term it may.
    story.store(N1, vote(2, None))?;
    story.store(N1, Write::Truncate(Index(1)))
}

#[test]
fn matching_other_command_and_other_past() -> Result<(), Violation> {
    let mut story = Story::new();
    story.store(N1, append(vec![entry(1, 1, "a"), entry(2, 3, "b")]))?;
    sees(story.store(N2, append(vec![entry(1, 1, "other")])), "log matching");
    let mut story = Story::new();
    story.store(N1, append(vec![entry(1, 1, "a"), entry(2, 3, "b")]))?;
    sees(story.store(N2, append(vec![entry(1, 2, "x"), entry(2, 3, "b")])), "log matching");
    Ok(())
}

#[test]
fn completeness_new_leader_lacks_committed() -> Result<(), Violation> {
    let mut story = Story::new();
    story.store(N1, vote(1, Some(N1)))?;
    story.store(N1, append(vec![entry(1, 1, "a")]))?;
    story.lead(N1, 1, Some(1))?;
    story.store(N2, vote(2, Some(N2)))?;
    sees(story.lead(N2, 2, None), "leader completeness");
    Ok(())
}

#[test]
fn machine_other_entry_gap_and_repetition() -> Result<(), Violation> {
    let mut story = Story::new();
    story.store(N1, append(vec![entry(1, 1, "a"), entry(2, 1, "b")]))?;
    story.store(N2, append(vec![entry(1, 2, "x")]))?;
    story.checkers.on_apply(N1, &[entry(1, 1, "a")])?;
    sees(story.checkers.on_apply(N2, &[entry(1, 2, "x")]), "state-machine safety");
    sees(story.checkers.on_apply(N1, &[entry(1, 1, "a")]), "state-machine safety");
    Ok(())
}

#[test]
fn applied_before_stored() -> Result<(), Violation> {
    let mut story = Story::new();
    story.write(N1, append(vec![entry(1, 1, "a")]))?;
    sees(story.checkers.on_apply(N1, &[entry(1, 1, "a")]), "applied is stored");
    Ok(())
}

#[test]
fn promises_before_stored() -> Result<(), Violation> {
    let mut story = Story::new();
    story.write(N1, vote(1, Some(N2)))?;
    sees(story.send(N1, N2, 1, Body::Vote { granted: true }), "promises are stored");
    sees(story.send(N1, N2, 1, Body::RequestVote { last: None, transfer: false }), "promises are stored");
    story.store(N2, vote(1, Some(N2)))?;
    story.write(N2, append(vec![entry(1, 1, "a")]))?;
    sees(story.send(N2, N1, 1, Body::Appended { matched: Some(Index(1)) }), "promises are stored");
    Ok(())
}

#[test]
fn promises_other_entry_stored() -> Result<(), Violation> {
    let mut story = Story::new();
    story.store(N1, vote(2, None))?;
    story.store(N1, append(vec![entry(1, 1, "old")]))?;
    story.write(N1, Write::Truncate(Index(1)))?;
    story.write(N1, append(vec![entry(1, 2, "new")]))?;
    sees(story.send(N1, N2, 2, Body::Appended { matched: Some(Index(1)) }), "promises are stored");
    Ok(())
}

#[test]
fn vote_twice_even_across_lives() -> Result<(), Violation> {
    let mut story = Story::new();
    story.store(N1, vote(1, Some(N2)))?;
    story.send(N1, N2, 1, Body::Vote { granted: true })?;
    let found = Recovered { term: Term(1), vote: Some(N2), ..Recovered::default() };
    story.checkers.on_start(N1, found)?;
    story.send(N1, N2, 1, Body::Vote { granted: true })?;
    sees(story.send(N1, N3, 1, Body::Vote { granted: true }), "one vote a term");
    Ok(())
}

#[test]
fn membership_majorities_that_need_not_meet() -> Result<(), Violation> {
    let joint = |from, to| {
        let outgoing = (1..=from).map(NodeId).collect();
        members(to).with_outgoing(outgoing)
    };
    let cases = [
        (members(3), members(4), true),
        (members(3), members(2), true),
        (members(3), members(5), false),
        (members(3), members(1), false),
        (members(3), joint(3, 5), true),
        (members(3), joint(2, 5), false),
        (joint(3, 5), members(5), true),
        (joint(3, 5), members(4), false),
        (joint(3, 5), joint(3, 5), false),
    ];
    for (before, after, fine) in cases {
        let mut story = Story::new();
        story.store(N1, Write::Reset(Base { membership: before.clone(), ..Base::default() }))?;
        let entry = Entry { payload: Payload::Membership(after.clone()), ..entry(1, 1, "") };
        let outcome = story.store(N1, append(vec![entry]));
        assert_eq!(outcome.is_ok(), fine, "{before:?} to {after:?}");
        if !fine {
            sees(outcome, "majorities meet");
        }
    }
    Ok(())
}

#[test]
fn durability_stored_is_lost_or_changed() -> Result<(), Violation> {
    let (first, second) = (append(vec![entry(1, 1, "a")]), append(vec![entry(2, 1, "b")]));
    let found = |writes: &[&Write]| {
        let mut found = Recovered::default();
        writes.iter().for_each(|write| super::steps(write, |step| found.fold(&step)));
        found
    };
    let (term, other) = (vote(1, None), append(vec![entry(1, 1, "x")]));
    let cases: [(&[&Write], bool); 6] = [
        (&[&term, &first], true),
        (&[&term, &first, &second], true),
        (&[&term], false),
        (&[&first], false),
        (&[&term, &other], false),
        (&[], false),
    ];
    for (survived, fine) in cases {
        let mut story = Story::new();
        story.store(N1, term.clone())?;
        story.store(N1, first.clone())?;
        story.write(N1, second.clone())?;
        let outcome = story.checkers.on_start(N1, found(survived));
        if fine { outcome? } else { sees(outcome, "durability") }
    }
    Ok(())
}

/// Entries as clients make them, from the first on.
fn commands(commands: &[(Command, Once)]) -> Vec<Entry> {
    let entry = |(index, (command, once)): (u64, &(Command, Once))| {
        let payload = Payload::Command(command.encode(*once));
        Entry { id: LogId::new(1, index), time: Duration::ZERO, payload }
    };
    (1..).zip(commands).map(entry).collect()
}

/// A machine applies entries, and is looked at by the checkers when it has.
fn applies(story: &mut Story, machine: &mut Machine, entries: &[Entry]) -> Result<(), Violation> {
    story.store(N1, append(entries.to_vec()))?;
    story.checkers.on_apply(N1, entries)?;
    let replies = machine.apply(entries).expect("the store is in memory");
    let through = entries.last().expect("some entries").id.index;
    story.checkers.on_applied(N1, through, &replies, || machine.digest())
}

#[test]
fn states_that_the_log_does_not_lead_to() -> Result<(), Violation> {
    let put = |value| (Command::Put { key: 1, value }, Once::Never);
    let entries = commands(&(1..=300).map(put).collect::<Vec<_>>());
    let mut story = Story::new();
    let mut machine = Machine::default();
    applies(&mut story, &mut machine, &entries)?;
    // A snapshot of it, also of an earlier moment; and one that holds something else.
    let mut earlier = Machine::default();
    earlier.apply(&entries[..100]).expect("the store is in memory");
    let last = |index| Some(LogId::new(1, index));
    story.checkers.on_installed(N2, last(300), machine.digest())?;
    story.checkers.on_installed(N2, last(100), earlier.digest())?;
    sees(story.checkers.on_installed(N2, last(101), earlier.digest()), "a snapshot equals the replay of its log");
    sees(story.checkers.on_installed(N2, last(301), machine.digest()), "a snapshot equals the replay of its log");
    // Entries that were not applied as they stand in the log.
    let replies = vec![Bytes::new(); 300];
    sees(story.checkers.on_applied(N2, Index(300), &replies, || earlier.digest()), "equal states at equal index");
    Ok(())
}

#[test]
fn once_carried_out_twice_and_told_otherwise() -> Result<(), Violation> {
    let put = (Command::Put { key: 1, value: 7 }, Once::Keyed);
    let copies = commands(&[put, put, put]);
    let mut story = Story::new();
    let mut machine = Machine::default();
    applies(&mut story, &mut machine, &copies[..2])?;
    let told = machine.apply(&copies[2..]).expect("the store is in memory");
    let mut once = super::ExactlyOnce::default();
    // The first two as they should be, then a copy that is told something of its own.
    let mut again = Machine::default();
    let replies = again.apply(&copies[..2]).expect("the store is in memory");
    once.on_applied(&copies[0], &replies[0])?;
    once.on_applied(&copies[1], &replies[1])?;
    once.on_applied(&copies[2], &told[0])?;
    let reply = hezong_kv::Reply::decode(&told[0]).expect("it was just encoded");
    let carried_out = hezong_kv::Reply { repeated: false, ..reply.clone() }.encode();
    sees(once.on_applied(&copies[2], &carried_out), "exactly-once writes");
    let otherwise = hezong_kv::Reply { index: Index(2), ..reply }.encode();
    sees(once.on_applied(&copies[2], &otherwise), "exactly-once writes");
    // One that is told to be a copy of nothing.
    sees(super::ExactlyOnce::default().on_applied(&copies[1], &replies[1]), "exactly-once writes");
    Ok(())
}

#[test]
fn session_reads_that_go_back() -> Result<(), Violation> {
    let mut checkers = Checkers::default();
    checkers.on_client_read(0, N1, None);
    checkers.on_client_read(0, N1, Some(Index(5)));
    checkers.on_client_read(0, N2, Some(Index(5)));
    checkers.on_client_written(0, Index(8));
    // Another client has seen nothing of it.
    checkers.on_client_read(1, N2, Some(Index(1)));
    checkers.sessions()?;
    checkers.on_client_read(0, N2, Some(Index(7)));
    sees(checkers.sessions(), "monotonic session reads");
    Ok(())
}

#[test]
fn repaired_logs_that_are_wrong() -> Result<(), Violation> {
    let writes = [vote(2, Some(N1)), append(vec![entry(1, 1, "a"), entry(2, 1, "b"), entry(3, 2, "c")])];
    let fold = |writes: &[Write]| {
        let mut found = Recovered::default();
        writes.iter().for_each(|write| super::steps(write, |step| found.fold(&step)));
        found
    };
    let cut = |from| Write::Truncate(Index(from));
    let [vote_kept, entries] = writes.clone();
    let other = append(vec![entry(1, 1, "a"), entry(2, 1, "x")]);
    let owed = |index, term| Some(LogId::new(term, index));
    let cases: [(Vec<Write>, Option<LogId>, bool); 7] = [
        (vec![vote_kept.clone(), entries.clone()], None, true),
        (vec![vote_kept.clone(), entries.clone(), cut(3)], owed(3, 2), true),
        (vec![vote_kept.clone(), entries.clone(), cut(3)], owed(9, 2), true),
        (vec![vote_kept.clone(), entries.clone(), cut(3)], owed(2, 1), false),
        (vec![vote_kept.clone(), entries.clone(), cut(3)], None, false),
        (vec![vote_kept, other], owed(3, 2), false),
        (vec![vote(1, Some(N1)), entries], None, false),
    ];
    for (left, owed, fine) in cases {
        let mut story = Story::new();
        writes.iter().try_for_each(|write| story.store(N1, write.clone()))?;
        let outcome = story.checkers.on_repaired(N1, fold(&left), owed, None);
        if fine { outcome? } else { sees(outcome, "a repaired log is whole or owes") }
    }
    Ok(())
}
