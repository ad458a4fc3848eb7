//! What came of a run, for people and machines.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use crate::judge::Verdict;
use crate::links::Links;
use crate::plan::{Fault, Options};
use crate::work::{End, Record};

/// What came of a run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// What it was drawn from.
    pub seed: u64,
    /// How long the clients worked.
    pub seconds: f64,
    /// `explained`, `violation` or `unknown`.
    pub verdict: &'static str,
    /// What cannot be explained, in words.
    pub why: Option<String>,
    /// Operations that were done, certainly not done, and of unknown outcome.
    pub done: u64,
    /// Certainly not done.
    pub refused: u64,
    /// Perhaps done.
    pub unknown: u64,
    /// How often each kind of fault struck.
    pub faults: BTreeMap<&'static str, u64>,
    /// What passed between nodes and was held, or delayed.
    pub pieces_held: u64,
    /// The same, delayed.
    pub pieces_delayed: u64,
    /// By how many milliseconds the clock of leases that went farthest had left the system's.
    pub clocks_apart_ms: u64,
    /// How often the leader was another than before.
    pub leaders: u64,
    /// Seconds in which nothing was done.
    pub seconds_silent: u64,
    /// The longest time without anything done, in milliseconds.
    pub longest_gap_ms: u64,
    /// Why operations were not done, and how often; each with an example.
    pub reasons: BTreeMap<&'static str, (u64, String)>,
    /// Faults that were asked for and cannot be had here, and what was left behind.
    pub notes: Vec<String>,
    /// What clients were told, for `hezong check`.
    pub history: PathBuf,
    /// What was done to lists, as transactions, for the same.
    pub lists: PathBuf,
    /// The run as a page to look at.
    pub picture: PathBuf,
}

impl Report {
    /// The verdict, as the run's exit code says it.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let why = self.why.clone().unwrap_or_default();
        match self.verdict {
            "explained" => Verdict::Explained,
            "violation" => Verdict::Violation(why),
            _ => Verdict::Unknown(why),
        }
    }
}

/// A fault and when it was, in nanoseconds since the start.
pub(crate) struct Event {
    pub(crate) fault: Fault,
    pub(crate) from: u64,
    pub(crate) until: u64,
    pub(crate) what: String,
    pub(crate) places: Vec<usize>,
}

/// Since when a node stood so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stands {
    Silent,
    Follows,
    Leads,
}

/// What was seen of each node, whenever it changed.
pub(crate) type Seen = Vec<Vec<(u64, Stands)>>;

/// Sums up a run.
#[expect(clippy::too_many_arguments, reason = "everything that is known in the end")]
pub(crate) fn report(
    options: &Options,
    seconds: f64,
    verdict: Verdict,
    record: &Record,
    events: &[Event],
    links: &Links,
    notes: Vec<String>,
    seen: &Seen,
) -> Report {
    let mut faults = BTreeMap::new();
    for event in events {
        *faults.entry(event.fault.name()).or_default() += 1;
    }
    let (verdict, why) = match verdict {
        Verdict::Explained => ("explained", None),
        Verdict::Violation(why) => ("violation", Some(why)),
        Verdict::Unknown(why) => ("unknown", Some(why)),
    };
    let mut leads: Vec<(u64, usize)> = Vec::new();
    for (place, states) in seen.iter().enumerate() {
        leads.extend(states.iter().filter(|(_, stands)| *stands == Stands::Leads).map(|(at, _)| (*at, place)));
    }
    leads.sort_unstable();
    leads.dedup_by_key(|(_, place)| *place);
    let (pieces_held, pieces_delayed) = links.counts();
    record.told(|told| {
        let of = |which: End| told.ends.iter().filter(|(.., end)| *end == which).count() as u64;
        let mut at: Vec<u64> = told.ends.iter().filter(|(.., end)| *end == End::Done).map(|(at, ..)| *at).collect();
        at.sort_unstable();
        let longest_gap = at.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
        let mut busy: Vec<u64> = at.iter().map(|at| at / 1_000_000_000).collect();
        busy.dedup();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole seconds")]
        let whole = seconds as u64;
        Report {
            seed: options.seed,
            seconds,
            verdict,
            why,
            done: of(End::Done),
            refused: of(End::Refused),
            unknown: of(End::Unknown),
            faults,
            pieces_held,
            pieces_delayed,
            clocks_apart_ms: 0,
            leaders: leads.len() as u64,
            seconds_silent: whole.saturating_sub(busy.len() as u64),
            longest_gap_ms: longest_gap / 1_000_000,
            reasons: std::mem::take(&mut told.reasons),
            notes,
            history: PathBuf::new(),
            lists: PathBuf::new(),
            picture: PathBuf::new(),
        }
    })
}
