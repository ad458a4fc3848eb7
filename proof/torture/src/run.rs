//! One run, from the first start to the last read.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hezong_base::Rng;
use hezong_client::{Client, ClientTls, Level, Options as ClientOptions, ReadAt, Scan};
use rustix::process::Signal;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cables::Cables;
use crate::certs::Authority;
use crate::clocks::library;
use crate::faults::{Cluster, go_together};
use crate::judge::{Verdict, judge};
use crate::links::Links;
use crate::nodes::{Means, Node, Reach};
use crate::plan::{Draw, Fault, Options};
use crate::report::{Event, Report, Seen, Stands, report};
use crate::work::{End, Record};
use crate::{Error, lists, picture};

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
        false => Cluster {
            nodes: Vec::new(),
            links: Links::new(None),
            reach: Reach::new(options.client.clone()),
            spare: None,
        },
    };
    let kinds = kinds(options, &cluster, &mut notes);
    let endpoints = if cluster.nodes.is_empty() { options.endpoints.clone() } else { cluster.endpoints() };
    let reach = cluster.reach.clone();
    let asked = reach.client(&endpoints, RECOVERY)?;
    // An index is given once in the life of a cluster: no run meets the keys of another.
    let first = asked.put(b"torture", options.seed.to_string()).await?.at.index.unwrap_or(0);
    let prefix = format!("torture/{first}");
    if cluster.nodes.is_empty() {
        notes.push(format!("what the clients wrote is still there, below {prefix}/"));
    }
    say(format!("{} nodes are up; {} clients work for {} s", endpoints.len(), options.clients, options.time.as_secs()));

    let began = Instant::now();
    let record = Arc::new(Record::new(began, prefix.clone()));
    let tasks = employ(options, &reach, &endpoints, &record, rng)?;
    let seen = Arc::new(Mutex::new(vec![Vec::new(); endpoints.len()]));
    let watching = tokio::spawn(look(reach.clone(), endpoints.clone(), record.clone(), seen.clone()));

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
    let clocks_apart_ms = match verdict {
        Ok(_) if options.faults.contains(&Fault::Drift) => cluster.straighten().await?,
        _ => 0,
    };
    if let Ok(Verdict::Explained) = verdict {
        verdict = in_the_end(&reach, &endpoints, &asked, &prefix, &record, options.clients).await;
        if let Ok(Verdict::Violation(_)) = verdict {
            // A write that its client had given up may have come between two of the reads. Once more, and it has not.
            tokio::time::sleep(CALL * 2).await;
            verdict = in_the_end(&reach, &endpoints, &asked, &prefix, &record, options.clients).await;
        }
    }
    let untidy = end(&mut cluster).await;
    let verdict = match verdict {
        // What the cluster does not do any more is its failure, not the run's.
        Err(error @ (Error::Node { .. } | Error::Members(_) | Error::Client(_))) => {
            Verdict::Violation(error.to_string())
        }
        other => other?,
    };
    say("checking what the clients were told".to_owned());
    let (history, judged) = record.told(judge);
    let transactions = lists::transactions(&history.operations);
    let mut verdict = verdict.and(judged).and(lists::judge(&transactions));
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
    report.lists = options.folder.join("lists.jsonl");
    let file = fs::File::create(&report.lists).map_err(Error::file(&report.lists))?;
    lists::write(&transactions, std::io::BufWriter::new(file)).map_err(Error::file(&report.lists))?;
    report.clocks_apart_ms = clocks_apart_ms;
    report.picture = options.folder.join("torture.html");
    let labels = cluster.nodes.iter().map(|node| node.label.clone()).collect();
    let labels = if cluster.nodes.is_empty() { endpoints } else { labels };
    let page = record.told(|told| picture::page(&report, &labels, &events, &seen, &told.ends));
    fs::write(&report.picture, page).map_err(Error::file(&report.picture))?;
    Ok(report)
}

/// Sets the clients to work.
fn employ(
    options: &Options,
    reach: &Reach,
    endpoints: &[String],
    record: &Arc<Record>,
    mut rng: Rng,
) -> Result<JoinSet<()>, Error> {
    let pause = Duration::from_secs(options.clients) / u32::try_from(options.rate.max(1)).unwrap_or(u32::MAX);
    let mut tasks = JoinSet::new();
    for number in 0..options.clients {
        let (record, client, rng) = (record.clone(), reach.client(endpoints, CALL)?, rng.fork());
        tasks.spawn(async move { record.work(number, client, rng, pause).await });
    }
    Ok(tasks)
}

