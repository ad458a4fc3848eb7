//! The steps of what takes several of them. Each must be seen to be struck: a crash that always comes before the first
//! chunk of a snapshot, or after the last, shows nothing about those between.

use std::collections::BTreeMap;
use std::fmt;

/// In the middle of what something was struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// A node that fetches a snapshot dies.
    FetcherDies(FetchStep),
    /// A node dies while another fetches a snapshot from it.
    HolderDies,
    /// A node lets a snapshot go that another fetches.
    ViewDropped,
    /// Another leads while a snapshot is fetched.
    LeaderChanges,
    /// A newer snapshot is offered while one is fetched.
    Replaced,
    /// A full disk has room again, by what clients deleted or because it was made larger.
    RoomByDeletes,
    /// See `RoomByDeletes`.
    RoomByGrowth,
    /// A leader dies in the middle of a change of members.
    LeaderDies(ChangeStep, Spread),
}

/// How far a snapshot has been fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FetchStep {
    /// No chunk is there.
    Begun,
    /// Some chunks are there.
    Between,
    /// All chunks are there, and the state machine has not switched over.
    Whole,
    /// It has, and the log does not say so yet.
    Switched,
    /// The log says so, since a moment.
    Recorded,
}

/// What a change of members does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeStep {
    /// Takes a learner in.
    Addition,
    /// Lets a learner vote.
    Promotion,
    /// Lets another member go.
    Removal,
    /// Lets the leader go.
    OwnRemoval,
    /// Makes the membership joint.
    JointEntered,
    /// Leaves a joint membership.
    JointLeft,
}

/// How far a change has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Spread {
    /// Only the leader has its entry.
    Alone,
    /// Others have it, and nobody has applied it.
    Several,
    /// Somebody has applied it, and some member has not.
    Applied,
}

impl Moment {
    /// All of them.
    #[must_use]
    pub fn all() -> Vec<Self> {
        use {ChangeStep as C, FetchStep as F};
        let fetches = [F::Begun, F::Between, F::Whole, F::Switched, F::Recorded].map(Self::FetcherDies);
        let others = [Self::HolderDies, Self::ViewDropped, Self::LeaderChanges, Self::Replaced];
        let room = [Self::RoomByDeletes, Self::RoomByGrowth];
        let changes = [C::Addition, C::Promotion, C::Removal, C::OwnRemoval, C::JointEntered, C::JointLeft];
        let spreads = [Spread::Alone, Spread::Several, Spread::Applied];
        let changes = changes.into_iter().flat_map(|step| spreads.map(|spread| Self::LeaderDies(step, spread)));
        fetches.into_iter().chain(others).chain(room).chain(changes).collect()
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fetch = |step: FetchStep| match step {
            FetchStep::Begun => "before the first chunk",
            FetchStep::Between => "between chunks",
            FetchStep::Whole => "before the switch",
            FetchStep::Switched => "before its record",
            FetchStep::Recorded => "just after",
        };
        let change = |step: ChangeStep| match step {
            ChangeStep::Addition => "addition",
            ChangeStep::Promotion => "promotion",
            ChangeStep::Removal => "removal",
            ChangeStep::OwnRemoval => "removal of the leader",
            ChangeStep::JointEntered => "joint entered",
            ChangeStep::JointLeft => "joint left",
        };
        let spread = |spread: Spread| match spread {
            Spread::Alone => "with the leader",
            Spread::Several => "with several",
            Spread::Applied => "applied by some",
        };
        match *self {
            Self::FetcherDies(step) => write!(f, "fetcher dies, {}", fetch(step)),
            Self::HolderDies => f.write_str("fetch: holder dies"),
            Self::ViewDropped => f.write_str("fetch: view dropped"),
            Self::LeaderChanges => f.write_str("fetch: leader changes"),
            Self::RoomByDeletes => f.write_str("full disk: room by deletes"),
            Self::RoomByGrowth => f.write_str("full disk: room by growth"),
            Self::Replaced => f.write_str("fetch: newer snapshot"),
            Self::LeaderDies(step, reached) => write!(f, "leader dies, {}, {}", change(step), spread(reached)),
        }
    }
}

/// How often each moment was struck.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moments(BTreeMap<Moment, u64>);

impl Moments {
    /// One more.
    pub(crate) fn add(&mut self, moment: Moment) {
        *self.0.entry(moment).or_default() += 1;
    }

    /// How often it was struck.
    #[must_use]
    pub fn of(&self, moment: Moment) -> u64 {
        self.0.get(&moment).copied().unwrap_or(0)
    }

    /// Those that were not struck at all.
    #[must_use]
    pub fn missed(&self) -> Vec<Moment> {
        Moment::all().into_iter().filter(|moment| self.of(*moment) == 0).collect()
    }

    /// Adds another run's.
    pub fn merge(&mut self, other: &Self) {
        for (moment, count) in &other.0 {
            *self.0.entry(*moment).or_default() += count;
        }
    }
}
