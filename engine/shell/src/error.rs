//! What can come of a request other than what was asked for: one enum an operation.
//!
//! Every one of them keeps the two apart that a client must never mix up: `Refused` was certainly not done, `Unknown`
//! may have been.

use hezong_node::Refused;

/// What came of a proposal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Certainly not done, now or later: trying again is safe.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Perhaps done, now or later: propose it again only if the state machine tells a second time from a first.
    #[error("the outcome is unknown: the command may or may not take effect")]
    Unknown,
}

/// What came of a read, a barrier or a check of the leader. Either way the state may be asked again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// This node cannot serve it.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The node lost its leader, or stopped, before it could tell.
    #[error("the node could not find out in time whether its state is fresh enough; try again")]
    Unknown,
}

/// What came of a change of membership.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Certainly not done, now or later: trying again is safe.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Perhaps done, now or later: look at the members before trying again.
    #[error("the outcome is unknown: look at the members before trying again")]
    Unknown,
}

/// What came of a wish that another lead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// It does not lead, and this node leads on as far as it leads at all.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Perhaps done: this node leads no more and has not heard yet who does.
    #[error("the outcome is unknown: look at who leads before trying again")]
    Unknown,
}

/// What came of giving a group its first members.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BootstrapError {
    /// Certainly not done.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Perhaps done: the node stopped meanwhile. Open it again and try again; a second time is refused.
    #[error("the node stopped before its first members were on disk")]
    Unknown,
}

/// Why a node cannot tell how it stands: it is stopping, or has no such group.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct StatusError(#[from] pub Refused);
