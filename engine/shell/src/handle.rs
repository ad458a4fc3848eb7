//! The embedding API: what a program does with a node it has opened.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hezong_base::{GroupId, Index, LogId, NodeId, RequestId, Term};
use hezong_node::{ClientRequest, GroupStatus, Leader, NodeStats, Notice, ReadLevel, Refused, Reply, Tuning};
use hezong_raft::{Change, Member, Membership, Role, Version};
use tokio::sync::{broadcast, oneshot};

use crate::error::{BootstrapError, ChangeError, ProposeError, ReadError, StatusError, TransferError};
use crate::event::Event;
use crate::follow::{Asked, Round};
use crate::identity::{FolderLock, Identity};
use crate::inbox::Full;
use crate::metrics::MetricsSnapshot;
use crate::run::{Mail, MayWait};
use crate::threads::Shared;
use crate::trace::{Tracer, current};

/// A node that is open. Clones are the same node.
///
/// Every method may be called from any thread. The async ones need no particular runtime, for they wait for nothing but
/// the node's threads; without a runtime, use [`block_on`]. A future that is dropped takes its request back: a read is
/// forgotten, a command may still be done.
///
/// [`Handle::shutdown`] closes the node gracefully. When the last clone is dropped without it, the node stops as if it
/// had crashed: nothing acknowledged is lost, but clients get no answer and state machines are not made durable.
#[derive(Clone)]
pub struct Handle(Arc<Owner>);

/// What all clones share.
pub(crate) struct Owner {
    pub(crate) identity: Identity,
    pub(crate) address: Option<SocketAddr>,
    pub(crate) shared: Arc<Shared>,
    /// The lock of its folder, which the node's thread holds; nothing in memory.
    pub(crate) folder: Weak<File>,
    pub(crate) requests: AtomicU64,
    /// The node's thread, which ends after all others; taken by whoever joins it.
    pub(crate) thread: Mutex<Option<JoinHandle<()>>>,
}

/// A command that is committed and was applied on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// Its entry.
    pub id: LogId,
    /// What the state machine said.
    pub reply: Bytes,
}

/// The state machine of this node may be read: it is as fresh as was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readable {
    /// What was applied when this was said; `None` before the first entry.
    pub applied: Option<Index>,
    /// How long ago the leader, or for a leader a majority, was last heard from; `None` if never.
    pub last_contact: Option<Duration>,
}

/// How the whole node stands, over all groups.
#[derive(Clone, Debug)]
pub struct Stats {
    /// What it has routed, batched, refused.
    pub node: NodeStats,
    /// What its threads have done, and how long their queues are.
    pub metrics: MetricsSnapshot,
    /// The peers that are connected.
    pub connected: Vec<NodeId>,
    /// The peer that said that this node was removed, and is no member any more; `None` as long as nobody did.
    pub removed_by: Option<NodeId>,
    /// How each group stands.
    pub groups: BTreeMap<GroupId, GroupStatus>,
}

/// The answer that no correct node gives: a bug of ours, in the client's own task.
macro_rules! expect_reply {
    ($reply:expr, $error:ty, { $($arm:tt)* }) => {
        match $reply.map_err(<$error>::from)? {
            $($arm)*
            Reply::Refused(refused) => Err(<$error>::from(refused)),
            Reply::Unknown => Err(<$error>::Unknown),
            other => unreachable!("the node answered another question: {other:?}"),
        }
    };
}

impl Handle {
    pub(crate) fn new(owner: Owner) -> Self {
        Self(Arc::new(owner))
    }

    /// Gives a group that has no members yet its first ones. Done once in a group's life: on the first node with that
    /// node alone, which then takes others in; or on each of several nodes, with all of them and the same on each.
    ///
    /// # Errors
    /// [`Refused::NotEmpty`] when the group has members already.
    pub async fn bootstrap(&self, group: GroupId, members: Membership) -> Result<(), BootstrapError> {
        let reply = self.ask(group, ClientRequest::Bootstrap(members), 0).await;
        expect_reply!(reply, BootstrapError, { Reply::Bootstrapped => Ok(()), })
    }

    /// Has the group agree on a command and apply it here. On the leader only.
    ///
    /// # Errors
    /// [`ProposeError`] keeps "certainly not done" and "unknown" apart.
    pub async fn propose(&self, group: GroupId, command: impl Into<Bytes>) -> Result<Done, ProposeError> {
        self.propose_command(group, command.into(), false, Version::default()).await
    }

