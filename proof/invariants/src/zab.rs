//! ZAB: all deliver the same, in one order, which is that of the leaders one after the other (Junqueira, Reed and Serafini,
//! *Zab*, DSN 2011, §III).
//!
//! The order is that in which transactions were committed anywhere: what a node knows to be committed it delivers as soon as
//! that is on its disk. Whether a transaction may be committed is judged by disks alone.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use hezong_base::{NodeId, RequestId, Time};
use hezong_zab::{Epoch, Event, Log, Request, Role, Saved, Zab, Zxid};

use crate::{Invariants, Violation};

/// What must hold among nodes of which the first so many vote.
#[derive(Clone, Copy, Debug)]
pub struct ZabInvariants {
    /// How many.
    pub voters: u8,
}

/// A node as the checks see it.
#[derive(Debug)]
pub struct ZabView {
    role: Role,
    /// In memory: the epoch whose history it has.
    current: Epoch,
    /// What it knows to be committed.
    committed: Option<Zxid>,
    /// Where what it knows begins.
    base: Option<Zxid>,
    /// What it knows to be committed behind that.
    known: Vec<(Zxid, Bytes)>,
    /// What is on its disk.
    disk: Saved,
}

/// What no node may hold any more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ZabPast {
    /// All that was committed.
    order: Vec<(Zxid, Bytes)>,
    /// The histories on disk when each voter was last seen.
    disks: BTreeMap<NodeId, Log>,
    /// The epoch each node had in memory then, and what it knew to be committed.
    seen: BTreeMap<NodeId, (Epoch, Option<Zxid>)>,
    /// Who has taken up each epoch as its leader, established later or not.
    taken: BTreeMap<Epoch, NodeId>,
    /// Who was established in each epoch, and how much was committed by then.
    reigns: BTreeMap<Epoch, (NodeId, usize)>,
    /// What is to be broadcast, by request.
    proposed: BTreeMap<RequestId, Bytes>,
    /// How much was committed when each `sync` was asked for.
    syncs: BTreeMap<RequestId, usize>,
    /// What users were told is certainly not done.
    refused: BTreeSet<Bytes>,
}

impl ZabPast {
    /// How many transactions of the order come up to this one.
    fn through(&self, zxid: Option<Zxid>) -> usize {
        self.order.partition_point(|(other, _)| Some(*other) <= zxid)
    }
}

impl ZabInvariants {
    fn votes(&self, id: NodeId) -> bool {
        id.0 <= u64::from(self.voters)
    }

    /// Whether this may be the next of the order (§III, and Claim 1: what is committed is in the histories of a majority).
    fn may_follow(&self, past: &ZabPast, id: NodeId, zxid: Zxid) -> Result<(), Violation> {
        let last = past.order.last().map(|(last, _)| *last);
        let follows = match last {
            Some(last) if last.epoch == zxid.epoch => last.counter + 1 == zxid.counter,
            _ => last.is_none_or(|last| last.epoch < zxid.epoch) && zxid.counter == 1,
        };
        if !follows {
            let last = last.map_or_else(|| "nothing".to_owned(), |last| last.to_string());
            return Err(Violation::new("primary order", format!("{id} commits {zxid} behind {last}")));
        }
        let holds = |history: &&Log| history.base() >= Some(zxid) || history.holds(Some(zxid));
        let copies = past.disks.values().filter(holds).count();
        if copies < hezong_base::quorum::majority(usize::from(self.voters)) {
            let detail = format!("{id} commits {zxid}, which is on the disks of {copies} of {} voters", self.voters);
            return Err(Violation::new("committed is on a majority of disks", detail));
        }
        Ok(())
    }
}

impl Invariants for ZabInvariants {
    type Protocol = Zab;
    type View = ZabView;
    type Past = ZabPast;

    fn view(&self, node: &Zab, saved: &Saved, _: Time) -> ZabView {
        let (history, committed) = (node.history(), node.committed());
        let known = history.entries().take_while(|entry| Some(entry.zxid) <= committed);
        ZabView {
            role: node.role(),
            current: node.current(),
            committed,
            base: history.base(),
            known: known.map(|entry| (entry.zxid, entry.data.clone())).collect(),
            disk: saved.clone(),
        }
    }

