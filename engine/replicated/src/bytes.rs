//! How a coordinator's writes are laid out in log entries: a byte that names the kind, then numbers of eight bytes each, the
//! most significant first.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use bytes::Bytes;
use hezong_base::NodeId;

/// A write of this kind, about this transaction, with these nodes.
pub(crate) fn write(kind: u8, number: u64, nodes: &BTreeSet<NodeId>) -> Bytes {
    let numbers = core::iter::once(number).chain(nodes.iter().map(|id| id.0));
    let mut bytes = Vec::with_capacity(9 + 8 * nodes.len());
    bytes.push(kind);
    bytes.extend(numbers.flat_map(u64::to_be_bytes));
    bytes.into()
}

/// Reads that back; `None` for anything else.
pub(crate) fn read(bytes: &[u8]) -> Option<(u8, u64, BTreeSet<NodeId>)> {
    let (kind, rest) = bytes.split_first()?;
    let (numbers, left) = rest.as_chunks::<8>();
    let mut numbers = numbers.iter().map(|number| u64::from_be_bytes(*number));
    let number = numbers.next()?;
    left.is_empty().then(|| (*kind, number, numbers.map(NodeId).collect()))
}
