//! What goes into a node and what comes out of it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use hezong_base::{AskId, GroupId, Index, LogId, NodeId, RequestId, Term};
use hezong_codec::SnapshotMessage;
use hezong_raft::{
    Base, Change, ChangeError, Entry, Member, Membership, Message, SnapshotId, TransferError, Version, Write,
};

use crate::GroupStatus;
use crate::machine::{Begun, Chunk};

/// One write batch: what all groups wrote in one turn. Handed out in order from 1, unique within one run of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub u64);

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b{}", self.0)
    }
}

/// What a node is handed.
#[derive(Clone, Debug)]
pub enum NodeInput {
    /// A frame from a peer. `from` is known to be authentic: the runner's handshake saw to it.
    Received {
        /// Who sent it.
        from: NodeId,
        /// Its messages, in the order in which they were sent.
        messages: Vec<(GroupId, Message)>,
    },
    /// A client wants something. It gets exactly one [`NodeEffect::Reply`], unless it is cancelled first.
    Request {
        /// The name under which it is answered; unique within one run of the process.
        id: RequestId,
        /// Of which group it wants it.
        group: GroupId,
        /// What it wants.
        request: ClientRequest,
    },
    /// The client has gone: it is forgotten and gets no reply. What it proposed may still be done.
    Cancel {
        /// Its request.
        id: RequestId,
    },
    /// Every batch up to and including this one would survive a crash.
    Stored(BatchId),
    /// The answer to one [`NodeEffect::ReadLog`].
    LogRead {
        /// The group whose log was read.
        group: GroupId,
        /// Which reading.
        ask: AskId,
        /// The entries, in order and without gaps from the first one asked for; at least one, unless they are gone.
        entries: Vec<Entry>,
    },
    /// The oldest batch of entries handed out by [`NodeEffect::Apply`] and not yet answered has been applied.
    Applied {
        /// Which group.
        group: GroupId,
        /// The last entry of the batch.
        through: LogId,
        /// One reply an entry, as [`StateMachine::apply`](crate::StateMachine::apply) returned them.
        replies: Vec<Bytes>,
    },
    /// The answer to one [`NodeEffect::Persist`].
    Persisted {
        /// Which group.
        group: GroupId,
        /// The last entry whose effect would be found again after a crash; `None` if there is none yet.
        durable: Option<LogId>,
    },
    /// A peer says something about a snapshot.
    SnapshotMessage {
        /// Who.
        from: NodeId,
        /// What.
        message: SnapshotMessage,
    },
    /// What came of one [`NodeEffect::Snapshot`].
    Snapshot {
        /// Whose.
        group: GroupId,
        /// What.
        done: SnapshotDone,
    },
    /// The disk has fallen below its reserve, or has risen above it again. Until it does, client writes that free no
    /// space are refused by the leader; reads, votes and membership go on.
    DiskReserve {
        /// Whether free space lies below the reserve now.
        below: bool,
    },
    /// A peer was connected to and has said what it knows: the newest version that both it and this node do. In force
    /// until it says otherwise, connected or not.
    Version {
        /// Who.
        peer: NodeId,
        /// What it knows.
        version: Version,
    },
    /// [`Node::deadline`](crate::Node::deadline) has passed. What arrived before it has been handed in before.
    Timeout,
    /// The node is about to stop: new requests are refused, those that wait are seen through, and the groups it leads
    /// are handed to others, as far as there are any. Once nobody waits any more and that is done, or was tried for an
    /// election timeout, [`NodeEffect::Drained`] says so. The protocols run on meanwhile.
    Stop,
}

/// What is to be done about a snapshot. Each but `Drop` is answered by the [`SnapshotDone`] of its kind. All but `Read`
/// and `Drop` concern the state machine, and are carried out in order with `Apply` and `Persist`.
#[derive(Clone, Debug)]
pub enum SnapshotWork {
    /// Takes a snapshot and holds it under this name.
    Take(SnapshotId),
    /// Reads a chunk of one that is held.
    Read {
        /// Which.
        id: SnapshotId,
        /// For whom; comes back with the answer.
        to: NodeId,
        /// Where the chunk begins.
        cursor: Option<Bytes>,
        /// About how many bytes it may have.
        bytes_max: usize,
    },
    /// Lets one go that was held.
    Drop(SnapshotId),
    /// Makes the state machine ready for one.
    Begin(SnapshotId),
    /// Gives the state machine the next chunk of it.
    Install {
        /// Of which.
        id: SnapshotId,
        /// The chunk.
        chunk: Chunk,
    },
    /// Switches the state machine over to it, durably.
    Finish {
        /// To which.
        id: SnapshotId,
        /// What it covers.
        base: Base,
    },
}

