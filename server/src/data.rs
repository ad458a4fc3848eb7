//! The commands that read and write keys and look at the cluster. Each is one call of the client.

use std::io::{self, Read as _, Write as _};
use std::time::Duration;

use anyhow::{Context as _, Result};
use hezong_client::{Client, Error, Options, ReadAt, Scan, Written};
use hezong_shell::trace;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::args::{ClusterArgs, DelArgs, GetArgs, PutArgs, ScanArgs, StatusArgs, traceparent};
use crate::say::{self, ABSENT, Exit, UNAVAILABLE, UNFIT, UNKNOWN};

/// How long one node may take to tell how it stands before it is shown as silent.
const STATUS_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the nodes named may take to tell whose they are. Of those that do not, a command goes on without the word.
const CLUSTER_TIMEOUT: Duration = Duration::from_millis(300);

/// A client as the arguments want it.
pub(crate) async fn client(cluster: &ClusterArgs) -> Result<Client> {
    client_with(cluster, options(cluster)?).await
}

/// The same with other options, for nodes of one cluster.
pub(crate) async fn client_with(cluster: &ClusterArgs, options: Options) -> Result<Client> {
    of_one_cluster(&cluster.endpoints, &options).await?;
    Ok(Client::with_options(&cluster.endpoints, options)?)
}

/// Refuses nodes of different clusters: whichever answers first would be taken for all, and one cluster be read or
/// written in place of another.
async fn of_one_cluster(endpoints: &[String], options: &Options) -> Result<()> {
    if endpoints.len() < 2 {
        return Ok(());
    }
    let options = Options {
        timeout: CLUSTER_TIMEOUT,
        attempt_timeout: CLUSTER_TIMEOUT,
        // Longer than all of it: who refuses a connection is not dialled twice.
        backoff_max: CLUSTER_TIMEOUT * 1_000,
        given_only: true,
        traceparent: None,
        ..options.clone()
    };
    let mut asked = JoinSet::new();
    for (at, endpoint) in endpoints.iter().enumerate() {
        let client = Client::with_options([endpoint], options.clone())?;
        asked.spawn(async move { (at, client.members().await.map(|members| members.cluster_id)) });
    }
    let mut told: Vec<(usize, String)> =
        asked.join_all().await.into_iter().filter_map(|(at, id)| Some((at, id.ok()?))).collect();
    told.sort_unstable();
    let Some((first, of)) = told.first() else { return Ok(()) };
    let Some((second, other)) = told.iter().find(|(_, id)| id != of) else { return Ok(()) };
    let message = format!(
        "the endpoints are of different clusters: {} is of {of}, and {} of {other}; name nodes of one",
        endpoints[*first], endpoints[*second]
    );
    Err(Exit { code: UNFIT, message }.into())
}

/// The same, without its endpoints.
pub(crate) fn options(cluster: &ClusterArgs) -> Result<Options> {
    let timeout = Duration::try_from_secs_f64(cluster.timeout)
        .ok()
        .filter(|timeout| !timeout.is_zero())
        .with_context(|| format!("--timeout {} is no span of time; write seconds above 0, as 2.5", cluster.timeout))?;
    // As other tools hand it on; what they may put there instead is none of our business.
    let inherited = || std::env::var("TRACEPARENT").ok().and_then(|found| traceparent(&found).ok());
    let traceparent = cluster.traceparent.clone().or_else(inherited).map(|given| match given.as_str() {
        "new" => {
            let traceparent = trace::traceparent(&trace::fresh());
            // Nobody may be left to read it.
            writeln!(io::stderr(), "trace {}", &traceparent[3..35]).ok();
            traceparent
        }
        _ => given,
    });
    Ok(Options { timeout, traceparent, ..cluster.security.options()? })
}

/// Gives the failure of a call its exit code.
pub(crate) fn explain(error: Error) -> anyhow::Error {
    let code = match &error {
        Error::Unavailable { .. } => UNAVAILABLE,
        Error::Unknown { .. } => UNKNOWN,
        _ => 1,
    };
    let remedy = match &error {
        Error::Unavailable { .. } => "; is the cluster up? (hezong status, hezong up, --endpoints)",
        _ => "",
    };
    Exit { code, message: format!("{error}{remedy}") }.into()
}

pub(crate) async fn get(args: GetArgs) -> Result<()> {
    let at = ReadAt { level: args.level.into(), min_index: args.min_index };
    let found = client(&args.cluster).await?.get_at(args.key.as_bytes(), at).await.map_err(explain)?;
    let Some(found) = found else {
        return Err(Exit { code: ABSENT, message: format!("key {:?} is absent", args.key) }.into());
    };
    if args.cluster.json {
        say::line(
            json!({
                "key": args.key,
                "value": octets(&found.value),
                "created": found.created,
                "modified": found.modified,
                "version": found.version,
                "index": found.at.index,
                "revision": found.at.revision,
                "lastContactMs": found.at.last_contact.map(|span| span.as_millis()),
            })
            .to_string(),
        );
    } else {
        say::bytes(&found.value);
        if !args.raw {
            say::bytes(b"\n");
        }
    }
    Ok(())
}