    /// As [`Handle::propose`], for a command that makes room, as a delete does: it is let through while the disk is
    /// below its reserve.
    ///
    /// # Errors
    /// As [`Handle::propose`].
    pub async fn propose_freeing(&self, group: GroupId, command: impl Into<Bytes>) -> Result<Done, ProposeError> {
        self.propose_command(group, command.into(), true, Version::default()).await
    }

    /// As [`Handle::propose`], for a command that programs older than `version` do not know. The first one is preceded by an
    /// entry that says so, after which no member can go back to an older program.
    ///
    /// # Errors
    /// As [`Handle::propose`]; [`Refused::Version`] names the members that do not know it yet.
    pub async fn propose_since(
        &self,
        version: Version,
        group: GroupId,
        command: impl Into<Bytes>,
    ) -> Result<Done, ProposeError> {
        let status = self.status(group).await.map_err(|StatusError(refused)| refused)?.raft;
        if status.membership.used() < version {
            self.change(group, Change::Use(version)).await.map_err(|error| match error {
                ChangeError::Refused(refused) => ProposeError::Refused(refused),
                // The version may be in use now. The command was not proposed, so nothing else has happened.
                ChangeError::Unknown => ProposeError::Refused(Refused::ChangePending),
            })?;
        }
        self.propose_command(group, command.into(), false, version).await
    }

    async fn propose_command(
        &self,
        group: GroupId,
        command: Bytes,
        frees_space: bool,
        version: Version,
    ) -> Result<Done, ProposeError> {
        let bytes = command.len();
        let reply = self.ask(group, ClientRequest::Propose { command, frees_space, version }, bytes).await;
        expect_reply!(reply, ProposeError, { Reply::Done { id, reply } => Ok(Done { id, reply }), })
    }

    /// Waits until this node's state machine is as fresh as `level` says and has applied `min_index`. The caller then
    /// reads it by itself.
    ///
    /// # Errors
    /// [`ReadError`]; at [`ReadLevel::Default`] a node that does not lead refuses and names the leader.
    pub async fn read(
        &self,
        group: GroupId,
        level: ReadLevel,
        min_index: Option<Index>,
    ) -> Result<Readable, ReadError> {
        let traced = current().filter(|_| level == ReadLevel::Consistent);
        let round = traced.map(|context| Round::new(&self.0.shared.traces, context));
        let readable = self.readable(group, ClientRequest::Read { level, min_index }).await;
        if readable.is_ok() {
            round.into_iter().for_each(Round::succeeded);
        }
        readable
    }

