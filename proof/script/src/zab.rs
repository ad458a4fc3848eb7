//! How ZAB is told: its messages on one line each, its own commands, and a disk that carries out its writes.
//!
//! | command | effect |
//! |---|---|
//! | `propose 1 foo`, `sync 1` | asks a node to broadcast `foo`; to be brought up to date |
//! | `applied 1 1.3` | the state machine of a node has everything up to this on disk |
//! | `disk 1 current=1 accepted=2 history=1.1:foo,1.2:bar base=1.0` | what a node that is down finds when it starts |
//! | `expect 1 role=leading accepted=2 current=2 last=2.1 committed=2.1 base=1.4 round=3` | fails unless it is so; `-` for none |
//! | `expect-leader 1` | fails unless this node leads, and all others that are up follow it and serve |
//! | `expect-order foo bar` | fails unless every node that is up holds exactly this, in this order, and all of it is committed |
//!
//! Roles: `looking`, `joining`, `following`, `preparing`, `leading`.
//!
//! Options of `cluster`: `voters=3` (the first so many nodes; else three), `observers=1` (so many behind them), `counter-max=9` (the last
//! counter of an epoch), `kept=0` (how many transactions are kept for learners that were away). A snapshot is always at hand:
//! it covers what the leader's user has applied.

use bytes::Bytes;
use hezong_base::{NodeId, Protocol, Time};
use hezong_zab::{
    Answer, Ask, Body, Config, Entry, Epoch, Event, Message, Packet, Request, Role, Saved, Standing, Write, Zab, Zxid,
};

use crate::{Command, Dialect, World};

/// ZAB's dialect.
#[derive(Debug)]
pub struct ZabDialect;

/// How many nodes vote where a story does not say.
const VOTERS: u64 = 3;

impl Dialect for ZabDialect {
    type Protocol = Zab;
    type Disk = Saved;

    fn config(id: NodeId, options: &Command) -> Result<Config, String> {
        options.only(&["voters", "observers", "counter-max", "kept"])?;
        let voters = options.number("voters")?.unwrap_or(VOTERS);
        let observers = options.number("observers")?.unwrap_or(0);
        let mut config = Config::new(id, (1..=voters).map(NodeId).collect());
        config.observers = (voters + 1..=voters + observers).map(NodeId).collect();
        if let Some(max) = options.number("counter-max")? {
            config.counter_max = u32::try_from(max).map_err(|_| format!("{max} is no counter"))?;
        }
        if let Some(kept) = options.number("kept")? {
            config.history_kept = usize::try_from(kept).map_err(|_| format!("{kept} is too many"))?;
        }
        #[cfg(feature = "weakened")]
        {
            config.weakness = options.weakness(&hezong_zab::Weakness::ALL)?;
        }
        Ok(config)
    }

    fn write(disk: &mut Saved, write: &Write) {
        Zab::save(disk, write);
    }

    fn saved(disk: &Saved) -> Saved {
        disk.clone()
    }

    fn answer(disk: &Saved, ask: &Ask) -> Answer {
        match ask {
            // What a user has applied and reported is what its history was cut behind, where nothing more is kept.
            Ask::TakeSnapshot(_) => Answer::Taken(disk.history.base()),
            Ask::InstallSnapshot { .. } => Answer::Installed(true),
        }
    }

    fn message(message: &Message) -> String {
        show_message(message)
    }

    fn show_write(write: &Write) -> String {
        show_write(write)
    }

    fn event(event: &Event) -> String {
        show_event(event)
    }

    fn ask(ask: &Ask) -> String {
        match ask {
            Ask::TakeSnapshot(_) => "take snapshot".to_owned(),
            Ask::InstallSnapshot { from, last, .. } => format!("install snapshot of {from} up to {last}"),
        }
    }

    fn status(_: Time, node: &Zab) -> String {
        let keys = ["accepted", "current", "last", "committed", "base", "round"];
        let values = keys.map(|key| format!("{key}={}", show(node, key)));
        format!("{} {}", show(node, "role"), values.join(" "))
    }

