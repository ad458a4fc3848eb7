//! CASPaxos registers: the states of each form one chain, which is never cut (Rystsov, *CASPaxos*, 2018; §2.2, and §3.1 for
//! what is deleted). Of one membership only: acceptors that come and go are not told of here.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use hezong_base::{NodeId, RequestId, Time};
use hezong_paxos::Ballot;
use hezong_paxos::register::{Change, Event, Register, Registers, Request, Saved, State};

use crate::{Invariants, Violation};

/// What must hold among these acceptors.
#[derive(Clone, Copy, Debug)]
pub struct RegisterInvariants {
    /// How many there are.
    pub acceptors: u8,
}

/// A node as the checks see it: its disk, since what is not there yet was told to nobody.
#[derive(Debug)]
pub struct RegisterView {
    registers: BTreeMap<Bytes, Register>,
    ages: BTreeMap<NodeId, u64>,
}

/// What no node may hold any more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RegisterPast {
    keys: BTreeMap<Bytes, History>,
    asked: BTreeMap<RequestId, Asked>,
}

/// Of one register.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct History {
    /// By ballot, what was accepted, and by whom.
    accepted: BTreeMap<Ballot, (State, BTreeSet<NodeId>)>,
    /// The highest ballot each acceptor has promised, and what it holds. Outlives collections: they are outbid too.
    promised: BTreeMap<NodeId, (Ballot, Option<Ballot>)>,
    /// The last ballot at which a majority accepted.
    chosen: Option<Ballot>,
    /// By request, at which version a majority has accepted what only that can have made.
    made: BTreeMap<RequestId, Ballot>,
}

/// What a user has asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Asked {
    at: NodeId,
    key: Bytes,
    change: Change,
    /// What was chosen last by then.
    since: Option<Ballot>,
    /// Its user was told that it never happens.
    is_refused: bool,
}

impl RegisterInvariants {
    fn majority(&self) -> usize {
        hezong_base::quorum::majority(usize::from(self.acceptors))
    }

    /// Notes that an acceptor holds this, and checks what that makes chosen.
    fn accept(
        &self,
        past: &mut RegisterPast,
        id: NodeId,
        key: &Bytes,
        ballot: Ballot,
        state: &State,
    ) -> Result<(), Violation> {
        let history = past.keys.entry(key.clone()).or_default();
        let (first, by) = history.accepted.entry(ballot).or_insert_with(|| (state.clone(), BTreeSet::new()));
        if first != state {
            let detail = format!("{id} accepts {state:?} of {key:?} at {ballot}, where {first:?} was accepted");
            return Err(Violation::new("one state a ballot", detail));
        }
        let (is_first, is_chosen) = (by.is_empty(), by.insert(id) && by.len() == self.majority());
        if is_first {
            self.check_descent(history, key, ballot)?;
        }
        if !is_chosen {
            return Ok(());
        }
        history.chosen = history.chosen.max(Some(ballot));
        let later: Vec<Ballot> = history.accepted.range(ballot..).skip(1).map(|(later, _)| *later).collect();
        later.into_iter().try_for_each(|later| self.check_descent(history, key, later))?;
        check_made(past, key, state)
    }

    /// What is accepted above a ballot at which a majority accepted was made of that, or of what was made of it, or of nothing
    /// where all have held a tombstone since.
    fn check_descent(&self, history: &History, key: &Bytes, ballot: Ballot) -> Result<(), Violation> {
        let (state, _) = &history.accepted[&ballot];
        let mut below = history.accepted.range(..ballot).rev();
        let Some((chosen, (last, _))) = below.find(|(_, (_, by))| by.len() >= self.majority()) else { return Ok(()) };
        let is_change = state.version == Some(ballot);
        let follows = |before: &State| before == state || (is_change && state.previous == before.version);
        let is_anew = state.previous.is_none() && (is_change || *state == State::default());
        let all = usize::from(self.acceptors);
        let is_right = history
            .accepted
            .range(*chosen..ballot)
            .any(|(_, (before, by))| follows(before) || (is_anew && before.value.is_none() && by.len() == all));
        if is_right {
            return Ok(());
        }
        let detail =
            format!("{key:?}: {state:?} is accepted at {ballot}, not made of {last:?}, which was chosen at {chosen}");
        Err(Violation::new("one chain of states", detail))
    }
}

