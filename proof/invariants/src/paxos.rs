//! Basic Paxos: one value is chosen, at most, and only that is learned (Lamport, *Paxos Made Simple*, 2001, §2.1).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use hezong_base::{NodeId, Time};
use hezong_paxos::Ballot;
use hezong_paxos::basic::{Paxos, Proposal, Saved};

use crate::{Invariants, Violation};

/// What must hold among these acceptors.
#[derive(Clone, Copy, Debug)]
pub struct PaxosInvariants {
    /// How many there are.
    pub acceptors: u8,
    /// What is proposed is called v1 up to this; `None` where it may be called anything.
    pub proposals: Option<u8>,
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

/// What no node may hold any more: by ballot, what was accepted, and by whom.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PaxosPast(BTreeMap<Ballot, (Bytes, BTreeSet<NodeId>)>);

impl PaxosPast {
    /// What a majority has accepted at one ballot, with the ballot.
    fn chosen(&self, majority: usize) -> impl Iterator<Item = (Ballot, &Bytes)> {
        let chosen = move |(_, (_, by)): &(&Ballot, &(Bytes, BTreeSet<NodeId>))| by.len() >= majority;
        self.0.iter().filter(chosen).map(|(ballot, (value, _))| (*ballot, value))
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
        if before.chosen.is_some() && after.chosen.is_some() && before.chosen != after.chosen {
            return Err(Violation::new("agreement", format!("{id} learns another value than it knew")));
        }
        Ok(())
    }

    fn remember(&self, past: &mut PaxosPast, id: NodeId, view: &PaxosView) -> Result<(), Violation> {
        if let Some(Proposal { ballot, value }) = &view.accepted {
            let is_known = |proposals: u8| (1..=proposals).any(|nth| *value == format!("v{nth}"));
            if self.proposals.is_some_and(|proposals| !is_known(proposals)) {
                return Err(Violation::new("only what was proposed is accepted", format!("{id} accepts {value:?}")));
            }
            let (first, by) = past.0.entry(*ballot).or_insert_with(|| (value.clone(), BTreeSet::new()));
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

    fn check(&self, _: &[(NodeId, &PaxosView)], _: &PaxosPast) -> Result<(), Violation> {
        // Whatever concerns several nodes concerns what was accepted, which is remembered.
        Ok(())
    }
}
