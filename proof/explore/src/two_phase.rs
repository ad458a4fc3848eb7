//! Two-phase commit as Gray and Lamport state it ("Consensus on Transaction Commit", 2006, §3, the TLA+ module
//! `TwoPhase`): a model whose number of states is known, so that the explorer itself is tested.
//!
//! One manager of the transaction, n participants, and a set of messages that only grows.

use std::hash::{Hash, Hasher};

use crate::digest::Digest;
use crate::{Model, Violation};

/// A participant (resource manager).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Participant {
    Working,
    Prepared,
    Committed,
    Aborted,
}

/// What the manager has decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Decision {
    Open,
    Commit,
    Abort,
}

/// What a participant and the manager know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Part {
    /// What it is itself.
    state: Participant,
    /// Whether the manager knows that it is prepared.
    known: bool,
    /// Whether it has sent that it is.
    sent: bool,
}

/// A state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TwoPhaseState {
    parts: Vec<Part>,
    /// The decision, which is sent as soon as it is taken.
    decision: Decision,
}

/// A step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TwoPhaseAction {
    /// The manager commits.
    Commit,
    /// The manager aborts.
    Abort,
    /// The manager hears that a participant is prepared.
    HearPrepared(usize),
    /// A participant prepares.
    Prepare(usize),
    /// A participant aborts of its own accord.
    ChooseAbort(usize),
    /// A participant hears that all commit.
    HearCommit(usize),
    /// A participant hears that all abort.
    HearAbort(usize),
}

/// How participants are folded, who are interchangeable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Folding {
    /// Not at all.
    #[default]
    None,
    /// They are sorted by their own state alone, as in Stateright's example. Those equal in it keep their order, so not all
    /// states that are the same but for names fall together, and the count depends on the order of visits.
    Partial,
    /// They are sorted by all that is known of them: one state for each set that is the same but for names.
    Full,
}

/// The model.
#[derive(Clone, Copy, Debug)]
pub struct TwoPhase {
    /// How many participants.
    pub participants: usize,
    /// How they are folded.
    pub folding: Folding,
}

impl Model for TwoPhase {
    type State = TwoPhaseState;
    type Action = TwoPhaseAction;

    fn initial(&mut self) -> TwoPhaseState {
        let part = Part { state: Participant::Working, known: false, sent: false };
        TwoPhaseState { parts: vec![part; self.participants], decision: Decision::Open }
    }

    fn actions(&mut self, state: &TwoPhaseState, actions: &mut Vec<TwoPhaseAction>) {
        let open = state.decision == Decision::Open;
        if open && state.parts.iter().all(|part| part.known) {
            actions.push(TwoPhaseAction::Commit);
        }
        if open {
            actions.push(TwoPhaseAction::Abort);
        }
        for (at, part) in state.parts.iter().enumerate() {
            if open && part.sent {
                actions.push(TwoPhaseAction::HearPrepared(at));
            }
            if part.state == Participant::Working {
                actions.extend([TwoPhaseAction::Prepare(at), TwoPhaseAction::ChooseAbort(at)]);
            }
            match state.decision {
                Decision::Open => {}
                Decision::Commit => actions.push(TwoPhaseAction::HearCommit(at)),
                Decision::Abort => actions.push(TwoPhaseAction::HearAbort(at)),
            }
        }
    }

    fn next(&mut self, state: &TwoPhaseState, action: &TwoPhaseAction) -> Result<TwoPhaseState, Violation> {
        let mut next = state.clone();
        match *action {
            TwoPhaseAction::Commit => next.decision = Decision::Commit,
            TwoPhaseAction::Abort => next.decision = Decision::Abort,
            TwoPhaseAction::HearPrepared(at) => next.parts[at].known = true,
            TwoPhaseAction::Prepare(at) => {
                (next.parts[at].state, next.parts[at].sent) = (Participant::Prepared, true);
            }
            TwoPhaseAction::ChooseAbort(at) | TwoPhaseAction::HearAbort(at) => {
                next.parts[at].state = Participant::Aborted;
            }
            TwoPhaseAction::HearCommit(at) => next.parts[at].state = Participant::Committed,
        }
        Ok(next)
    }

    fn check(&mut self, state: &TwoPhaseState) -> Result<(), Violation> {
        let is = |wanted| state.parts.iter().position(|part| part.state == wanted);
        match (is(Participant::Committed), is(Participant::Aborted)) {
            (Some(one), Some(other)) => {
                let detail = format!("participant {one} has committed and participant {other} has aborted");
                Err(Violation::new("consistency", detail))
            }
            _ => Ok(()),
        }
    }

    fn fingerprint(&mut self, state: &TwoPhaseState) -> u64 {
        let mut parts = state.parts.clone();
        match self.folding {
            Folding::None => {}
            Folding::Partial => parts.sort_by_key(|part| part.state),
            Folding::Full => parts.sort_unstable(),
        }
        let mut digest = Digest::default();
        (parts, state.decision).hash(&mut digest);
        digest.finish()
    }

    fn tell(&mut self, _: &TwoPhaseState, action: &TwoPhaseAction) -> String {
        format!("{action:?}")
    }
}
