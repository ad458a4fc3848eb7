//! A member: its log, and the fold of what is committed there.

use alloc::collections::VecDeque;
use alloc::vec;
use core::hash::{Hash, Hasher};

use hezong_base::{AskId, Effect, Index, Input, LogId, NodeId, Protocol, RequestId, Rng, Time, WriteId};
use hezong_commit::Request;
use hezong_raft::{Answer, Ask, Base, Body, Entry, Payload, Raft, SnapshotId};

use crate::acting::Term;
use crate::message::{Event, Fold, Message, Write};
use crate::node::Out;
use crate::{Config, Replicable, Weakness};

/// No log gets there.
const INDEX_MAX: Index = Index(1 << 62);

/// One input, and what follows from it.
pub(crate) struct Turn<'a, P: Replicable> {
    pub(crate) now: Time,
    pub(crate) out: &'a mut Out<P>,
    /// What Raft wants done and is not done yet.
    todo: VecDeque<Effect<Raft>>,
}

impl<'a, P: Replicable> Turn<'a, P> {
    pub(crate) fn new(now: Time, out: &'a mut Out<P>) -> Self {
        Self { now, out, todo: VecDeque::new() }
    }
}

/// A node that stands for the coordinator, with others.
#[derive(Clone)]
pub(crate) struct Member<P: Replicable> {
    pub(crate) config: Config,
    pub(crate) rng: Rng,
    raft: Raft,
    /// What all entries up to the last one applied amount to.
    pub(crate) fold: Fold<P::Saved>,
    /// As of which entry the fold was last written.
    folded: Option<Index>,
    /// The term that we lead.
    pub(crate) term: Option<Term<P>>,
    /// The id the next write gets.
    next_write: WriteId,
    /// What each write that is not stored yet is to whoever issued it, oldest first.
    stores: VecDeque<(WriteId, Issued)>,
    /// The snapshot that we have asked for.
    fetch: Option<Fetch>,
}

/// Whose write it is.
#[derive(Clone, Debug)]
enum Issued {
    /// Raft's, under this id.
    Raft(WriteId),
    /// The fold of a snapshot, on which the log may stand once it is on disk.
    Snapshot { ask: AskId, base: Base },
}

/// A snapshot on its way.
#[derive(Clone, Copy, Debug)]
struct Fetch {
    ask: AskId,
    from: NodeId,
    id: SnapshotId,
    /// The last entry it has to cover.
    last: Option<Index>,
}

impl<P: Replicable> Member<P> {
    pub(crate) fn start(
        config: Config,
        saved: hezong_raft::Saved,
        fold: Fold<P::Saved>,
        mut rng: Rng,
        turn: &mut Turn<'_, P>,
    ) -> Self {
        let mut effects = vec![];
        let raft = Raft::start(turn.now, config.raft.clone(), saved, rng.fork(), &mut effects);
        turn.todo.extend(effects);
        let folded = fold.base.last.map(|last| last.index);
        let (term, stores, fetch) = (None, VecDeque::new(), None);
        let mut member = Self { config, rng, raft, fold, folded, term, next_write: WriteId(1), stores, fetch };
        if let Some(applied) = member.fold.base.last {
            // A crash may have kept the fold of a snapshot and not the log that stands on it.
            member.ask_raft(hezong_raft::Request::Installed(member.fold.base.clone()), turn);
            member.ask_raft(hezong_raft::Request::Applied { applied, durable: Some(applied) }, turn);
        } else if member.raft.log().is_pristine() {
            member.ask_raft(hezong_raft::Request::Bootstrap(member.config.membership()), turn);
        }
        member.settle(turn);
        member
    }

    pub(crate) fn on_message(&mut self, from: NodeId, message: Message<P::Message, P::Saved>, turn: &mut Turn<'_, P>) {
        let is_member = self.config.members.contains(&from);
        match message {
            Message::Raft(message) if is_member => {
                self.maybe_fetch_again(from, &message, turn);
                self.hand_raft(Input::Message { from, message }, turn);
            }
            Message::ToGroup(message) if P::tx(&message).coordinator == self.config.group => {
                self.hand_core(Input::Message { from, message }, turn);
            }
            Message::Fetch(id) if is_member => {
                let message = Message::Snapshot { id, fold: self.fold.clone() };
                turn.out.push(Effect::Send { to: from, message });
            }
            Message::Snapshot { id, fold } if is_member => self.on_snapshot(from, id, fold, turn),
            // Participants are told these, or it was said by somebody who has no right to.
            Message::Raft(_)
            | Message::ToGroup(_)
            | Message::FromGroup(_)
            | Message::Direct(_)
            | Message::Fetch(_)
            | Message::Snapshot { .. } => {}
        }
        self.settle(turn);
    }

