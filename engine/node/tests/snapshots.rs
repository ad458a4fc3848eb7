//! How a snapshot travels: asked for chunk by chunk, one on its way and one at work, asked for again, given up, let go.

use std::time::Duration;

use bytes::Bytes;
use hezong_base::{GroupId, LogId, NodeId, Protocol as _, Rng, Term, Time};
use hezong_codec::{SnapshotBody, SnapshotMessage};
use hezong_node::{
    Begun, Chunk, Node, NodeConfig, NodeEffect, NodeInput, Notice, SnapshotDone, SnapshotWork, StateFound,
};
use hezong_raft::{Base, Body, Config, Member, Membership, Message, Raft, Saved, SnapshotId, Version, Write};

const GROUP: GroupId = GroupId(1);
const ID: SnapshotId = SnapshotId(5);
const LEADER: NodeId = NodeId(2);

struct Fixture {
    node: Node,
    now: Time,
}

fn voters() -> Membership {
    Membership::of_voters((1..=3).map(|id| (NodeId(id), Member { name: format!("n{id}"), ..Member::default() })))
}

fn base() -> Base {
    Base { last: Some(LogId::new(1, 100)), time: Duration::ZERO, membership: voters() }
}

fn cursor(n: u8) -> Option<Bytes> {
    Some(Bytes::copy_from_slice(&[n]))
}

impl Fixture {
    fn new(change: impl FnOnce(&mut NodeConfig)) -> Self {
        let mut config = NodeConfig::new(NodeId(1));
        change(&mut config);
        let mut node = Node::new(config);
        let mut saved = Saved::default();
        Raft::save(&mut saved, &Write::Reset(Base { membership: voters(), ..Base::default() }));
        let (now, mut out) = (Time::from_millis(1_000), Vec::new());
        let state = StateFound::default();
        node.open_group(now, GROUP, Config::new(NodeId(1)), saved, state, Rng::new(1), &mut out).unwrap();
        node.flush(now, &mut out);
        Self { node, now }
    }

    fn hand(&mut self, input: NodeInput) -> Vec<NodeEffect> {
        let mut out = Vec::new();
        self.node.handle(self.now, input, &mut out);
        self.node.flush(self.now, &mut out);
        out
    }

    fn offer(&mut self, id: SnapshotId) -> Vec<NodeEffect> {
        let message = Message { term: Term(1), body: Body::InstallSnapshot { id, base: base() } };
        self.hand(NodeInput::Received { from: LEADER, messages: vec![(GROUP, message)] })
    }

    fn done(&mut self, done: SnapshotDone) -> Vec<NodeEffect> {
        self.hand(NodeInput::Snapshot { group: GROUP, done })
    }

    fn chunk(&mut self, cursor: Option<Bytes>, next: Option<Bytes>) -> Vec<NodeEffect> {
        let body = SnapshotBody::Chunk { cursor, bytes: Bytes::from_static(&[0; 1_000]), next };
        self.say(ID, body)
    }

    fn say(&mut self, snapshot: SnapshotId, body: SnapshotBody) -> Vec<NodeEffect> {
        self.hand(NodeInput::SnapshotMessage {
            from: LEADER,
            message: SnapshotMessage { group: GROUP, snapshot, body },
        })
    }

    /// The time of the next deadline that concerns nothing but snapshots comes.
    fn wait(&mut self, span: Duration) -> Vec<NodeEffect> {
        self.now = self.now + span;
        self.hand(NodeInput::Timeout)
    }
}

fn fetches(effects: &[NodeEffect]) -> Vec<Option<Bytes>> {
    let fetch = |effect: &NodeEffect| match effect {
        NodeEffect::SendSnapshot {
            message: SnapshotMessage { body: SnapshotBody::Fetch { cursor, .. }, .. }, ..
        } => Some(cursor.clone()),
        _ => None,
    };
    effects.iter().filter_map(fetch).collect()
}

fn works(effects: &[NodeEffect]) -> Vec<&SnapshotWork> {
    fn work(effect: &NodeEffect) -> Option<&SnapshotWork> {
        let NodeEffect::Snapshot { work, .. } = effect else { return None };
        Some(work)
    }
    effects.iter().filter_map(work).collect()
}