/// Whose change a chosen state is, if only one can have made it: that is made once, and not if it was refused.
fn check_made(past: &mut RegisterPast, key: &Bytes, state: &State) -> Result<(), Violation> {
    // Where nobody tells what users ask for, nothing is known of it.
    let (Some(version), false) = (state.version, past.asked.is_empty()) else { return Ok(()) };
    let Some(history) = past.keys.get_mut(key) else { return Ok(()) };
    let before = history.accepted.values().map(|(before, _)| before).find(|before| before.version == state.previous);
    let before = before.and_then(|before| before.value.clone());
    let makes = |asked: &Asked| {
        let value = match &asked.change {
            Change::Read => return false,
            Change::Set(value) | Change::InitialiseIfEmpty(value) | Change::CompareAndSet { value, .. } => {
                Some(value.clone())
            }
            Change::Append(tail) => Some(Bytes::from([before.clone().unwrap_or_default(), tail.clone()].concat())),
            Change::Delete => None,
        };
        asked.at == version.node && asked.key == *key && value == state.value
    };
    let mut makers = past.asked.iter().filter(|(_, asked)| makes(asked));
    let Some((id, asked)) = makers.next() else {
        let detail = format!("{key:?} holds {state:?}, for which nobody has asked");
        return Err(Violation::new("only what was asked for is made", detail));
    };
    if makers.next().is_some() {
        return Ok(());
    }
    if asked.is_refused {
        return Err(Violation::new("what is refused is never made", format!("{id} was, and {key:?} holds {state:?}")));
    }
    let first = *history.made.entry(*id).or_insert(version);
    if first != version {
        let detail = format!("{id} has changed {key:?} at {first}, and again at {version}");
        return Err(Violation::new("a change is made once", detail));
    }
    Ok(())
}

/// Whether this may be what a change has left that took: of a version of the node that was asked, and its own value.
fn has_taken(asked: &Asked, state: &State) -> bool {
    let is_made_so = match &asked.change {
        Change::Read => false,
        Change::Set(value) | Change::InitialiseIfEmpty(value) => state.value.as_ref() == Some(value),
        Change::CompareAndSet { expected, value } => {
            state.value.as_ref() == Some(value) && state.previous == Some(*expected)
        }
        Change::Append(tail) => state.value.as_ref().is_some_and(|value| value.ends_with(tail)),
        Change::Delete => state.value.is_none(),
    };
    is_made_so && state.version.is_some_and(|version| version.node == asked.at)
}

impl Invariants for RegisterInvariants {
    type Protocol = Registers;
    type View = RegisterView;
    type Past = RegisterPast;

    fn view(&self, _: &Registers, saved: &Saved, _: Time) -> RegisterView {
        let ages = saved.ages.iter().map(|(node, age)| (*node, age.0)).collect();
        RegisterView { registers: saved.registers.clone(), ages }
    }

    fn check_step(&self, id: NodeId, before: &RegisterView, after: &RegisterView) -> Result<(), Violation> {
        let falls = before.ages.iter().find(|(node, age)| after.ages.get(node) < Some(age));
        match falls {
            Some((node, age)) => {
                Err(Violation::new("ages are kept", format!("{id} had refused what {node} sent below age {age}")))
            }
            None => Ok(()),
        }
    }

    fn remember(&self, past: &mut RegisterPast, id: NodeId, view: &RegisterView) -> Result<(), Violation> {
        for (key, Register { promised, accepted }) in &view.registers {
            let ballot = accepted.as_ref().map(|accepted| accepted.ballot);
            let history = past.keys.entry(key.clone()).or_default();
            let before = history.promised.insert(id, (*promised, ballot));
            if before == Some((*promised, ballot)) {
                continue;
            }
            if let Some((had, held)) = before {
                let is_below = ballot != held && ballot.is_some_and(|ballot| ballot < had);
                if *promised < had || is_below {
                    let detail =
                        format!("{id} had promised {had} of {key:?}, and now {promised}; it has accepted {accepted:?}");
                    return Err(Violation::new("promises are kept", detail));
                }
            }
            if ballot.is_some_and(|ballot| ballot > *promised) {
                let detail = format!("{id} has accepted {ballot:?} of {key:?}, and promised {promised}");
                return Err(Violation::new("what is accepted is promised", detail));
            }
            if let Some(accepted) = accepted {
                self.accept(past, id, key, accepted.ballot, &accepted.state)?;
            }
        }
        Ok(())
    }

    fn asked(&self, past: &mut RegisterPast, id: NodeId, request_id: RequestId, request: &Request) {
        if let Request::Change { key, change } = request {
            let since = past.keys.get(key).and_then(|history| history.chosen);
            let (key, change) = (key.clone(), change.clone());
            past.asked.insert(request_id, Asked { at: id, key, change, since, is_refused: false });
        }
    }

