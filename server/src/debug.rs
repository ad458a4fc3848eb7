//! `hezong debug bundle`: what a maintainer needs to find the cause of something, of every node that can be reached, in one
//! file. What could not be had is in its manifest, with why.
//!
//! No secret gets into it: nodes show their settings, in which secrets are named by their files alone, and of this
//! machine only what `/proc` tells of the system is read.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hezong_client::{Client, Error, Member, Options};
use serde_json::json;
use tokio::task::JoinSet;

use crate::args::{BundleArgs, DebugArgs, DebugCommand};
use crate::data::{client_with, explain, options};
use crate::say;

/// How long a node may take to answer one question. A node in trouble is slow, and the one that is asked for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// What is asked of each node, and what the answer is called.
const QUESTIONS: [(&str, &str); 5] = [
    ("/status", "status.json"),
    ("/members", "members.json"),
    ("/metrics", "metrics-1.txt"),
    ("/debug/settings", "settings.toml"),
    ("/debug/log", "log.txt"),
];
/// Asked last, a while after the first time: counters tell by what they grew.
const AGAIN: (&str, &str) = ("/metrics", "metrics-2.txt");

/// What is read of the machine this program runs on, which need not be a node's.
const LOCAL: [(&str, &str); 6] = [
    ("/proc/version", "kernel.txt"),
    ("/proc/self/limits", "limits.txt"),
    ("/proc/meminfo", "memory.txt"),
    ("/proc/loadavg", "load.txt"),
    ("/proc/uptime", "uptime.txt"),
    ("/proc/pressure/io", "pressure-io.txt"),
];

/// A file of the bundle: its path in it, and what it holds or why it is missing.
struct Piece {
    path: String,
    found: Result<Bytes, String>,
}

pub(crate) async fn run(args: DebugArgs) -> Result<()> {
    match args.command {
        DebugCommand::Bundle(bundle) => self::bundle(bundle).await,
    }
}

async fn bundle(args: BundleArgs) -> Result<()> {
    let shown = args.file.display();
    if args.file.exists() {
        bail!("{shown} is there already and is not replaced; name another file");
    }
    let apart = Duration::try_from_secs_f64(args.apart).ok().filter(|apart| *apart <= Duration::from_secs(600));
    let apart = apart.with_context(|| format!("--apart {} is not from 0 to 600; write seconds, as 3", args.apart))?;
    let options = options(&args.cluster)?;
    let members = client_with(&args.cluster, options.clone()).await?.members().await.map_err(explain)?;
    let mut asked = JoinSet::new();
    for member in members.members.clone() {
        asked.spawn(of_node(member, options.clone(), apart));
    }
    let mut pieces: Vec<Piece> = asked.join_all().await.into_iter().flatten().collect();
    pieces.extend(LOCAL.iter().map(|(path, name)| of_this_machine(path, name)));
    pieces.sort_by(|one, other| one.path.cmp(&other.path));
    let manifest = manifest(&members.cluster_id, &pieces);
    let bytes = packed(&args.file, &manifest, &pieces).with_context(|| format!("{shown} cannot be written"))?;
    let missing: Vec<&Piece> = pieces.iter().filter(|piece| piece.found.is_err()).collect();
    let files = pieces.len() - missing.len() + 1;
    if args.cluster.json {
        let missing: Vec<_> =
            missing.iter().map(|piece| json!({ "path": piece.path, "error": piece.found.as_ref().err() })).collect();
        say::line(json!({ "file": shown.to_string(), "bytes": bytes, "files": files, "missing": missing }).to_string());
    } else {
        say::line(format!("{shown} holds {files} files of {} nodes, {bytes} bytes", members.members.len()));
        for Piece { path, found } in missing {
            say::line(format!("{path} is missing: {}", found.as_ref().err().map_or("", String::as_str)));
        }
    }
    Ok(())
}

/// What one node tells. One that cannot be reached is asked once.
async fn of_node(member: Member, options: Options, apart: Duration) -> Vec<Piece> {
    let folder = format!("nodes/{}-{}", member.node_id, plain(&member.id));
    let limit = ANSWER_TIMEOUT.min(options.timeout);
    let options = Options { timeout: limit, attempt_timeout: limit, given_only: true, ..options };
    let client = match Client::with_options([&member.http_addr], options) {
        Ok(client) => client,
        Err(error) => return vec![Piece { path: folder, found: Err(error.to_string()) }],
    };
    let mut pieces = Vec::new();
    for (route, name) in QUESTIONS {
        let found = client.ask(route).await;
        if pieces.is_empty() && matches!(found, Err(Error::Unavailable { .. } | Error::Tls { .. })) {
            return vec![Piece { path: folder, found: found.map_err(|error| error.to_string()) }];
        }
        pieces.push(Piece { path: format!("{folder}/{name}"), found: found.map_err(|error| error.to_string()) });
    }
    tokio::time::sleep(apart).await;
    let (route, name) = AGAIN;
    let found = client.ask(route).await.map_err(|error| error.to_string());
    pieces.push(Piece { path: format!("{folder}/{name}"), found });
    pieces
}

fn of_this_machine(path: &str, name: &str) -> Piece {
    let found = fs::read(path).map(Bytes::from).map_err(|error| format!("{path}: {error}"));
    Piece { path: format!("local/{name}"), found }
}

/// A label as a part of a path.
fn plain(label: &str) -> String {
    label.chars().map(|c| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' }).collect()
}

fn manifest(cluster: &str, pieces: &[Piece]) -> String {
    let taken = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut text = format!(
        "hezong debug bundle 1\ncluster {cluster}\ntaken at {taken} (seconds since 1970)\nby hezong {}, {}-{}\n\
         local/ is of the machine on which this was taken, which need not be a node's\n\n",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::ARCH,
        std::env::consts::OS
    );
    for Piece { path, found } in pieces {
        match found {
            Ok(bytes) => writeln!(text, "{path}\t{} bytes", bytes.len()),
            Err(error) => writeln!(text, "{path}\tmissing: {}", error.replace('\n', " ")),
        }
        .expect("writing to a String does not fail");
    }
    text
}

/// Writes the file, which only its owner may read, and says how large it is. A file half written is taken away.
fn packed(path: &Path, manifest: &str, pieces: &[Piece]) -> Result<u64> {
    let file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    let written = pack(file, manifest, pieces).and_then(|()| Ok(fs::metadata(path)?.len()));
    if written.is_err() {
        // Err: what is left cannot be opened as an archive, which says enough.
        fs::remove_file(path).ok();
    }
    written
}

fn pack(file: File, manifest: &str, pieces: &[Piece]) -> Result<()> {
    let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::default()));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut add = |path: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(now);
        archive.append_data(&mut header, format!("hezong-debug/{path}"), bytes)
    };
    add("manifest.txt", manifest.as_bytes())?;
    for Piece { path, found } in pieces {
        if let Ok(bytes) = found {
            add(path, bytes)?;
        }
    }
    archive.into_inner()?.finish()?.sync_all()?;
    Ok(())
}