/// What came of it.
#[derive(Clone, Debug)]
pub enum SnapshotDone {
    /// It is held, and covers everything up to `last`; `None` when the state machine has none to give.
    Taken {
        /// Which.
        id: SnapshotId,
        /// The last entry it covers.
        last: Option<LogId>,
    },
    /// The chunk was read.
    Read {
        /// Of which.
        id: SnapshotId,
        /// For whom.
        to: NodeId,
        /// Where it begins.
        cursor: Option<Bytes>,
        /// The chunk; `None` when the snapshot is not held any more.
        chunk: Option<Chunk>,
    },
    /// The state machine is ready.
    Begun {
        /// For which.
        id: SnapshotId,
        /// How much of it is there.
        begun: Begun,
    },
    /// The state machine has the chunk.
    Installed {
        /// Of which.
        id: SnapshotId,
        /// Whether it could make sense of it.
        understood: bool,
    },
    /// The state machine stands on it.
    Finished {
        /// Which.
        id: SnapshotId,
        /// What it covers.
        base: Base,
    },
}

/// What a node wants done. Everything may be carried out at once and in parallel, but effects of the same kind are
/// carried out in the order issued: batches reach the log, and entries reach a state machine, in that order.
#[derive(Clone, Debug)]
pub enum NodeEffect {
    /// One frame for one peer. May be lost; if the peer cannot be reached it is dropped, never queued without bound.
    Send {
        /// To whom.
        to: NodeId,
        /// What the groups say, in order.
        messages: Vec<(GroupId, Message)>,
    },
    /// One batch for the log: written in this order, made durable, then answered by [`NodeInput::Stored`]. Batches that
    /// have queued up may share one fdatasync, and then one `Stored` of the last of them answers them all.
    Store {
        /// Its name.
        batch: BatchId,
        /// The writes, in order.
        writes: Vec<(GroupId, Write)>,
    },
    /// Reads entries of a group's log; answered by [`NodeInput::LogRead`]. It may ask for entries whose `Store` was
    /// issued earlier and has not been carried out yet: read after them.
    ReadLog {
        /// Whose log.
        group: GroupId,
        /// The name under which the answer comes back.
        ask: AskId,
        /// The first entry wanted.
        from: Index,
        /// The last entry wanted.
        through: Index,
        /// The most payload bytes wanted, but at least one entry.
        bytes_max: usize,
    },
    /// Committed entries for the state machine, of every payload kind; answered by [`NodeInput::Applied`].
    Apply {
        /// Whose state machine.
        group: GroupId,
        /// In order and without gaps, from the one after the last handed out. Never empty.
        entries: Vec<Entry>,
    },
    /// Lets the state machine make what it has applied durable; answered by [`NodeInput::Persisted`]. One at a time.
    Persist {
        /// Whose state machine.
        group: GroupId,
    },
    /// Work on a snapshot; answered by [`NodeInput::Snapshot`], except for `Drop`.
    Snapshot {
        /// Whose.
        group: GroupId,
        /// What.
        work: SnapshotWork,
    },
    /// Something about a snapshot for a peer, on a way of its own, so that no message waits behind it. May be lost.
    SendSnapshot {
        /// To whom.
        to: NodeId,
        /// What.
        message: SnapshotMessage,
    },
    /// The outcome for a client that waits.
    Reply {
        /// Its request.
        id: RequestId,
        /// What came of it.
        reply: Reply,
    },
    /// The members of all groups, this node among them: whom to keep a connection to. Issued whenever it changes.
    Peers(BTreeMap<NodeId, Member>),
    /// The members of a group as of what is applied here. Whoever has left it is to be told so, should it come back.
    Settled {
        /// Of which group.
        group: GroupId,
        /// Its members.
        membership: Membership,
    },
    /// What this version alone knows may be in the log or the state from now on. To be noted durably before anything that
    /// is issued after this is carried out, so that no older program starts on the folder; and nobody is to be talked to
    /// any more who does not know it. Issued before the first entry of it is stored or sent, and before the first chunk of
    /// a snapshot that covers one is asked for.
    Uses(Version),
    /// News for people.
    Notice(Notice),
    /// After [`NodeInput::Stop`]: nobody waits for anything any more, and nothing is being handed over. Issued once.
    Drained,
}