fn failed(effects: &[NodeEffect]) -> bool {
    effects.iter().any(|effect| matches!(effect, NodeEffect::Notice(Notice::SnapshotFailed { .. })))
}

#[test]
fn one_chunk_on_its_way_and_one_at_work() {
    let mut fixture = Fixture::new(|_| {});
    assert!(matches!(works(&fixture.offer(ID))[..], [SnapshotWork::Begin(ID)]));
    assert_eq!(fetches(&fixture.done(SnapshotDone::Begun { id: ID, begun: Begun::At(None) })), [None]);
    let effects = fixture.chunk(None, cursor(1));
    assert!(matches!(works(&effects)[..], [SnapshotWork::Install { id: ID, chunk: Chunk { next: Some(_), .. } }]));
    assert_eq!(fetches(&effects), [cursor(1)], "the next one is asked for while this is installed");
    assert_eq!(works(&fixture.chunk(None, cursor(1))).len(), 0, "it came before");
    assert_eq!(fetches(&fixture.chunk(cursor(1), cursor(2))), [], "two are at work");
    let installed = || SnapshotDone::Installed { id: ID, understood: true };
    assert_eq!(fetches(&fixture.done(installed())), [cursor(2)]);
    assert_eq!(fetches(&fixture.done(installed())), []);
    fixture.chunk(cursor(2), None);
    let effects = fixture.done(installed());
    assert!(matches!(works(&effects)[..], [SnapshotWork::Finish { id: ID, .. }]), "{effects:?}");
    let effects = fixture.done(SnapshotDone::Finished { id: ID, base: base() });
    let says = |wanted: &SnapshotBody| {
        effects.iter().any(|e| matches!(e, NodeEffect::SendSnapshot { message, .. } if message.body == *wanted))
    };
    assert!(says(&SnapshotBody::Done));
    let status = fixture.node.status(fixture.now, GROUP).unwrap();
    assert_eq!((status.applied, status.snapshots_installed), (Some(LogId::new(1, 100)), 1));
}

#[test]
fn version_used_in_what_is_offered_is_noted_before_the_first_chunk() {
    let mut fixture = Fixture::new(|config| config.newest = Version(2));
    let base = Base { membership: voters().with_versions(Version(2), Version(2)), ..base() };
    let message = Message { term: Term(1), body: Body::InstallSnapshot { id: ID, base } };
    let offered = fixture.hand(NodeInput::Received { from: LEADER, messages: vec![(GROUP, message)] });
    assert!(offered.iter().any(|effect| matches!(effect, NodeEffect::Uses(Version(2)))), "{offered:?}");
    assert_eq!(fetches(&offered), []);
    assert_eq!(fetches(&fixture.done(SnapshotDone::Begun { id: ID, begun: Begun::At(None) })), [None]);
}

/// A node that has just joined knows of nobody: the offer says where the others are.
#[test]
fn members_of_the_offer_can_be_reached() {
    let mut node = Node::new(NodeConfig::new(NodeId(4)));
    let (now, mut out) = (Time::from_millis(1_000), Vec::new());
    let (saved, state) = (Saved::default(), StateFound::default());
    node.open_group(now, GROUP, Config::new(NodeId(4)), saved, state, Rng::new(1), &mut out).unwrap();
    let mut fixture = Fixture { node, now };
    let effects = fixture.offer(ID);
    let told = |effect: &NodeEffect| matches!(effect, NodeEffect::Peers(peers) if peers.len() == 3);
    assert!(effects.iter().any(told), "{effects:?}");
}

#[test]
fn whole_after_a_restart_is_switched_to_at_once() {
    let mut fixture = Fixture::new(|_| {});
    fixture.offer(ID);
    let effects = fixture.done(SnapshotDone::Begun { id: ID, begun: Begun::Whole });
    assert!(matches!(works(&effects)[..], [SnapshotWork::Finish { .. }]));
}