pub(crate) async fn put(args: PutArgs) -> Result<()> {
    let client = client(&args.cluster).await?;
    let value = if args.value == "-" {
        let mut value = Vec::new();
        io::stdin().lock().read_to_end(&mut value).context("the value cannot be read from stdin")?;
        value
    } else {
        args.value.into_bytes()
    };
    let key = args.key.as_bytes();
    let written = match (&args.once, args.if_modified) {
        (Some(once), _) => client.put_with_key(key, value, once).await.map(Some),
        (None, Some(revision)) => client.put_if(key, Some(revision).filter(|revision| *revision > 0), value).await,
        (None, None) => client.put(key, value).await.map(Some),
    };
    let Some(Written { at }) = written.map_err(explain)? else {
        let key = &args.key;
        let message = format!("key {key:?} was changed meanwhile, and nothing was set; see `hezong get {key} --json`");
        return Err(Exit { code: 1, message }.into());
    };
    if args.cluster.json {
        say::line(json!({ "key": args.key, "index": at.index, "revision": at.revision }).to_string());
    }
    Ok(())
}

#[cfg(feature = "next-version")]
pub(crate) async fn rename(args: crate::args::RenameArgs) -> Result<()> {
    let renamed =
        client(&args.cluster).await?.rename(args.from.as_bytes(), args.to.as_bytes()).await.map_err(explain)?;
    if args.cluster.json {
        let (index, revision) = (renamed.at.index, renamed.at.revision);
        say::line(json!({ "from": args.from, "to": args.to, "index": index, "revision": revision }).to_string());
    }
    Ok(())
}

pub(crate) async fn del(args: DelArgs) -> Result<()> {
    let client = client(&args.cluster).await?;
    for key in &args.keys {
        let done = client.delete(key.as_bytes()).await.map_err(explain)?;
        if args.cluster.json {
            let reply = json!({
                "key": key, "deleted": done.deleted, "index": done.at.index, "revision": done.at.revision,
            });
            say::line(reply.to_string());
        }
    }
    Ok(())
}

pub(crate) async fn scan(args: ScanArgs) -> Result<()> {
    let client = client(&args.cluster).await?;
    let mut left = args.limit.unwrap_or(u64::MAX);
    let mut scan = Scan {
        prefix: args.prefix.into_bytes(),
        after: args.after.map(String::into_bytes),
        limit: None,
        at: ReadAt { level: args.level.into(), min_index: None },
    };
    while left > 0 {
        scan.limit = Some(left.min(1_000));
        let page = client.scan(&scan).await.map_err(explain)?;
        left = left.saturating_sub(page.pairs.len() as u64);
        for pair in &page.pairs {
            if args.cluster.json {
                let mut object = json!({
                    "key": octets(&pair.key),
                    "created": pair.created,
                    "modified": pair.modified,
                    "version": pair.version,
                });
                if !args.keys_only {
                    object["value"] = octets(&pair.value);
                }
                say::line(object.to_string());
            } else if args.keys_only {
                say::line(shown(&pair.key));
            } else {
                say::line(format!("{}\t{}", shown(&pair.key), shown(&pair.value)));
            }
        }
        match page.next {
            Some(next) => scan.after = Some(next),
            None => break,
        }
    }
    Ok(())
}

pub(crate) async fn status(args: StatusArgs) -> Result<()> {
    let options = options(&args.cluster)?;
    let members = client_with(&args.cluster, options.clone()).await?.members().await.map_err(explain)?;
    let mut rows = vec![
        ["ID", "HTTP", "ROLE", "TERM", "LAST", "COMMITTED", "APPLIED", "REVISION", "CONTACT", "VERSION", "USED"]
            .map(str::to_owned),
    ];
    let (mut all, mut silent) = (Vec::new(), Vec::new());
    for member in &members.members {
        let stands = status_of(&member.http_addr, &options).await;
        let text = |name: &str| match stands.as_ref().map_or(&Value::Null, |stands| &stands[name]) {
            Value::Null => "-".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let contact = text("lastContactMs");
        rows.push([
            member.id.clone(),
            member.http_addr.clone(),
            if stands.is_ok() { text("role") } else { "silent".to_owned() },
            text("term"),
            text("lastIndex"),
            text("commitIndex"),
            text("appliedIndex"),
            text("revision"),
            if contact == "-" { contact } else { format!("{contact} ms") },
            text("clusterVersion"),
            text("usedVersion"),
        ]);
        all.push(match stands {
            Ok(stands) => stands,
            Err(error) => {
                let object = json!({ "id": member.id, "httpAddr": member.http_addr, "error": error.to_string() });
                silent.push((&member.id, reason_of(error)));
                object
            }
        });
    }
    if args.cluster.json {
        say::line(Value::Array(all).to_string());
    } else {
        table(&rows);
        for (id, reason) in silent {
            say::aside(format!("{id} is silent: {reason}"));
        }
    }
    Ok(())
}

/// Of all that was tried, what it met.
pub(crate) fn reason_of(error: Error) -> String {
    match error {
        Error::Unavailable { last, .. } => last,
        error => error.to_string(),
    }
}

/// How one node stands, by its own word.
pub(crate) async fn status_of(http: &str, options: &Options) -> Result<Value, Error> {
    let options =
        Options { timeout: STATUS_TIMEOUT, attempt_timeout: STATUS_TIMEOUT, given_only: true, ..options.clone() };
    Client::with_options([http], options)?.status().await
}

pub(crate) fn table<const N: usize>(rows: &[[String; N]]) {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        say::line(cells.join("  ").trim_end());
    }
}

fn octets(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::String(text.to_owned()),
        Err(_) => {
            use base64::Engine as _;
            json!({ "base64": base64::engine::general_purpose::STANDARD.encode(bytes) })
        }
    }
}

/// Bytes on a line of their own: control characters and what is no text are escaped.
fn shown(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => bytes.escape_ascii().to_string(),
    }
}
