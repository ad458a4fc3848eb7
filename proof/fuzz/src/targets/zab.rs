//! `Zab::handle`: one node of an ensemble, which votes, learns and leads.

use std::collections::BTreeMap;

use bytes::Bytes;
use hezong_base::{NodeId, RequestId, Rng};
use hezong_zab::{
    Answer, Ask, Body, Config, EPOCH_MAX, Entry, Epoch, Event, Message, Packet, ROUND_MAX, Refusal, Request, Role,
    Round, Saved, SessionId, SnapshotId, Vote, Zab, Zxid,
};

use super::alone::{Subject, US, World, counted};
use super::random;

/// What others say in a session with it.
#[derive(Clone, Copy, Debug)]
struct Session {
    id: SessionId,
    epoch: Option<Epoch>,
    /// The number of what comes next.
    next: u64,
}

/// What was seen of a node.
#[derive(Default)]
pub(super) struct Seen {
    sessions: BTreeMap<NodeId, Session>,
    opened: u64,
    before: (Epoch, Epoch),
    committed: Option<Zxid>,
    told: Option<Zxid>,
    done: bool,
}

fn anybody(rng: &mut Rng) -> NodeId {
    NodeId(1 + rng.below(5))
}

fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Mostly near the node's own.
fn epoch(world: &World<Zab>, rng: &mut Rng) -> Epoch {
    match rng.below(5) {
        0 => Epoch(narrow(counted(rng, u64::from(EPOCH_MAX.0)))),
        _ => Epoch((world.node.accepted().0.saturating_add(narrow(rng.below(3)))).saturating_sub(1)),
    }
}

fn round(world: &World<Zab>, rng: &mut Rng) -> Round {
    match rng.below(5) {
        0 => Round(counted(rng, ROUND_MAX.0)),
        1 => Round(world.node.round().0.saturating_add(1)),
        _ => world.node.round(),
    }
}

fn zxid(world: &World<Zab>, rng: &mut Rng) -> Zxid {
    let last = world.node.history().last();
    match (rng.below(6), last) {
        (0..=2, Some(last)) => last,
        (3, Some(last)) => Zxid { counter: last.counter.saturating_sub(1), ..last },
        _ => Zxid { epoch: epoch(world, rng), counter: narrow(counted(rng, u64::from(u32::MAX))) },
    }
}

/// Which comes next in this epoch, as a rule.
fn next(world: &World<Zab>, rng: &mut Rng, epoch: Option<Epoch>) -> Zxid {
    let Some(epoch) = epoch.filter(|_| rng.chance(900)) else { return zxid(world, rng) };
    let last = world.node.history().last().filter(|last| last.epoch == epoch);
    Zxid { epoch, counter: last.map_or(0, |last| last.counter).saturating_add(1) }
}

fn maybe<T>(rng: &mut Rng, make: impl FnOnce(&mut Rng) -> T) -> Option<T> {
    rng.chance(700).then(|| make(rng))
}

fn vote(world: &World<Zab>, rng: &mut Rng) -> Vote {
    let (epoch, zxid) = match rng.below(3) {
        0 => (epoch(world, rng), maybe(rng, |rng| zxid(world, rng))),
        _ => (world.node.current(), world.node.history().last()),
    };
    Vote { epoch, zxid, leader: if rng.chance(500) { US } else { anybody(rng) } }
}

fn request_id(rng: &mut Rng) -> RequestId {
    RequestId(super::raft::number(rng))
}

fn entry(world: &World<Zab>, rng: &mut Rng, epoch: Option<Epoch>) -> Entry {
    let zxid = next(world, rng, epoch);
    let data = if rng.chance(900) { Bytes::from(format!("{zxid}")) } else { random::blob(rng) };
    Entry { zxid, data }
}

/// What a leader says.
fn leader_body(world: &World<Zab>, rng: &mut Rng, epoch: Option<Epoch>) -> Body {
    let serves = matches!(world.node.role(), Role::Following(_));
    let request = rng.chance(400).then(|| request_id(rng));
    // What is said at the wrong time ends the session, and most would be.
    let at = if rng.chance(100) { rng.below(14) } else { rng.below(7) + if serves { 7 } else { 2 } };
    match at {
        0 => Body::LeaderInfo,
        1 => Body::Diff,
        2 => Body::Trunc(maybe(rng, |rng| zxid(world, rng))),
        3 => Body::Snap { id: SnapshotId(rng.next_u64()), last: zxid(world, rng) },
        4 | 5 => Body::NewLeader,
        6 => Body::UpToDate { committed: maybe(rng, |rng| zxid(world, rng)) },
        7 | 8 => Body::Proposal { entry: entry(world, rng, epoch), request },
        9 | 10 => {
            let committed = world.node.committed();
            let first = world.node.history().entries().find(|entry| Some(entry.zxid) > committed);
            Body::Commit(first.map_or_else(|| zxid(world, rng), |entry| entry.zxid))
        }
        11 => Body::Inform { entry: entry(world, rng, epoch), request },
        12 => Body::Ping(super::raft::number(rng)),
        _ if rng.chance(500) => Body::Refused { id: request_id(rng), refusal: Refusal::Overloaded },
        _ => Body::Synced(request_id(rng)),
    }
}

