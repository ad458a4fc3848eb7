//! A node's log as an outsider knows it: the fold of its writes, once as issued and once as stored.

use std::collections::VecDeque;
use std::hash::Hasher;

use hezong_base::{Index, LogId, NodeId, Term};
use hezong_node::BatchId;
use hezong_raft::{Base, Entry, Membership, Payload, Write};

use super::durability;
use super::{Slot, Violation};
use crate::digest::Digest;
use crate::moment::ChangeStep;

/// What a disk gave back to a node that starts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recovered {
    pub(crate) term: Term,
    pub(crate) vote: Option<NodeId>,
    /// What the log stands on.
    pub(crate) base: Option<LogId>,
    /// The entries behind it.
    pub(crate) log: Vec<Slot>,
    /// Which entries brought which members; without a place for those the log stands on.
    pub(crate) memberships: Vec<(Option<Index>, Membership)>,
}

/// One change to the fold.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Vote(Term, Option<NodeId>),
    Append(Slot),
    Truncate(Index),
    Members(Option<Index>, Membership),
    /// The log is void up to here and beyond, or up to here only.
    Reset(Base),
    Compact(Base),
}

/// What a write changes.
pub(crate) fn steps(write: &Write, mut each: impl FnMut(Step)) {
    match write {
        Write::Vote { term, vote, .. } => each(Step::Vote(*term, *vote)),
        Write::Append(entries) => {
            for entry in entries {
                each(Step::Append(slot(entry)));
                if let Payload::Membership(membership) = &entry.payload {
                    each(Step::Members(Some(entry.id.index), membership.clone()));
                }
            }
        }
        Write::Truncate(from) => each(Step::Truncate(*from)),
        Write::Reset(base) => each(Step::Reset(base.clone())),
        Write::Compact(base) => each(Step::Compact(base.clone())),
    }
}

impl Recovered {
    pub(crate) fn fold(&mut self, step: &Step) {
        match step {
            Step::Vote(term, vote) => (self.term, self.vote) = (*term, *vote),
            Step::Append(slot) => self.log.push(*slot),
            Step::Truncate(from) => {
                self.log.truncate(self.offset(*from).unwrap_or(0));
                self.memberships.retain(|(index, _)| index.is_none_or(|index| index < *from));
            }
            Step::Members(index, membership) => self.memberships.push((*index, membership.clone())),
            Step::Reset(base) => {
                (self.base, self.log) = (base.last, Vec::new());
                self.memberships = vec![(None, base.membership.clone())];
            }
            Step::Compact(base) => {
                let through = base.last.map(|last| last.index);
                let behind = through.and_then(|through| self.offset(through)).map_or(0, |offset| offset + 1);
                self.log.drain(..behind.min(self.log.len()));
                self.base = base.last;
                self.memberships.retain(|(index, _)| index.is_some_and(|index| Some(index) > through));
                self.memberships.insert(0, (None, base.membership.clone()));
            }
        }
    }

    /// The last entry, or what the log stands on.
    pub(super) fn last(&self) -> Option<LogId> {
        let Some(slot) = self.log.last() else { return self.base };
        let before = self.base.map_or(0, |base| base.index.0);
        Some(LogId { term: slot.term, index: Index(before + self.log.len() as u64) })
    }

    /// Where the entry at `index` stands in `log`; `None` when the base covers it.
    fn offset(&self, index: Index) -> Option<usize> {
        let behind = index.0.checked_sub(self.base.map_or(0, |base| base.index.0) + 1)?;
        Some(usize::try_from(behind).expect("a simulated log is short"))
    }

    /// The entry at `index`; `None` when the base covers it, or there is none.
    pub(super) fn at(&self, index: Index) -> Option<Slot> {
        self.log.get(self.offset(index)?).copied()
    }
}

/// A node's log from outside.
#[derive(Debug, Default)]
pub(crate) struct Shadow {
    /// With every write issued.
    issued: Recovered,
    /// With every write reported as stored.
    stored: Recovered,
    /// The writes between the two.
    pending: VecDeque<(BatchId, Step)>,
    /// Up to here a snapshot made the state durable: as good as a log on disk, which is made to fit at the next start.
    installed: Option<Index>,
}

