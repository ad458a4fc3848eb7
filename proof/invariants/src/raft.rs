//! Raft: the five properties of figure 3.
//!
//! The simulator has checkers for the same properties. They watch a run go by and remember all of it, which in the explorer
//! would make every run a state of its own. So these look at states: at the logs of nodes, and at the little that no node may
//! still hold, who led which term and what was committed.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use hezong_base::{Index, LogId, NodeId, RequestId, Term, Time};
use hezong_raft::{Entry, Event, Payload, Raft, Request, Role, Saved};

use crate::{Invariants, Violation};

/// The five properties.
#[derive(Clone, Copy, Debug, Default)]
pub struct RaftInvariants;

/// An entry as the checks see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    term: Term,
    /// Of what it carries.
    payload: u64,
}

/// A node as the checks see it.
#[derive(Debug)]
pub struct RaftView {
    leads: bool,
    term: Term,
    /// How many entries it knows to be committed.
    committed: usize,
    /// How many entries a snapshot stands for.
    skipped: usize,
    /// The log behind that, what is not stored yet included.
    log: Vec<Slot>,
}

/// What no node may hold any more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RaftPast {
    /// Who led, by term.
    leaders: Vec<(Term, NodeId)>,
    /// What was committed, by place from 0, each with the term in which it was.
    committed: BTreeMap<usize, (Slot, Term)>,
    /// How much was committed when each read was asked for.
    reads: BTreeMap<RequestId, usize>,
}

impl RaftView {
    /// The log from this place on, as far as no snapshot stands for it.
    fn behind(&self, place: usize) -> &[Slot] {
        self.log.get(place.saturating_sub(self.skipped)..).unwrap_or_default()
    }
}

impl Invariants for RaftInvariants {
    type Protocol = Raft;
    type View = RaftView;
    type Past = RaftPast;

    fn view(&self, node: &Raft, _: &Saved, now: Time) -> RaftView {
        let first = node.log().base_index().map_or(Index::FIRST, Index::next);
        let last = node.log().last_index().unwrap_or(first);
        let entries = node.log().cached(first, last, usize::MAX).unwrap_or_default();
        let committed = node.status(now).committed.map_or(0, count);
        RaftView {
            leads: node.role() == Role::Leader,
            term: node.term(),
            committed,
            skipped: count(first) - 1,
            log: entries.iter().map(slot).collect(),
        }
    }

    fn check_step(&self, id: NodeId, before: &RaftView, after: &RaftView) -> Result<(), Violation> {
        let leads_on = before.leads && after.leads && before.term == after.term;
        if leads_on && !after.behind(before.skipped).starts_with(before.behind(after.skipped)) {
            let detail = format!("{id} leads {} and removes entries of its log", before.term);
            return Err(Violation::new("leader append-only", detail));
        }
        Ok(())
    }

    fn remember(&self, past: &mut RaftPast, id: NodeId, view: &RaftView) -> Result<(), Violation> {
        if view.leads {
            match past.leaders.iter().find(|(term, _)| *term == view.term) {
                None => {
                    past.leaders.push((view.term, id));
                    past.leaders.sort_unstable();
                }
                Some((_, first)) if *first == id => {}
                Some((term, first)) => {
                    return Err(Violation::new("election safety", format!("{id} leads {term}, which {first} has led")));
                }
            }
        }
        for (at, slot) in (view.skipped..view.committed).zip(&view.log) {
            match past.committed.get(&at) {
                None => drop(past.committed.insert(at, (*slot, view.term))),
                Some((first, _)) if first == slot => {}
                Some((first, term)) => {
                    let (place, other) = (at + 1, shown(at, first));
                    let detail =
                        format!("{id} applies {} at {place}, where {other} was committed in {term}", shown(at, slot));
                    return Err(Violation::new("state-machine safety", detail));
                }
            }
        }
        Ok(())
    }