/// What a learner says.
fn learner_body(world: &World<Zab>, rng: &mut Rng) -> Body {
    match rng.below(10) {
        0 => Body::FollowerInfo(epoch(world, rng)),
        1 => Body::AckEpoch { current: maybe(rng, |rng| epoch(world, rng)), last: maybe(rng, |rng| zxid(world, rng)) },
        2 => Body::AckLeader { last: world.node.history().last() },
        3 => Body::AckLeader { last: maybe(rng, |rng| zxid(world, rng)) },
        4 | 5 => Body::Ack(zxid(world, rng)),
        6 => Body::Pong(super::raft::number(rng)),
        7 | 8 => Body::Request { id: request_id(rng), data: random::blob(rng) },
        _ => Body::Sync(request_id(rng)),
    }
}

/// The next packet of this node's session with it; mostly with the right number.
fn packet(world: &mut World<Zab>, rng: &mut Rng, from: NodeId, body: Body) -> Message {
    let opens = matches!(body, Body::FollowerInfo(_));
    let seen = &mut world.seen;
    if opens || !seen.sessions.contains_key(&from) {
        seen.opened += 1;
        let id = SessionId { life: from.0, number: seen.opened };
        seen.sessions.insert(from, Session { id, epoch: None, next: 0 });
    }
    let session = seen.sessions.entry(from).or_insert(Session {
        id: SessionId { life: from.0, number: 0 },
        epoch: None,
        next: 0,
    });
    let number = if rng.chance(30) { super::raft::number(rng) } else { session.next };
    session.next = number.saturating_add(1);
    let (session, epoch) = (session.id, session.epoch);
    Message::Packet(Packet { session, epoch, number, body })
}

fn own_vote(node: &Zab) -> Vote {
    Vote { epoch: node.current(), zxid: node.history().last(), leader: US }
}

impl Subject for Zab {
    type Seen = Seen;

    fn config() -> Config {
        let mut config = Config::new(US, (1..=3).map(NodeId).collect());
        config.observers = [NodeId(4)].into();
        (config.data_bytes_max, config.history_bytes_max, config.history_kept) = (200, 1_500, 4);
        (config.unstored_bytes_max, config.waiting_max, config.counter_max) = (800, 4, 6);
        config
    }

    fn message(world: &mut World<Self>, rng: &mut Rng, from: NodeId) -> Message {
        let (looks, leads) = match world.node.role() {
            Role::Looking => (true, false),
            Role::Joining(_) | Role::Following(_) => (false, false),
            Role::Preparing | Role::Leading => (false, true),
        };
        match rng.below(10) {
            0 => Message::Settled { round: round(world, rng), leader: anybody(rng) },
            1 => Message::Looking { round: round(world, rng), vote: maybe(rng, |rng| vote(world, rng)) },
            2 if rng.chance(200) => {
                let open = world.seen.sessions.get(&from).map(|session| session.id);
                Message::End(open.unwrap_or(SessionId { life: rng.next_u64(), number: 1 }))
            }
            _ if looks && rng.chance(900) => {
                Message::Looking { round: round(world, rng), vote: Some(vote(world, rng)) }
            }
            _ => {
                let epoch = world.seen.sessions.get(&from).and_then(|session| session.epoch);
                let is_learner = leads == rng.chance(950);
                let opens = is_learner && !world.seen.sessions.contains_key(&from);
                let body = if opens {
                    Body::FollowerInfo(world.node.accepted())
                } else if is_learner {
                    learner_body(world, rng)
                } else {
                    leader_body(world, rng, epoch)
                };
                packet(world, rng, from, body)
            }
        }
    }

    fn reply(world: &mut World<Self>, rng: &mut Rng, from: NodeId, to: &Message) -> Option<Message> {
        let said = match to {
            Message::Looking { round, vote } if rng.chance(700) => {
                return Some(Message::Looking { round: *round, vote: *vote });
            }
            Message::Looking { round, .. } => return Some(Message::Settled { round: *round, leader: NodeId(3) }),
            Message::Settled { .. } | Message::End(_) => return None,
            Message::Packet(packet) => packet,
        };
        let body = match &said.body {
            // To a leader: the session is ours, and so is the first word in it.
            Body::FollowerInfo(accepted) => {
                let epoch = accepted.next().filter(|_| rng.chance(900)).unwrap_or_else(|| epoch(world, rng));
                world.seen.sessions.insert(from, Session { id: said.session, epoch: Some(epoch), next: 0 });
                Body::LeaderInfo
            }
            Body::AckEpoch { .. } => Body::Diff,
            Body::AckLeader { .. } => Body::UpToDate { committed: world.node.committed() },
            Body::LeaderInfo => {
                if let Some(session) = world.seen.sessions.get_mut(&from) {
                    session.epoch = said.epoch;
                }
                Body::AckEpoch { current: Some(Epoch(0)), last: None }
            }
            Body::NewLeader => Body::AckLeader { last: world.node.history().last() },
            Body::Proposal { entry, .. } => Body::Ack(entry.zxid),
            Body::Ping(round) => Body::Pong(*round),
            Body::Request { id, .. } => {
                let epoch = said.epoch;
                Body::Proposal { entry: entry(world, rng, epoch), request: Some(*id) }
            }
            Body::Sync(id) => Body::Synced(*id),
            Body::Ack(zxid) => Body::Commit(*zxid),
            Body::Diff
            | Body::Trunc(_)
            | Body::Snap { .. }
            | Body::UpToDate { .. }
            | Body::Commit(_)
            | Body::Inform { .. }
            | Body::Pong(_)
            | Body::Refused { .. }
            | Body::Synced(_) => return None,
        };
        Some(packet(world, rng, from, body))
    }

