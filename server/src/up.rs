//! `hezong up`: a cluster of node processes on this machine, for trying things out and for killing them.
//!
//! It is a supervisor and nothing more: each node is a process of its own, started as a person would start it (the
//! commands are printed), and what `up` knows of them it learns as anybody could, from `GET /status` and from processes
//! that end. Its data folder holds one folder and one log file a node, and `up.json` with the ports, since the members of
//! a cluster remember each other's addresses.
//!
//! Nodes stop when `up` does: they hold the end of a pipe, and stop gracefully once it breaks, however `up` died.
//!
//! Map: `plan.rs` which nodes, where; `process.rs` one child; `watch.rs` what the nodes say, and the events in it.

mod plan;
mod process;
mod watch;

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior};

use crate::args::UpArgs;
use crate::say;
use crate::up::plan::{Place, Plan};
use crate::up::process::{Ended, Process};
use crate::up::watch::Watch;

/// How often nodes are asked how they stand.
const TICK: Duration = Duration::from_millis(250);
/// How long a node may take to answer after it was started, and a fresh cluster to become whole.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long nodes may take to stop before they are killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) async fn run(args: UpArgs) -> Result<()> {
    let restart = args.restart;
    let plan = Plan::make(args)?;
    let mut interrupt = signal(SignalKind::interrupt()).context("Ctrl-C cannot be caught")?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be caught")?;
    let mut cluster = Cluster { nodes: Vec::new(), plan, restart };
    let stopped = tokio::select! {
        ran = cluster.run() => ran,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    cluster.stop().await;
    stopped
}

/// The nodes and how they are run.
struct Cluster {
    plan: Plan,
    nodes: Vec<Node>,
    restart: bool,
}

/// One node as its supervisor sees it.
struct Node {
    place: Place,
    /// `None` once it has ended; it may be running all the same if somebody else started it again.
    process: Option<Process>,
    watch: Watch,
    /// When it is started again, with `--restart`.
    restart_at: Option<Instant>,
    /// Times it ended soon after its start; each doubles the wait.
    failures: u32,
}

impl Cluster {
    /// Starts everything, then watches until it is cancelled.
    async fn run(&mut self) -> Result<()> {
        self.start().await?;
        self.introduce();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut leader = watch::leader(self.watches());
        loop {
            tick.tick().await;
            for at in 0..self.nodes.len() {
                self.look_after(at)?;
            }
            watch::ask_all(self.nodes.iter_mut().map(|node| &mut node.watch)).await;
            for node in &mut self.nodes {
                if let Some(news) = node.watch.news(node.process.as_ref().and_then(Process::id)) {
                    say::event(news);
                }
            }
            let now = watch::leader(self.watches());
            if now.is_some() && now != leader {
                if let Some((term, id)) = &now {
                    say::event(format!("leader elected: {id} leads in term {term}"));
                }
                leader = now;
            }
        }
    }

    fn watches(&self) -> impl Iterator<Item = &Watch> {
        self.nodes.iter().map(|node| &node.watch)
    }

    /// Starts the nodes: those with data at once, new ones one after the other, since they are taken in one by one.
    async fn start(&mut self) -> Result<()> {
        let fresh = self.plan.is_fresh();
        if fresh {
            say::line(format!("new cluster of {} nodes in {}", self.plan.places.len(), self.plan.folder.display()));
        } else {
            say::line(format!("found the cluster in {}", self.plan.folder.display()));
        }
        for place in self.plan.places.clone() {
            place.check_ports()?;
            let new = !place.has_data();
            let process = Process::start(&place, &self.plan.role(&place))?;
            let watch = Watch::new(&place)?;
            self.nodes.push(Node { place, process: Some(process), watch, restart_at: None, failures: 0 });
            if new {
                self.wait_for(self.nodes.len() - 1, "answer", Watch::is_up).await?;
            }
        }
        for at in 0..self.nodes.len() {
            self.wait_for(at, "find a leader", Watch::knows_leader).await?;
        }
        if fresh {
            for at in 0..self.nodes.len() {
                self.wait_for(at, "become a voter", Watch::is_voter).await?;
            }
        }
        Ok(())
    }

