//! The commands about who takes part and who leads.
//!
//! Members are named by their labels and changed by their numbers: a number is never given twice, so that a request which
//! has to be sent again means the same members as before.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use hezong_client::{Client, Error, Member, Members, Options};
use serde_json::{Value, json};

use crate::args::{ClusterArgs, PatienceArgs, PromoteArgs, RemoveArgs, ReplaceArgs, StatusArgs, TransferArgs};
use crate::data::{client, client_with, explain, options, status_of, table};
use crate::say::{self, ABSENT, Exit, UNAVAILABLE};

/// How often those who are waited for are asked after.
const TICK: Duration = Duration::from_millis(500);
/// How long one attempt may take: longer than a node lets a change wait for its learners.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(8);

pub(crate) async fn members(args: StatusArgs) -> Result<()> {
    let members = client(&args.cluster).await?.members().await.map_err(explain)?;
    show(&members, args.cluster.json);
    Ok(())
}

pub(crate) async fn remove(args: RemoveArgs) -> Result<()> {
    let client = client(&args.cluster).await?;
    let old = numbers(&client.members().await.map_err(explain)?, &args.ids)?;
    let members = client.change(&[], &old).await.map_err(explain)?;
    show(&members, args.cluster.json);
    Ok(())
}

pub(crate) async fn promote(args: PromoteArgs) -> Result<()> {
    change(&args.cluster, &args.patience, &args.ids, &[]).await
}

pub(crate) async fn replace(args: ReplaceArgs) -> Result<()> {
    if args.ids.len() != args.with.len() {
        bail!(
            "{} members are to go and {} to take their place; name one new member for each old one",
            args.ids.len(),
            args.with.len()
        );
    }
    change(&args.cluster, &args.patience, &args.with, &args.ids).await
}

pub(crate) async fn transfer(args: TransferArgs) -> Result<()> {
    let members = client(&args.cluster).await?.transfer(args.to.as_deref()).await.map_err(explain)?;
    show(&members, args.cluster.json);
    Ok(())
}

/// Lets `new` vote and `old` go in one step, and tells meanwhile how far the new ones have got.
async fn change(cluster: &ClusterArgs, patience: &PatienceArgs, new: &[String], old: &[String]) -> Result<()> {
    let wait = Duration::try_from_secs_f64(patience.wait)
        .with_context(|| format!("--wait {} is no span of time; write seconds, as 600", patience.wait))?;
    let deadline = Instant::now() + wait;
    let asking = options(cluster)?;
    let look = client_with(cluster, asking.clone()).await?;
    // Whoever goes is there already: a label that is wrong is told at once.
    let remove = numbers(&look.members().await.map_err(explain)?, old)?;
    let promote = joined(&look, new, deadline, cluster.json).await?;
    let patient = Options {
        timeout: deadline.saturating_duration_since(Instant::now()).max(Duration::from_secs(1)),
        attempt_timeout: ATTEMPT_TIMEOUT,
        ..asking.clone()
    };
    let changing = Client::with_options(look.endpoints(), patient)?;
    let step = changing.change(&promote, &remove);
    tokio::pin!(step);
    let mut told = BTreeMap::new();
    let members = loop {
        tokio::select! {
            done = &mut step => break done.map_err(explain)?,
            () = tokio::time::sleep(TICK) => {
                if !cluster.json {
                    tell_progress(&look, &asking, &promote, &mut told).await;
                }
            }
        }
    };
    show(&members, cluster.json);
    Ok(())
}

/// The numbers of new members, once all of them have joined.
async fn joined(client: &Client, labels: &[String], deadline: Instant, quiet: bool) -> Result<Vec<u64>> {
    let mut told = false;
    loop {
        let members = client.members().await.map_err(explain)?;
        let missing: Vec<&String> = labels.iter().filter(|label| find(&members, label).is_none()).collect();
        let Some(first) = missing.first() else { return numbers(&members, labels) };
        let to = client.endpoints().into_iter().next().unwrap_or_default();
        let start =
            format!("start it with: hezong node --id {first} --join {to} --http HOST:PORT --peer HOST:PORT DIR");
        if Instant::now() >= deadline {
            let message = format!("{first} has not joined in time; {start}");
            return Err(Exit { code: UNAVAILABLE, message }.into());
        }
        if !told && !quiet {
            say::event(format!("waiting for {} to join; {start}", list(&missing)));
            told = true;
        }
        tokio::time::sleep(TICK).await;
    }
}

/// Says how many entries the new members hold, whenever that has changed.
async fn tell_progress(client: &Client, asking: &Options, new: &[u64], told: &mut BTreeMap<u64, u64>) {
    let Ok((members, status)) = leader_status(client, asking).await else { return };
    let last = status["lastIndex"].as_u64().unwrap_or(0);
    for progress in status["progress"].as_array().into_iter().flatten() {
        let (Some(number), Some(holds)) = (progress["nodeId"].as_u64(), progress["storedIndex"].as_u64()) else {
            continue;
        };
        if new.contains(&number) && told.insert(number, holds) != Some(holds) {
            let label = members.members.iter().find(|member| member.node_id == number).map(|member| member.id.as_str());
            say::event(format!("{} holds {holds} of {last} entries", label.unwrap_or("a member")));
        }
    }
}

/// How the leader stands, by its own word.
async fn leader_status(client: &Client, asking: &Options) -> Result<(Members, Value), Error> {
    let members = client.members().await?;
    let leader = members.members.iter().find(|member| member.leader).map(|member| member.http_addr.clone());
    let status = match leader {
        Some(http) => status_of(&http, asking).await?,
        None => Value::Null,
    };
    Ok((members, status))
}

/// The numbers of the members with these labels.
fn numbers(members: &Members, labels: &[String]) -> Result<Vec<u64>> {
    let number = |label: &String| {
        let found = find(members, label).map(|member| member.node_id);
        found.ok_or_else(|| {
            let known: Vec<&String> = members.members.iter().map(|member| &member.id).collect();
            // Labels that have left are not kept, so that nobody can tell which of the two it is.
            let message = format!(
                "no member is called {label}: it was removed before, or never was one; the members are {}",
                list(&known)
            );
            Exit { code: ABSENT, message }.into()
        })
    };
    labels.iter().map(number).collect()
}

fn find<'a>(members: &'a Members, label: &str) -> Option<&'a Member> {
    members.members.iter().find(|member| member.id == label)
}

fn list(names: &[&String]) -> String {
    names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ")
}

fn show(members: &Members, as_json: bool) {
    if as_json {
        let json = json!({
            "clusterId": members.cluster_id,
            "leader": members.leader,
            "joint": members.joint,
            "members": members.members,
        });
        return say::line(json.to_string());
    }
    let mut rows = vec![["ID", "NUMBER", "HTTP", "PEER", "ROLE"].map(str::to_owned)];
    for member in &members.members {
        let role = if member.leader { "leader" } else { member.suffrage.as_str() };
        let silent = if member.reachable == Some(false) { ", silent" } else { "" };
        rows.push([
            member.id.clone(),
            member.node_id.to_string(),
            member.http_addr.clone(),
            member.raft_addr.clone(),
            format!("{role}{silent}"),
        ]);
    }
    table(&rows);
}
