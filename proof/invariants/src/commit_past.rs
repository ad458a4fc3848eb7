//! What became of every transaction, seen from outside: what its users asked for and were told, and what was on whose disk.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use hezong_base::{NodeId, RequestId};
use hezong_commit::{Event, Fenced, Outcome, Request, TransactionId, Work};

use crate::Violation;
use crate::commit::{CommitRules, CommitView};

/// What no node may hold any more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CommitPast {
    transactions: BTreeMap<TransactionId, Known>,
    /// By who coordinates, the last number that may be used.
    numbers: BTreeMap<NodeId, u64>,
    /// What users have asked for, and whether they were answered.
    begun: BTreeMap<RequestId, (Work, bool)>,
    /// What each disk held when it was looked at last: most looks find nothing new.
    seen: BTreeMap<NodeId, CommitView>,
}

/// What is known of a transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Known {
    /// Whose request it is, once that was told.
    request: Option<RequestId>,
    /// Who takes part, once a disk of its coordinator says so.
    participants: Option<BTreeSet<NodeId>>,
    /// What each participant was to do.
    work: BTreeMap<NodeId, Bytes>,
    /// Whose users have said yes.
    voted: BTreeSet<NodeId>,
    /// Whose disks have held a yes.
    promised: BTreeSet<NodeId>,
    /// Whether a disk of its coordinator has held that it is committed.
    is_committed: bool,
    /// Which disks of its coordinator have held anything of it.
    holders: BTreeSet<NodeId>,
    /// Which outcome each participant had on disk before it applied it.
    decided: BTreeMap<NodeId, Outcome>,
    /// Whose users have applied its outcome.
    applied: BTreeSet<NodeId>,
    /// Where it is over, on disk.
    finished: BTreeSet<NodeId>,
    /// Who has told of which outcome, or had it on disk.
    outcomes: BTreeMap<Outcome, BTreeSet<NodeId>>,
}

impl Known {
    /// Notes how it ended, as one node has it.
    fn end(&mut self, id: NodeId, tx: TransactionId, outcome: Outcome) -> Result<(), Violation> {
        self.outcomes.entry(outcome).or_default().insert(id);
        let other = match outcome {
            Outcome::Committed => Outcome::Aborted,
            Outcome::Aborted => Outcome::Committed,
        };
        match self.outcomes.get(&other) {
            Some(by) if by.contains(&id) => {
                let detail = format!("{tx} is {other:?} at {id}, and {outcome:?} as well");
                Err(Violation::new("an outcome does not change", detail))
            }
            Some(by) => {
                Err(Violation::new("agreement", format!("{tx} is {outcome:?} at {id}, and {other:?} at {by:?}")))
            }
            None => Ok(()),
        }
    }

    /// Notes what a participant is to do.
    fn takes_part(&mut self, id: NodeId, tx: TransactionId, work: &Bytes) -> Result<(), Violation> {
        let first = self.work.entry(id).or_insert_with(|| work.clone());
        if first == work {
            return Ok(());
        }
        let detail = format!("{tx} was {first:?} at {id}, and is {work:?} now");
        Err(Violation::new("a number is used once", detail))
    }
}

impl CommitPast {
    /// Remembers what a user asks for.
    pub fn asked(&mut self, id: NodeId, request_id: RequestId, request: &Request) {
        match request {
            Request::Begin(work) => drop(self.begun.insert(request_id, (work.clone(), false))),
            Request::Vote { tx, yes: true } => drop(self.known(*tx).voted.insert(id)),
            Request::Vote { .. } => {}
            Request::Applied(tx) => drop(self.known(*tx).applied.insert(id)),
        }
    }