    fn command(world: &mut World<Self>, command: &Command) -> Result<bool, String> {
        match command.name.as_str() {
            "propose" => {
                let value = Bytes::from(command.word(1)?.to_owned());
                world.request(command.node(0)?, Request::Propose(value))?;
            }
            "sync" => world.request(command.node(0)?, Request::Sync)?,
            "applied" => world.tell(command.node(0)?, Request::Applied(zxid(command.word(1)?)?))?,
            "disk" => prepare_disk(world, command)?,
            "expect" => expect(world, command)?,
            "expect-leader" => expect_leader(world, command.node(0)?)?,
            "expect-order" => expect_order(world, &command.words)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn prepare_disk(world: &mut World<ZabDialect>, command: &Command) -> Result<(), String> {
    command.only(&["accepted", "current", "history", "base"])?;
    let epoch = |key: &str| -> Result<Option<Epoch>, String> {
        let number = command.number(key)?.map(u32::try_from).transpose();
        Ok(number.map_err(|_| format!("{key} is no epoch"))?.map(Epoch))
    };
    let current = epoch("current")?.unwrap_or_default();
    let mut disk = Saved { accepted: epoch("accepted")?.unwrap_or(current), current, ..Saved::default() };
    if let Some(base) = command.options.get("base") {
        disk.history.reset(zxid(base)?);
    }
    for entry in command.options.get("history").iter().flat_map(|text| text.split(',')) {
        let (at, data) = entry.split_once(':').ok_or_else(|| format!("{entry}: write it as 1.1:foo"))?;
        disk.history.append(Entry { zxid: zxid(at)?, data: Bytes::from(data.to_owned()) });
    }
    *world.disk_mut(command.node(0)?)? = disk;
    Ok(())
}

fn expect(world: &World<ZabDialect>, command: &Command) -> Result<(), String> {
    command.only(&["role", "accepted", "current", "last", "committed", "base", "round"])?;
    let id = command.node(0)?;
    let node = world.running(id)?;
    for (key, wanted) in &command.options {
        let is = show(node, key);
        if is != *wanted {
            return Err(format!("{id} has {key}={is}, and not {wanted}"));
        }
    }
    Ok(())
}

fn expect_leader(world: &World<ZabDialect>, leader: NodeId) -> Result<(), String> {
    for id in world.ids() {
        let Ok(node) = world.running(id) else { continue };
        let wanted = if id == leader { Role::Leading } else { Role::Following(leader) };
        if node.role() != wanted {
            return Err(format!("{id} is {:?}, and not {wanted:?}", node.role()));
        }
    }
    Ok(())
}

fn expect_order(world: &World<ZabDialect>, words: &[String]) -> Result<(), String> {
    for id in world.ids() {
        let Ok(node) = world.running(id) else { continue };
        let holds: Vec<_> = node.history().entries().map(|entry| text(&entry.data)).collect();
        if holds != words || node.committed() != node.history().last() {
            return Err(format!("{id} holds {holds:?}, committed up to {}", option(node.committed())));
        }
    }
    Ok(())
}

fn zxid(text: &str) -> Result<Zxid, String> {
    let parts = text.split_once('.').and_then(|(epoch, counter)| Some((epoch.parse().ok()?, counter.parse().ok()?)));
    let (epoch, counter) = parts.ok_or_else(|| format!("{text} is no zxid; write an epoch and a counter, as 2.1"))?;
    Ok(Zxid::new(epoch, counter))
}

fn show(node: &Zab, key: &str) -> String {
    match key {
        "role" => match node.role() {
            Role::Looking => "looking",
            Role::Joining(_) => "joining",
            Role::Following(_) => "following",
            Role::Preparing => "preparing",
            Role::Leading => "leading",
        }
        .to_owned(),
        "accepted" => node.accepted().0.to_string(),
        "current" => node.current().0.to_string(),
        "last" => option(node.history().last()),
        "committed" => option(node.committed()),
        "base" => option(node.history().base()),
        _ => node.round().0.to_string(),
    }
}

fn option<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn text(data: &Bytes) -> String {
    String::from_utf8_lossy(data).into_owned()
}

fn show_entry(entry: &Entry) -> String {
    format!("{}:{}", entry.zxid, text(&entry.data))
}

/// A message on one line.
#[must_use]
pub fn show_message(message: &Message) -> String {
    match message {
        Message::Looking { round, vote } => match vote {
            Some(vote) => {
                let (leader, epoch, zxid) = (vote.leader, vote.epoch, option(vote.zxid));
                format!("Looking round={} vote={leader} epoch={} zxid={zxid}", round.0, epoch.0)
            }
            None => format!("Looking round={}", round.0),
        },
        Message::Settled { round, leader } => format!("Settled round={} leader={leader}", round.0),
        Message::End(_) => "End".to_owned(),
        Message::Packet(Packet { epoch, body, .. }) => format!("{} {}", show_body(body), show_epoch(*epoch)),
    }
}

fn show_epoch(epoch: Option<Epoch>) -> String {
    epoch.map_or_else(String::new, |epoch| format!("[{epoch}]"))
}

fn show_body(body: &Body) -> String {
    let asked = |request: &Option<hezong_base::RequestId>| request.map_or(String::new(), |id| format!(" for {id}"));
    match body {
        Body::FollowerInfo(accepted) => format!("FollowerInfo accepted={}", accepted.0),
        Body::LeaderInfo => "LeaderInfo".to_owned(),
        Body::AckEpoch { current, last } => {
            format!("AckEpoch current={} last={}", option(current.map(|epoch| epoch.0)), option(*last))
        }
        Body::Diff => "Diff".to_owned(),
        Body::Trunc(last) => format!("Trunc {}", option(*last)),
        Body::Snap { last, .. } => format!("Snap last={last}"),
        Body::Proposal { entry, request } => format!("Proposal {}{}", show_entry(entry), asked(request)),
        Body::NewLeader => "NewLeader".to_owned(),
        Body::AckLeader { last } => format!("AckLeader last={}", option(*last)),
        Body::UpToDate { committed } => format!("UpToDate committed={}", option(*committed)),
        Body::Ack(zxid) => format!("Ack {zxid}"),
        Body::Commit(zxid) => format!("Commit {zxid}"),
        Body::Inform { entry, request } => format!("Inform {}{}", show_entry(entry), asked(request)),
        Body::Ping(round) => format!("Ping {round}"),
        Body::Pong(round) => format!("Pong {round}"),
        Body::Request { id, data } => format!("Request {id} {}", text(data)),
        Body::Refused { id, refusal } => format!("Refused {id} {refusal:?}"),
        Body::Sync(id) => format!("Sync {id}"),
        Body::Synced(id) => format!("Synced {id}"),
    }
}

/// A write on one line.
#[must_use]
pub fn show_write(write: &Write) -> String {
    match write {
        Write::Accepted(epoch) => format!("Accepted {}", epoch.0),
        Write::Current(epoch) => format!("Current {}", epoch.0),
        Write::Append(entry) => format!("Append {}", show_entry(entry)),
        Write::Truncate(last) => format!("Truncate {}", option(*last)),
        Write::Cut(through) => format!("Cut {through}"),
        Write::Reset(base) => format!("Reset {base}"),
    }
}

/// An event on one line.
#[must_use]
pub fn show_event(event: &Event) -> String {
    match event {
        Event::Delivered { zxid, data, request } => {
            format!("delivered {zxid}:{}{}", text(data), request.map_or(String::new(), |id| format!(" for {id}")))
        }
        Event::Refused { id, refusal } => format!("{id} refused: {refusal:?}"),
        Event::Unknown { id } => format!("{id} unknown"),
        Event::Synced { id } => format!("{id} synced"),
        Event::Standing(Standing::Looking) => "looking".to_owned(),
        Event::Standing(Standing::Following { leader, epoch }) => format!("following {leader} in {epoch}"),
        Event::Standing(Standing::Leading { epoch }) => format!("leading in {epoch}"),
    }
}
