//! Clocks that are set wrong, and clocks that run wrong.
//!
//! The wall clock is asked of the C library, so that a library loaded before it (libfaketime) can set it for one process.
//! What leases are counted by is read without the C library: a node bends that clock itself, as a file says, and says in
//! another what came of it. Only what a node was seen to have taken up counts.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use tokio::process::Command;
use tokio::time::sleep;

use crate::Error;
use crate::faults::{Cluster, Heal, Wound};
use crate::nodes::Node;
use crate::plan::Strike;

/// How far nodes are told that their clocks may drift apart, in millionths.
pub(crate) const DRIFT_PPM: &str = "200000";
/// How far each clock is bent at most: of two, one faster and one slower by so much measure the same span within
/// [`DRIFT_PPM`], whichever of them that is a part of.
pub(crate) const BENT_PPM_MAX: i64 = 90_000;
/// How long a node may take to take up what a file says.
const HEARD: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(100);
/// By how many seconds a wall clock is set wrong.
const JUMPS: [i64; 4] = [30, 3_600, 86_400, 10 * 365 * 86_400];
/// A wall clock this near to where it was set, in seconds, is there: a node may take a while to log.
const NEAR: i64 = 3;

/// A node's clocks, and the files that bend them.
pub(crate) struct Clocks {
    rate: PathBuf,
    wall: PathBuf,
    library: Option<PathBuf>,
}

impl Clocks {
    /// Both right. The files are named after `base`; with `library` the wall clock can be set.
    pub(crate) fn new(base: &Path, library: Option<PathBuf>) -> io::Result<Self> {
        let clocks = Self { rate: base.with_extension("clock"), wall: base.with_extension("wall"), library };
        clocks.run_at(0)?;
        clocks.set(0)?;
        Ok(clocks)
    }

    /// Has a node that is yet to be started go by these clocks.
    pub(crate) fn give(&self, command: &mut Command) {
        command.arg("--trial-clock").arg(&self.rate);
        let Some(library) = &self.library else { return };
        command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", &self.wall);
        // The file is read again each second; what measures spans is left alone, and so are the times of files.
        let on = ["FAKETIME_CACHE_DURATION", "FAKETIME_DONT_FAKE_MONOTONIC", "NO_FAKE_STAT"];
        command.envs(on.map(|name| (name, "1")));
    }

    /// From now on the clock of leases runs so many millionths faster, or below zero slower.
    pub(crate) fn run_at(&self, ppm: i64) -> io::Result<()> {
        replace(&self.rate, &format!("{ppm}\n"))
    }

    /// Whether the node runs at this rate by now; by how many microseconds its clock had left the system's when it began to.
    pub(crate) async fn runs_at(&self, ppm: i64) -> Option<i64> {
        let deadline = Instant::now() + HEARD;
        loop {
            let told = fs::read_to_string(self.rate.with_extension("told")).unwrap_or_default();
            if let Some((rate, ahead)) = told.trim().split_once(' ')
                && rate.parse() == Ok(ppm)
            {
                return ahead.parse().ok();
            }
            if Instant::now() > deadline {
                return None;
            }
            sleep(LOOK).await;
        }
    }

    /// From now on the wall clock is so many seconds ahead, or below zero behind.
    pub(crate) fn set(&self, seconds: i64) -> io::Result<()> {
        replace(&self.wall, &format!("{seconds:+}\n"))
    }

    /// What libfaketime shares by a process's number and removes at its end would outlive one that is killed.
    pub(crate) fn forget(&self, process: u32) {
        if self.library.is_some() {
            for name in ["faketime_shm", "sem.faketime_sem"] {
                // It is not there unless the process ended without its own doing.
                fs::remove_file(format!("/dev/shm/{name}_{process}")).ok();
            }
        }
    }
}

impl Node {
    /// Whether the wall clock is so many seconds ahead by now, by the time at which the node logs that it was asked to read
    /// its settings again.
    async fn is_ahead(&self, seconds: i64) -> bool {
        let deadline = Instant::now() + HEARD;
        while Instant::now() < deadline && self.signal(Signal::HUP) {
            sleep(LOOK).await;
            let here = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            let log = self.log_text();
            let line = log.lines().rfind(|line| line.contains("SIGHUP:"));
            let there = line.and_then(seconds_of);
            if there.is_some_and(|there| (there - i64::try_from(here).unwrap_or(0) - seconds).abs() <= NEAR) {
                return true;
            }
        }
        false
    }
}

