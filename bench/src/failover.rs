//! How long a cluster under load is without a leader: from the moment its leader is killed with -9, or stopped with
//! SIGSTOP, to the first acknowledgement of a write that was sent after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hezong_client::Client;
use serde_json::json;

use crate::load::{Meanwhile, quantile};
use crate::nodes::{Node, client_of, hezong, hezong_beside, leader, wait_ready};
use crate::{Outcome, say};

/// What to run.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// How often each.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    #[command(flatten)]
    clients: Meanwhile,
}

/// What clients report to whoever watches them. Times are nanoseconds since the start.
struct Seen {
    began: Instant,
    /// Writes sent after this count.
    struck: AtomicU64,
    /// When the first of those was acknowledged; the largest number while none was.
    first: AtomicU64,
    stop: AtomicBool,
}

const NEVER: u64 = u64::MAX;

impl Seen {
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(NEVER)
    }
}

pub(crate) async fn run(options: &Options) -> Outcome<()> {
    let folder = tempfile::tempdir_in(&options.clients.dir)?;
    let mut nodes = hezong(&hezong_beside()?, folder.path()).await?;
    let began = Instant::now();
    let seen = Arc::new(Seen {
        began,
        struck: AtomicU64::new(NEVER),
        first: AtomicU64::new(NEVER),
        stop: AtomicBool::new(false),
    });
    let client = Meanwhile::client();
    let mut clients = tokio::task::JoinSet::new();
    for n in 0..options.clients.count {
        clients.spawn(work(client_of(&nodes, client.clone())?, n, seen.clone()));
    }
    for how in ["KILL", "STOP"] {
        let mut gaps = Vec::new();
        for _ in 0..options.rounds {
            let gap = strike(&mut nodes, &seen, how).await?;
            gaps.push(gap);
        }
        gaps.sort_unstable();
        let p50 = quantile(&gaps, 0.5);
        let all: Vec<u128> = gaps.iter().map(Duration::as_millis).collect();
        say(&format!(
            "leader SIG{how} under load: first acknowledged write after p50 {} ms, all {all:?}",
            p50.as_millis()
        ))?;
        say(&json!({ "signal": how, "p50Millis": p50.as_millis(), "millis": all }).to_string())?;
    }
    seen.stop.store(true, Ordering::Relaxed);
    while let Some(one) = clients.join_next().await {
        one??;
    }
    Ok(())
}

async fn work(client: Client, n: usize, seen: Arc<Seen>) -> Outcome<()> {
    let key = format!("failover/{n}");
    let mut number = 0_u64;
    while !seen.stop.load(Ordering::Relaxed) {
        number += 1;
        let sent = seen.now();
        client.put(key.as_bytes(), format!("{number}")).await?;
        if sent > seen.struck.load(Ordering::Relaxed) {
            seen.first.fetch_min(seen.now(), Ordering::Relaxed);
        }
        tokio::time::sleep(Meanwhile::PAUSE).await;
    }
    Ok(())
}

/// Takes the leader away, waits for the first write, and brings it back.
async fn strike(nodes: &mut [Node], seen: &Seen, how: &str) -> Outcome<Duration> {
    let at = leader(nodes).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let struck = seen.now();
    if how == "KILL" {
        nodes[at].kill()?;
    } else {
        nodes[at].signal(how)?;
    }
    seen.first.store(NEVER, Ordering::Relaxed);
    seen.struck.store(struck, Ordering::Relaxed);
    let deadline = Instant::now() + Duration::from_secs(30);
    while seen.first.load(Ordering::Relaxed) == NEVER {
        if Instant::now() > deadline {
            return Err("no write was acknowledged for 30 s".into());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let gap = Duration::from_nanos(seen.first.load(Ordering::Relaxed) - struck);
    seen.struck.store(NEVER, Ordering::Relaxed);
    if how == "KILL" {
        nodes[at].start()?;
    } else {
        nodes[at].signal("CONT")?;
    }
    wait_ready(&nodes[at]).await?;
    Ok(gap)
}