    /// Waits until everything acknowledged anywhere before this call has been applied here.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn barrier(&self, group: GroupId) -> Result<Readable, ReadError> {
        self.readable(group, ClientRequest::Barrier).await
    }

    async fn readable(&self, group: GroupId, request: ClientRequest) -> Result<Readable, ReadError> {
        let reply = self.ask(group, request, 0).await;
        expect_reply!(reply, ReadError, {
            Reply::Readable { applied, last_contact } => Ok(Readable { applied, last_contact }),
        })
    }

    /// Has a majority confirm that this node leads, as of after this call. Returns its term.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn verify_leader(&self, group: GroupId) -> Result<Term, ReadError> {
        let reply = self.ask(group, ClientRequest::VerifyLeader, 0).await;
        expect_reply!(reply, ReadError, { Reply::Verified { term } => Ok(term), })
    }

    /// Takes a new member in, which receives the log and has no vote yet, and returns its id: the member is to be
    /// opened with it. On the leader only. With [`NodeConfig::auto_promote`](hezong_node::NodeConfig::auto_promote) it
    /// is given a vote as soon as it has caught up; without, by [`Handle::promote`].
    ///
    /// # Errors
    /// [`ChangeError`]; a name or address that a member uses already is refused.
    pub async fn add_learner(&self, group: GroupId, member: Member) -> Result<NodeId, ChangeError> {
        let members = self.change(group, Change::Add(member)).await?;
        Ok(members.last_id().expect("a group that has taken a member in has given it an id"))
    }

    /// As [`Handle::add_learner`], and waits until the member has a vote: so it must be opened meanwhile. `opened` is
    /// told its id for that.
    ///
    /// # Errors
    /// [`ChangeError`]; `Unknown` as well when this node stops or falls far behind in following the promotion.
    pub async fn add_voter(
        &self,
        group: GroupId,
        member: Member,
        opened: impl FnOnce(NodeId),
    ) -> Result<NodeId, ChangeError> {
        // Listened to before the member exists, or its promotion could be missed.
        let mut events = self.events();
        let id = self.add_learner(group, member).await?;
        opened(id);
        loop {
            match events.recv().await {
                Ok(Event::Group(Notice::MemberPromoted { group: of, id: who, .. })) if (of, who) == (group, id) => {
                    return Ok(id);
                }
                Ok(Event::Group(Notice::MemberRemoved { group: of, id: who, .. })) if (of, who) == (group, id) => {
                    return Err(ChangeError::Unknown);
                }
                Ok(_) => {}
                // What was missed may have been the promotion; the members tell.
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    let members = self.members(group).await.map_err(|StatusError(refused)| refused)?;
                    if members.is_voter(id) {
                        return Ok(id);
                    }
                }
                Err(broadcast::error::RecvError::Closed) => return Err(ChangeError::Unknown),
            }
        }
    }

    /// Gives a learner a vote, once it has caught up. On the leader only.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn promote(&self, group: GroupId, id: NodeId) -> Result<(), ChangeError> {
        self.change(group, Change::Promote(id)).await.map(|_| ())
    }

    /// Lets a member go; its id is never used again. On the leader only, which may let itself go.
    ///
    /// # Errors
    /// [`ChangeError`]; the last voter stays.
    pub async fn remove(&self, group: GroupId, id: NodeId) -> Result<(), ChangeError> {
        self.change(group, Change::Remove(id)).await.map(|_| ())
    }

    /// Gives these learners a vote and lets those members go, all at once, and returns the members then. A majority of the
    /// voters before and one of the voters after decide everything meanwhile. Waits for learners that have not caught up. On
    /// the leader only, which may let itself go.
    ///
    /// # Errors
    /// [`ChangeError`]; refused if too few of the voters after it can be reached.
    pub async fn change_several(
        &self,
        group: GroupId,
        promote: impl IntoIterator<Item = NodeId>,
        remove: impl IntoIterator<Item = NodeId>,
    ) -> Result<Membership, ChangeError> {
        let (promote, remove) = (promote.into_iter().collect(), remove.into_iter().collect());
        self.change(group, Change::Several { promote, remove }).await
    }

    async fn change(&self, group: GroupId, change: Change) -> Result<Membership, ChangeError> {
        let reply = self.ask(group, ClientRequest::Change(change), 0).await;
        expect_reply!(reply, ChangeError, { Reply::Changed { membership, .. } => Ok(membership), })
    }

    /// Has another voter lead, `to` or else the one that suits best, and returns it once it is known to lead. On the leader
    /// only. It takes no commands meanwhile, at most for an election timeout.
    ///
    /// # Errors
    /// [`TransferError`].
    pub async fn transfer(&self, group: GroupId, to: Option<NodeId>) -> Result<Leader, TransferError> {
        let reply = self.ask(group, ClientRequest::Transfer(to), 0).await;
        expect_reply!(reply, TransferError, { Reply::Transferred { leader, .. } => Ok(leader), })
    }

    /// How a group stands on this node: role, term, leader, log, members, progress of each.
    ///
    /// # Errors
    /// [`StatusError`].
    pub async fn status(&self, group: GroupId) -> Result<GroupStatus, StatusError> {
        match self.ask(group, ClientRequest::Status, 0).await? {
            Reply::Status(status) => Ok(*status),
            Reply::Refused(refused) => Err(StatusError(refused)),
            Reply::Unknown => Err(StatusError(Refused::Stopping)),
            other => unreachable!("the node answered another question: {other:?}"),
        }
    }

    /// Who leads a group, as far as this node knows.
    ///
    /// # Errors
    /// [`StatusError`].
    pub async fn leader(&self, group: GroupId) -> Result<Option<Leader>, StatusError> {
        let raft = self.status(group).await?.raft;
        let member = |id| raft.membership.members().get(&id).cloned();
        Ok(raft.leader.map(|id| Leader { id, member: member(id) }))
    }

    /// What this node is in a group.
    ///
    /// # Errors
    /// [`StatusError`].
    pub async fn state(&self, group: GroupId) -> Result<Role, StatusError> {
        Ok(self.status(group).await?.raft.role)
    }

    /// The members of a group as this node knows them, committed or not.
    ///
    /// # Errors
    /// [`StatusError`].
    pub async fn members(&self, group: GroupId) -> Result<Membership, StatusError> {
        Ok(self.status(group).await?.raft.membership)
    }

    /// How the whole node stands.
    ///
    /// # Errors
    /// [`StatusError`] when the node has stopped.
    pub async fn stats(&self) -> Result<Stats, StatusError> {
        let (tell, told) = oneshot::channel();
        self.0.shared.post(Mail::Stats(tell));
        told.await.map_err(|_| StatusError(Refused::Stopping))
    }

    /// What happens from now on. Whoever reads too slowly misses the oldest.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.0.shared.events.subscribe()
    }

    /// What was found wrong with the log since it was opened, as [`Event::LogDamaged`] tells: the node is to be shut down.
    #[must_use]
    pub fn log_damage(&self) -> Option<String> {
        self.0.shared.log_damage.get().cloned()
    }

    /// What was found wrong with the state since it was opened, as [`Event::StateDamaged`] tells.
    #[must_use]
    pub fn state_damage(&self) -> Option<String> {
        self.0.shared.state_damage.get().cloned()
    }

    /// For those who read the state beside the state machine, and find that it is not what was written: see
    /// [`Event::StateDamaged`].
    pub fn found_damaged(&self, damage: &dyn fmt::Display) {
        self.0.shared.state_damaged(damage);
    }

    /// From now on keeps another stretch of the log, and fetches snapshots at another pace.
    pub fn tune(&self, tuning: Tuning) {
        self.0.shared.post(Mail::Tune(tuning));
    }

    /// Where spans of traced requests go; `None` where nothing is traced.
    #[must_use]
    pub fn tracer(&self) -> Option<&Arc<Tracer>> {
        self.0.shared.traces.tracer()
    }

    /// From now on logs steps that take longer than this; zero turns that off.
    pub fn set_slow_step(&self, limit: Duration) {
        self.0.shared.slow.set(limit);
    }

    /// Who this node is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// Where it listens for peers, with the port the system chose if it was left to it; `None` in memory.
    #[must_use]
    pub fn peer_address(&self) -> Option<SocketAddr> {
        self.0.address
    }

    /// Stops gracefully, for all clones: takes no new request, hands over the groups it leads, sees those that wait through for at most
    /// [`Options::shutdown_timeout`](crate::Options::shutdown_timeout), makes the state machines durable, closes the log.
    /// Returns when nothing of the node is left and its folder may be opened again.
    pub async fn shutdown(&self) {
        let (tell, told) = oneshot::channel();
        self.0.shared.post(Mail::Stop(tell));
        // No answer means that somebody else's stop was quicker.
        drop(told.await);
        self.0.join();
    }

    /// Keeps the node's folder locked beyond the node's end, until what this returns is dropped or the process ends. For
    /// programs whose own readers of the state may outlive the node. `None` once the node has ended, and in memory.
    #[must_use]
    pub fn hold_folder(&self) -> Option<FolderLock> {
        FolderLock::upgrade(&self.0.folder)
    }

    /// Hands a request in and waits for its reply.
    async fn ask(&self, group: GroupId, request: ClientRequest, bytes: usize) -> Result<Reply, Refused> {
        let id = RequestId(self.0.requests.fetch_add(1, Ordering::Relaxed));
        let (reply, replied) = oneshot::channel();
        // What a request holds besides its command, so that the smallest are counted too.
        let bytes = bytes + 256;
        let is_command = matches!(request, ClientRequest::Propose { .. });
        let asked = |context| Box::new(Asked { context, at: SystemTime::now() });
        let trace = current().filter(|_| is_command).map(asked);
        match self.0.shared.inbox.offer(Mail::Request { id, group, request, reply, trace }, bytes) {
            Ok(()) => self.0.shared.deliver(MayWait::Nothing),
            Err((Full::Bytes, _)) => return Err(Refused::Overloaded { limit: "node.inbox_bytes_max" }),
            Err((Full::Closed, _)) => return Err(Refused::Stopping),
        }
        let mut cancel = Cancel { shared: &self.0.shared, id: Some(id) };
        let reply = replied.await;
        cancel.id = None;
        // The node is gone without a word: what it had accepted, others may yet commit.
        Ok(reply.unwrap_or(Reply::Unknown))
    }
}

/// Takes a request back when its future is dropped.
struct Cancel<'a> {
    shared: &'a Shared,
    /// `None` once it was answered.
    id: Option<RequestId>,
}

impl Drop for Cancel<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.shared.post(Mail::Cancel(id));
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("identity", &self.0.identity).field("address", &self.0.address).finish()
    }
}

impl Owner {
    /// Waits for the node's thread, once it was told to stop.
    fn join(&self) {
        // The lock is held while waiting, so that nobody returns from a stop that is still under way.
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take() {
            thread.join().expect("a thread of ours that panics aborts the process");
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.post(Mail::Abandon);
        self.join();
    }
}

/// Runs a future of [`Handle`] to its end on this thread, for programs without an async runtime. Not to be called from
/// within one: it blocks.
pub fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}
