//! One run, from the first start to the last read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hezong_base::Rng;
use hezong_client::{Client, Level, ReadAt, Scan};
use rustix::process::Signal;
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::disks::Disk;
use crate::faults::{Cluster, go_together};
use crate::judge::{Verdict, judge};
use crate::links::Links;
use crate::nodes::{Node, client, client_of, status};
use crate::plan::{Draw, Fault, Options};
use crate::work::{End, Record};
use crate::{Error, picture};

/// How long a call of a client may take.
const CALL: Duration = Duration::from_secs(5);
/// How soon after the last fault everything must be well again.
const RECOVERY: Duration = Duration::from_secs(60);
/// How often nodes are asked how they stand.
const LOOK: Duration = Duration::from_millis(250);
/// How often the report goes out while all is as before.
const TOLD: Duration = Duration::from_secs(10);
/// How long a graceful stop may take.
const STOP: Duration = Duration::from_secs(20);

/// What came of a run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// What it was drawn from.
    pub seed: u64,
    /// How long the clients worked.
    pub seconds: f64,
    /// `explained`, `violation` or `unknown`.
    pub verdict: &'static str,
    /// What cannot be explained, in words.
    pub why: Option<String>,
    /// Operations that were done, certainly not done, and of unknown outcome.
    pub done: u64,
    /// Certainly not done.
    pub refused: u64,
    /// Perhaps done.
    pub unknown: u64,
    /// How often each kind of fault struck.
    pub faults: BTreeMap<&'static str, u64>,
    /// What passed between nodes and was held, or delayed.
    pub pieces_held: u64,
    /// The same, delayed.
    pub pieces_delayed: u64,
    /// How often the leader was another than before.
    pub leaders: u64,
    /// Seconds in which nothing was done.
    pub seconds_silent: u64,
    /// The longest time without anything done, in milliseconds.
    pub longest_gap_ms: u64,
    /// Why operations were not done, and how often; each with an example.
    pub reasons: BTreeMap<&'static str, (u64, String)>,
    /// Faults that were asked for and cannot be had here, and what was left behind.
    pub notes: Vec<String>,
    /// What clients were told, for `hezong check`.
    pub history: PathBuf,
    /// The run as a page to look at.
    pub picture: PathBuf,
}

impl Report {
    /// The verdict, as the run's exit code says it.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let why = self.why.clone().unwrap_or_default();
        match self.verdict {
            "explained" => Verdict::Explained,
            "violation" => Verdict::Violation(why),
            _ => Verdict::Unknown(why),
        }
    }
}

/// A fault and when it was, in nanoseconds since the start.
pub(crate) struct Event {
    pub(crate) fault: Fault,
    pub(crate) from: u64,
    pub(crate) until: u64,
    pub(crate) what: String,
    pub(crate) places: Vec<usize>,
}

/// Since when a node stood so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stands {
    Silent,
    Follows,
    Leads,
}

/// What was seen of each node, whenever it changed.
pub(crate) type Seen = Vec<Vec<(u64, Stands)>>;

