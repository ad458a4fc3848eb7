//! What can be wrong with bytes, and with what should become bytes.

use hezong_base::GroupId;

/// Why a value could not be read. Nothing was kept of it. From a peer: close the connection and count it. From the log:
/// the record passed its checksum, so this node is older than the one that wrote it, or there is a bug; stop the node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Not protobuf, or a field has another type.
    #[error("{what} is malformed: {source}")]
    Malformed {
        /// What was being read.
        what: &'static str,
        /// Where it broke.
        source: prost::DecodeError,
    },
    /// A field that must be there is not, or it holds a choice this version does not know.
    #[error("{field} is missing or of an unknown kind")]
    Missing {
        /// Which.
        field: &'static str,
    },
    /// A field holds what it never may.
    #[error("{field} {problem}")]
    Invalid {
        /// Which.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// Why a frame could not be read. The stream has lost its place: close the connection and count it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The first bytes are not ours: another program, or a stream that lost its place.
    #[error("not a frame: it does not begin with the two bytes \"HZ\"")]
    Magic,
    /// A layout this version does not read.
    #[error("frame of version {version}, this node reads {min} to {max}; upgrade the older of the two nodes")]
    Version {
        /// Found.
        version: u8,
        /// The oldest read here.
        min: u8,
        /// The newest read here.
        max: u8,
    },
    /// A kind this version does not know.
    #[error("frame of unknown kind {kind}")]
    Kind {
        /// Found.
        kind: u8,
    },
    /// It claims to be longer than allowed. Found out from the header alone.
    #[error("frame of {bytes} bytes is over the limit of {limit} (frame_bytes_max)")]
    TooLong {
        /// Claimed.
        bytes: u64,
        /// Allowed.
        limit: u64,
    },
    /// It was damaged on its way.
    #[error("frame is damaged: its checksum says {expected:#010x}, its bytes say {found:#010x}")]
    Checksum {
        /// What the header says.
        expected: u32,
        /// What the bytes say.
        found: u32,
    },
    /// The frame arrived whole, its contents make no sense.
    #[error(transparent)]
    Body(#[from] DecodeError),
}

/// Why something was not put into a frame. Everything else was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A single message fills more than a frame. Limits on values keep this from happening; a raised value limit must
    /// come with a raised frame limit, on all nodes.
    #[error("message of group {group} takes {bytes} bytes, over the limit of {limit} (frame_bytes_max)")]
    MessageTooLong {
        /// Whose.
        group: GroupId,
        /// Its size.
        bytes: u64,
        /// Allowed.
        limit: u64,
    },
}
