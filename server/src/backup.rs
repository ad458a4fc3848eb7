//! `hezong backup`: the state of a running cluster in a file or an object store, and whether a backup is whole.

mod place;
mod s3;
mod sink;

use anyhow::{Context as _, Result, bail};
use hezong_client::{Client, ReadAt};
use hezong_kv::Header;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

pub(crate) use self::place::Place;
use self::sink::Sink;
use crate::args::BackupArgs;
use crate::data::{client, explain};
use crate::say;

pub(crate) async fn run(args: BackupArgs) -> Result<()> {
    if args.check {
        let place = args.place.clone();
        let (header, bytes) = tokio::task::spawn_blocking(move || place.check()).await??;
        show(&args, &header, bytes, "is whole");
        return Ok(());
    }
    let client = client(&args.cluster)?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be caught")?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be caught")?;
    let mut sink = Sink::open(&args.place, args.force).await?;
    let at = ReadAt { level: args.level.into(), min_index: None };
    let filled = tokio::select! {
        filled = fill(&client, at, &mut sink) => filled,
        _ = interrupt.recv() => interrupted(),
        _ = terminate.recv() => interrupted(),
    };
    if let Err(error) = filled {
        sink.discard().await;
        return Err(error);
    }
    let (header, bytes) = sink.finish().await?;
    show(&args, &header, bytes, "holds");
    Ok(())
}

async fn fill(client: &Client, at: ReadAt, sink: &mut Sink) -> Result<()> {
    let mut backup = client.backup(at).await.map_err(explain)?;
    while let Some(bytes) = backup.next().await.map_err(explain)? {
        sink.write(bytes).await?;
    }
    Ok(())
}

fn interrupted() -> Result<()> {
    bail!("interrupted; nothing is left of the backup")
}

fn show(args: &BackupArgs, header: &Header, bytes: u64, verb: &str) {
    if args.cluster.json {
        let members: Vec<_> = header
            .members
            .iter()
            .map(|member| {
                let (id, http, peer) = (&member.id, &member.http, &member.peer);
                json!({ "nodeId": member.node, "id": id, "httpAddr": http, "raftAddr": peer, "voter": member.voter })
            })
            .collect();
        say::line(
            json!({
                "file": args.place.to_string(),
                "bytes": bytes,
                "clusterId": header.cluster,
                "servedBy": header.node,
                "version": header.program,
                "takenAt": header.taken,
                "term": header.term,
                "index": header.index,
                "revision": header.revision,
                "keys": header.keys,
                "members": members,
            })
            .to_string(),
        );
        return;
    }
    say::line(format!(
        "{} {verb}: {} keys at revision {} (index {}) of cluster {}, {bytes} bytes",
        args.place, header.keys, header.revision, header.index, header.cluster
    ));
}
