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
    /// The first slot of which each node was not told, in its life.
    stands: BTreeMap<NodeId, Slot>,
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
        MultiPaxosView { promised: saved.promised, entries: saved.entries.clone(), first: node.first() }
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
                past.stands.insert(id, slot.next());
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
                let stands = past.stands.get(&id).copied().unwrap_or_default();
                if stands.0 <= done {
                    let detail = format!("{id} reads as of before {stands}, asked for when {done} was done");
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