/// Tortures a cluster until the time is over or `stop` turns true, and judges what its clients saw. `say` is told what
/// happens while it happens.
///
/// # Errors
/// The run could not be made; nothing is left running.
pub async fn run(
    options: &Options,
    mut stop: watch::Receiver<bool>,
    say: &mut (dyn FnMut(String) + Send),
) -> Result<Report, Error> {
    fs::create_dir_all(&options.folder).map_err(Error::file(&options.folder))?;
    let mut rng = Rng::new(options.seed);
    let faults_rng = rng.fork();
    let mut notes = Vec::new();
    let mut cluster = match options.endpoints.is_empty() {
        true => start(options).await?,
        false => Cluster { nodes: Vec::new(), links: Links::new() },
    };
    let kinds = kinds(options, &cluster, &mut notes);
    let endpoints = if cluster.nodes.is_empty() { options.endpoints.clone() } else { cluster.endpoints() };
    let asked = client(&endpoints, RECOVERY)?;
    // An index is given once in the life of a cluster: no run meets the keys of another.
    let first = asked.put(b"torture", options.seed.to_string()).await?.at.index.unwrap_or(0);
    let prefix = format!("torture/{first}");
    if cluster.nodes.is_empty() {
        notes.push(format!("what the clients wrote is still there, below {prefix}/"));
    }
    say(format!("{} nodes are up; {} clients work for {} s", endpoints.len(), options.clients, options.time.as_secs()));

    let began = Instant::now();
    let record = Arc::new(Record::new(began, prefix.clone()));
    let tasks = employ(options, &endpoints, &record, rng)?;
    let seen = Arc::new(Mutex::new(vec![Vec::new(); endpoints.len()]));
    let watching = tokio::spawn(look(endpoints.clone(), record.clone(), seen.clone()));

    let mut events = Vec::new();
    let deadline = began + options.time;
    let struck =
        torture(&mut cluster, Draw::new(faults_rng, kinds), &record, deadline, &mut stop, &mut events, say).await;
    // Whatever it met, what is running is ended below: errors wait until then.
    let mut verdict = match struck {
        Ok(()) => recovered(&mut cluster, &asked, &prefix, &record, say).await,
        Err(error) => Err(error),
    };
    record.stop();
    let late = tokio::time::timeout(RECOVERY, tasks.join_all()).await.is_err();
    let seconds = began.elapsed().as_secs_f64();
    watching.abort();
    if let Ok(Verdict::Explained) = verdict {
        verdict = in_the_end(&endpoints, &asked, &prefix, &record, options.clients).await;
        if let Ok(Verdict::Violation(_)) = verdict {
            // A write that its client had given up may have come between two of the reads. Once more, and it has not.
            tokio::time::sleep(CALL * 2).await;
            verdict = in_the_end(&endpoints, &asked, &prefix, &record, options.clients).await;
        }
    }
    let untidy = end(&mut cluster).await;
    let verdict = match verdict {
        // What the cluster does not do any more is its failure, not the run's.
        Err(error @ (Error::Node { .. } | Error::Client(_))) => Verdict::Violation(error.to_string()),
        other => other?,
    };
    say("checking what the clients were told".to_owned());
    let (history, judged) = record.told(judge);
    let mut verdict = verdict.and(judged);
    if late {
        let why = format!("a client got no answer within {} s of its last call", RECOVERY.as_secs());
        verdict = verdict.and(Verdict::Violation(why));
    }
    if let Some(why) = untidy {
        verdict = verdict.and(Verdict::Violation(why));
    }
    if verdict != Verdict::Explained {
        for node in &mut cluster.nodes {
            if node.disk.keep() {
                notes.push(format!("{}'s disk is still mounted, for you to look at: umount it then", node.label));
            }
        }
    }
    let seen = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
    let mut report = report(options, seconds, verdict, &record, &events, &cluster.links, notes, &seen);
    report.history = options.folder.join("history.jsonl");
    let file = fs::File::create(&report.history).map_err(Error::file(&report.history))?;
    history.write(std::io::BufWriter::new(file)).map_err(Error::file(&report.history))?;
    report.picture = options.folder.join("torture.html");
    let labels = cluster.nodes.iter().map(|node| node.label.clone()).collect();
    let labels = if cluster.nodes.is_empty() { endpoints } else { labels };
    let page = record.told(|told| picture::page(&report, &labels, &events, &seen, &told.ends));
    fs::write(&report.picture, page).map_err(Error::file(&report.picture))?;
    Ok(report)
}

/// Sets the clients to work.
fn employ(options: &Options, endpoints: &[String], record: &Arc<Record>, mut rng: Rng) -> Result<JoinSet<()>, Error> {
    let pause = Duration::from_secs(options.clients) / u32::try_from(options.rate.max(1)).unwrap_or(u32::MAX);
    let mut tasks = JoinSet::new();
    for number in 0..options.clients {
        let (record, client, rng) = (record.clone(), client(endpoints, CALL)?, rng.fork());
        tasks.spawn(async move { record.work(number, client, rng, pause).await });
    }
    Ok(tasks)
}

