//! A node that joins a cluster which holds much: how soon it votes, and what clients feel of the snapshot meanwhile.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use hezong_client::Options as ClientOptions;
use serde_json::json;

use crate::load::{Load, Target, run as put_all};
use crate::nodes::{client_of, hezong, hezong_beside, one_more, wait_voters};
use crate::{Outcome, say};

/// What to run.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// How many keys the cluster holds.
    #[arg(long, default_value_t = 262_144, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
    /// Bytes in a value.
    #[arg(long, default_value_t = 4_096)]
    value_size: usize,
    /// Clients that write meanwhile; 0 for none.
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// Where the temporary folder is made.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
}

pub(crate) async fn run(options: &Options) -> Outcome<()> {
    let folder = tempfile::tempdir_in(&options.dir)?;
    let program = hezong_beside()?;
    let nodes = hezong(&program, folder.path()).await?;
    let Options { keys, value_size, clients, .. } = *options;
    let client = || client_of(&nodes, ClientOptions { once_only: false, ..ClientOptions::default() });
    let fill = Load { clients: 64, puts: keys, keys, value_size, first: 0 };
    let took = put_all(&Target::Hezong(client()?), fill).await?;
    let held = keys * value_size as u64 / 1_000_000;
    say(&format!("{keys} keys of {value_size} bytes, {held} MB, written at {:.0}/s", took.rate()))?;
    // The log lets go of what it does not keep once the state is durable.
    tokio::time::sleep(Duration::from_secs(35)).await;

    let small = |puts| Load { clients, puts, keys: 10_000, value_size: 256, first: 0 };
    let usual = if clients == 0 { None } else { Some(put_all(&Target::Hezong(client()?), small(50_000)).await?) };
    let began = Instant::now();
    let node = one_more(&program, folder.path(), None, &nodes)?;
    let meanwhile = match clients {
        0 => None,
        _ => Some(put_all(&Target::Hezong(client()?), small(50_000)).await?),
    };
    wait_voters(&nodes, 4).await?;
    let voter = began.elapsed();
    drop(node);
    let p99 = |took: &Option<crate::load::Took>| took.as_ref().map(|took| took.quantile(0.99).as_micros());
    let (usual, meanwhile) = (p99(&usual), p99(&meanwhile));
    let felt = usual.zip(meanwhile).map_or(String::new(), |(usual, meanwhile)| {
        format!("; put p99 {usual} µs before, {meanwhile} µs meanwhile ({:.2} ×)", meanwhile as f64 / usual as f64)
    });
    say(&format!("a new node votes after {:.1} s{felt}", voter.as_secs_f64()))?;
    say(&json!({ "megabytes": held, "voterMillis": voter.as_millis(), "p99Micros": usual, "p99MicrosMeanwhile": meanwhile }).to_string())?;
    Ok(())
}