    fn check(&self, views: &[(NodeId, &RaftView)], past: &RaftPast) -> Result<(), Violation> {
        for (at, (id, one)) in views.iter().enumerate() {
            for (other_id, other) in &views[at + 1..] {
                matching(*id, one, *other_id, other)?;
            }
            if !one.leads {
                continue;
            }
            for (place, (slot, term)) in past.committed.range(one.skipped..) {
                if *term < one.term && one.behind(*place).first() != Some(slot) {
                    let slot = shown(*place, slot);
                    let detail = format!("{id} leads {} without {slot}, committed in {term}", one.term);
                    return Err(Violation::new("leader completeness", detail));
                }
            }
        }
        Ok(())
    }

    fn asked(&self, past: &mut RaftPast, _: NodeId, request_id: RequestId, request: &Request) {
        if matches!(request, Request::Read(_)) {
            let committed = past.committed.last_key_value().map_or(0, |(place, _)| place + 1);
            past.reads.insert(request_id, committed);
        }
    }

    fn hear(&self, past: &mut RaftPast, id: NodeId, event: &Event) -> Result<(), Violation> {
        let Event::Readable { id: request, index } = event else { return Ok(()) };
        let (told, committed) = (index.map_or(0, count), past.reads.remove(request).unwrap_or(0));
        if told < committed {
            let detail = format!("{id} serves a read as of {told}, asked for when {committed} was committed");
            return Err(Violation::new("reads are not old", detail));
        }
        Ok(())
    }

    fn renamed(past: &RaftPast, name: &dyn Fn(NodeId) -> NodeId) -> RaftPast {
        let leaders = past.leaders.iter().map(|(term, leader)| (*term, name(*leader))).collect();
        RaftPast { leaders, ..past.clone() }
    }
}

/// Log matching (§5.3): where two logs hold entries of the same index and term, they are the same up to there.
fn matching(id: NodeId, one: &RaftView, other_id: NodeId, other: &RaftView) -> Result<(), Violation> {
    let first = one.skipped.max(other.skipped);
    let (one, other) = (one.behind(first), other.behind(first));
    let same_term = one.iter().zip(other).rposition(|(one, other)| one.term == other.term);
    let Some(last) = same_term.filter(|last| one[..=*last] != other[..=*last]) else { return Ok(()) };
    let entry = shown(first + last, &one[last]);
    let detail = format!("{id} and {other_id} both hold {entry}, and differ up to there");
    Err(Violation::new("log matching", detail))
}

fn slot(entry: &Entry) -> Slot {
    let mut digest = DefaultHasher::new();
    match &entry.payload {
        Payload::Empty => {}
        Payload::Command(command) => command.hash(&mut digest),
        Payload::Membership(membership) => membership.hash(&mut digest),
    }
    Slot { term: entry.id.term, payload: digest.finish() }
}

fn shown(at: usize, slot: &Slot) -> LogId {
    LogId { term: slot.term, index: Index(at as u64 + 1) }
}

fn count(index: Index) -> usize {
    usize::try_from(index.0).expect("a handful of entries")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node of one term whose log has these entries, of which the first so many are committed.
    fn node(leads: bool, committed: usize, payloads: &[u64]) -> RaftView {
        let log = payloads.iter().map(|payload| Slot { term: Term(1), payload: *payload }).collect();
        RaftView { leads, term: Term(1), committed, skipped: 0, log }
    }

    #[test]
    fn leader_that_removes_entries_is_seen() {
        let (before, after) = (node(true, 0, &[1, 2]), node(true, 0, &[1]));
        let seen = RaftInvariants.check_step(NodeId(1), &before, &after).unwrap_err();
        assert_eq!(seen.property, "leader append-only");
        assert_eq!(RaftInvariants.check_step(NodeId(1), &after, &before), Ok(()));
    }

    #[test]
    fn another_entry_applied_at_one_place_is_seen() {
        let mut past = RaftPast::default();
        assert_eq!(RaftInvariants.remember(&mut past, NodeId(1), &node(false, 2, &[1, 2])), Ok(()));
        assert_eq!(RaftInvariants.remember(&mut past, NodeId(2), &node(false, 1, &[1, 3])), Ok(()));
        let seen = RaftInvariants.remember(&mut past, NodeId(2), &node(false, 2, &[1, 3])).unwrap_err();
        assert_eq!(seen.property, "state-machine safety");
    }
}
