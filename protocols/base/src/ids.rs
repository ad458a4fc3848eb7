//! Names for things: newtypes, so that a term is never taken for an index, and never zero for "none".

use core::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl $name {
            /// The one after this.
            ///
            /// # Panics
            /// After 2^64 of them, which no clock lives to see.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.checked_add(1).expect("2^64 ids are never used up"))
            }
        }
    };
}

id!(
    /// A member of the cluster. Given once, when the node joins, and never given again, not even after it is removed.
    NodeId,
    "n"
);
id!(
    /// A replicated group: one log, one membership, one state machine. A node takes part in many.
    GroupId,
    "g"
);
id!(
    /// A Raft term (§5.1). A node that has seen none yet is in `Term(0)`, in which nobody ever leads.
    #[derive(Default)]
    Term,
    "t"
);
id!(
    /// A place in a log. The first entry is at `Index(1)`; "before the first" is `None`.
    Index,
    ""
);
id!(
    /// A client's request, named by whoever runs the protocol; unique within one run of the process.
    RequestId,
    "r"
);
id!(
    /// A write to the log. Handed out in order, unique within one run of the protocol.
    WriteId,
    "w"
);
id!(
    /// A piece of local work whose answer must come back. It dies in a crash.
    AskId,
    "a"
);

impl Index {
    /// The first place in every log.
    pub const FIRST: Self = Self(1);

    /// The place before this one; `None` before the first.
    #[must_use]
    pub fn previous(self) -> Option<Self> {
        (self.0 > 1).then(|| Self(self.0 - 1))
    }

    /// The place that follows `last`, where `None` is an empty log.
    #[must_use]
    pub fn after(last: Option<Self>) -> Self {
        last.map_or(Self::FIRST, Self::next)
    }
}

/// An entry's identity: two logs that hold the same `LogId` agree on everything up to it (Log Matching, §5.3).
///
/// The derived order, term first, is the paper's "at least as up-to-date" (§5.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    /// The term in which a leader first appended the entry.
    pub term: Term,
    /// Where in the log it stands.
    pub index: Index,
}

impl LogId {
    /// Entry `index` of `term`.
    #[must_use]
    pub const fn new(term: u64, index: u64) -> Self {
        Self { term: Term(term), index: Index(index) }
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.index.0, self.term.0)
    }
}