/// How fresh a read must be; the names are the same on every dialect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReadLevel {
    /// Any node, what it has applied.
    Stale,
    /// The leader under its lease; linearizable while clocks drift apart no more than configured.
    #[default]
    Default,
    /// A majority confirms the leader after the read arrived; from any node.
    Consistent,
}

/// What a client wants.
#[derive(Clone, Debug)]
pub enum ClientRequest {
    /// A command for the state machine. Leader only. Answered by [`Reply::Done`].
    Propose {
        /// The command.
        command: Bytes,
        /// Whether it makes room (a delete): such commands are let through while the disk is below its reserve.
        frees_space: bool,
        /// The first version that knows it. One that no [`Change::Use`] has made known to all yet is refused.
        version: Version,
    },
    /// To read the state machine as fresh as `level` says, and not before `min_index` is applied. Answered by
    /// [`Reply::Readable`], after which the client reads the state by itself.
    Read {
        /// How fresh.
        level: ReadLevel,
        /// Waits until this has been applied here, at most until the request times out.
        min_index: Option<Index>,
    },
    /// To wait until everything acknowledged anywhere before this request has been applied here. Any node. Answered by
    /// [`Reply::Readable`].
    Barrier,
    /// To have a majority confirm that this node leads, as of after the request arrived. Answered by
    /// [`Reply::Verified`].
    VerifyLeader,
    /// One step of membership. Leader only. Answered by [`Reply::Changed`] once it is over, committed and applied here; of
    /// several voters at once, once the joint membership is left. Waits for learners that are to vote by it.
    Change(Change),
    /// To have this voter lead; without a name, the one that suits best. Leader only. Answered by
    /// [`Reply::Transferred`] once it is known to lead.
    Transfer(Option<NodeId>),
    /// To give a group that has no members yet its first ones. Answered by [`Reply::Bootstrapped`] once on disk.
    Bootstrap(Membership),
    /// How the group stands. Answered at once by [`Reply::Status`].
    Status,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The command is committed and was applied here.
    Done {
        /// Its entry.
        id: LogId,
        /// What the state machine said.
        reply: Bytes,
    },
    /// The state machine may be read now.
    Readable {
        /// What is applied here; at least what the read asked for.
        applied: Option<Index>,
        /// How long ago the leader, or for a leader a majority, was last heard from; `None` if never.
        last_contact: Option<Duration>,
    },
    /// This node led when a majority was asked, after the request arrived.
    Verified {
        /// In this term.
        term: Term,
    },
    /// The membership step is committed and was applied here.
    Changed {
        /// Its entry.
        id: LogId,
        /// The members from it on. A member added has its [`Membership::last_id`].
        membership: Membership,
    },
    /// Another member leads.
    Transferred {
        /// In this term.
        term: Term,
        /// Who.
        leader: Leader,
    },
    /// The first members are on disk.
    Bootstrapped,
    /// How the group stands.
    Status(Box<GroupStatus>),
    /// Certainly not done, now or later: trying again is safe, for a write too.
    Refused(Refused),
    /// Perhaps done, now or later. A write must be tried again under the same key only.
    Unknown,
}

/// A leader and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// Who.
    pub id: NodeId,
    /// Its name and addresses; `None` while this node does not know the member.
    pub member: Option<Member>,
}

