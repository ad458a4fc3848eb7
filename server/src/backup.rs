//! `hezong backup`: the state of a running cluster in a file or an object store, and whether a backup is whole.

mod place;
mod s3;
mod sink;

use anyhow::{Context as _, Result, anyhow, bail};
use hezong_client::{Client, ReadAt};
use hezong_kv::Header;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

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
    let client = client(&args.cluster).await?;
    let mut stop = Stop::new()?;
    let mut sink = tokio::select! {
        opened = Sink::open(&args.place, args.force) => opened?,
        () = stop.asked() => bail!(INTERRUPTED),
    };
    let at = ReadAt { level: args.level.into(), min_index: None };
    let taken = tokio::select! {
        taken = take(&client, at, &mut sink) => taken,
        () = stop.asked() => Err(anyhow!(INTERRUPTED)),
    };
    match taken {
        Ok((header, bytes)) => {
            show(&args, &header, bytes, "holds");
            Ok(())
        }
        Err(error) => {
            let left = tokio::select! {
                left = sink.discard() => left,
                () = stop.asked() => Some(format!("what came of {} was not taken away", args.place)),
            };
            left.iter().for_each(say::aside);
            Err(error)
        }
    }
}

const INTERRUPTED: &str = "interrupted";

/// The signals that end it: the first takes away what came, the second does without that.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn new() -> Result<Self> {
        let interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be caught")?;
        let terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be caught")?;
        Ok(Self { interrupt, terminate })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

async fn take(client: &Client, at: ReadAt, sink: &mut Sink) -> Result<(Header, u64)> {
    let mut backup = client.backup(at).await.map_err(explain)?;
    while let Some(bytes) = backup.next().await.map_err(explain)? {
        sink.write(bytes).await?;
    }
    sink.finish().await
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
