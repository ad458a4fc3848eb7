//! Basic Paxos: one value is chosen, at most, and only that is learned (Lamport, *Paxos Made Simple*, 2001, §2.1).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use hezong_base::{NodeId, RequestId, Time};
use hezong_paxos::Ballot;
use hezong_paxos::basic::{Event, Paxos, Proposal, Request, Saved};

use crate::{Invariants, Violation};

/// What must hold among these acceptors.
#[derive(Clone, Copy, Debug)]
pub struct PaxosInvariants {
    /// How many there are.
    pub acceptors: u8,
    /// What may be accepted.
    pub proposals: Proposals,
}

/// What may be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proposals {
    /// What users have asked for.
    Asked,
    /// v1 up to this, for the explorer, which does not tell of requests.
    Named(u8),
    /// Anything: stories begin with values on disks that nobody was seen to propose.
    Any,
}

impl PaxosInvariants {
    fn majority(&self) -> usize {
        hezong_base::quorum::majority(usize::from(self.acceptors))
    }
}

/// A node as the checks see it.
#[derive(Debug)]
pub struct PaxosView {
    /// On its disk: what is not there yet was told to nobody.
    promised: Option<Ballot>,
    /// The same.
    accepted: Option<Proposal>,
    chosen: Option<Bytes>,
}

/// What no node may hold any more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PaxosPast {
    /// By ballot, what was accepted, and by whom.
    accepted: BTreeMap<Ballot, (Bytes, BTreeSet<NodeId>)>,
    /// What users have asked for.
    asked: BTreeSet<Bytes>,
}

impl PaxosPast {
    /// What a majority has accepted at one ballot, with the ballot.
    fn chosen(&self, majority: usize) -> impl Iterator<Item = (Ballot, &Bytes)> {
        let chosen = move |(_, (_, by)): &(&Ballot, &(Bytes, BTreeSet<NodeId>))| by.len() >= majority;
        self.accepted.iter().filter(chosen).map(|(ballot, (value, _))| (*ballot, value))
    }
}

impl Invariants for PaxosInvariants {
    type Protocol = Paxos;
    type View = PaxosView;
    type Past = PaxosPast;

    fn view(&self, node: &Paxos, saved: &Saved, _: Time) -> PaxosView {
        let Saved { promised, accepted, .. } = saved.clone();
        PaxosView { promised, accepted, chosen: node.chosen().cloned() }
    }

    fn check_step(&self, id: NodeId, before: &PaxosView, after: &PaxosView) -> Result<(), Violation> {
        if after.promised < before.promised {
            let (had, has) = (before.promised, after.promised);
            return Err(Violation::new("promises are kept", format!("{id} had promised {had:?}, and now {has:?}")));
        }
        Ok(())
    }

    fn remember(&self, past: &mut PaxosPast, id: NodeId, view: &PaxosView) -> Result<(), Violation> {
        if let Some(Proposal { ballot, value }) = &view.accepted {
            let is_proposed = match self.proposals {
                Proposals::Asked => past.asked.contains(value),
                Proposals::Named(last) => (1..=last).any(|nth| *value == format!("v{nth}")),
                Proposals::Any => true,
            };
            if !is_proposed {
                return Err(Violation::new("only what was proposed is accepted", format!("{id} accepts {value:?}")));
            }
            let (first, by) = past.accepted.entry(*ballot).or_insert_with(|| (value.clone(), BTreeSet::new()));
            if first != value {
                let detail = format!("{id} accepts {value:?} at {ballot}, where {first:?} was accepted");
                return Err(Violation::new("one value a ballot", detail));
            }
            by.insert(id);
        }
        let chosen: Vec<(Ballot, &Bytes)> = past.chosen(self.majority()).collect();
        if let Some((later, other)) =
            chosen.iter().find(|(_, other)| Some(*other) != chosen.first().map(|(_, value)| *value))
        {
            let (ballot, value) = &chosen[0];
            let detail = format!("{value:?} was chosen at {ballot}, and {other:?} at {later}");
            return Err(Violation::new("agreement", detail));
        }
        let chosen = chosen.first().map(|(_, value)| *value);
        if let Some(learned) = view.chosen.as_ref().filter(|learned| Some(*learned) != chosen) {
            let detail = format!("{id} learns {learned:?}, where {chosen:?} was chosen");
            return Err(Violation::new("only what was chosen is learned", detail));
        }
        Ok(())
    }

    fn asked(&self, past: &mut PaxosPast, _: NodeId, _: RequestId, Request::Propose(value): &Request) {
        past.asked.insert(value.clone());
    }

    fn hear(&self, past: &mut PaxosPast, id: NodeId, event: &Event) -> Result<(), Violation> {
        let told = match event {
            Event::Chosen(value) | Event::Answered { value, .. } => value,
            Event::Refused { .. } => return Ok(()),
        };
        match past.chosen(self.majority()).next() {
            Some((_, chosen)) if chosen == told => Ok(()),
            other => {
                let detail = format!("{id} tells of {told:?}, where {other:?} was chosen");
                Err(Violation::new("only what was chosen is told", detail))
            }
        }
    }

    fn check(&self, _: &[(NodeId, &PaxosView)], _: &PaxosPast) -> Result<(), Violation> {
        // Whatever concerns several nodes concerns what was accepted, which is remembered.
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: PaxosInvariants = PaxosInvariants { acceptors: 3, proposals: Proposals::Asked };

    fn accepting(value: &'static str) -> PaxosView {
        let ballot = Ballot { round: 1, node: NodeId(1) };
        let accepted = Some(Proposal { ballot, value: Bytes::from_static(value.as_bytes()) });
        PaxosView { promised: Some(ballot), accepted, chosen: None }
    }

    fn asked_for_x() -> PaxosPast {
        let mut past = PaxosPast::default();
        THREE.asked(&mut past, NodeId(1), RequestId(1), &Request::Propose(Bytes::from_static(b"x")));
        past
    }

    #[test]
    fn value_that_nobody_asked_for_is_seen() {
        let mut past = asked_for_x();
        assert_eq!(THREE.remember(&mut past, NodeId(1), &accepting("x")), Ok(()));
        let seen = THREE.remember(&mut past, NodeId(2), &accepting("y")).unwrap_err();
        assert_eq!(seen.property, "only what was proposed is accepted");
    }

    #[test]
    fn value_told_before_it_is_chosen_is_seen() {
        let (mut past, told) = (asked_for_x(), Event::Chosen(Bytes::from_static(b"x")));
        THREE.remember(&mut past, NodeId(1), &accepting("x")).unwrap();
        let seen = THREE.hear(&mut past, NodeId(1), &told).unwrap_err();
        assert_eq!(seen.property, "only what was chosen is told");
        THREE.remember(&mut past, NodeId(2), &accepting("x")).unwrap();
        assert_eq!(THREE.hear(&mut past, NodeId(1), &told), Ok(()));
    }
}