    /// Remembers what a disk holds, which must agree with what is remembered already.
    ///
    /// # Errors
    /// Says what does not.
    pub fn remember(&mut self, rules: CommitRules, id: NodeId, view: &CommitView) -> Result<(), Violation> {
        if self.seen.get(&id) == Some(view) {
            return Ok(());
        }
        self.seen.insert(id, view.clone());
        for (coordinator, last) in &view.numbers {
            let known = self.numbers.entry(*coordinator).or_default();
            *known = (*known).max(*last);
        }
        self.remember_promises(rules, id, view)?;
        for (tx, coordinated) in &view.coordinated {
            let known = self.known(*tx);
            known.holders.insert(id);
            let participants = known.participants.get_or_insert_with(|| coordinated.participants.clone());
            if *participants != coordinated.participants {
                let detail = format!("{tx} is of {participants:?}, and of {:?}", coordinated.participants);
                return Err(Violation::new("a number is used once", detail));
            }
            if coordinated.is_committed && !known.is_committed {
                known.is_committed = true;
                check_votes(rules, *tx, known)?;
            }
            if coordinated.is_committed {
                known.end(id, *tx, Outcome::Committed)?;
            }
        }
        self.transactions.iter_mut().try_for_each(|(tx, known)| check_over(rules, id, view, *tx, known))
    }

    fn remember_promises(&mut self, rules: CommitRules, id: NodeId, view: &CommitView) -> Result<(), Violation> {
        for (tx, promised) in &view.promised {
            if self.numbers.get(&tx.coordinator) < Some(&tx.number) {
                let detail = format!("{id} has promised {tx}, whose number is on no disk of its coordinator");
                return Err(Violation::new("a number is used once", detail));
            }
            let known = self.known(*tx);
            known.promised.insert(id);
            known.takes_part(id, *tx, &promised.work)?;
            if let Some(outcome) = promised.decided {
                known.decided.insert(id, outcome);
                known.end(id, *tx, outcome)?;
                if rules.do_participants_decide && outcome == Outcome::Committed && !known.is_committed {
                    known.is_committed = true;
                    check_votes(rules, *tx, known)?;
                }
            }
        }
        Ok(())
    }

    /// What must hold of what users are told.
    ///
    /// # Errors
    /// Says what does not.
    pub fn hear(&mut self, rules: CommitRules, id: NodeId, event: &Event) -> Result<(), Violation> {
        match event {
            Event::Outcome { id: request, tx, outcome } => {
                self.answer(rules, *request)?;
                self.hear_outcome(rules, id, *request, *tx, *outcome)
            }
            Event::Refused { id: request, .. } => self.answer(rules, *request),
            Event::Prepare { tx, work } => {
                let was_asked = self.begun.values().any(|(begun, _)| begun.get(&id) == Some(work));
                if rules.are_users_heard && !was_asked {
                    let detail = format!("{id} is to prepare {work:?}, for which nobody has asked");
                    return Err(Violation::new("only what was asked for is done", detail));
                }
                let known = self.known(*tx);
                // What is aborted may be told after that: it waited behind other events, and the abort comes next.
                if known.is_committed {
                    let detail = format!("{id} is to prepare {tx}, which is committed");
                    return Err(Violation::new("what is committed is not opened again", detail));
                }
                known.takes_part(id, *tx, work)
            }
            Event::InDoubt { tx, work } => {
                let known = self.known(*tx);
                if rules.are_users_heard && !known.voted.contains(&id) || !known.promised.contains(&id) {
                    let detail = format!("{id} is told that it promised {tx}, and has not");
                    return Err(Violation::new("only what was promised is in doubt", detail));
                }
                known.takes_part(id, *tx, work)
            }
            Event::Apply { tx, outcome } => {
                let known = self.known(*tx);
                known.end(id, *tx, *outcome)?;
                if *outcome == Outcome::Committed && !known.is_committed {
                    let detail = format!("{id} is to commit {tx}, which its coordinator has not on disk");
                    return Err(Violation::new("only what was decided is applied", detail));
                }
                let is_on_disk = known.decided.contains_key(&id) || known.finished.contains(&id);
                if rules.is_applied_from_disk && !is_on_disk {
                    let detail = format!("{id} is to apply {outcome:?} to {tx}, which is not on its disk");
                    return Err(Violation::new("what is applied is on disk", detail));
                }
                Ok(())
            }
        }
    }