/// Why a request was certainly not done. The text says what was refused and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// This node does not lead the group. Ask the leader, or any node again in a moment if none is known, or the one
    /// known has been silent for half an election timeout.
    #[error("this node does not lead the group; {}", leader_hint(.0.as_ref()))]
    NotLeader(Option<Leader>),
    /// A limit is reached: too many clients wait, or too many bytes. Ask later, or slower.
    #[error("overloaded: {limit} is full; try again later")]
    Overloaded {
        /// The name of the limit.
        limit: &'static str,
    },
    /// The disk is below its reserve and the command frees no space. Delete something or add disk.
    #[error("the disk is below its reserve: only deletes are accepted until they, or a larger disk, have made room")]
    DiskFull,
    /// Nothing came of it before the request timed out, and it had not been accepted into the log.
    #[error("timed out before it was accepted; nothing was done")]
    Timeout,
    /// The leader lost its place and another leader's entry was committed where this command stood.
    #[error("a new leader took over before the command was committed; nothing was done")]
    Lost,
    /// Another membership step is under way. Wait for it.
    #[error("another membership change is under way")]
    ChangePending,
    /// The membership step makes no sense.
    #[error("{0}")]
    Change(ChangeError),
    /// Not all members know the command. Upgrade those that hold it back.
    #[error("this needs cluster version {needed}, and the cluster is at {agreed}; {}", behind_hint(.behind))]
    Version {
        /// The version it needs.
        needed: Version,
        /// The version all members have agreed on.
        agreed: Version,
        /// Who does not know the needed one, as far as this node can tell, and what each knows if it was heard.
        behind: Vec<(Leader, Option<Version>)>,
    },
    /// Leadership is being handed over, and nothing is taken in meanwhile. Ask again in a moment, whoever leads then.
    #[error("leadership is being handed to member {}; try again in a moment", named(.0))]
    Transferring(Leader),
    /// Leadership was not handed over; this node leads on.
    #[error("{0}")]
    Transfer(TransferError),
    /// The group has members already; it is bootstrapped once in its life.
    #[error("the group has members already and cannot be bootstrapped again")]
    NotEmpty,
    /// The state of this node was lost and is being fetched from the leader. Ask another node.
    #[error("the state of this node was lost and is being restored from the leader; ask another node")]
    Restoring,
    /// This node has no such group.
    #[error("this node has no group {}", .0.0)]
    NoGroup(GroupId),
    /// The node is stopping. Ask another.
    #[error("this node is stopping")]
    Stopping,
}

fn leader_hint(leader: Option<&Leader>) -> String {
    match leader {
        None => "no leader is known, try again in a moment".to_owned(),
        Some(leader) => format!("member {} does", named(leader)),
    }
}

fn behind_hint(behind: &[(Leader, Option<Version>)]) -> String {
    let tell = |(who, knows): &(Leader, Option<Version>)| {
        let name = who.member.as_ref().map_or_else(|| format!("member {}", who.id.0), |member| member.name.clone());
        knows.map_or_else(|| format!("{name} (not heard of yet)"), |knows| format!("{name} (version {knows})"))
    };
    if behind.is_empty() {
        return "its members all know it by now, so try again in a second".to_owned();
    }
    format!("upgrade {}", behind.iter().map(tell).collect::<Vec<_>>().join(", "))
}

fn named(leader: &Leader) -> String {
    match &leader.member {
        None => leader.id.0.to_string(),
        Some(member) => format!("{} ({}) at {}", leader.id.0, member.name, member.client),
    }
}

impl Refused {
    /// A short fixed name for metrics, as `not_leader`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::NotLeader(_) => "not_leader",
            Self::Overloaded { .. } => "overloaded",
            Self::DiskFull => "disk_full",
            Self::Timeout => "timeout",
            Self::Lost => "lost",
            Self::ChangePending => "change_pending",
            Self::Change(_) => "change",
            Self::Version { .. } => "version",
            Self::Transferring(_) => "transferring",
            Self::Transfer(_) => "transfer",
            Self::NotEmpty => "not_empty",
            Self::Restoring => "restoring",
            Self::NoGroup(_) => "no_group",
            Self::Stopping => "stopping",
        }
    }
}