impl Cluster {
    /// The wall clock of one node is set wrong.
    pub(crate) async fn set_clock(&self, strike: &Strike, place: usize) -> Result<Option<Wound>, Error> {
        let node = &self.nodes[place];
        let label = &node.label;
        let span = JUMPS[usize::try_from(strike.choice / 64 % JUMPS.len() as u64).unwrap_or(0)];
        let seconds = if (strike.choice / 1_024).is_multiple_of(2) { span } else { -span };
        node.clocks.set(seconds).map_err(Error::file(label))?;
        if !node.is_ahead(seconds).await {
            self.heal_clock(place)?;
            return Ok(None);
        }
        let what = format!("{label}: wall clock {span} s {}", if seconds > 0 { "ahead" } else { "behind" });
        Ok(Some(Wound { what, places: vec![place], heal: Heal::SetRight(place) }))
    }

    pub(crate) fn heal_clock(&self, place: usize) -> Result<(), Error> {
        let Node { label, clocks, .. } = &self.nodes[place];
        clocks.set(0).map_err(Error::file(label))
    }

    /// One runs one way and all others the other: what a lease can bear least is a slow leader among quick followers.
    pub(crate) async fn bend_clocks(&self, strike: &Strike, place: usize) -> Result<Option<Wound>, Error> {
        let part = i64::try_from(strike.choice / 64 % 4 + 1).unwrap_or(1);
        let bent = BENT_PPM_MAX * part / 4;
        let slow = !(strike.choice / 1_024).is_multiple_of(4);
        let rate_of = |at: usize| if (at == place) == slow { -bent } else { bent };
        for (at, node) in self.nodes.iter().enumerate() {
            node.clocks.run_at(rate_of(at)).map_err(Error::file(&node.label))?;
        }
        let mut places = Vec::new();
        for (at, node) in self.nodes.iter().enumerate() {
            if node.clocks.runs_at(rate_of(at)).await.is_some() {
                places.push(at);
            }
        }
        let (one, others) = if slow { ("slower", "faster") } else { ("faster", "slower") };
        let label = &self.nodes[place].label;
        let what = format!("{label}'s clock {} per mille {one}, the others' {others}, until the next", bent / 1_000);
        Ok((!places.is_empty()).then_some(Wound { what, places, heal: Heal::Nothing }))
    }

    /// Lets all clocks run right again. By how much the one that went farthest had left the system's, in milliseconds.
    pub(crate) async fn straighten(&self) -> Result<u64, Error> {
        let mut most = 0;
        for node in &self.nodes {
            node.clocks.run_at(0).map_err(Error::file(&node.label))?;
            most = most.max(node.clocks.runs_at(0).await.unwrap_or(0).unsigned_abs() / 1_000);
        }
        Ok(most)
    }
}

/// Where libfaketime is: its variant for programs of several threads.
pub(crate) fn library() -> Option<PathBuf> {
    // Debian and Ubuntu have a folder for each architecture.
    let of_architectures = fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|folder| folder.path());
    let others = ["/usr/lib64", "/usr/lib", "/usr/local/lib"].map(PathBuf::from);
    let named = |folder: PathBuf| folder.join("faketime/libfaketimeMT.so.1");
    of_architectures.chain(others).map(named).find(|library| library.is_file())
}

/// Renamed, so that nobody reads half of it.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let mut new = file.as_os_str().to_owned();
    new.push(".new");
    fs::write(&new, text)?;
    fs::rename(new, file)
}

/// Seconds since 1970 of the time that a line of a log begins with, as `2026-11-27T20:54:27.668153Z`.
fn seconds_of(line: &str) -> Option<i64> {
    let number = |from: usize, until: usize| line.get(from..until)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    // Years begin in March, so that the day that is there now and then is the last of one.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_of_a_line_is_understood() {
        assert_eq!(seconds_of("1970-01-01T00:00:00.000000Z  INFO"), Some(0));
        assert_eq!(seconds_of("1994-11-06T08:49:37.999999Z"), Some(784_111_777));
        assert_eq!(seconds_of("2024-02-29T23:59:59.5Z"), Some(1_709_251_199));
        assert_eq!(seconds_of("2024-03-01T00:00:00Z"), Some(1_709_251_200));
        assert_eq!(seconds_of("yesterday"), None);
    }
}