    /// A request is answered, once.
    fn answer(&mut self, rules: CommitRules, request: RequestId) -> Result<(), Violation> {
        match self.begun.get_mut(&request) {
            Some((_, is_answered)) if !*is_answered => {
                *is_answered = true;
                Ok(())
            }
            None if !rules.are_users_heard => Ok(()),
            Some(_) | None => {
                Err(Violation::new("a request is answered once", format!("{request} is, and nobody waits for it")))
            }
        }
    }

    fn hear_outcome(
        &mut self,
        rules: CommitRules,
        id: NodeId,
        request: RequestId,
        tx: TransactionId,
        outcome: Outcome,
    ) -> Result<(), Violation> {
        let work = self.begun.get(&request).map(|(work, _)| work.clone());
        let known = self.known(tx);
        let first = *known.request.get_or_insert(request);
        let is_other = work.is_some_and(|work| {
            let others = known.participants.as_ref().is_some_and(|them| !them.iter().eq(work.keys()));
            others || known.work.iter().any(|(id, part)| work.get(id) != Some(part))
        });
        if first != request || is_other && rules.are_users_heard {
            let detail = format!("{tx} is {request} of a user, and something else elsewhere");
            return Err(Violation::new("a number is used once", detail));
        }
        if outcome == Outcome::Committed && !known.is_committed {
            let detail = format!("{id} tells that {tx} is committed, which is on no disk of its coordinator");
            return Err(Violation::new("what is told is on disk", detail));
        }
        known.end(id, tx, outcome)
    }

    fn known(&mut self, tx: TransactionId) -> &mut Known {
        self.transactions.entry(tx).or_default()
    }
}

/// What is committed all have promised, on disk; and their users have said so.
fn check_votes(rules: CommitRules, tx: TransactionId, known: &Known) -> Result<(), Violation> {
    let participants = known.participants.iter().flatten();
    let lacks = |id: &&NodeId| !known.promised.contains(id) || rules.are_users_heard && !known.voted.contains(id);
    match participants.clone().find(lacks) {
        Some(id) => {
            let detail = format!("{tx} is committed, and {id} has not promised it on disk");
            Err(Violation::new("only what all have promised is committed", detail))
        }
        None => Ok(()),
    }
}

