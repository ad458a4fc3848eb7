//! The node's thread: takes what waits, reads the clock, hands it in, carries out what the node wants done.

use hezong_base::{GroupId, RequestId};
use hezong_node::{ClientRequest, NodeInput, Reply};
use tokio::sync::oneshot;

use crate::handle::Stats;

/// What reaches the node's thread.
#[derive(Debug)]
pub(crate) enum Mail {
    /// From a thread of ours: a peer's frame, or the result of something the node asked for.
    Input(NodeInput),
    /// From a client.
    Request { id: RequestId, group: GroupId, request: ClientRequest, reply: oneshot::Sender<Reply> },
    /// The client has gone.
    Cancel(RequestId),
    /// Somebody wants to know how the node stands.
    Stats(oneshot::Sender<Stats>),
    /// Stop gracefully, and tell when done.
    Stop(oneshot::Sender<()>),
    /// Stop at once, as a crash would.
    Abandon,
}