/// The kinds of faults that can be had here.
fn kinds(options: &Options, cluster: &Cluster, notes: &mut Vec<String>) -> Vec<Fault> {
    let mut kinds = options.faults.clone();
    if cluster.nodes.is_empty() {
        kinds.clear();
    } else if kinds.contains(&Fault::FullDisk) && !cluster.nodes.iter().all(|node| node.disk.is_own()) {
        kinds.retain(|kind| *kind != Fault::FullDisk);
        notes.push("full-disk is left out: no disk in memory can be mounted here; run it as root".to_owned());
    }
    kinds
}

/// Starts the nodes, each behind its proxy.
async fn start(options: &Options) -> Result<Cluster, Error> {
    let mut cluster = Cluster { nodes: Vec::new(), links: Links::new() };
    for place in 0..options.nodes {
        let folder = options.folder.join(format!("disk{:02}", place + 1));
        let own = options.faults.contains(&Fault::FullDisk);
        let disk = Disk::new(folder.clone(), own, options.unsynced).map_err(Error::file(folder))?;
        let mut node = Node::new(&options.program, &options.folder, place, disk);
        cluster.links.serve(place, &node.peer, &node.bind).await.map_err(Error::Listen)?;
        match cluster.nodes.first() {
            None => node.start(&["--bootstrap"])?,
            Some(first) => node.start(&["--join", &first.http])?,
        }
        cluster.nodes.push(node);
        cluster.settle(place).await?;
    }
    Ok(cluster)
}

/// One fault after the other, now and then two, until the time is over. All are healed on return.
async fn torture(
    cluster: &mut Cluster,
    mut draw: Draw,
    record: &Record,
    deadline: Instant,
    stop: &mut watch::Receiver<bool>,
    events: &mut Vec<Event>,
    say: &mut (dyn FnMut(String) + Send),
) -> Result<(), Error> {
    let mut told = Instant::now();
    // Whose disk was full in the round before this one: that may end a node a little later.
    let mut full_before = BTreeSet::new();
    while Instant::now() < deadline && !*stop.borrow() {
        let Some(strike) = draw.next() else {
            wait(deadline.saturating_duration_since(Instant::now()).min(TOLD), stop).await;
            say(progress(record));
            continue;
        };
        if strike.fault == Fault::Replace {
            // A majority must hold everything without the one that is lost.
            for node in &mut cluster.nodes {
                node.wait_ready().await?;
            }
        }
        let mut strikes = vec![strike];
        if strike.choice % 4 == 0
            && let Some(second) = draw.next()
        {
            match go_together(strike.fault, second.fault) {
                true => strikes.push(second),
                false => draw.put_back(second),
            }
        }
        let (passed, mut full) = (cluster.links.counts(), BTreeSet::new());
        let mut wounds = Vec::new();
        for strike in &strikes {
            let from = record.now();
            if let Some(wound) = cluster.begin(strike).await? {
                say(format!("{} {}", clock(record), wound.what));
                wounds.push((strike.fault, from, wound));
            }
        }
        wait(strike.lasts, stop).await;
        for (fault, from, wound) in wounds {
            let (what, places) = (wound.what.clone(), wound.places.clone());
            if fault == Fault::FullDisk {
                full.extend(&places);
            }
            cluster.heal(wound).await?;
            if fault.is_of_links() && cluster.links.counts() == passed {
                say(format!("{} nothing came that way meanwhile", clock(record)));
            } else {
                events.push(Event { fault, from, until: record.now(), what, places });
            }
        }
        wait(strike.rest, stop).await;
        revive(cluster, &full.union(&full_before).copied().collect(), say)?;
        full_before = full;
        if told.elapsed() > TOLD {
            told = Instant::now();
            say(progress(record));
        }
    }
    Ok(())
}

