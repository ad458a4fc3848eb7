//! Multi-Paxos: in each slot one value is chosen, at most, and users are told of nothing else (Lamport, *Paxos Made Simple*, 2001,
//! §3).
//!
//! A slot's members are known once the slots that decide them were told of; only then is it said what is chosen in it. That no
//! two masters hold the lease at once is seen by what they serve: no read is older than what was done before it was asked for.

use std::collections::{BTreeMap, BTreeSet};

use hezong_base::{NodeId, RequestId, Time};
use hezong_paxos::Ballot;
use hezong_paxos::multi::{Entry, Event, Members, MultiPaxos, Request, Saved, Slot, Value};

use crate::{Invariants, Violation};

/// What must hold of a log.
#[derive(Clone, Debug)]
pub struct MultiPaxosInvariants {
    /// Who accepts from the first slot on.
    pub members: Members,
    /// After how many slots a change of members is in force.
    pub alpha: u64,
}

/// A node as the checks see it.
#[derive(Debug)]
pub struct MultiPaxosView {
    /// On its disk, as all but the last.
    promised: Option<Ballot>,
    entries: BTreeMap<Slot, Entry>,
    /// The first slot of the log in memory: what is before it was told, or came in a snapshot.
    first: Slot,
    /// The first slot that it does not know to be chosen: all before that was told, in this life, or came in a snapshot.
    open: Slot,
}

/// What no node may hold any more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct MultiPaxosPast {
    /// What was accepted, by slot and ballot, and by whom.
    accepted: BTreeMap<Slot, BTreeMap<Ballot, (Value, Members)>>,
    /// What was told of, from the first slot on.
    told: Vec<Value>,
    /// How many slots were done when somebody was told last that one is.
    done: u64,
    /// The slot after the last that each node was told of, or that came in a snapshot. A crash does not set it back; what is told
    /// again after one does.
    stands: BTreeMap<NodeId, Slot>,
    /// As of where each node would read: the first slot that it does not know to be chosen, which a crash sets back.
    open: BTreeMap<NodeId, Slot>,
    /// How much was done when each read was asked for.
    reads: BTreeMap<RequestId, u64>,
    /// What else was asked for.
    asked: BTreeMap<RequestId, Value>,
    /// What was refused.
    refused: BTreeSet<Value>,
}

impl MultiPaxosInvariants {
    /// Who accepts there, unless that is not decided by what was told.
    fn members(&self, past: &MultiPaxosPast, slot: Slot) -> Option<Members> {
        let decided = past.told.get(..place(slot.0.saturating_sub(self.alpha) + 1))?;
        let named = decided.iter().rev().find_map(|value| match value {
            Value::Members(members) => Some(members),
            Value::Command(_) | Value::NoOp => None,
        });
        Some(named.unwrap_or(&self.members).clone())
    }

    /// What a majority has on disk at one ballot.
    fn chosen<'a>(&self, past: &'a MultiPaxosPast, slot: Slot) -> BTreeSet<&'a Value> {
        let Some(members) = self.members(past, slot) else { return BTreeSet::new() };
        let majority = hezong_base::quorum::majority(members.len());
        let ballots = past.accepted.get(&slot).into_iter().flat_map(BTreeMap::values);
        ballots.filter(|(_, by)| by.intersection(&members).count() >= majority).map(|(value, _)| value).collect()
    }
}

impl Invariants for MultiPaxosInvariants {
    type Protocol = MultiPaxos;
    type View = MultiPaxosView;
    type Past = MultiPaxosPast;

    fn view(&self, node: &MultiPaxos, saved: &Saved, _: Time) -> MultiPaxosView {
        let (promised, entries) = (saved.promised, saved.entries.clone());
        MultiPaxosView { promised, entries, first: node.first(), open: node.open() }
    }

    fn check_step(&self, id: NodeId, before: &MultiPaxosView, after: &MultiPaxosView) -> Result<(), Violation> {
        if after.promised < before.promised {
            let (had, has) = (before.promised, after.promised);
            return Err(Violation::new("promises are kept", format!("{id} had promised {had:?}, and now {has:?}")));
        }
        Ok(())
    }

    fn remember(&self, past: &mut MultiPaxosPast, id: NodeId, view: &MultiPaxosView) -> Result<(), Violation> {
        let stands = past.stands.entry(id).or_default();
        *stands = view.first.max(*stands);
        past.open.insert(id, view.open);
        for (slot, Entry { ballot, value }) in &view.entries {
            let ballots = past.accepted.entry(*slot).or_default();
            let (first, by) = ballots.entry(*ballot).or_insert_with(|| (value.clone(), Members::new()));
            if first != value {
                let detail = format!("{id} accepts {value:?} in {slot} at {ballot}, where {first:?} was accepted");
                return Err(Violation::new("one value a slot and ballot", detail));
            }
            if by.insert(id) {
                let chosen = self.chosen(past, *slot);
                if chosen.len() > 1 {
                    return Err(Violation::new("agreement", format!("in slot {slot} are chosen {chosen:?}")));
                }
            }
        }
        Ok(())
    }

    fn check(&self, _: &[(NodeId, &MultiPaxosView)], _: &MultiPaxosPast) -> Result<(), Violation> {
        // Whatever concerns several nodes concerns what was accepted and told, which is remembered.
        Ok(())
    }

    fn asked(&self, past: &mut MultiPaxosPast, _: NodeId, request_id: RequestId, request: &Request) {
        match request {
            Request::Read => drop(past.reads.insert(request_id, past.done)),
            Request::Propose(bytes) => drop(past.asked.insert(request_id, Value::Command(bytes.clone()))),
            Request::Reconfigure(members) => drop(past.asked.insert(request_id, Value::Members(members.clone()))),
            Request::Applied(_) => {}
        }
    }

