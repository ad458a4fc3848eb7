//! What to run, the kinds of faults, and the draw of what comes next.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use hezong_base::Rng;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program whose nodes are tortured.
    pub program: PathBuf,
    /// Nodes that run already: they are worked on and judged, and left alone. Empty: a cluster is started.
    pub endpoints: Vec<String>,
    /// Where the nodes keep their data and logs, and where the history goes.
    pub folder: PathBuf,
    /// How many nodes are started: 3 to 9.
    pub nodes: usize,
    /// How long faults go on.
    pub time: Duration,
    /// How many clients work at once.
    pub clients: u64,
    /// How many operations all clients together try in a second.
    pub rate: u64,
    /// What faults and clients are drawn from.
    pub seed: u64,
    /// The kinds of faults that may come.
    pub faults: Vec<Fault>,
    /// Whether the nodes that are started have network namespaces of their own, and cables in place of proxies: takes root.
    pub namespaces: bool,
    /// Whether the nodes that are started have certificates, and everything goes by TLS.
    pub tls: bool,
    /// Whom clients believe, and what they show, where nodes run already.
    pub client: hezong_client::Options,
    /// What becomes of a killed node's log as far as it was not synced.
    pub unsynced: Unsynced,
}

/// What becomes of writes to a log that were not synced when its node is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// The system keeps them, as when a process dies.
    Keep,
    /// They are lost, as when power fails.
    Lose,
    /// They are lost, and syncing changes nothing: a bug, to be found.
    #[cfg(feature = "weakened")]
    Forget,
}

impl FromStr for Unsynced {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "keep" => Ok(Self::Keep),
            "lose" => Ok(Self::Lose),
            #[cfg(feature = "weakened")]
            "forget" => Ok(Self::Forget),
            _ => Err("write keep or lose"),
        }
    }
}

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// A node is killed (SIGKILL) and started again after a while.
    Kill,
    /// All nodes are killed at the same time.
    KillAll,
    /// A node is stopped (SIGSTOP) and goes on after a while, as if nothing had been.
    Pause,
    /// A node is cut off from all others.
    Isolate,
    /// What a node sends to the others is lost; what they send reaches it.
    Mute,
    /// What others send to a node is lost; what it sends reaches them.
    Deaf,
    /// Two nodes are cut off from each other, and both reach the rest: no majority sees what they see.
    Split,
    /// A link is cut and mended several times a second.
    Flap,
    /// All links are slow.
    SlowLinks,
    /// The disk of one node takes long for each fdatasync.
    SlowDisk,
    /// The disk of one node is full.
    FullDisk,
    /// The wall clock of one node is set forward or back, and right again after a while.
    WallClock,
    /// The clocks that leases are counted by run faster and slower, as far as nodes are told that they may, until the next
    /// of the kind.
    Drift,
    /// Leadership is handed over on request.
    Transfer,
    /// A node is killed and loses its disk; a new one of the same label takes its place.
    Replace,
    /// One node more joins, votes, and leaves after a while.
    Add,
    /// A member leaves, and after a while comes back with nothing.
    Remove,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Kill,
        Self::KillAll,
        Self::Pause,
        Self::Isolate,
        Self::Mute,
        Self::Deaf,
        Self::Split,
        Self::Flap,
        Self::SlowLinks,
        Self::SlowDisk,
        Self::FullDisk,
        Self::WallClock,
        Self::Drift,
        Self::Transfer,
        Self::Replace,
        Self::Add,
        Self::Remove,
    ];

    /// Whether it changes what passes between nodes.
    pub(crate) fn is_of_links(self) -> bool {
        matches!(self, Self::Isolate | Self::Mute | Self::Deaf | Self::Split | Self::Flap | Self::SlowLinks)
    }

    /// Whether it can be done to links that proxies carry alone, and not to cables.
    #[must_use]
    pub fn takes_proxies(self) -> bool {
        matches!(self, Self::Mute | Self::Deaf | Self::Split | Self::SlowLinks)
    }

    /// Whether it changes who takes part.
    pub(crate) fn is_of_members(self) -> bool {
        matches!(self, Self::Replace | Self::Add | Self::Remove)
    }

    /// What it is called on the command line and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::KillAll => "kill-all",
            Self::Pause => "pause",
            Self::Isolate => "isolate",
            Self::Mute => "mute",
            Self::Deaf => "deaf",
            Self::Split => "split",
            Self::Flap => "flap",
            Self::SlowLinks => "slow-links",
            Self::SlowDisk => "slow-disk",
            Self::FullDisk => "full-disk",
            Self::WallClock => "wall-clock",
            Self::Drift => "drift",
            Self::Transfer => "transfer",
            Self::Replace => "replace",
            Self::Add => "add",
            Self::Remove => "remove",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that is no kind of fault.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no kind of fault; there are {all}", all = Fault::ALL.map(Fault::name).join(", "))]
pub struct UnknownFault(String);

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        Self::ALL.into_iter().find(|fault| fault.name() == text).ok_or_else(|| UnknownFault(text.to_owned()))
    }
}

/// One fault to come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strike {
    pub(crate) fault: Fault,
    /// Whether it meets the leader, where it meets one node. Leaders are what hurts, so mostly it does.
    pub(crate) leader: bool,
    /// Which node else, and what else is drawn.
    pub(crate) choice: u64,
    /// How long it lasts.
    pub(crate) lasts: Duration,
    /// How long all is well afterwards: long enough, mostly, for a leader to be elected.
    pub(crate) rest: Duration,
}

/// Draws what comes next: every kind once in each round, in a new order each time.
#[derive(Debug)]
pub(crate) struct Draw {
    rng: Rng,
    kinds: Vec<Fault>,
    left: Vec<Fault>,
}

impl Draw {
    pub(crate) fn new(rng: Rng, kinds: Vec<Fault>) -> Self {
        Self { rng, kinds, left: Vec::new() }
    }

    /// Lets one that could not come now come later in this round.
    pub(crate) fn put_back(&mut self, strike: Strike) {
        self.left.push(strike.fault);
    }

    /// `None` where no kind may come.
    pub(crate) fn next(&mut self) -> Option<Strike> {
        if self.left.is_empty() {
            self.left.clone_from(&self.kinds);
        }
        if self.left.is_empty() {
            return None;
        }
        let fault = self.left.swap_remove(usize::try_from(self.rng.below(self.left.len() as u64)).ok()?);
        let rng = &mut self.rng;
        Some(Strike {
            fault,
            leader: rng.chance(600),
            choice: rng.next_u64(),
            lasts: rng.between(Duration::from_millis(200), Duration::from_millis(4_000)),
            rest: rng.between(Duration::from_millis(100), Duration::from_millis(2_500)),
        })
    }
}
