//! What a message says of requests that are traced. No protocol knows of it, and nothing depends on it.

use bytes::Bytes;
use hezong_base::{GroupId, LogId};

use crate::wire;

/// A place in a trace, under which others hang theirs: what W3C calls a trace id and a parent id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// The whole request, over all processes. Never all zero.
    pub trace: [u8; 16],
    /// The step of it that causes what follows. Never all zero.
    pub span: [u8; 8],
}

/// "This entry, which goes with these messages, is traced."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TracedEntry {
    /// Its group.
    pub group: GroupId,
    /// Its place in the group's log, and the term that made it.
    pub id: LogId,
    /// The sender's step that hands it over.
    pub context: TraceContext,
}

impl From<&TracedEntry> for wire::Traced {
    fn from(entry: &TracedEntry) -> Self {
        Self {
            group: Some(entry.group.0),
            index: Some(entry.id.index.0),
            term: Some(entry.id.term.0),
            trace: Some(Bytes::copy_from_slice(&entry.context.trace)),
            span: Some(Bytes::copy_from_slice(&entry.context.span)),
        }
    }
}

/// What cannot be understood is left out: a trace that lacks a step is no reason to close a connection.
pub(crate) fn traced(from: wire::Traced) -> Option<TracedEntry> {
    let context =
        TraceContext { trace: from.trace?.as_ref().try_into().ok()?, span: from.span?.as_ref().try_into().ok()? };
    let is_named = context.trace != [0; 16] && context.span != [0; 8];
    is_named.then_some(TracedEntry { group: GroupId(from.group?), id: LogId::new(from.term?, from.index?), context })
}
