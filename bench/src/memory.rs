//! What nodes hold resident: idle, and with many keys; and how soon one serves a consistent read once it was killed with
//! -9 under load and started again.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use hezong_client::{Client, Level, Options as ClientOptions};
use serde_json::json;

use crate::load::{Load, Target, key_of, name_of, run as put_all};
use crate::nodes::{Node, client_of, hezong, hezong_beside, leader};
use crate::{Outcome, say};

/// What to run.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// How many keys.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
    /// Bytes in a value.
    #[arg(long, default_value_t = 256)]
    value_size: usize,
    /// How often the leader is killed.
    #[arg(long, default_value_t = 3)]
    kills: u64,
    /// Where the temporary folder is made.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
}

pub(crate) async fn run(options: &Options) -> Outcome<()> {
    let folder = tempfile::tempdir_in(&options.dir)?;
    let mut nodes = hezong(&hezong_beside()?, folder.path()).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let idle = resident(&nodes)?;
    say(&format!("idle: {} MB resident", shown(&idle)))?;

    let client = client_of(&nodes, ClientOptions { once_only: false, ..ClientOptions::default() })?;
    let Options { keys, value_size, .. } = *options;
    let load = Load { clients: 64, puts: keys, keys, value_size, first: 0 };
    let took = put_all(&Target::Hezong(client), load).await?;
    let full = resident(&nodes)?;
    say(&format!("{keys} keys of {value_size} bytes ({:.0} puts/s): {} MB resident", took.rate(), shown(&full)))?;

    let mut back = Vec::new();
    for kill in 0..options.kills {
        let at = leader(&nodes).await?;
        let patient = ClientOptions {
            timeout: Duration::from_secs(60),
            attempt_timeout: Duration::from_millis(300),
            ..ClientOptions::default()
        };
        let client = client_of(&nodes, patient)?;
        let again = Load { clients: 16, puts: 20_000, first: kill * 20_000, ..load };
        let busy = tokio::spawn(async move { put_all(&Target::Hezong(client), again).await });
        tokio::time::sleep(Duration::from_millis(300)).await;
        nodes[at].kill()?;
        nodes[at].start()?;
        back.push(first_read(&nodes[at], key_of(kill * 7_919, keys)).await?);
        busy.await??;
    }
    let all: Vec<u128> = back.iter().map(Duration::as_millis).collect();
    say(&format!("leader killed with -9 under load and started at once: its first consistent read after {all:?} ms"))?;

    for node in &mut nodes {
        node.kill()?;
    }
    for node in &mut nodes {
        node.start()?;
    }
    let whole = first_read(&nodes[0], key_of(1, keys)).await?;
    say(&format!(
        "all three killed with -9 and started at once: first consistent read after {} ms",
        whole.as_millis()
    ))?;
    let after = resident(&nodes)?;
    let report = json!({
        "idleBytes": idle, "keys": keys, "fullBytes": full, "afterRestartBytes": after, "readAfterKillMillis": all,
        "readAfterAllKilledMillis": whole.as_millis(),
    });
    say(&report.to_string())?;
    Ok(())
}

/// Reads a key at the node that was just started until it is served there.
async fn first_read(node: &Node, key: u64) -> Outcome<Duration> {
    let began = Instant::now();
    let options = ClientOptions {
        timeout: Duration::from_secs(60),
        attempt_timeout: Duration::from_secs(60),
        backoff_max: Duration::from_millis(20),
        ..ClientOptions::default()
    };
    let client = Client::with_options([&node.client], options)?;
    match client.get(name_of(key).as_bytes(), Level::Consistent).await? {
        Some(_) => Ok(began.elapsed()),
        None => Err(format!("key {} is gone", name_of(key)).into()),
    }
}

fn resident(nodes: &[Node]) -> Outcome<Vec<u64>> {
    nodes.iter().map(Node::resident).collect()
}

fn shown(bytes: &[u64]) -> String {
    bytes.iter().map(|bytes| (bytes / 1_000_000).to_string()).collect::<Vec<_>>().join(", ")
}
