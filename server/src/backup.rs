//! `hezong backup`: the state of a running cluster in a file, and whether a file is whole.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufReader, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use hezong_client::{Client, ReadAt};
use hezong_kv::{BackupReader, Header};
use serde_json::json;

use crate::args::BackupArgs;
use crate::data::{client, explain};
use crate::say;

pub(crate) async fn run(args: BackupArgs) -> Result<()> {
    if args.check {
        let header = check(&args.file)?;
        show(&args, &header, "is whole")?;
        return Ok(());
    }
    let client = client(&args.cluster)?;
    let part = part_of(&args.file);
    let taken = take(&client, ReadAt { level: args.level.into(), min_index: None }, &part).await;
    let header = match taken {
        Ok(header) => header,
        Err(error) => {
            // Err: it may never have been made. What it holds is of no use.
            fs::remove_file(&part).ok();
            return Err(error);
        }
    };
    fs::rename(&part, &args.file).with_context(|| format!("{} cannot be put in place", args.file.display()))?;
    let folder = args.file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .with_context(|| format!("{} cannot be made durable", folder.display()))?;
    show(&args, &header, "holds")
}

/// Writes what comes to `part`, and reads it back from there: what was checked is what lies on the disk.
async fn take(client: &Client, at: ReadAt, part: &Path) -> Result<Header> {
    let failed = || format!("{} cannot be written", part.display());
    let mut backup = client.backup(at).await.map_err(explain)?;
    let mut file = File::create(part).with_context(failed)?;
    while let Some(bytes) = backup.next().await.map_err(explain)? {
        file.write_all(&bytes).with_context(failed)?;
    }
    file.sync_all().with_context(failed)?;
    check(part).context("what came is not whole; take another backup")
}

/// Reads a file to its end; an error names what is wrong with it, and where.
pub(crate) fn check(file: &Path) -> Result<Header> {
    open(file)?.check().with_context(|| file.display().to_string())
}

/// Opens a file and reads what it says of itself.
pub(crate) fn open(file: &Path) -> Result<BackupReader<BufReader<File>>> {
    let opened = File::open(file).with_context(|| format!("{} cannot be opened", file.display()))?;
    BackupReader::open(BufReader::with_capacity(1 << 20, opened)).with_context(|| file.display().to_string())
}

/// The file beside it that is written first.
fn part_of(file: &Path) -> PathBuf {
    let mut name: OsString = file.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

fn show(args: &BackupArgs, header: &Header, verb: &str) -> Result<()> {
    let bytes = fs::metadata(&args.file).with_context(|| args.file.display().to_string())?.len();
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
                "file": args.file.display().to_string(),
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
    } else {
        say::line(format!(
            "{} {verb}: {} keys at revision {} (index {}) of cluster {}, {bytes} bytes",
            args.file.display(),
            header.keys,
            header.revision,
            header.index,
            header.cluster
        ));
    }
    Ok(())
}