    fn hear(&self, past: &mut RegisterPast, _: NodeId, event: &Event) -> Result<(), Violation> {
        match event {
            Event::Done { id, took, state } => {
                let Some(asked) = past.asked.get(id) else { return Ok(()) };
                let Some(history) = past.keys.get(&asked.key) else {
                    let detail = format!("{id} is told of {state:?} of {:?}, which nobody holds", asked.key);
                    return Err(Violation::new("what users are told was chosen since they asked", detail));
                };
                let since = history.accepted.iter().filter(|(ballot, _)| Some(**ballot) >= asked.since);
                let is_chosen = |(told, by): &(State, BTreeSet<NodeId>)| told == state && by.len() >= self.majority();
                if !since.map(|(_, accepted)| accepted).any(is_chosen) {
                    let detail = format!("{id} is told of {state:?} of {:?}; it asked at {:?}", asked.key, asked.since);
                    return Err(Violation::new("what users are told was chosen since they asked", detail));
                }
                let would_take = match &asked.change {
                    // Whether a value grew too long for it is not known here.
                    Change::Read | Change::Append(_) => false,
                    Change::Set(_) => true,
                    Change::InitialiseIfEmpty(_) => state.value.is_none(),
                    Change::CompareAndSet { expected, .. } => state.value.is_some() && state.version == Some(*expected),
                    Change::Delete => state.value.is_some(),
                };
                let made = history.made.get(id);
                let is_right = if *took {
                    has_taken(asked, state) && made.is_none_or(|at| Some(*at) == state.version)
                } else {
                    !would_take && made.is_none()
                };
                if !is_right {
                    let what = if *took { "took" } else { "did not take" };
                    let detail = format!("{id} is told that {:?} {what}, with {state:?}", asked.change);
                    return Err(Violation::new("users are told whether it took", detail));
                }
                Ok(())
            }
            Event::Refused { id, refusal } => {
                let Some(asked) = past.asked.get_mut(id) else { return Ok(()) };
                asked.is_refused = true;
                let made = past.keys.get(&asked.key).and_then(|history| history.made.get(id));
                match made {
                    Some(version) => {
                        let detail = format!("{id} is refused, {refusal:?}, but was made at {version}");
                        Err(Violation::new("what is refused is never made", detail))
                    }
                    None => Ok(()),
                }
            }
            Event::Unknown { .. }
            | Event::Collected(_)
            | Event::NotCollected(_)
            | Event::Reconfigured { .. }
            | Event::Rewritten { .. } => Ok(()),
        }
    }

    fn check(&self, _: &[(NodeId, &RegisterView)], _: &RegisterPast) -> Result<(), Violation> {
        // Whatever concerns several nodes concerns what was accepted, which is remembered.
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const N1: NodeId = NodeId(1);
    const N2: NodeId = NodeId(2);
    const X: Bytes = Bytes::from_static(b"x");
    const Y: Bytes = Bytes::from_static(b"y");

    /// What somebody who asked node 1 for this may be told, once a majority holds what node 2 was asked for as well: `y`.
    fn is_right(change: Change, took: bool) -> bool {
        let (invariants, mut past) = (RegisterInvariants { acceptors: 3 }, RegisterPast::default());
        let (key, ballot) = (Bytes::from("a"), Ballot { round: 1, node: N2 });
        for (at, id, change) in [(N2, 1, Change::Set(Y)), (N1, 2, change)] {
            invariants.asked(&mut past, at, RequestId(id), &Request::Change { key: key.clone(), change });
        }
        let state = State { version: Some(ballot), previous: None, value: Some(Y) };
        for id in [N1, N2] {
            invariants.accept(&mut past, id, &key, ballot, &state).expect("it was asked for");
        }
        invariants.hear(&mut past, N1, &Event::Done { id: RequestId(2), took, state }).is_ok()
    }

    #[test]
    fn told_that_it_took_only_if_its_own_is_there() {
        let expected = Ballot { round: 1, node: N2 };
        for (change, when_it_took, when_not) in [
            (Change::Read, false, true),
            (Change::InitialiseIfEmpty(X), false, true),
            // Of the same value as another's, but at the other's version.
            (Change::InitialiseIfEmpty(Y), false, true),
            (Change::Set(X), false, false),
            (Change::CompareAndSet { expected, value: Y }, false, false),
            (Change::Append(Y), false, true),
            (Change::Delete, false, false),
        ] {
            let told = (is_right(change.clone(), true), is_right(change.clone(), false));
            assert_eq!(told, (when_it_took, when_not), "{change:?}");
        }
    }

    #[test]
    fn told_that_its_own_took() {
        let (invariants, mut past) = (RegisterInvariants { acceptors: 1 }, RegisterPast::default());
        let (key, mut before) = (Bytes::from("a"), State::default());
        let first = Ballot { round: 1, node: N1 };
        for (round, change, value) in [
            (1, Change::InitialiseIfEmpty(X), Some(X)),
            (2, Change::CompareAndSet { expected: first, value: Y }, Some(Y)),
            (3, Change::Append(X), Some(Bytes::from("yx"))),
            (4, Change::Delete, None),
            (5, Change::Set(X), Some(X)),
        ] {
            let (id, ballot) = (RequestId(round), Ballot { round, node: N1 });
            invariants.asked(&mut past, N1, id, &Request::Change { key: key.clone(), change });
            let state = State { version: Some(ballot), previous: before.version, value };
            invariants.accept(&mut past, N1, &key, ballot, &state).expect("it was asked for");
            invariants.hear(&mut past, N1, &Event::Done { id, took: true, state: state.clone() }).expect("it took");
            before = state;
        }
    }
}
