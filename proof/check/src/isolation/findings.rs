//! What can be wrong with a history of transactions, and which models forbid it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::graph::Order;

/// What transactions are promised to see of each other, from the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isolation {
    /// Writes of two transactions are not mixed up (PL-1).
    ReadUncommitted,
    /// Nor is anything read that was not committed (PL-2).
    ReadCommitted,
    /// Each reads as of one moment, and of two that write the same key at once only one commits.
    Snapshot,
    /// As if one had run after the other (PL-3).
    Serializable,
}

/// A model: an isolation, and an order that it must keep to besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model {
    /// What transactions see of each other.
    pub isolation: Isolation,
    /// Which order is kept besides.
    pub order: Order,
}

impl Model {
    /// Every model, with its name.
    pub const ALL: [(&'static str, Self); 8] = [
        ("strict-serializable", Self { isolation: Isolation::Serializable, order: Order::RealTime }),
        ("strong-session-serializable", Self { isolation: Isolation::Serializable, order: Order::Session }),
        ("serializable", Self { isolation: Isolation::Serializable, order: Order::Data }),
        ("strong-snapshot-isolation", Self { isolation: Isolation::Snapshot, order: Order::RealTime }),
        ("strong-session-snapshot-isolation", Self { isolation: Isolation::Snapshot, order: Order::Session }),
        ("snapshot-isolation", Self { isolation: Isolation::Snapshot, order: Order::Data }),
        ("read-committed", Self { isolation: Isolation::ReadCommitted, order: Order::Data }),
        ("read-uncommitted", Self { isolation: Isolation::ReadUncommitted, order: Order::Data }),
    ];
    /// The strongest.
    pub const STRICT_SERIALIZABLE: Self = Self::ALL[0].1;
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::ALL.iter().find(|(_, model)| model == self) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "{:?} in the order of {:?}", self.isolation, self.order),
        }
    }
}

/// No model has this name.
#[derive(Debug, thiserror::Error)]
#[error("no model of transactions is called {0}")]
pub struct NoSuchModel(String);

impl FromStr for Model {
    type Err = NoSuchModel;

    fn from_str(name: &str) -> Result<Self, NoSuchModel> {
        let found = Self::ALL.iter().find(|(other, _)| *other == name);
        found.map(|(_, model)| *model).ok_or_else(|| NoSuchModel(name.to_owned()))
    }
}

/// What is wrong, by the names of Adya (1999) and of Elle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AnomalyKind {
    /// A value was found that nobody wrote.
    GarbageRead,
    /// A list holds a value twice that was appended once.
    DuplicateElements,
    /// Versions of a register come after each other in a circle.
    CyclicVersions,
    /// A cycle of writes.
    G0,
    /// A read of what an aborted transaction wrote.
    G1a,
    /// A read of a version that its transaction itself replaced.
    G1b,
    /// A write upon what an aborted transaction wrote.
    DirtyUpdate,
    /// Reads of one list of which neither is the beginning of the other.
    IncompatibleOrder,
    /// A cycle of writes and reads of them.
    G1c,
    /// A transaction that does not see what it did or read itself.
    Internal,
    /// Two transactions read the same version and both wrote upon it.
    LostUpdate,
    /// A cycle with one read of a version that another replaced: read skew.
    GSingle,
    /// A cycle with several, no two of them next to each other: long fork, for one.
    GNonadjacent,
    /// A cycle with several, two of them next to each other: write skew.
    G2Item,
}