    /// Waits until a node says what is wanted of it.
    async fn wait_for(&mut self, at: usize, what: &str, reached: impl Fn(&Watch) -> bool) -> Result<()> {
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            let node = &mut self.nodes[at];
            node.watch.ask().await;
            if reached(&node.watch) {
                return Ok(());
            }
            if let Some(ended) = node.process.as_mut().map(Process::ended).transpose()?.flatten() {
                bail!("{} {ended}: {}", node.place.id, node.place.log_tail());
            }
            if Instant::now() >= deadline {
                let log = node.place.log.display();
                bail!("{} did not {what} within {} s; its log is {log}", node.place.id, READY_TIMEOUT.as_secs());
            }
            tokio::time::sleep(TICK / 5).await;
        }
    }

    /// Says who is who, and what to try.
    fn introduce(&self) {
        say::line("");
        for node in &self.nodes {
            let Place { id, http, peer, folder, .. } = &node.place;
            let role = node.watch.role();
            say::line(format!("  {id}  http {http}  peer {peer}  {role:<8}  {}", folder.display()));
        }
        let at = |n: usize| self.nodes[n.min(self.nodes.len() - 1)].place.http.clone();
        let hezong = plan::own_command();
        let endpoints = self.nodes.iter().map(|node| node.place.http.clone()).collect::<Vec<_>>().join(",");
        say::line("\ntry:");
        say::line(format!("  curl -XPOST {}/key -d '{{\"foo\":\"bar\"}}' -L", at(1)));
        say::line(format!("  curl -XGET  '{}/key/foo?level=consistent' -L", at(2)));
        say::line(format!("  curl -XGET  '{}/key/foo?level=stale'", at(1)));
        say::line(format!("  curl -XDELETE {}/key/foo -L", at(0)));
        say::line(format!("  {hezong} status --endpoints {endpoints}"));
        if let Some(id) = self.nodes.last().and_then(|node| node.process.as_ref()?.id()) {
            let last = self.nodes.last().map(|node| node.place.id.as_str()).unwrap_or_default();
            say::line(format!("  kill -9 {id}    # {last}; nothing acknowledged is lost"));
        }
        say::line("\nCtrl-C stops all nodes. Events:");
    }

    /// Notices an end, and starts again what is to be started.
    fn look_after(&mut self, at: usize) -> Result<()> {
        let command = self.plan.command(&self.nodes[at].place);
        let node = &mut self.nodes[at];
        if let Some(ended) = node.process.as_mut().map(Process::ended).transpose()?.flatten() {
            let soon = node.process.take().is_some_and(|process| process.lived() < Duration::from_secs(10));
            node.failures = if soon { node.failures + 1 } else { 0 };
            node.watch.lost();
            self.tell_end(at, &ended, &command);
        }
        let node = &mut self.nodes[at];
        if node.restart_at.is_some_and(|due| Instant::now() >= due) {
            node.restart_at = None;
            if node.watch.is_up() {
                // Somebody was quicker; two processes cannot share the folder.
                return Ok(());
            }
            node.process = Some(Process::start(&node.place, &[])?);
        }
        Ok(())
    }

    fn tell_end(&mut self, at: usize, ended: &Ended, command: &str) {
        let restart = self.restart;
        let node = &mut self.nodes[at];
        let id = &node.place.id;
        if restart {
            let wait = Duration::from_secs(1) * 2_u32.pow(node.failures.min(5));
            node.restart_at = Some(Instant::now() + wait);
            say::event(format!("node lost: {id} {ended}; it is started again in {} s", wait.as_secs()));
        } else {
            say::event(format!("node lost: {id} {ended}; start it again with\n           {command}"));
        }
    }

    /// Stops every process gracefully, and those that do not stop by force.
    async fn stop(&mut self) {
        say::line("\nstopping");
        for node in &mut self.nodes {
            if let Some(process) = &mut node.process {
                process.ask_to_stop();
            }
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        for node in &mut self.nodes {
            if let Some(process) = &mut node.process
                && !process.wait_until(deadline).await
            {
                say::line(format!("{} did not stop within {} s and was killed", node.place.id, STOP_TIMEOUT.as_secs()));
            } else if node.process.is_none() && node.watch.is_up() {
                say::line(format!("{} was started by somebody else and runs on", node.place.id));
            }
        }
        say::line(format!("stopped; the data stays in {}, and the next `up` finds it", self.plan.folder.display()));
    }
}
