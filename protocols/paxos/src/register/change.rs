//! What a register holds, and the functions that change it. A change travels no further than the proposer it is handed to:
//! what goes to the acceptors is the state that comes of it (§2.2).

use bytes::Bytes;

use crate::Ballot;

/// What a register holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    /// The ballot at which its last change was proposed: no two states of a register have the same, later ones have higher.
    /// `None` before the first change.
    pub version: Option<Ballot>,
    /// The version of the state that this change was made to; lower. `None` where that was the first.
    pub previous: Option<Ballot>,
    /// The value; `None` where there is none, be it not yet or no longer (a *tombstone*).
    pub value: Option<Bytes>,
}

/// A change function.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// Changes nothing.
    Read,
    /// Takes always.
    Set(Bytes),
    /// Takes where there is no value.
    InitialiseIfEmpty(Bytes),
    /// Takes where the value is of this version.
    CompareAndSet {
        /// The version, as an answer has told it.
        expected: Ballot,
        /// The new value.
        value: Bytes,
    },
    /// Puts these bytes behind those that are there. Takes unless the value would be too long.
    Append(Bytes),
    /// Takes where there is a value, and leaves a tombstone, which is collected later.
    Delete,
}

impl Change {
    /// What comes of it, proposed at this ballot; `None` where it does not take, and all stays as it is.
    pub(crate) fn apply(&self, state: &State, ballot: Ballot, value_bytes_max: usize) -> Option<State> {
        let value = match self {
            Self::Read => return None,
            Self::Set(value) => Some(value.clone()),
            Self::InitialiseIfEmpty(value) if state.value.is_none() => Some(value.clone()),
            Self::CompareAndSet { expected, value } if state.value.is_some() && state.version == Some(*expected) => {
                Some(value.clone())
            }
            Self::InitialiseIfEmpty(_) | Self::CompareAndSet { .. } => return None,
            Self::Append(tail) => {
                let head = state.value.clone().unwrap_or_default();
                if head.len().saturating_add(tail.len()) > value_bytes_max {
                    return None;
                }
                Some([head, tail.clone()].concat().into())
            }
            Self::Delete if state.value.is_some() => None,
            Self::Delete => return None,
        };
        Some(State { version: Some(ballot), previous: state.version, value })
    }

    /// How many bytes it brings.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Read | Self::Delete => 0,
            Self::Set(value)
            | Self::InitialiseIfEmpty(value)
            | Self::CompareAndSet { value, .. }
            | Self::Append(value) => value.len(),
        }
    }
}