impl AnomalyKind {
    /// The name without what the cycle rests on.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::GarbageRead => "garbage-read",
            Self::DuplicateElements => "duplicate-elements",
            Self::CyclicVersions => "cyclic-versions",
            Self::G0 => "G0",
            Self::G1a => "G1a",
            Self::G1b => "G1b",
            Self::DirtyUpdate => "dirty-update",
            Self::IncompatibleOrder => "incompatible-order",
            Self::G1c => "G1c",
            Self::Internal => "internal",
            Self::LostUpdate => "lost-update",
            Self::GSingle => "G-single",
            Self::GNonadjacent => "G-nonadjacent",
            Self::G2Item => "G2-item",
        }
    }

    /// What it means, in a few words.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::GarbageRead => "a value was found that nobody wrote",
            Self::DuplicateElements => "a list holds twice what was appended once",
            Self::CyclicVersions => "versions of one key replace each other in a circle",
            Self::G0 => "writes of several transactions are mixed up",
            Self::G1a => "what an aborted transaction wrote was read",
            Self::G1b => "a state was read that its transaction itself replaced",
            Self::DirtyUpdate => "a transaction built on what an aborted one wrote",
            Self::IncompatibleOrder => "one list was read in two ways that exclude each other",
            Self::G1c => "each of several transactions saw what another wrote, in a circle",
            Self::Internal => "a transaction does not see what it did or read itself",
            Self::LostUpdate => "several transactions changed the same version, and one change is lost",
            Self::GSingle => "a transaction missed a write whose effects it saw",
            Self::GNonadjacent => "transactions saw writes in different orders",
            Self::G2Item => "several transactions each missed what another wrote",
        }
    }

    /// The least isolation that forbids it.
    fn forbidden_by(self) -> Isolation {
        match self {
            Self::GarbageRead | Self::DuplicateElements | Self::CyclicVersions | Self::G0 => Isolation::ReadUncommitted,
            Self::G1a | Self::G1b | Self::DirtyUpdate | Self::IncompatibleOrder | Self::G1c => Isolation::ReadCommitted,
            Self::Internal | Self::LostUpdate | Self::GSingle | Self::GNonadjacent => Isolation::Snapshot,
            Self::G2Item => Isolation::Serializable,
        }
    }
}

/// How one transaction of a cycle comes before the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dependency {
    /// It wrote a version that the next replaced.
    WriteWrite,
    /// It wrote what the next read.
    WriteRead,
    /// It read a version that the next replaced.
    ReadWrite,
    /// Its client asked for the next afterwards.
    Session,
    /// It ended before the next began.
    RealTime,
}

impl Dependency {
    /// As papers abbreviate it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::WriteWrite => "ww",
            Self::WriteRead => "wr",
            Self::ReadWrite => "rw",
            Self::Session => "session",
            Self::RealTime => "real time",
        }
    }
}

/// A transaction of an anomaly, and its part in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its place in the history, from 0.
    pub transaction: usize,
    /// How it comes before the transaction of the next step (after the last comes the first); `None` where the anomaly is
    /// no cycle.
    pub dependency: Option<Dependency>,
    /// A sentence without its full stop.
    pub why: String,
}

impl Step {
    pub(crate) fn alone(transaction: u32, why: String) -> Self {
        Self { transaction: transaction as usize, dependency: None, why }
    }
}

/// Something that a model forbids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anomaly {
    /// What.
    pub kind: AnomalyKind,
    /// What it rests on, if it is a cycle: more than data, and only models that keep to that order forbid it.
    pub order: Order,
    /// The transactions that show it.
    pub steps: Vec<Step>,
}

impl Anomaly {
    /// The name as Elle has it: `G-single-realtime`.
    #[must_use]
    pub fn name(&self) -> String {
        let suffix = match self.order {
            Order::Data => "",
            Order::Session => "-process",
            Order::RealTime => "-realtime",
        };
        format!("{}{suffix}", self.kind.name())
    }

    /// Whether the model forbids it.
    #[must_use]
    pub fn breaks(&self, model: Model) -> bool {
        self.order <= model.order && self.kind.forbidden_by() <= model.isolation
    }
}

/// Anomalies as they are found: counted all, kept a few of each kind.
#[derive(Default)]
pub(crate) struct Findings {
    pub(crate) kept: Vec<Anomaly>,
    counts: BTreeMap<AnomalyKind, usize>,
}

impl Findings {
    /// How many of a kind are kept.
    pub(crate) const KEPT_MAX: usize = 8;

    /// One that is no cycle.
    pub(crate) fn add(&mut self, kind: AnomalyKind, steps: impl FnOnce() -> Vec<Step>) {
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        if *count <= Self::KEPT_MAX {
            self.kept.push(Anomaly { kind, order: Order::Data, steps: steps() });
        }
    }
}