    fn hear(&self, past: &mut MultiPaxosPast, id: NodeId, event: &Event) -> Result<(), Violation> {
        match event {
            Event::Chosen { slot, value } => {
                let stands = past.stands.insert(id, slot.next()).unwrap_or_default();
                if *slot > stands {
                    let detail = format!("{id} is told of slot {slot}, and was not of slot {stands}");
                    return Err(Violation::new("told in order", detail));
                }
                let (at, count) = (place(slot.0), past.told.len());
                let is_new = at == count;
                if at > count {
                    let detail = format!("{id} is told of slot {slot}, and nobody was of slot {}", count + 1);
                    return Err(Violation::new("told in order", detail));
                }
                if past.told.get(at).is_some_and(|told| told != value) {
                    let detail = format!("{id} is told of {value:?} in slot {slot}, others of {:?}", past.told[at]);
                    return Err(Violation::new("agreement", detail));
                }
                if is_new && !self.chosen(past, *slot).contains(value) {
                    let detail = format!("{id} is told of {value:?} in slot {slot}, which is not chosen");
                    return Err(Violation::new("only what was chosen is told", detail));
                }
                if is_new && matches!(value, Value::Command(_)) && past.refused.contains(value) {
                    return Err(Violation::new("what was refused is not done", format!("{value:?} in slot {slot}")));
                }
                if is_new {
                    past.told.push(value.clone());
                }
            }
            Event::Done { id: request, slot } => {
                let asked = past.asked.remove(request);
                if asked.is_some() && past.told.get(place(slot.0)) != asked.as_ref() {
                    let detail = format!("{id} tells that {asked:?} is done in slot {slot}");
                    return Err(Violation::new("only what was chosen is told", detail));
                }
                past.done = past.done.max(slot.0);
            }
            Event::Readable { id: request, .. } => {
                let done = past.reads.remove(request).unwrap_or(0);
                let open = past.open.get(&id).copied().unwrap_or_default();
                if open.0 <= done {
                    let detail = format!("{id} reads as of before {open}, asked for when {done} was done");
                    return Err(Violation::new("reads are not old", detail));
                }
            }
            Event::Refused { id: request, .. } => {
                past.reads.remove(request);
                if let Some(value @ Value::Command(_)) = past.asked.remove(request) {
                    past.refused.insert(value);
                }
            }
            Event::Unknown { id: request } => drop(past.asked.remove(request)),
            Event::MasterChanged(_) => {}
        }
        Ok(())
    }
}

/// Where a slot of this number stands among those told.
fn place(slot: u64) -> usize {
    usize::try_from(slot.saturating_sub(1)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BALLOT: Ballot = Ballot { round: 1, node: NodeId(1) };

    fn three() -> MultiPaxosInvariants {
        MultiPaxosInvariants { members: [1, 2, 3].map(NodeId).into(), alpha: 64 }
    }

    /// A node that has accepted a no-op in each of three slots, and knows those before `open` to be chosen.
    fn view(open: u64) -> MultiPaxosView {
        let entry = Entry { ballot: BALLOT, value: Value::NoOp };
        let entries = (1..=3).map(|slot| (Slot(slot), entry.clone())).collect();
        MultiPaxosView { promised: Some(BALLOT), entries, first: Slot(1), open: Slot(open) }
    }

    fn chosen(slot: u64) -> Event {
        Event::Chosen { slot: Slot(slot), value: Value::NoOp }
    }

    /// All three have accepted, and n1 was told of all of that.
    fn told_to_n1() -> MultiPaxosPast {
        let mut past = MultiPaxosPast::default();
        for id in [1, 2, 3].map(NodeId) {
            three().remember(&mut past, id, &view(if id == NodeId(1) { 4 } else { 1 })).unwrap();
        }
        (1..=3).for_each(|slot| three().hear(&mut past, NodeId(1), &chosen(slot)).unwrap());
        past
    }

    #[test]
    fn slot_left_out_at_one_node_is_seen_though_another_was_told_of_it() {
        let mut past = told_to_n1();
        assert_eq!(three().hear(&mut past, NodeId(2), &chosen(1)), Ok(()));
        let seen = three().hear(&mut past, NodeId(2), &chosen(3)).unwrap_err();
        assert_eq!(seen.property, "told in order");
    }

    #[test]
    fn slots_told_again_after_a_crash_or_skipped_by_a_snapshot_are_in_order() {
        let mut past = told_to_n1();
        three().remember(&mut past, NodeId(1), &view(3)).unwrap();
        for slot in [1, 2, 3] {
            assert_eq!(three().hear(&mut past, NodeId(1), &chosen(slot)), Ok(()));
        }
        let fetched = MultiPaxosView { first: Slot(3), ..view(3) };
        three().remember(&mut past, NodeId(3), &fetched).unwrap();
        assert_eq!(three().hear(&mut past, NodeId(3), &chosen(3)), Ok(()));
    }

    #[test]
    fn read_of_an_older_state_after_a_crash_is_seen() {
        let mut past = told_to_n1();
        three().hear(&mut past, NodeId(1), &Event::Done { id: RequestId(9), slot: Slot(3) }).unwrap();
        let mut read = |open| {
            three().remember(&mut past, NodeId(1), &view(open)).unwrap();
            three().asked(&mut past, NodeId(1), RequestId(1), &Request::Read);
            three().hear(&mut past, NodeId(1), &Event::Readable { id: RequestId(1), until: Time::from_millis(1) })
        };
        assert_eq!(read(4), Ok(()));
        assert_eq!(read(3).unwrap_err().property, "reads are not old");
    }
}
