//! One node process.

use std::fmt;
use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::up::plan::Place;

/// A node process that was started here. Dropping it lets go of the pipe, upon which the node stops by itself.
pub(super) struct Process {
    child: Child,
    started: Instant,
}

/// How a process ended.
#[derive(Debug)]
pub(super) struct Ended(ExitStatus);

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.signal(), self.0.code()) {
            (Some(signal), _) => write!(f, "was killed by signal {signal}"),
            (None, Some(code)) => write!(f, "ended with code {code}"),
            (None, None) => write!(f, "ended"),
        }
    }
}

impl Process {
    /// Starts a node with its log appended to its file.
    pub(super) fn start(place: &Place, role: &[String]) -> Result<Self> {
        let log = File::options().create(true).append(true).open(&place.log);
        let log = log.with_context(|| format!("the log {} cannot be opened", place.log.display()))?;
        let own = std::env::current_exe().context("this program's own file cannot be found")?;
        let child = Command::new(own)
            .args(place.args())
            .args(role)
            .arg("--stop-with-stdin")
            // What the environment says of certificates is meant for others: these nodes talk within this machine.
            .env_remove("HEZONG_TLS_CERT")
            .env_remove("HEZONG_TLS_KEY")
            .env_remove("HEZONG_TLS_CA")
            .env_remove("HEZONG_TLS_CLIENT_AUTH")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            // Ctrl-C reaches `up` alone, which then stops its nodes in its own way.
            .process_group(0)
            .spawn()
            .with_context(|| format!("{} cannot be started", place.id))?;
        Ok(Self { child, started: Instant::now() })
    }

    /// The process id; `None` once it has ended.
    pub(super) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// How long ago it was started.
    pub(super) fn lived(&self) -> Duration {
        self.started.elapsed()
    }

    /// Whether, and how, it ended.
    pub(super) fn ended(&mut self) -> Result<Option<Ended>> {
        Ok(self.child.try_wait().context("a node process cannot be waited for")?.map(Ended))
    }

    /// Asks it to stop gracefully; a process that is stopped (SIGSTOP) must go on first to hear it.
    pub(super) fn ask_to_stop(&mut self) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(id) = id {
            // It may have ended a moment ago; then there is nobody left to ask.
            kill_process(id, Signal::TERM).ok();
            kill_process(id, Signal::CONT).ok();
        }
    }

    /// Waits for its end and kills it at the deadline; false when that was needed.
    pub(super) async fn wait_until(&mut self, deadline: Instant) -> bool {
        // The pipe stays open while we wait: breaking it is for the case that `up` itself dies.
        let stdin = self.child.stdin.take();
        let ended = tokio::time::timeout_at(deadline, self.child.wait()).await.is_ok();
        if !ended {
            // Killing fails only for a process that has ended.
            self.child.kill().await.ok();
        }
        drop(stdin);
        ended
    }
}