/// The kinds of faults that can be had here.
fn kinds(options: &Options, cluster: &Cluster, notes: &mut Vec<String>) -> Vec<Fault> {
    let mut kinds = options.faults.clone();
    if cluster.nodes.is_empty() {
        kinds.clear();
        return kinds;
    }
    if kinds.contains(&Fault::FullDisk) && !cluster.nodes.iter().all(|node| node.disk.is_own()) {
        let why =
            "no disk in memory can be mounted here, as by root: full-disk limits how large files may grow instead";
        notes.push(why.to_owned());
    }
    if options.namespaces {
        let before = kinds.len();
        kinds.retain(|kind| !kind.takes_proxies());
        if kinds.len() < before {
            notes.push("mute, deaf, split and slow-links are left out: they take proxies, not cables".to_owned());
        }
    }
    if kinds.contains(&Fault::WallClock) && library().is_none() {
        kinds.retain(|kind| *kind != Fault::WallClock);
        notes.push("wall-clock is left out: libfaketime is not there; Debian's package faketime has it".to_owned());
    }
    kinds
}

/// Starts the nodes, each behind its proxy or with its cables.
async fn start(options: &Options) -> Result<Cluster, Error> {
    let (mut reach, mut authority) = (Reach::default(), None);
    if options.tls {
        let folder = options.folder.join("authority");
        let made = Authority::new(&options.program, folder.clone()).map_err(Error::file(&folder))?;
        let tls = ClientTls::load(&made.ca(), None).map_err(|error| Error::Options(error.to_string()))?;
        reach = Reach::new(ClientOptions { tls: Some(tls), ..ClientOptions::default() });
        authority = Some(made);
    }
    let cables = options.namespaces.then(|| Cables::new().map(Arc::new)).transpose().map_err(Error::Cables)?;
    let mut cluster = Cluster { nodes: Vec::new(), links: Links::new(cables), reach: reach.clone(), spare: None };
    let library = options.faults.contains(&Fault::WallClock).then(library).flatten();
    let means = Means { reach, links: cluster.links.clone(), authority, library };
    for place in 0..options.nodes {
        let mut node = Node::new(options, place, &means).await?;
        match cluster.nodes.first() {
            None => node.start(&["--bootstrap"])?,
            Some(first) => node.start(&["--join", &first.http])?,
        }
        cluster.nodes.push(node);
        cluster.settle(place).await?;
    }
    if options.faults.contains(&Fault::Add) {
        cluster.spare = Some(Node::new(options, options.nodes, &means).await?);
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
        if strike.fault.is_of_members() {
            cluster.all_vote().await?;
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
            } else {
                say(format!("{} {} could not be done just now", clock(record), strike.fault));
            }
        }
        wait(strike.lasts, stop).await;
        for (fault, from, wound) in wounds {
            let (what, places) = (wound.what.clone(), wound.places.clone());
            if fault == Fault::FullDisk {
                full.extend(&places);
            }
            let bit = cluster.heal(wound).await?;
            if !bit || fault.is_of_links() && cluster.links.counts() == passed {
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

const ABORT: i32 = Signal::ABORT.as_raw();

/// A node whose disk was full may end by itself, and is started again as systemd would; no other.
fn revive(cluster: &mut Cluster, full: &BTreeSet<usize>, say: &mut (dyn FnMut(String) + Send)) -> Result<(), Error> {
    for (place, node) in cluster.nodes.iter_mut().enumerate() {
        if let Some(status) = node.exit() {
            let reason = node.told_end(status);
            // It says which write failed, and ends itself: no other signal does, and no bug that came to light by it.
            let ends_itself = matches!(status.signal(), None | Some(ABORT)) && !reason.contains("panicked");
            if !full.contains(&place) || !ends_itself {
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
    reach: &Reach,
    endpoints: &[String],
    asked: &Client,
    prefix: &str,
    record: &Record,
    reader: u64,
) -> Result<Verdict, Error> {
    record.read_all(reader, asked).await?;
    same_everywhere(reach, endpoints, asked, prefix).await
}

/// Whether all nodes hold the same as of the same moment.
async fn same_everywhere(reach: &Reach, endpoints: &[String], asked: &Client, prefix: &str) -> Result<Verdict, Error> {
    let last = asked.put(format!("{prefix}/end").as_bytes(), "yes").await?.at.index;
    let mut all: Vec<(String, Vec<_>)> = Vec::new();
    for endpoint in endpoints {
        let node = reach.client_of(endpoint, RECOVERY)?;
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
async fn look(reach: Reach, endpoints: Vec<String>, record: Arc<Record>, seen: Arc<Mutex<Seen>>) {
    loop {
        let mut asked = JoinSet::new();
        for (place, http) in endpoints.iter().cloned().enumerate() {
            let reach = reach.clone();
            asked.spawn(async move { (place, reach.status(&http).await) });
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