    pub(crate) fn on_request(&mut self, id: RequestId, request: Request, turn: &mut Turn<'_, P>) {
        match request {
            Request::Begin(_) if self.acting().is_some() => self.hand_core(Input::Request { id, request }, turn),
            Request::Begin(_) => {
                turn.out.push(Effect::Emit(Event::NotActing { id, leader: self.raft.leader() }));
            }
            // A member takes part in nothing.
            Request::Vote { .. } | Request::Applied(_) => {}
        }
        self.settle(turn);
    }

    pub(crate) fn on_stored(&mut self, id: WriteId, turn: &mut Turn<'_, P>) {
        while let Some((_, issued)) = self.stores.pop_front_if(|(first, _)| *first <= id) {
            let input = match issued {
                Issued::Raft(id) => Input::Stored(id),
                Issued::Snapshot { ask: id, base } => {
                    let base = Some(base).filter(|base| self.may_stand_on(base, turn.now));
                    Input::Answered { id, answer: Answer::SnapshotFetched(base) }
                }
            };
            self.hand_raft(input, turn);
        }
        self.settle(turn);
    }

    pub(crate) fn on_timeout(&mut self, turn: &mut Turn<'_, P>) {
        if self.raft.deadline().is_some_and(|at| at <= turn.now) {
            self.hand_raft(Input::Timeout, turn);
        }
        self.settle(turn);
        if self.acting().and_then(P::deadline).is_some_and(|at| at <= turn.now) {
            self.hand_core(Input::Timeout, turn);
            self.settle(turn);
        }
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        self.raft.deadline().into_iter().chain(self.acting().and_then(P::deadline)).min()
    }

    pub(crate) fn fingerprint(&self, now: Time, into: &mut dyn Hasher) {
        self.raft.fingerprint(now, into);
        if let Some(term) = &self.term {
            term.fingerprint(now, into);
        }
        (self.fold.base.last, self.folded, self.stores.len(), self.fetch.is_some()).hash(&mut { into });
    }

    pub(crate) fn raft(&self) -> &Raft {
        &self.raft
    }

    pub(crate) fn fold(&self) -> &Fold<P::Saved> {
        &self.fold
    }

    /// Asks for something whose answer is an event, or nothing.
    pub(crate) fn ask_raft(&mut self, request: hezong_raft::Request, turn: &mut Turn<'_, P>) {
        self.ask_raft_as(RequestId(0), request, turn);
    }

    pub(crate) fn ask_raft_as(&mut self, id: RequestId, request: hezong_raft::Request, turn: &mut Turn<'_, P>) {
        self.hand_raft(Input::Request { id, request }, turn);
    }

    fn hand_raft(&mut self, input: Input<Raft>, turn: &mut Turn<'_, P>) {
        let mut effects = vec![];
        self.raft.handle(turn.now, input, &mut effects);
        turn.todo.extend(effects);
    }

    /// What every turn ends with: all that Raft wants is done, and who leads acts as soon as it may.
    fn settle(&mut self, turn: &mut Turn<'_, P>) {
        loop {
            // First: what is said in a term that is over must not leave, and what is committed now is of another.
            self.follow_term(turn);
            match turn.todo.pop_front() {
                Some(effect) => self.carry_out(effect, turn),
                None if self.maybe_act(turn) => {}
                None => return,
            }
        }
    }

    fn carry_out(&mut self, effect: Effect<Raft>, turn: &mut Turn<'_, P>) {
        match effect {
            Effect::Send { to, message } => turn.out.push(Effect::Send { to, message: Message::Raft(message) }),
            Effect::Store { id, write } => self.store(Write::Raft(write), Some(Issued::Raft(id)), turn),
            Effect::Ask { id, ask } => self.on_ask(id, &ask, turn),
            Effect::Emit(event) => match event {
                hezong_raft::Event::Committed { .. } => self.apply(turn),
                hezong_raft::Event::Refused { id, .. } => self.on_refused(id, turn),
                // What was accepted is matched with what is applied by its order, and roles are asked for.
                hezong_raft::Event::Accepted { .. }
                | hezong_raft::Event::Unknown { .. }
                | hezong_raft::Event::Readable { .. }
                | hezong_raft::Event::Transferred { .. }
                | hezong_raft::Event::Led { .. }
                | hezong_raft::Event::Peers(_)
                | hezong_raft::Event::CaughtUp(_)
                | hezong_raft::Event::Dropped { .. } => {}
            },
        }
    }

    fn store(&mut self, write: Write<P::Write, P::Saved>, issued: Option<Issued>, turn: &mut Turn<'_, P>) {
        let id = self.next_write;
        self.next_write = id.next();
        self.stores.extend(issued.map(|issued| (id, issued)));
        turn.out.push(Effect::Store { id, write });
    }