/// Where a transaction is over, and that nobody forgets it who may have to tell of it.
fn check_over(
    rules: CommitRules,
    id: NodeId,
    view: &CommitView,
    tx: TransactionId,
    known: &mut Known,
) -> Result<(), Violation> {
    let fenced = view.fences.find(tx);
    if let Fenced::Finished(outcome) = fenced {
        known.end(id, tx, outcome)?;
        if rules.are_users_heard && outcome == Outcome::Committed && !known.applied.contains(&id) {
            let detail = format!("{id} has it that {tx} is over, and its user has not applied it");
            return Err(Violation::new("what is over is applied", detail));
        }
    }
    if fenced == Fenced::Open && known.finished.contains(&id) {
        let detail = format!("{id} had it that {tx} is over, and knows nothing of it now");
        return Err(Violation::new("what is over stays so", detail));
    }
    if fenced != Fenced::Open && !view.promised.contains_key(&tx) {
        known.finished.insert(id);
    }
    let is_forgotten = known.holders.contains(&id) && !view.coordinated.contains_key(&tx);
    let lacking = known.participants.iter().flatten().find(|id| !known.finished.contains(id));
    match lacking.filter(|_| is_forgotten) {
        Some(lacking) => {
            let detail = format!("{id} has forgotten {tx}, which is not over at {lacking}");
            Err(Violation::new("a transaction is kept until it is over", detail))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Coordinated, Promised};

    const N1: NodeId = NodeId(1);
    const N2: NodeId = NodeId(2);
    const N3: NodeId = NodeId(3);
    const TX: TransactionId = TransactionId { coordinator: N1, number: 1 };
    const WORK: Bytes = Bytes::from_static(b"w");
    const RULES: CommitRules =
        CommitRules { are_users_heard: true, is_applied_from_disk: false, do_participants_decide: false };

    fn coordinating(is_committed: bool) -> CommitView {
        let participants = [N2, N3].into();
        CommitView {
            coordinated: [(TX, Coordinated { participants, is_committed })].into(),
            numbers: [(N1, 1)].into(),
            ..CommitView::default()
        }
    }

    fn promising(decided: Option<Outcome>) -> CommitView {
        CommitView { promised: [(TX, Promised { work: WORK, decided })].into(), ..CommitView::default() }
    }

    fn finished(outcome: Outcome) -> CommitView {
        let mut view = CommitView::default();
        view.fences.insert(TX, outcome);
        view
    }

    fn told(outcome: Outcome) -> Event {
        Event::Outcome { id: RequestId(1), tx: TX, outcome }
    }

    /// Node 1 was asked for a transaction of nodes 2 and 3, and these have voted yes: it is on their disks.
    fn promised(by: &[NodeId]) -> CommitPast {
        let mut past = CommitPast::default();
        past.asked(N1, RequestId(1), &Request::Begin([(N2, WORK), (N3, WORK)].into()));
        past.remember(RULES, N1, &coordinating(false)).unwrap();
        for id in by {
            past.hear(RULES, *id, &Event::Prepare { tx: TX, work: WORK }).unwrap();
            past.asked(*id, RequestId(2), &Request::Vote { tx: TX, yes: true });
            past.remember(RULES, *id, &promising(None)).unwrap();
        }
        past
    }

    fn committed() -> CommitPast {
        let mut past = promised(&[N2, N3]);
        past.remember(RULES, N1, &coordinating(true)).unwrap();
        past
    }

    fn broken(seen: Result<(), Violation>) -> &'static str {
        seen.expect_err("it is seen").property
    }

    #[test]
    fn transaction_that_goes_well_is_right() {
        let mut past = committed();
        assert_eq!(past.hear(RULES, N1, &told(Outcome::Committed)), Ok(()));
        for id in [N2, N3] {
            assert_eq!(past.hear(RULES, id, &Event::InDoubt { tx: TX, work: WORK }), Ok(()));
            assert_eq!(past.hear(RULES, id, &Event::Apply { tx: TX, outcome: Outcome::Committed }), Ok(()));
            past.asked(id, RequestId(3), &Request::Applied(TX));
            assert_eq!(past.remember(RULES, id, &finished(Outcome::Committed)), Ok(()));
        }
        assert_eq!(
            past.remember(RULES, N1, &CommitView { numbers: [(N1, 1)].into(), ..CommitView::default() }),
            Ok(())
        );
        assert_eq!(broken(past.hear(RULES, N1, &told(Outcome::Committed))), "a request is answered once");
        let again = Event::Prepare { tx: TX, work: WORK };
        assert_eq!(broken(past.hear(RULES, N2, &again)), "what is committed is not opened again");
        assert_eq!(broken(past.remember(RULES, N2, &CommitView::default())), "what is over stays so");
    }

    #[test]
    fn commit_of_what_one_has_not_promised_is_seen() {
        let property = "only what all have promised is committed";
        assert_eq!(broken(promised(&[N2]).remember(RULES, N1, &coordinating(true))), property);
    }

    #[test]
    fn outcomes_that_differ_are_seen() {
        let abort = Event::Apply { tx: TX, outcome: Outcome::Aborted };
        assert_eq!(broken(committed().hear(RULES, N2, &abort)), "agreement");
        assert_eq!(broken(committed().remember(RULES, N2, &finished(Outcome::Aborted))), "agreement");
        assert_eq!(broken(committed().hear(RULES, N1, &told(Outcome::Aborted))), "an outcome does not change");
    }

    #[test]
    fn outcome_told_before_it_is_on_disk_is_seen() {
        let (mut past, commit) = (promised(&[N2, N3]), Event::Apply { tx: TX, outcome: Outcome::Committed });
        assert_eq!(broken(past.clone().hear(RULES, N1, &told(Outcome::Committed))), "what is told is on disk");
        assert_eq!(broken(past.hear(RULES, N2, &commit)), "only what was decided is applied");
        let rules = CommitRules { is_applied_from_disk: true, ..RULES };
        assert_eq!(broken(committed().hear(rules, N2, &commit)), "what is applied is on disk");
        let mut past = committed();
        past.remember(rules, N2, &promising(Some(Outcome::Committed))).unwrap();
        assert_eq!(past.hear(rules, N2, &commit), Ok(()));
    }

    #[test]
    fn participant_that_decides_is_right_where_all_have_promised() {
        let rules = CommitRules { is_applied_from_disk: true, do_participants_decide: true, ..RULES };
        let commit = Event::Apply { tx: TX, outcome: Outcome::Committed };
        let decided = promising(Some(Outcome::Committed));
        let mut past = promised(&[N2, N3]);
        assert_eq!(past.remember(rules, N2, &decided), Ok(()));
        assert_eq!(past.hear(rules, N2, &commit), Ok(()));
        let early = promised(&[N2]).remember(rules, N2, &decided);
        assert_eq!(broken(early), "only what all have promised is committed");
        let mut past = promised(&[N2, N3]);
        past.remember(RULES, N2, &decided).unwrap();
        assert_eq!(broken(past.hear(RULES, N2, &commit)), "only what was decided is applied");
    }

    #[test]
    fn what_is_forgotten_early_is_seen() {
        let property = "a transaction is kept until it is over";
        assert_eq!(broken(committed().remember(RULES, N1, &CommitView::default())), property);
        let early = committed().remember(RULES, N2, &finished(Outcome::Committed));
        assert_eq!(broken(early), "what is over is applied");
    }

    #[test]
    fn promise_that_is_dropped_or_changed_is_seen() {
        let property = "a yes is kept until its outcome";
        let decided = promising(Some(Outcome::Committed));
        for (before, after, is_right) in [
            (promising(None), CommitView::default(), false),
            (promising(None), finished(Outcome::Aborted), true),
            (promising(None), decided.clone(), true),
            (decided.clone(), promising(Some(Outcome::Aborted)), false),
            (decided.clone(), finished(Outcome::Aborted), false),
            (decided, finished(Outcome::Committed), true),
        ] {
            let seen = before.check_step(N2, &after);
            assert_eq!(seen.map_err(|violation| violation.property), if is_right { Ok(()) } else { Err(property) });
        }
    }

    #[test]
    fn number_used_twice_is_seen() {
        let (property, other) = ("a number is used once", Bytes::from_static(b"other"));
        let falls = coordinating(false).check_step(N1, &CommitView::default());
        assert_eq!(broken(falls), property);
        let mut past = promised(&[N2]);
        past.asked(N1, RequestId(4), &Request::Begin([(N2, other.clone())].into()));
        assert_eq!(broken(past.hear(RULES, N2, &Event::Prepare { tx: TX, work: other })), property);
        let unasked = Event::Prepare { tx: TX, work: Bytes::from_static(b"third") };
        assert_eq!(broken(past.hear(RULES, N2, &unasked)), "only what was asked for is done");
        let mut past = CommitPast::default();
        assert_eq!(broken(past.remember(RULES, N2, &promising(None))), property, "it is reserved on no disk");
    }

    #[test]
    fn doubt_about_what_was_not_promised_is_seen() {
        let doubt = Event::InDoubt { tx: TX, work: WORK };
        assert_eq!(broken(promised(&[N2]).hear(RULES, N3, &doubt)), "only what was promised is in doubt");
    }
}