/// A node whose disk was full may end by itself, and is started again as systemd would; no other.
fn revive(cluster: &mut Cluster, full: &BTreeSet<usize>, say: &mut (dyn FnMut(String) + Send)) -> Result<(), Error> {
    for (place, node) in cluster.nodes.iter_mut().enumerate() {
        if let Some(reason) = node.ended() {
            if !full.contains(&place) {
                return Err(node.failed(reason));
            }
            say(format!("{} {reason}; started again", node.label));
            node.start(&[])?;
        }
    }
    Ok(())
}

/// After the last fault: all nodes are there, and a write is done in time.
async fn recovered(
    cluster: &mut Cluster,
    asked: &Client,
    prefix: &str,
    record: &Record,
    say: &mut (dyn FnMut(String) + Send),
) -> Result<Verdict, Error> {
    say(format!("{}; no more faults", progress(record)));
    let healed = Instant::now();
    for node in &mut cluster.nodes {
        node.wait_ready().await?;
    }
    while let Err(error) = asked.put(format!("{prefix}/healed").as_bytes(), "yes").await {
        let seconds = healed.elapsed().as_secs();
        // Room is looked for now and then, so that a disk which has some again may count as full for a moment.
        if !matches!(error, hezong_client::Error::Refused { status: 507, .. }) || healed.elapsed() > RECOVERY {
            return Ok(Verdict::Violation(format!("{seconds} s after the last fault nothing can be written: {error}")));
        }
        tokio::time::sleep(LOOK).await;
    }
    // For the picture: clients at work on a cluster that is well.
    tokio::time::sleep(Duration::from_secs(2)).await;
    Ok(Verdict::Explained)
}

/// Every key is read once more, and all nodes hold the same.
async fn in_the_end(
    endpoints: &[String],
    asked: &Client,
    prefix: &str,
    record: &Record,
    reader: u64,
) -> Result<Verdict, Error> {
    record.read_all(reader, asked).await?;
    same_everywhere(endpoints, asked, prefix).await
}

/// Whether all nodes hold the same as of the same moment.
async fn same_everywhere(endpoints: &[String], asked: &Client, prefix: &str) -> Result<Verdict, Error> {
    let last = asked.put(format!("{prefix}/end").as_bytes(), "yes").await?.at.index;
    let mut all: Vec<(String, Vec<_>)> = Vec::new();
    for endpoint in endpoints {
        let node = client_of(endpoint, RECOVERY)?;
        let at = ReadAt { level: Level::Stale, min_index: last };
        let mut scan = Scan { prefix: format!("{prefix}/").into_bytes(), after: None, limit: Some(1_000), at };
        let mut held = Vec::new();
        loop {
            let page = node.scan(&scan).await?;
            held.extend(
                page.pairs.into_iter().map(|pair| (pair.key, pair.value, pair.created, pair.modified, pair.version)),
            );
            let Some(next) = page.next else { break };
            scan.after = Some(next);
        }
        all.push((endpoint.clone(), held));
    }
    let Some((first, one)) = all.first() else { return Ok(Verdict::Explained) };
    for (endpoint, other) in &all {
        if let Some((at, (mine, theirs))) = one.iter().zip(other).enumerate().find(|(_, (a, b))| a != b) {
            let why = format!("{first} and {endpoint} hold something else (item {at}): {mine:?}, {theirs:?}");
            return Ok(Verdict::Violation(why));
        }
        if one.len() != other.len() {
            let why = format!("{first} holds {} keys and {endpoint} {}", one.len(), other.len());
            return Ok(Verdict::Violation(why));
        }
    }
    Ok(Verdict::Explained)
}

