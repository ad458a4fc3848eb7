//! ZAB: all deliver the same, in one order, which is that of the leaders one after the other (Junqueira, Reed and Serafini,
//! *Zab*, DSN 2011, §III).
//!
//! The order is that in which transactions were committed anywhere: what a node knows to be committed it delivers as soon as
//! that is on its disk. Whether a transaction may be committed is judged by disks alone.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use hezong_base::{NodeId, RequestId, Time};
use hezong_zab::{Body, Epoch, Event, Log, Message, Packet, Request, Role, Saved, Standing, Zab, Zxid};

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
    /// In memory: the highest epoch it has accepted; a leader's own, once it has chosen one.
    accepted: Epoch,
    /// In memory: the epoch whose history it has.
    current: Epoch,
    /// Where its history ends, in memory.
    last: Option<Zxid>,
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
    /// The histories on disk when each node was last seen.
    disks: BTreeMap<NodeId, Log>,
    /// The epoch each node had in memory then, and where what it knew began.
    seen: BTreeMap<NodeId, (Epoch, Option<Zxid>)>,
    /// The last transaction that each node's user has, as far as its node can know: from where its history began when it
    /// started, or behind the snapshot that its history was replaced by.
    told: BTreeMap<NodeId, Option<Zxid>>,
    /// Who has taken up each epoch as its leader, established later or not.
    taken: BTreeMap<Epoch, NodeId>,
    /// Who was established in each epoch, and how much was committed by then, in epochs before it.
    reigns: BTreeMap<Epoch, (NodeId, usize)>,
    /// What is to be broadcast, by request.
    proposed: BTreeMap<RequestId, Bytes>,
    /// Who asked for each `sync` that is not answered, and how much was committed then.
    syncs: BTreeMap<RequestId, (NodeId, usize)>,
    /// What users were told is certainly not done.
    refused: BTreeSet<Bytes>,
}

impl ZabPast {
    /// How many transactions of the order come up to this one.
    fn through(&self, zxid: Option<Zxid>) -> usize {
        self.order.partition_point(|(other, _)| Some(*other) <= zxid)
    }

    /// How many of them a node's user has.
    fn told(&self, id: NodeId) -> usize {
        self.through(self.told.get(&id).copied().flatten())
    }

    /// A user is given a transaction: the next one, which its own node has on disk (§III, total order and agreement).
    fn deliver(&mut self, id: NodeId, zxid: Zxid, data: &Bytes) -> Result<(), Violation> {
        let Some(place) = self.order.iter().position(|(other, known)| *other == zxid && known == data) else {
            let detail = format!("{id} delivers {zxid}, which is not committed");
            return Err(Violation::new("delivered is committed", detail));
        };
        if !self.disks.get(&id).is_some_and(|history| has(history, zxid)) {
            let detail = format!("{id} delivers {zxid}, which is not on its disk");
            return Err(Violation::new("delivered is on disk", detail));
        }
        // A user that was given a snapshot reports that, and with it what is still on its way to it from its node.
        let (_, base) = self.seen.get(&id).copied().unwrap_or_default();
        let told = self.told(id);
        if place != told && Some(zxid) > base {
            let detail = format!("{id} delivers {zxid}, which is number {} of all, behind {told}", place + 1);
            return Err(Violation::new("delivered in order", detail));
        }
        let told = self.told.entry(id).or_default();
        *told = (*told).max(Some(zxid));
        Ok(())
    }
}

/// Whether a history on disk has a transaction, or had it and the state machine has it.
fn has(history: &Log, zxid: Zxid) -> bool {
    history.base() >= Some(zxid) || history.holds(Some(zxid))
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
        let holds = |(id, history): &(&NodeId, &Log)| self.votes(**id) && has(history, zxid);
        let copies = past.disks.iter().filter(holds).count();
        if copies < hezong_base::quorum::majority(usize::from(self.voters)) {
            let detail = format!("{id} commits {zxid}, which is on the disks of {copies} of {} voters", self.voters);
            return Err(Violation::new("committed is on a majority of disks", detail));
        }
        Ok(())
    }
}

