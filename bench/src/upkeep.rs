//! What clients feel while people work on the cluster: every node restarted in turn, killed or handing over first, and
//! one node replaced. A gap is the longest time in which no write of anybody was acknowledged.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hezong_client::{Client, Level};
use serde_json::json;

use crate::load::{Meanwhile, quantile};
use crate::nodes::{Node, client_of, hezong, hezong_beside, leader, one_more, wait_ready};
use crate::{Outcome, say};

/// What to run.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// How often each.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    #[command(flatten)]
    clients: Meanwhile,
}

/// What clients report to whoever watches them.
struct Seen {
    /// The last acknowledgement, and the longest time without one since somebody asked.
    acknowledged: std::sync::Mutex<(Instant, Duration)>,
    stop: AtomicBool,
}

impl Seen {
    fn acknowledge(&self) {
        let mut seen = self.acknowledged.lock().expect("nobody panics with it");
        let (last, longest) = *seen;
        *seen = (Instant::now(), longest.max(last.elapsed()));
    }

    /// The longest time without an acknowledgement since the last call, this moment included.
    fn longest(&self) -> Duration {
        let mut seen = self.acknowledged.lock().expect("nobody panics with it");
        let (last, longest) = *seen;
        *seen = (last, Duration::ZERO);
        longest.max(last.elapsed())
    }
}

pub(crate) async fn run(options: &Options) -> Outcome<()> {
    let folder = tempfile::tempdir_in(&options.clients.dir)?;
    let program = hezong_beside()?;
    let mut nodes = hezong(&program, folder.path()).await?;
    let seen = Arc::new(Seen { acknowledged: (Instant::now(), Duration::ZERO).into(), stop: AtomicBool::new(false) });
    let client = Meanwhile::client();
    let mut clients = tokio::task::JoinSet::new();
    for n in 0..options.clients.count {
        clients.spawn(work(client_of(&nodes, client.clone())?, n, seen.clone()));
    }
    let mut gaps = Vec::new();
    for _ in 0..options.rounds {
        settle(&seen).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        gaps.push(seen.longest());
    }
    report("nothing happens", &mut gaps)?;
    for how in ["KILL", "TERM"] {
        for _ in 0..options.rounds {
            gaps.push(roll(&mut nodes, &seen, how).await?);
        }
        report(&format!("every node restarted in turn by SIG{how}"), &mut gaps)?;
    }
    settle(&seen).await;
    let at = leader(&nodes).await?;
    nodes.push(one_more(&program, folder.path(), None, &nodes)?);
    let (gone, come) = (format!("node{:02}", at + 1), "node04");
    let endpoints: Vec<&str> = nodes.iter().map(|node| node.client.as_str()).collect();
    let mut command = Command::new(&program);
    command.args(["replace", &gone, "--with", come, "--endpoints", &endpoints.join(",")]);
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    gaps.push(seen.longest());
    report("the leader replaced by a new node", &mut gaps)?;

    seen.stop.store(true, Ordering::Relaxed);
    let mut writes = 0;
    let mut last = Vec::new();
    while let Some(one) = clients.join_next().await {
        let (n, number) = one??;
        writes += number;
        last.push((n, number));
    }
    let client = client_of(&nodes, client)?;
    for (n, number) in last {
        let found = client.get(key(n).as_bytes(), Level::Consistent).await?.map(|found| found.value);
        if found.as_deref() != Some(number.to_string().as_bytes()) {
            return Err(format!("{} holds {found:?}, but {number} was acknowledged last", key(n)).into());
        }
    }
    Ok(say(&format!("{writes} writes of {} clients, none failed, none lost", options.clients.count))?)
}

fn key(client: usize) -> String {
    format!("upkeep/{client}")
}

/// Writes numbers, one after the other, and ends with the last one. A write that fails ends all.
async fn work(client: Client, n: usize, seen: Arc<Seen>) -> Outcome<(usize, u64)> {
    let mut number = 0_u64;
    while !seen.stop.load(Ordering::Relaxed) {
        number += 1;
        client.put(key(n).as_bytes(), number.to_string()).await?;
        seen.acknowledge();
        tokio::time::sleep(Meanwhile::PAUSE).await;
    }
    Ok((n, number))
}

/// Lets things calm down, and forgets what came before.
async fn settle(seen: &Seen) {
    tokio::time::sleep(Duration::from_secs(1)).await;
    seen.longest();
}

/// Restarts all nodes one after the other, whoever leads at its turn; the longest gap of them all.
async fn roll(nodes: &mut [Node], seen: &Seen, how: &str) -> Outcome<Duration> {
    let mut longest = Duration::ZERO;
    for node in nodes {
        settle(seen).await;
        if how == "KILL" {
            node.kill()?;
        } else {
            node.stop().await?;
        }
        node.start()?;
        wait_ready(node).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        longest = longest.max(seen.longest());
    }
    Ok(longest)
}

/// Prints what was seen of one thing that was done, and forgets it.
fn report(what: &str, gaps: &mut Vec<Duration>) -> Outcome<()> {
    gaps.sort_unstable();
    let millis: Vec<u128> = gaps.iter().map(Duration::as_millis).collect();
    let p50 = quantile(gaps, 0.5).as_millis();
    gaps.clear();
    say(&format!("{what}: longest gap between acknowledged writes p50 {p50} ms, all {millis:?}"))?;
    Ok(say(&json!({ "what": what, "p50Millis": p50, "millis": millis }).to_string())?)
}