    fn check_step(&self, id: NodeId, before: &ZabView, after: &ZabView) -> Result<(), Violation> {
        let (had, has) = (&before.disk, &after.disk);
        if has.accepted < had.accepted || has.current < had.current {
            let detail = format!(
                "{id} had accepted {} and taken over {}, and now {} and {}",
                had.accepted, had.current, has.accepted, has.current
            );
            return Err(Violation::new("epochs never fall", detail));
        }
        let kept = had.history.last().min(before.committed);
        if has.history.last() < kept {
            let detail = format!("{id} removes what it knew to be committed from its disk, up to {kept:?}");
            return Err(Violation::new("what is committed stays", detail));
        }
        Ok(())
    }

    fn remember(&self, past: &mut ZabPast, id: NodeId, view: &ZabView) -> Result<(), Violation> {
        if self.votes(id) {
            past.disks.insert(id, view.disk.history.clone());
        }
        let before = past.through(view.base);
        for (at, (zxid, data)) in (before..).zip(&view.known) {
            match past.order.get(at) {
                None => {
                    self.may_follow(past, id, *zxid)?;
                    past.order.push((*zxid, data.clone()));
                }
                Some(first) if *first == (*zxid, data.clone()) => {}
                Some((first, _)) => {
                    let detail = format!("{id} commits {zxid} with {data:?} where {first} was committed");
                    return Err(Violation::new("total order", detail));
                }
            }
        }
        let was = past.seen.insert(id, (view.current, view.committed));
        if !matches!(view.role, Role::Preparing | Role::Leading) {
            return Ok(());
        }
        if was.is_some_and(|(was, _)| was < view.current) {
            let first = *past.taken.entry(view.current).or_insert(id);
            if first != id {
                let detail = format!("{id} takes up {}, as {first} has", view.current);
                return Err(Violation::new("one leader an epoch", detail));
            }
        }
        if view.role == Role::Leading {
            let all = past.order.len();
            let (first, _) = *past.reigns.entry(view.current).or_insert((id, all));
            if first != id {
                let detail = format!("{id} leads {}, which {first} has led", view.current);
                return Err(Violation::new("one leader an epoch", detail));
            }
        }
        Ok(())
    }

    fn asked(&self, past: &mut ZabPast, _: NodeId, id: RequestId, request: &Request) {
        match request {
            Request::Propose(data) => drop(past.proposed.insert(id, data.clone())),
            Request::Sync => drop(past.syncs.insert(id, past.order.len())),
            Request::Applied(_) => {}
        }
    }

    fn hear(&self, past: &mut ZabPast, id: NodeId, event: &Event) -> Result<(), Violation> {
        match event {
            Event::Delivered { zxid, data, request } => {
                if !past.order.contains(&(*zxid, data.clone())) {
                    let detail = format!("{id} delivers {zxid}, which is not committed");
                    return Err(Violation::new("delivered is committed", detail));
                }
                if past.refused.contains(data) {
                    return Err(Violation::new("refused is not done", format!("{id} delivers {data:?}")));
                }
                let asked = request.and_then(|request| past.proposed.get(&request));
                if asked.is_some_and(|asked| asked != data) {
                    let detail = format!("{id} is told that {asked:?} is done, and {data:?} is");
                    return Err(Violation::new("integrity", detail));
                }
            }
            Event::Synced { id: request } => {
                let asked = past.syncs.remove(request).unwrap_or(0);
                let has = past.through(past.seen.get(&id).and_then(|(_, committed)| *committed));
                if has < asked {
                    let detail = format!("{id} has {has} transactions, of {asked} that were there when it asked");
                    return Err(Violation::new("sync is up to date", detail));
                }
            }
            Event::Refused { id: request, .. } => {
                if let Some(data) = past.proposed.remove(request) {
                    if past.order.iter().any(|(_, other)| *other == data) {
                        return Err(Violation::new("refused is not done", format!("{id} refuses {data:?}")));
                    }
                    past.refused.insert(data);
                }
            }
            Event::Unknown { .. } | Event::Standing(_) => {}
        }
        Ok(())
    }

    fn check(&self, views: &[(NodeId, &ZabView)], past: &ZabPast) -> Result<(), Violation> {
        for (id, view) in views {
            if !matches!(view.role, Role::Following(_) | Role::Leading) {
                continue;
            }
            let Some((leader, all)) = past.reigns.get(&view.current) else {
                let detail = format!("{id} serves in {}, where nobody was established", view.current);
                return Err(Violation::new("who serves has an established leader", detail));
            };
            let has = past.through(view.committed);
            if has < *all {
                let detail = format!("{id} serves under {leader} with {has} of the {all} transactions before it");
                return Err(Violation::new("who serves has all that was before", detail));
            }
        }
        Ok(())
    }
}