/// Ends the nodes gracefully; what is wrong with how they end.
async fn end(cluster: &mut Cluster) -> Option<String> {
    let mut untidy = None;
    for node in &mut cluster.nodes {
        if let Some(reason) = node.ended() {
            untidy = Some(format!("{}: {reason}", node.label));
        }
        node.signal(Signal::CONT);
        node.signal(Signal::TERM);
    }
    for node in &mut cluster.nodes {
        let deadline = Instant::now() + STOP;
        let status = loop {
            let status = node.exit();
            if status.is_some() || !node.runs() || Instant::now() > deadline {
                break status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        if node.kill().await {
            untidy = Some(format!("{} did not stop within {} s of SIGTERM", node.label, STOP.as_secs()));
        } else if let Some(status) = status.filter(|status| !status.success()) {
            untidy = Some(format!("{}, told to stop, ended with {status}", node.label));
        }
    }
    untidy
}

/// Looks how the nodes stand, again and again.
async fn look(endpoints: Vec<String>, record: Arc<Record>, seen: Arc<Mutex<Seen>>) {
    loop {
        let mut asked = JoinSet::new();
        for (place, http) in endpoints.iter().cloned().enumerate() {
            asked.spawn(async move { (place, status(&http).await) });
        }
        for (place, status) in asked.join_all().await {
            let stands = match status {
                None => Stands::Silent,
                Some(status) if status.leads => Stands::Leads,
                Some(_) => Stands::Follows,
            };
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen[place].last().is_none_or(|(_, last)| *last != stands) {
                seen[place].push((record.now(), stands));
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn wait(span: Duration, stop: &mut watch::Receiver<bool>) {
    // Whoever could stop us being gone is no reason to.
    tokio::select! {
        () = tokio::time::sleep(span) => {}
        Ok(_) = stop.wait_for(|stop| *stop) => {}
    }
}

fn clock(record: &Record) -> String {
    let seconds = record.now() / 1_000_000_000;
    format!("{:02}:{:02}", seconds / 60, seconds % 60)
}

fn progress(record: &Record) -> String {
    let (mut done, mut refused, mut unknown) = (0, 0, 0);
    record.told(|told| {
        for (.., end) in &told.ends {
            match end {
                End::Done => done += 1,
                End::Refused => refused += 1,
                End::Unknown => unknown += 1,
            }
        }
    });
    format!("{} {done} operations done, {refused} refused, {unknown} of unknown outcome", clock(record))
}

#[expect(clippy::too_many_arguments, reason = "everything that is known in the end")]
fn report(
    options: &Options,
    seconds: f64,
    verdict: Verdict,
    record: &Record,
    events: &[Event],
    links: &Links,
    notes: Vec<String>,
    seen: &Seen,
) -> Report {
    let mut faults = BTreeMap::new();
    for event in events {
        *faults.entry(event.fault.name()).or_default() += 1;
    }
    let (verdict, why) = match verdict {
        Verdict::Explained => ("explained", None),
        Verdict::Violation(why) => ("violation", Some(why)),
        Verdict::Unknown(why) => ("unknown", Some(why)),
    };
    let mut leads: Vec<(u64, usize)> = Vec::new();
    for (place, states) in seen.iter().enumerate() {
        leads.extend(states.iter().filter(|(_, stands)| *stands == Stands::Leads).map(|(at, _)| (*at, place)));
    }
    leads.sort_unstable();
    leads.dedup_by_key(|(_, place)| *place);
    let (pieces_held, pieces_delayed) = links.counts();
    record.told(|told| {
        let of = |which: End| told.ends.iter().filter(|(.., end)| *end == which).count() as u64;
        let mut at: Vec<u64> = told.ends.iter().filter(|(.., end)| *end == End::Done).map(|(at, ..)| *at).collect();
        at.sort_unstable();
        let longest_gap = at.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
        let mut busy: Vec<u64> = at.iter().map(|at| at / 1_000_000_000).collect();
        busy.dedup();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole seconds")]
        let whole = seconds as u64;
        Report {
            seed: options.seed,
            seconds,
            verdict,
            why,
            done: of(End::Done),
            refused: of(End::Refused),
            unknown: of(End::Unknown),
            faults,
            pieces_held,
            pieces_delayed,
            leaders: leads.len() as u64,
            seconds_silent: whole.saturating_sub(busy.len() as u64),
            longest_gap_ms: longest_gap / 1_000_000,
            reasons: std::mem::take(&mut told.reasons),
            notes,
            history: PathBuf::new(),
            picture: PathBuf::new(),
        }
    })
}