impl Shadow {
    /// Takes over what the disk gave back, after making sure that it is what may be there.
    pub(super) fn restart(&mut self, node: NodeId, found: Recovered) -> Result<(), Violation> {
        let steps = self.pending.drain(..).map(|(_, step)| step);
        durability::check(node, std::mem::take(&mut self.stored), steps, &found)?;
        self.replace(found);
        Ok(())
    }

    /// From here on this is what there is.
    pub(super) fn replace(&mut self, found: Recovered) {
        self.issued = found.clone();
        self.stored = found;
    }

    /// What is stored.
    pub(super) fn on_disk(&self) -> &Recovered {
        &self.stored
    }

    /// Folds a write that was issued.
    pub(super) fn issue(&mut self, batch: BatchId, write: &Write) {
        steps(write, |step| {
            self.issued.fold(&step);
            self.pending.push_back((batch, step));
        });
    }

    /// Folds what was reported as stored.
    pub(super) fn stored(&mut self, through: BatchId) {
        while let Some((_, step)) = self.pending.pop_front_if(|(batch, _)| *batch <= through) {
            self.stored.fold(&step);
        }
    }

    /// A snapshot is installed, durably.
    pub(super) fn installed(&mut self, last: Option<LogId>) {
        self.installed = self.installed.max(last.map(|last| last.index));
    }

    /// Whether everything up to `index` is covered by what the log stands on, as issued.
    pub(super) fn covers(&self, index: Index) -> bool {
        self.issued.base.is_some_and(|base| index <= base.index)
    }

    /// The same of what is on disk.
    pub(super) fn has_stored_base(&self, index: Index) -> bool {
        self.installed >= Some(index) || self.stored.base.is_some_and(|base| index <= base.index)
    }

    /// What the log stands on, as issued.
    pub(super) fn base(&self) -> Option<LogId> {
        self.issued.base
    }

    /// The term as issued.
    pub(super) fn term(&self) -> Term {
        self.issued.term
    }

    /// The term and vote as stored.
    pub(super) fn stored_vote(&self) -> (Term, Option<NodeId>) {
        (self.stored.term, self.stored.vote)
    }

    /// The members as issued; `None` while there are none.
    pub(super) fn membership(&self) -> Option<&Membership> {
        self.issued.memberships.last().map(|(_, membership)| membership).filter(|members| !members.voters().is_empty())
    }

    /// Where the last change of members stands in the log of `node`, and what it does; `None` when that is not known.
    pub(super) fn last_change(&self, node: NodeId) -> Option<(Index, ChangeStep)> {
        let [.., (_, before), (Some(index), after)] = self.issued.memberships.as_slice() else { return None };
        let step = if after.is_joint() {
            ChangeStep::JointEntered
        } else if before.is_joint() {
            ChangeStep::JointLeft
        } else if after.members().len() > before.members().len() {
            ChangeStep::Addition
        } else if after.members().len() == before.members().len() {
            ChangeStep::Promotion
        } else if after.members().contains_key(&node) {
            ChangeStep::Removal
        } else {
            ChangeStep::OwnRemoval
        };
        Some((*index, step))
    }

    /// The last entry as issued.
    pub(super) fn last(&self) -> Option<LogId> {
        self.issued.last()
    }

    /// The entry at `index` as issued.
    pub(super) fn at(&self, index: Index) -> Option<Slot> {
        self.issued.at(index)
    }

    /// The entry at `index` as stored.
    pub(super) fn stored_at(&self, index: Index) -> Option<Slot> {
        self.stored.at(index)
    }
}

/// How an entry is remembered.
pub(crate) fn slot(entry: &Entry) -> Slot {
    let mut digest = Digest::default();
    digest.write_u64(entry.id.index.0);
    digest.write_u64(entry.id.term.0);
    digest.write_u64(u64::try_from(entry.time.as_nanos()).unwrap_or(u64::MAX));
    match &entry.payload {
        Payload::Empty => digest.write_u8(0),
        Payload::Command(command) => digest.write(command),
        Payload::Membership(membership) => {
            for id in membership.members().keys() {
                let counts =
                    u64::from(membership.voters().contains(id)) << 1 | u64::from(membership.outgoing().contains(id));
                digest.write_u64(id.0 << 2 | counts);
            }
        }
    }
    Slot { term: entry.id.term, digest: digest.finish() }
}