/// Whether somebody leads, established or not yet.
fn leads(view: &ZabView) -> bool {
    matches!(view.role, Role::Preparing | Role::Leading)
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
            accepted: node.accepted(),
            current: node.current(),
            last: history.last(),
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

    fn check_message(
        &self,
        id: NodeId,
        before: &ZabView,
        from: NodeId,
        message: &Message,
        after: &ZabView,
    ) -> Result<(), Violation> {
        if !leads(before) || leads(after) {
            return Ok(());
        }
        let is_reason = match message {
            Message::Packet(Packet { body, .. }) => match body {
                // A voter that has accepted a higher epoch can never join.
                Body::FollowerInfo(accepted) => self.votes(from) && *accepted > before.accepted,
                // One that has more may have what is committed and the leader has not (§IV, step l.1.2).
                Body::AckEpoch { current: Some(current), last } => {
                    self.votes(from) && (*current, *last) > (before.current, before.last)
                }
                // The epoch may have no number left. That it has none is the leader's own matter.
                Body::Request { .. } => true,
                Body::LeaderInfo
                | Body::AckEpoch { current: None, .. }
                | Body::Diff
                | Body::Trunc(_)
                | Body::Snap { .. }
                | Body::Proposal { .. }
                | Body::NewLeader
                | Body::AckLeader { .. }
                | Body::UpToDate { .. }
                | Body::Ack(_)
                | Body::Commit(_)
                | Body::Inform { .. }
                | Body::Ping(_)
                | Body::Pong(_)
                | Body::Refused { .. }
                | Body::Sync(_)
                | Body::Synced(_) => false,
            },
            Message::Looking { .. } | Message::Settled { .. } | Message::End(_) => false,
        };
        if !is_reason {
            let detail = format!("{id} gives up {} when {from} says {message:?}", before.accepted);
            return Err(Violation::new("a leader gives up for a reason", detail));
        }
        Ok(())
    }

    fn remember(&self, past: &mut ZabPast, id: NodeId, view: &ZabView) -> Result<(), Violation> {
        past.disks.insert(id, view.disk.history.clone());
        // Only a restart makes a node know less than its user was told, and only a snapshot lets its history begin behind that:
        // from there on all comes in order.
        let told = past.told.entry(id).or_default();
        *told = (*told).min(view.committed).max(view.base);
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
        let was = past.seen.insert(id, (view.current, view.base));
        if !leads(view) {
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
            // Late words of those who have gone on may establish a leader behind its successor: what that has committed is not
            // before it, and it cannot commit anything itself.
            let all = past.order.partition_point(|(zxid, _)| zxid.epoch < view.current);
            let (first, _) = *past.reigns.entry(view.current).or_insert((id, all));
            if first != id {
                let detail = format!("{id} leads {}, which {first} has led", view.current);
                return Err(Violation::new("one leader an epoch", detail));
            }
        }
        Ok(())
    }

    fn asked(&self, past: &mut ZabPast, node: NodeId, id: RequestId, request: &Request) {
        match request {
            Request::Propose(data) => drop(past.proposed.insert(id, data.clone())),
            Request::Sync => drop(past.syncs.insert(id, (node, past.order.len()))),
            Request::Applied(_) => {}
        }
    }

    fn hear(&self, past: &mut ZabPast, id: NodeId, event: &Event) -> Result<(), Violation> {
        match event {
            Event::Delivered { zxid, data, request } => {
                past.deliver(id, *zxid, data)?;
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
                let Some((_, asked)) = past.syncs.remove(request).filter(|(node, _)| *node == id) else {
                    let detail = format!("{id} answers {request}, a sync that nobody waits for");
                    return Err(Violation::new("one outcome a sync", detail));
                };
                let has = past.told(id);
                if has < asked {
                    let detail = format!("{id} has {has} transactions, of {asked} that were there when it asked");
                    return Err(Violation::new("sync is up to date", detail));
                }
            }
            Event::Refused { id: request, .. } => {
                past.syncs.remove(request);
                if let Some(data) = past.proposed.remove(request) {
                    if past.order.iter().any(|(_, other)| *other == data) {
                        return Err(Violation::new("refused is not done", format!("{id} refuses {data:?}")));
                    }
                    past.refused.insert(data);
                }
            }
            Event::Unknown { id: request } => drop(past.syncs.remove(request)),
            Event::Standing(Standing::Following { epoch, .. } | Standing::Leading { epoch }) => {
                let has = past.told(id);
                let all = past.reigns.get(epoch).map_or(0, |(_, all)| *all);
                if has < all {
                    let detail = format!("{id} says that it serves in {epoch}, with {has} of the {all} before it told");
                    return Err(Violation::new("who serves has all that was before", detail));
                }
            }
            Event::Standing(Standing::Looking) => {}
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

#[cfg(test)]
mod tests {
    use hezong_zab::{Entry, SessionId};

    use super::*;

    const THREE: ZabInvariants = ZabInvariants { voters: 3 };
    const N1: NodeId = NodeId(1);
    const N2: NodeId = NodeId(2);
    const N3: NodeId = NodeId(3);

    fn zxid(counter: u32) -> Zxid {
        Zxid::new(1, counter)
    }

    fn data(counter: u32) -> Bytes {
        Bytes::from(format!("v{counter}"))
    }

    /// A node whose history goes on behind the first `base` transactions: it has so many on disk, and knows so many to be
    /// committed.
    fn view(base: u32, stored: u32, committed: u32) -> ZabView {
        let place = |counter: u32| (counter > 0).then(|| zxid(counter));
        let mut disk = Saved::default();
        if let Some(base) = place(base) {
            disk.history.reset(base);
        }
        (base + 1..=stored).for_each(|at| disk.history.append(Entry { zxid: zxid(at), data: data(at) }));
        let known = (base + 1..=committed).map(|at| (zxid(at), data(at))).collect();
        let (role, accepted, current) = (Role::Looking, Epoch(1), Epoch(1));
        let (last, committed, base) = (place(stored), place(committed), place(base));
        ZabView { role, accepted, current, last, committed, base, known, disk }
    }

    /// n1 and n2 have three transactions and know them to be committed, n3 has none; their users were told nothing.
    fn three() -> ZabPast {
        let mut past = ZabPast::default();
        for (id, view) in [(N1, view(0, 3, 0)), (N2, view(0, 3, 3)), (N1, view(0, 3, 3)), (N3, view(0, 0, 0))] {
            THREE.remember(&mut past, id, &view).unwrap();
        }
        past
    }

    fn deliver(past: &mut ZabPast, id: NodeId, counter: u32) -> Result<(), &'static str> {
        let event = Event::Delivered { zxid: zxid(counter), data: data(counter), request: None };
        THREE.hear(past, id, &event).map_err(|violation| violation.property)
    }

    #[test]
    fn delivered_is_the_next_of_the_order() {
        for wrong in [&[2][..], &[1, 3], &[1, 2, 1], &[1, 1]] {
            let mut past = three();
            let (last, before) = wrong.split_last().unwrap();
            before.iter().for_each(|counter| assert_eq!(deliver(&mut past, N1, *counter), Ok(())));
            assert_eq!(deliver(&mut past, N1, *last), Err("delivered in order"), "{wrong:?}");
        }
        assert_eq!(deliver(&mut three(), N1, 4), Err("delivered is committed"));
    }

    #[test]
    fn delivered_is_on_the_nodes_own_disk() {
        let mut past = three();
        THREE.remember(&mut past, N3, &view(0, 0, 3)).unwrap();
        assert_eq!(deliver(&mut past, N3, 1), Err("delivered is on disk"));
        THREE.remember(&mut past, N3, &view(0, 1, 3)).unwrap();
        assert_eq!(deliver(&mut past, N3, 1), Ok(()));
        assert_eq!(deliver(&mut past, N3, 2), Err("delivered is on disk"));
    }

    #[test]
    fn delivered_again_is_what_comes_behind_the_base_after_a_restart() {
        let mut past = three();
        (1..=3).for_each(|counter| assert_eq!(deliver(&mut past, N1, counter), Ok(())));
        THREE.remember(&mut past, N1, &view(1, 3, 1)).unwrap();
        THREE.remember(&mut past, N1, &view(1, 3, 3)).unwrap();
        assert_eq!(deliver(&mut past.clone(), N1, 3), Err("delivered in order"));
        (2..=3).for_each(|counter| assert_eq!(deliver(&mut past, N1, counter), Ok(())));
    }

    #[test]
    fn delivered_behind_a_snapshot_goes_on_from_there() {
        let mut past = three();
        THREE.remember(&mut past, N3, &view(2, 3, 3)).unwrap();
        assert_eq!(deliver(&mut past, N3, 3), Ok(()));
    }

    #[test]
    fn delivered_may_come_late_where_its_user_had_reported_a_snapshot() {
        let mut past = three();
        assert_eq!(deliver(&mut past, N1, 1), Ok(()));
        // That ended at 5, and its session had ended before: what the node knows to be committed is cut.
        THREE.remember(&mut past, N1, &view(2, 3, 3)).unwrap();
        (2..=3).for_each(|counter| assert_eq!(deliver(&mut past, N1, counter), Ok(())));
    }

    #[test]
    fn leader_that_gives_up_without_a_reason_is_seen() {
        let leader = ZabView { role: Role::Preparing, accepted: Epoch(2), ..view(0, 2, 1) };
        let gives_up = |from: u64, body: Body, after: Role| {
            let (session, after) = (SessionId { life: 1, number: 1 }, ZabView { role: after, ..view(0, 2, 1) });
            let message = Message::Packet(Packet { session, epoch: Some(Epoch(2)), number: 1, body });
            THREE.check_message(N3, &leader, NodeId(from), &message, &after).map_err(|violation| violation.property)
        };
        let ack_epoch = |current, counter| Body::AckEpoch { current, last: Some(zxid(counter)) };
        for reason in [Body::FollowerInfo(Epoch(3)), ack_epoch(Some(Epoch(1)), 3), ack_epoch(Some(Epoch(2)), 1)] {
            assert_eq!(gives_up(1, reason.clone(), Role::Looking), Ok(()), "{reason:?}");
            let observers = gives_up(4, reason.clone(), Role::Looking);
            assert_eq!(observers, Err("a leader gives up for a reason"), "{reason:?}, of one that does not vote");
        }
        let asked = Body::Request { id: RequestId(7), data: data(3) };
        assert_eq!(gives_up(4, asked, Role::Looking), Ok(()), "its epoch may be used up");
        let others =
            [Body::FollowerInfo(Epoch(2)), ack_epoch(Some(Epoch(1)), 2), ack_epoch(None, 3), Body::Ack(zxid(1))];
        for other in others {
            let seen = gives_up(1, other.clone(), Role::Looking);
            assert_eq!(seen, Err("a leader gives up for a reason"), "{other:?}");
            assert_eq!(gives_up(1, other.clone(), Role::Leading), Ok(()), "{other:?}");
        }
    }

    #[test]
    fn serving_takes_what_was_committed_in_epochs_before() {
        let (mut late, mut next) = (three(), three());
        let leads =
            |current, stored| ZabView { role: Role::Leading, current: Epoch(current), ..view(0, stored, stored) };
        let check = |past: &mut ZabPast, view: &ZabView| {
            THREE.remember(past, N3, view).unwrap();
            THREE.check(&[(N3, view)], past).map_err(|violation| violation.property)
        };
        assert_eq!(check(&mut late, &leads(1, 2)), Ok(()), "the third was committed by a successor");
        assert_eq!(check(&mut next, &leads(2, 2)), Err("who serves has all that was before"));
    }

    #[test]
    fn synced_is_judged_by_what_the_user_was_told() {
        let synced = |past: &mut ZabPast, id| {
            THREE.hear(past, id, &Event::Synced { id: RequestId(7) }).map_err(|violation| violation.property)
        };
        let mut past = three();
        THREE.asked(&mut past, N1, RequestId(7), &Request::Sync);
        (1..=2).for_each(|counter| assert_eq!(deliver(&mut past, N1, counter), Ok(())));
        assert_eq!(synced(&mut past.clone(), N1), Err("sync is up to date"), "its node knows of a third");
        assert_eq!(deliver(&mut past, N1, 3), Ok(()));
        assert_eq!(synced(&mut past.clone(), N2), Err("one outcome a sync"), "n2 did not ask");
        assert_eq!(synced(&mut past, N1), Ok(()));
        assert_eq!(synced(&mut past, N1), Err("one outcome a sync"));
    }
}