/// News for people: what an operator would want to read in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A leader is known where none or another was. It may be this node.
    LeaderElected {
        /// Of which group.
        group: GroupId,
        /// In which term.
        term: Term,
        /// Who.
        leader: NodeId,
    },
    /// The leader is gone and no other is known yet.
    LeaderLost {
        /// Of which group.
        group: GroupId,
        /// The term now.
        term: Term,
        /// Who led last.
        leader: NodeId,
    },
    /// A member was added as a learner; committed.
    MemberAdded {
        /// To which group.
        group: GroupId,
        /// Its id.
        id: NodeId,
        /// Its name and addresses.
        member: Member,
    },
    /// A member votes from now on; committed.
    MemberPromoted {
        /// In which group.
        group: GroupId,
        /// Its id.
        id: NodeId,
        /// Its name and addresses.
        member: Member,
    },
    /// A member was removed; committed. If it is this node, [`Notice::Left`] follows.
    MemberRemoved {
        /// From which group.
        group: GroupId,
        /// Its id.
        id: NodeId,
        /// Its name and addresses.
        member: Member,
    },
    /// All members know this version now, or one of them went back to an older one; committed.
    VersionAgreed {
        /// In which group.
        group: GroupId,
        /// On which version.
        version: Version,
    },
    /// What only this version knows is in use from now on: no member can go back behind it; committed.
    VersionUsed {
        /// In which group.
        group: GroupId,
        /// Which version.
        version: Version,
    },
    /// This node needs what is gone from the leader's log, and fetches a snapshot instead.
    SnapshotBegun {
        /// Of which group.
        group: GroupId,
        /// From whom.
        from: NodeId,
        /// The last entry it covers.
        last: Option<LogId>,
    },
    /// The state of this node is that of the snapshot now.
    SnapshotInstalled {
        /// Of which group.
        group: GroupId,
        /// The last entry it covers.
        last: Option<LogId>,
    },
    /// The snapshot could not be had; the leader will offer another.
    SnapshotFailed {
        /// Of which group.
        group: GroupId,
    },
    /// The log's beginning was let go.
    Compacted {
        /// Of which group.
        group: GroupId,
        /// The last entry gone.
        through: Index,
    },
    /// This node was removed, as its own log says; it votes for nobody and campaigns no more.
    Left {
        /// From which group.
        group: GroupId,
        /// The id it had, which is never given again.
        id: NodeId,
    },
    /// A peer sends what no correct peer sends. At most one notice a second and peer.
    Dropped {
        /// Who.
        from: NodeId,
        /// What was wrong with the latest.
        reason: &'static str,
        /// How many messages were dropped since the last notice about this peer.
        count: u64,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeaderElected { group, term, leader } => {
                write!(f, "leader elected: member {} leads group {} in term {}", leader.0, group.0, term.0)
            }
            Self::LeaderLost { group, term, leader } => {
                write!(f, "leader lost: member {} no longer leads group {}, term {}", leader.0, group.0, term.0)
            }
            Self::MemberAdded { group, id, member } => {
                write!(f, "member {} ({}, {}) added to group {} as a learner", id.0, member.name, member.peer, group.0)
            }
            Self::MemberPromoted { group, id, member } => {
                write!(f, "member {} ({}) now votes in group {}", id.0, member.name, group.0)
            }
            Self::MemberRemoved { group, id, member } => {
                write!(f, "member {} ({}) removed from group {}", id.0, member.name, group.0)
            }
            Self::VersionAgreed { group, version } => {
                write!(f, "group {} is at cluster version {version}, which all of its members know", group.0)
            }
            Self::VersionUsed { group, version } => write!(
                f,
                "cluster version {version} is in use in group {}: no member can go back to an older program",
                group.0
            ),
            Self::SnapshotBegun { group, from, last } => {
                let last = last.map_or(0, |last| last.index.0);
                write!(f, "fetching a snapshot of group {} up to entry {last} from member {}", group.0, from.0)
            }
            Self::SnapshotInstalled { group, last } => {
                let last = last.map_or(0, |last| last.index.0);
                write!(f, "group {} stands on a snapshot up to entry {last} now", group.0)
            }
            Self::SnapshotFailed { group } => {
                write!(f, "a snapshot of group {} could not be had; the leader will offer another", group.0)
            }
            Self::Compacted { group, through } => {
                write!(f, "the log of group {} was compacted up to entry {}", group.0, through.0)
            }
            Self::Left { group, id } => write!(
                f,
                "this node, member {}, was removed from group {}: it votes no more and only serves what it has; stop it, and to \
                 bring the machine back join with an empty folder",
                id.0, group.0
            ),
            Self::Dropped { from, reason, count } => {
                write!(f, "dropped {count} messages of member {}: {reason}", from.0)
            }
        }
    }
}