#[test]
fn chunk_lost_is_asked_for_again_and_at_last_given_up() {
    let mut fixture = Fixture::new(|config| config.snapshot_fetch_timeout = Duration::from_millis(10));
    fixture.offer(ID);
    fixture.done(SnapshotDone::Begun { id: ID, begun: Begun::At(cursor(7)) });
    for _ in 0..4 {
        assert_eq!(fetches(&fixture.wait(Duration::from_millis(10))), [cursor(7)]);
    }
    assert!(failed(&fixture.wait(Duration::from_millis(10))));
    assert_eq!(works(&fixture.chunk(cursor(7), None)).len(), 0, "too late");
    assert!(matches!(works(&fixture.offer(ID))[..], [SnapshotWork::Begin(ID)]), "it may be offered again");
}

#[test]
fn gone_or_not_understood_is_given_up() {
    for how in 0..2 {
        let mut fixture = Fixture::new(|_| {});
        fixture.offer(ID);
        fixture.done(SnapshotDone::Begun { id: ID, begun: Begun::At(None) });
        let effects = if how == 0 {
            fixture.say(ID, SnapshotBody::Gone)
        } else {
            fixture.chunk(None, cursor(1));
            fixture.done(SnapshotDone::Installed { id: ID, understood: false })
        };
        assert!(failed(&effects));
    }
}

#[test]
fn another_offer_replaces_the_fetching() {
    let mut fixture = Fixture::new(|_| {});
    fixture.offer(ID);
    fixture.done(SnapshotDone::Begun { id: ID, begun: Begun::At(None) });
    let other = SnapshotId(6);
    assert!(matches!(works(&fixture.offer(other))[..], [SnapshotWork::Begin(of)] if *of == other));
    assert_eq!(works(&fixture.chunk(None, None)).len(), 0, "of the one given up");
    assert_eq!(fetches(&fixture.done(SnapshotDone::Begun { id: ID, begun: Begun::At(None) })), [], "the same");
    assert_eq!(fetches(&fixture.done(SnapshotDone::Begun { id: other, begun: Begun::At(None) })), [None]);
}

#[test]
fn bandwidth_is_kept() {
    let mut fixture = Fixture::new(|config| config.snapshot_bytes_per_second = Some(10_000));
    fixture.offer(ID);
    fixture.done(SnapshotDone::Begun { id: ID, begun: Begun::At(None) });
    assert_eq!(fetches(&fixture.chunk(None, cursor(1))), [], "1,000 bytes are worth 100 ms");
    assert_eq!(fetches(&fixture.wait(Duration::from_millis(99))), []);
    assert_eq!(fetches(&fixture.wait(Duration::from_millis(1))), [cursor(1)]);
}

/// Nobody else may wait for ever behind a snapshot that nobody fetches, or fetches without end.
#[test]
fn snapshot_held_too_long_is_let_go() {
    let mut fixture = Fixture::new(|config| {
        config.snapshot_patience = Duration::from_millis(100);
        config.snapshot_age_max = Duration::from_millis(250);
    });
    let taken = SnapshotDone::Taken { id: ID, last: Some(LogId::new(1, 9)) };
    let dropped = |effects: &[NodeEffect]| matches!(works(effects)[..], [SnapshotWork::Drop(ID)]);
    fixture.done(taken.clone());
    assert!(dropped(&fixture.wait(Duration::from_millis(100))));
    fixture.done(taken.clone());
    let fetch = || SnapshotBody::Fetch { cursor: None, bytes_max: 1_000 };
    for _ in 0..4 {
        let effects = fixture.wait(Duration::from_millis(60));
        assert_eq!(works(&effects).len(), 0, "{effects:?}");
        assert!(matches!(works(&fixture.say(ID, fetch()))[..], [SnapshotWork::Read { .. }]));
    }
    assert!(dropped(&fixture.wait(Duration::from_millis(60))), "however much it is used");
    let gone = fixture.say(ID, fetch());
    assert!(matches!(&gone[..], [NodeEffect::SendSnapshot { message, .. }] if message.body == SnapshotBody::Gone));
    fixture.done(taken);
    assert!(dropped(&fixture.say(ID, SnapshotBody::Done)));
}
