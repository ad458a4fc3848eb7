//! Atomic commit: what one participant commits none aborts, and only what all have promised is committed (Gray and Lamport,
//! *Consensus on Transaction Commit*, 2006, §2: stability and consistency). What two-phase commit and Try-Confirm-Cancel hold
//! is looked at here; what all of it must agree with is in `commit_past.rs`.
//!
//! Nodes are looked at through [`CommitView`], what is on their disks: what is not there yet is told to nobody. Whoever
//! coordinates is named by its transactions, and may be several nodes that hold the same: then each is seen to hold some of
//! what its name has decided.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use hezong_base::{NodeId, Protocol, RequestId, Time};
use hezong_commit::tcc::Tcc;
use hezong_commit::three_phase::ThreePhase;
use hezong_commit::two_phase::TwoPhase;
use hezong_commit::{Event, Fenced, Fences, Outcome, Request, TransactionId};

use crate::{CommitPast, Invariants, Violation};

/// What is asked of a protocol beyond what is asked of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitRules {
    /// All that users ask for is told, so that nothing else may happen. The explorer does not tell.
    pub are_users_heard: bool,
    /// A participant writes which outcome it is about to apply before its user hears of it.
    pub is_applied_from_disk: bool,
    /// A participant may decide in the coordinator's place, once that is on its disk.
    pub do_participants_decide: bool,
}

/// A protocol of atomic commit whose users speak as those of `hezong-commit` do.
pub trait Commits: Protocol<Request = Request, Event = Event> {
    /// See [`CommitRules::is_applied_from_disk`].
    const IS_APPLIED_FROM_DISK: bool;
    /// See [`CommitRules::do_participants_decide`].
    const DO_PARTICIPANTS_DECIDE: bool = false;

    /// What is on its disk.
    fn view(&self, saved: &Self::Saved) -> CommitView;
}

/// What is on a node's disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CommitView {
    /// What is begun or decided, and not known by all yet.
    pub coordinated: BTreeMap<TransactionId, Coordinated>,
    /// By who coordinates, the last number that may be used.
    pub numbers: BTreeMap<NodeId, u64>,
    /// What was promised, and is not over.
    pub promised: BTreeMap<TransactionId, Promised>,
    /// What is over.
    pub fences: Fences,
}

/// What a coordinator has on its disk of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Coordinated {
    /// Who takes part.
    pub participants: BTreeSet<NodeId>,
    /// Whether it is decided that it is committed.
    pub is_committed: bool,
}

/// What a participant has on its disk of a transaction that it has said yes to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Promised {
    /// What it is to do.
    pub work: Bytes,
    /// Which outcome it is about to apply, where that is written.
    pub decided: Option<Outcome>,
}

impl CommitView {
    /// What must hold of any step of one node, crashes included.
    ///
    /// # Errors
    /// Says what does not.
    pub fn check_step(&self, id: NodeId, after: &Self) -> Result<(), Violation> {
        for (tx, Promised { decided, .. }) in &self.promised {
            let kept = match (after.promised.get(tx), decided) {
                (Some(promised), Some(_)) => promised.decided == *decided,
                (Some(_), None) => true,
                (None, Some(outcome)) => match after.fences.find(*tx) {
                    Fenced::Finished(finished) => finished == *outcome,
                    Fenced::Forgotten => true,
                    Fenced::Open => false,
                },
                (None, None) => after.fences.find(*tx) != Fenced::Open,
            };
            if !kept {
                let detail = format!("{id} had promised {tx}, and was to apply {decided:?}: nothing is left of it");
                return Err(Violation::new("a yes is kept until its outcome", detail));
            }
        }
        let falls = self.numbers.iter().find(|(coordinator, last)| after.numbers.get(coordinator) < Some(last));
        match falls {
            Some((coordinator, last)) => {
                let detail = format!("{id} knew that numbers of {coordinator} up to {last} are used");
                Err(Violation::new("a number is used once", detail))
            }
            None => Ok(()),
        }
    }
}

impl Commits for TwoPhase {
    const IS_APPLIED_FROM_DISK: bool = false;