    /// Folds what is committed.
    fn apply(&mut self, turn: &mut Turn<'_, P>) {
        loop {
            let from = Index::after(self.fold.base.last.map(|last| last.index));
            // They are in memory: the log is cut long before it outgrows that.
            let Some(entries) = self.raft.entries(from, usize::MAX).filter(|entries| !entries.is_empty()) else {
                break;
            };
            for entry in entries.iter() {
                self.apply_entry(entry, turn);
            }
        }
        if let Some(applied) = self.fold.base.last {
            self.ask_raft(hezong_raft::Request::Applied { applied, durable: None }, turn);
            self.maybe_cut(applied.index, turn);
        }
    }

    fn apply_entry(&mut self, entry: &Entry, turn: &mut Turn<'_, P>) {
        (self.fold.base.last, self.fold.base.time) = (Some(entry.id), entry.time);
        let Payload::Command(command) = &entry.payload else { return };
        // What no member proposes changes nothing, at any of them.
        if let Some(write) = P::decode(command) {
            P::save(&mut self.fold.state, &write);
        }
        self.on_applied(entry.id.term, turn);
    }

    /// Writes the fold, and lets the log before it go but for what others may want soon.
    ///
    /// Writes are carried out in order, so that a disk that has the cut has the fold.
    fn maybe_cut(&mut self, applied: Index, turn: &mut Turn<'_, P>) {
        let since = applied.0 - self.folded.map_or(0, |folded| folded.0);
        if since < self.config.log_kept.max(1) {
            return;
        }
        let Some(last) = self.fold.base.last else { return };
        self.fold.base.membership = self.config.membership();
        self.folded = Some(applied);
        self.store(Write::Fold(self.fold.clone()), None, turn);
        self.ask_raft(hezong_raft::Request::Applied { applied: last, durable: Some(last) }, turn);
        if let Some(through) = applied.0.checked_sub(self.config.log_kept).filter(|through| *through > 0) {
            self.ask_raft(hezong_raft::Request::Compact(Index(through)), turn);
        }
    }
}

/// Snapshots, for members whose next entry is gone.
impl<P: Replicable> Member<P> {
    fn on_ask(&mut self, id: AskId, ask: &Ask, turn: &mut Turn<'_, P>) {
        let answer = match ask {
            // Nothing is held ready: whoever fetches it is sent the fold as it is by then, which covers more.
            Ask::TakeSnapshot(_) => Answer::SnapshotTaken(self.fold.base.last),
            Ask::FetchSnapshot { from, id: snapshot, base } => {
                let last = base.last.map(|last| last.index);
                self.fetch = Some(Fetch { ask: id, from: *from, id: *snapshot, last });
                return turn.out.push(Effect::Send { to: *from, message: Message::Fetch(*snapshot) });
            }
            Ask::Entries { from, through, bytes_max } => {
                let entries = self.raft.log().cached(*from, *through, *bytes_max).unwrap_or_default();
                Answer::Entries(entries.to_vec())
            }
        };
        self.hand_raft(Input::Answered { id, answer }, turn);
    }

    /// An offer that is repeated tells that its snapshot has not come.
    fn maybe_fetch_again(&mut self, from: NodeId, message: &hezong_raft::Message, turn: &mut Turn<'_, P>) {
        let Body::InstallSnapshot { id, .. } = &message.body else { return };
        if self.fetch.is_some_and(|fetch| fetch.from == from && fetch.id == *id) {
            turn.out.push(Effect::Send { to: from, message: Message::Fetch(*id) });
        }
    }

    fn on_snapshot(&mut self, from: NodeId, id: SnapshotId, fold: Fold<P::Saved>, turn: &mut Turn<'_, P>) {
        let Some(fetch) = self.fetch.take_if(|fetch| (fetch.from, fetch.id) == (from, id)) else { return };
        let last = fold.base.last.map(|last| last.index);
        if last < fetch.last || !self.may_stand_on(&fold.base, turn.now) {
            let answer = Answer::SnapshotFetched(None);
            return self.hand_raft(Input::Answered { id: fetch.ask, answer }, turn);
        }
        if self.config.weak(Weakness::SnapshotEmpty) {
            self.fold.base = fold.base;
        } else {
            self.fold = fold;
        }
        self.fold.base.membership = self.config.membership();
        self.folded = last;
        let issued = Issued::Snapshot { ask: fetch.ask, base: self.fold.base.clone() };
        self.store(Write::Fold(self.fold.clone()), Some(issued), turn);
    }

    /// Whether a snapshot is of use: not to who got there by itself, nor to who leads; and of no term or place that cannot be.
    fn may_stand_on(&self, base: &Base, now: Time) -> bool {
        let possible = |last: &LogId| last.term <= self.raft.term() && last.index <= INDEX_MAX;
        let last = base.last.filter(possible).map(|last| last.index);
        last > self.raft.status(now).committed && self.raft.role() != hezong_raft::Role::Leader
    }
}