    fn request(world: &World<Self>, rng: &mut Rng) -> Request {
        match (rng.below(6), world.seen.told) {
            (0, Some(told)) => Request::Applied(told),
            (1 | 2, _) => Request::Sync,
            _ => Request::Propose(random::blob(rng)),
        }
    }

    fn answer(rng: &mut Rng, to: Option<&Ask>) -> Option<Answer> {
        Some(match to {
            Some(Ask::InstallSnapshot { .. }) => Answer::Installed(rng.chance(800)),
            Some(Ask::TakeSnapshot(_)) => Answer::Taken(rng.chance(800).then(|| Zxid::new(1, narrow(rng.below(6))))),
            None if rng.chance(500) => Answer::Installed(true),
            None => Answer::Taken(Some(Zxid::new(9, 9))),
        })
    }

    fn answered(event: &Event) -> Option<RequestId> {
        match event {
            Event::Delivered { request, .. } => *request,
            Event::Refused { id, .. } | Event::Unknown { id } | Event::Synced { id } => Some(*id),
            Event::Standing(_) => None,
        }
    }

    fn check_sent(world: &World<Self>, message: &Message) {
        let disk = &world.disk;
        let has = |zxid: Option<Zxid>| zxid <= disk.history.last();
        let is_stored = match message {
            // Others may say more of us than is true, and be believed.
            Message::Looking { vote: Some(vote), .. } if *vote == own_vote(&world.node) => {
                vote.epoch <= disk.current && has(vote.zxid)
            }
            Message::Looking { .. } | Message::Settled { .. } | Message::End(_) => true,
            Message::Packet(Packet { epoch, body, .. }) => match body {
                Body::AckEpoch { current, .. } => *epoch <= Some(disk.accepted) && *current <= Some(disk.current),
                Body::LeaderInfo => *epoch <= Some(disk.accepted),
                Body::AckLeader { last } => *epoch <= Some(disk.current) && has(*last),
                Body::Ack(zxid) => has(Some(*zxid)),
                Body::FollowerInfo(_)
                | Body::Diff
                | Body::Trunc(_)
                | Body::Snap { .. }
                | Body::NewLeader
                | Body::UpToDate { .. }
                | Body::Proposal { .. }
                | Body::Commit(_)
                | Body::Inform { .. }
                | Body::Ping(_)
                | Body::Pong(_)
                | Body::Request { .. }
                | Body::Refused { .. }
                | Body::Sync(_)
                | Body::Synced(_) => true,
            },
        };
        assert!(is_stored, "{message:?} is said, where {disk:?} is stored");
    }

    fn check_told(world: &mut World<Self>, event: &Event) {
        match event {
            Event::Delivered { zxid, .. } => {
                let disk = &world.disk.history;
                assert!(
                    disk.last() >= Some(*zxid) && disk.base().max(disk.last()) >= Some(*zxid),
                    "{zxid} is not on disk"
                );
                let was_installed = world.node.history().base() >= Some(*zxid) || disk.base() >= Some(*zxid);
                assert!(
                    world.seen.told < Some(*zxid) || was_installed,
                    "{zxid} is told of behind {:?}",
                    world.seen.told
                );
                world.seen.told = Some(*zxid);
                world.seen.done = true;
            }
            Event::Synced { .. } => world.seen.done = true,
            Event::Refused { .. } | Event::Unknown { .. } | Event::Standing(_) => {}
        }
    }

    fn check(world: &mut World<Self>) {
        let (node, seen) = (&world.node, &mut world.seen);
        if node.role() == Role::Looking {
            seen.sessions.clear();
        }
        assert!(node.current() <= node.accepted() && seen.committed <= node.committed());
        assert!(node.committed() <= node.history().last(), "what is committed stays");
        assert!(node.history().base() <= node.committed(), "what is forgotten was committed");
        seen.committed = node.committed();
    }

    fn stored(seen: &mut Seen, disk: &Saved) {
        let (accepted, current) = seen.before;
        assert!(accepted <= disk.accepted && current <= disk.current, "epochs grow");
        assert!(disk.history.entries().zip(disk.history.entries().skip(1)).all(|(one, two)| one.zxid < two.zxid));
        seen.before = (disk.accepted, disk.current);
    }

    fn forget(seen: &mut Seen) {
        (seen.committed, seen.told) = (None, None);
    }

    fn has_done(seen: &Seen) -> bool {
        seen.done
    }
}