    fn view(&self, saved: &Self::Saved) -> CommitView {
        let our = |number: u64| TransactionId { coordinator: self.id(), number };
        let coordinated = saved.committed.iter().map(|(number, participants)| {
            (our(*number), Coordinated { participants: participants.clone(), is_committed: true })
        });
        let promised = saved.prepared.iter().map(|(tx, (work, _))| {
            let promised = Promised { work: work.clone(), decided: None };
            (*tx, promised)
        });
        CommitView {
            coordinated: coordinated.collect(),
            numbers: saved.numbers.map(|last| (self.id(), last)).into_iter().collect(),
            promised: promised.collect(),
            fences: saved.fences.clone(),
        }
    }
}

impl Commits for Tcc {
    const IS_APPLIED_FROM_DISK: bool = true;

    fn view(&self, saved: &Self::Saved) -> CommitView {
        let our = |number: u64| TransactionId { coordinator: self.id(), number };
        let coordinated = saved.begun.iter().map(|(number, (branches, is_committed))| {
            (our(*number), Coordinated { participants: branches.clone(), is_committed: *is_committed })
        });
        let promised = saved.tried.iter().map(|(tx, (work, decided))| {
            let promised = Promised { work: work.clone(), decided: *decided };
            (*tx, promised)
        });
        CommitView {
            coordinated: coordinated.collect(),
            numbers: saved.last.map(|last| (self.id(), last)).into_iter().collect(),
            promised: promised.collect(),
            fences: saved.fences.clone(),
        }
    }
}

impl Commits for ThreePhase {
    const IS_APPLIED_FROM_DISK: bool = true;
    const DO_PARTICIPANTS_DECIDE: bool = true;

    fn view(&self, saved: &Self::Saved) -> CommitView {
        let our = |number: u64| TransactionId { coordinator: self.id(), number };
        let coordinated = saved.begun.iter().map(|(number, (participants, concluded))| {
            let is_committed = *concluded == Some(Outcome::Committed);
            (our(*number), Coordinated { participants: participants.clone(), is_committed })
        });
        let promised = saved.promised.iter().map(|(tx, promise)| {
            let promised = Promised { work: promise.work.clone(), decided: promise.decided };
            (*tx, promised)
        });
        CommitView {
            coordinated: coordinated.collect(),
            numbers: saved.last.map(|last| (self.id(), last)).into_iter().collect(),
            promised: promised.collect(),
            fences: saved.fences.clone(),
        }
    }
}

/// What must hold of such a protocol.
pub struct CommitInvariants<P> {
    rules: CommitRules,
    protocol: PhantomData<fn() -> P>,
}

impl<P: Commits> CommitInvariants<P> {
    /// Where users are heard, or are not.
    #[must_use]
    pub const fn new(are_users_heard: bool) -> Self {
        let rules = CommitRules {
            are_users_heard,
            is_applied_from_disk: P::IS_APPLIED_FROM_DISK,
            do_participants_decide: P::DO_PARTICIPANTS_DECIDE,
        };
        Self { rules, protocol: PhantomData }
    }
}

// By hand, as the next two: nothing is asked of the protocol.
impl<P> fmt::Debug for CommitInvariants<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommitInvariants").field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl<P> Clone for CommitInvariants<P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for CommitInvariants<P> {}

impl<P: Commits> Invariants for CommitInvariants<P> {
    type Protocol = P;
    type View = CommitView;
    type Past = CommitPast;

    fn view(&self, node: &P, saved: &P::Saved, _: Time) -> CommitView {
        node.view(saved)
    }

    fn check_step(&self, id: NodeId, before: &CommitView, after: &CommitView) -> Result<(), Violation> {
        before.check_step(id, after)
    }

    fn remember(&self, past: &mut CommitPast, id: NodeId, view: &CommitView) -> Result<(), Violation> {
        past.remember(self.rules, id, view)
    }

    fn asked(&self, past: &mut CommitPast, id: NodeId, request_id: RequestId, request: &Request) {
        past.asked(id, request_id, request);
    }

    fn hear(&self, past: &mut CommitPast, id: NodeId, event: &Event) -> Result<(), Violation> {
        past.hear(self.rules, id, event)
    }

    fn check(&self, _: &[(NodeId, &CommitView)], _: &CommitPast) -> Result<(), Violation> {
        // Whatever concerns several nodes concerns what became of a transaction, which is remembered.
        Ok(())
    }
}
