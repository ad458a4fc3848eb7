//! How Multi-Paxos is told: its messages on one line each, its own commands, a disk that carries out its writes, and a state
//! machine that applies what it is told of at once.
//!
//! | command | effect |
//! |---|---|
//! | `propose 1 foo` | has `foo` chosen in some slot |
//! | `read 1` | asks whether the state may be read |
//! | `reconfigure 1 2 3 4` | asks node 1 to have 2, 3 and 4 accept, α slots later on |
//! | `disk 2 open=3 promised=2.1 1=foo@1.1 2=-@1.1` | what a node that is down finds when it starts: what is held in slots, `-` for a no-op, `{1,2}` for members; `round=4` |
//! | `expect 1 role=master open=3 1=foo@1.1 master=1 promised=1.1 first=1 members=1,2,3 lease=yes` | fails unless it is so; `-` for none |
//! | `expect-log foo - bar` | fails unless every node that is up knows these to be chosen in the slots from the first on, and no more |
//!
//! Options of `cluster` and `node`: `members=3` (the first so many nodes; else all that `cluster` makes, or 3); `alpha`, `kept`
//! (slots); `lease`, `heartbeat`, `pause` (time-outs).

use std::collections::BTreeMap;

use bytes::Bytes;
use hezong_base::{NodeId, Protocol, Time};
use hezong_paxos::Ballot;
use hezong_paxos::multi::{
    Answer, Ask, Base, Config, Entry, Event, Members, Message, MultiPaxos, Request, Role, Saved, Slot, Value, Write,
};

use crate::{Command, Dialect, World};

/// Multi-Paxos's dialect.
#[derive(Debug)]
pub struct MultiPaxosDialect;

/// How many members there are where a story does not say.
const MEMBERS: u64 = 3;

impl Dialect for MultiPaxosDialect {
    type Protocol = MultiPaxos;
    type Disk = Saved;

    fn config(id: NodeId, options: &Command) -> Result<Config, String> {
        options.only(&["members", "alpha", "kept", "lease", "heartbeat", "pause"])?;
        let members = options.number("members")?.unwrap_or(MEMBERS);
        let mut config = Config::new(id, (1..=members).map(NodeId).collect());
        options.set_span(&mut config.lease, "lease")?;
        options.set_span(&mut config.heartbeat_interval, "heartbeat")?;
        options.set_span(&mut config.campaign_pause, "pause")?;
        config.alpha = options.number("alpha")?.unwrap_or(config.alpha);
        config.kept_max = options.number("kept")?.unwrap_or(config.kept_max);
        #[cfg(feature = "weakened")]
        {
            config.weakness = options.weakness(&hezong_paxos::multi::Weakness::ALL)?;
        }
        Ok(config)
    }

    fn write(disk: &mut Saved, write: &Write) {
        MultiPaxos::save(disk, write);
    }

    fn saved(disk: &Saved) -> Saved {
        disk.clone()
    }

    fn answer(disk: &Saved, ask: &Ask) -> Answer {
        match ask {
            // The machine of a story has applied all that its log holds.
            Ask::TakeSnapshot { .. } => {
                let last = disk.open.0 - 1;
                Answer::SnapshotTaken((last > 0).then_some(Slot(last)))
            }
            Ask::FetchSnapshot { .. } => Answer::SnapshotFetched(true),
        }
    }

    fn react(_: &Saved, event: &Event) -> Option<Request> {
        match event {
            Event::Chosen { slot, .. } => Some(Request::Applied(*slot)),
            Event::Done { .. }
            | Event::Readable { .. }
            | Event::Refused { .. }
            | Event::Unknown { .. }
            | Event::MasterChanged(_) => None,
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
            // Its name is drawn by chance, and tells a reader nothing.
            Ask::TakeSnapshot { to, .. } => format!("TakeSnapshot to={to}"),
            Ask::FetchSnapshot { from, base, .. } => format!("FetchSnapshot from={from} {}", show_base(base)),
        }
    }

    fn status(now: Time, node: &MultiPaxos) -> String {
        let shown = ["role", "promised", "open", "master"].map(|key| format!("{key}={}", show(now, node, key)));
        let slots: Vec<String> =
            node.entries().map(|(slot, entry)| format!("{slot}={}", show_entry(Some(entry)))).collect();
        format!("{} {}", shown.join(" "), slots.join(" "))
    }

    fn command(world: &mut World<Self>, command: &Command) -> Result<bool, String> {
        match command.name.as_str() {
            "propose" => {
                let value = Bytes::from(command.word(1)?.to_owned());
                world.request(command.node(0)?, Request::Propose(value))?;
            }
            "read" => world.request(command.node(0)?, Request::Read)?,
            "reconfigure" => {
                let members = command.nodes()?.into_iter().skip(1).collect();
                world.request(command.node(0)?, Request::Reconfigure(members))?;
            }
            "disk" => prepare_disk(world, command)?,
            "expect" => expect(world, command)?,
            "expect-log" => expect_log(world, command)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn prepare_disk(world: &mut World<MultiPaxosDialect>, command: &Command) -> Result<(), String> {
    let mut saved = Saved::default();
    for (key, text) in &command.options {
        match key.as_str() {
            "round" => saved.round = command.number("round")?.unwrap_or(0),
            "open" => saved.open = Slot(command.number("open")?.unwrap_or(1)),
            "promised" => saved.promised = Some(ballot(text)?),
            slot => {
                let slot = slot.parse().map_err(|_| format!("disk: {slot} is no slot"))?;
                saved.entries.insert(Slot(slot), entry(text)?);
            }
        }
    }
    *world.disk_mut(command.node(0)?)? = saved;
    Ok(())
}

fn expect(world: &World<MultiPaxosDialect>, command: &Command) -> Result<(), String> {
    let id = command.node(0)?;
    let node = world.running(id)?;
    for (key, wanted) in &command.options {
        let is = show(world.now(), node, key);
        if is != *wanted {
            return Err(format!("{id} has {key}={is}, and not {wanted}"));
        }
    }
    Ok(())
}

fn expect_log(world: &World<MultiPaxosDialect>, command: &Command) -> Result<(), String> {
    for id in world.ids() {
        let Ok(node) = world.running(id) else { continue };
        let chosen = node.entries().take_while(|(slot, _)| *slot < node.open());
        let chosen: Vec<String> = chosen.map(|(_, entry)| show_value(&entry.value)).collect();
        if chosen != command.words {
            return Err(format!("{id} knows {chosen:?} to be chosen, and not {:?}", command.words));
        }
    }
    Ok(())
}

/// What a node's `key` is: one of a few words, or else a slot.
fn show(now: Time, node: &MultiPaxos, key: &str) -> String {
    let name = |id: Option<NodeId>| id.map_or_else(|| "-".to_owned(), |id| id.0.to_string());
    match key {
        "role" => match node.role() {
            Role::Replica => "replica",
            Role::Candidate => "candidate",
            Role::Master => "master",
        }
        .to_owned(),
        "promised" => node.promised().map_or_else(|| "-".to_owned(), |ballot| ballot.to_string()),
        "open" => node.open().to_string(),
        "first" => node.first().to_string(),
        "master" => name(node.master()),
        "members" => show_members(node.members_at(node.open())),
        "lease" => if node.is_master(now) { "yes" } else { "no" }.to_owned(),
        slot => {
            let entries: BTreeMap<String, &Entry> =
                node.entries().map(|(slot, entry)| (slot.to_string(), entry)).collect();
            show_entry(entries.get(slot).copied())
        }
    }
}

fn ballot(text: &str) -> Result<Ballot, String> {
    let parts = text.split_once('.').and_then(|(round, node)| Some((round.parse().ok()?, node.parse().ok()?)));
    let (round, node) = parts.ok_or_else(|| format!("{text} is no ballot; write a round and a node, as 2.1"))?;
    Ok(Ballot { round, node: NodeId(node) })
}

fn entry(text: &str) -> Result<Entry, String> {
    let (value, at) = text.split_once('@').ok_or_else(|| format!("{text} is no entry; write it as foo@2.1"))?;
    Ok(Entry { ballot: ballot(at)?, value: value_of(value)? })
}

fn value_of(text: &str) -> Result<Value, String> {
    if text == "-" {
        return Ok(Value::NoOp);
    }
    let Some(members) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) else {
        return Ok(Value::Command(Bytes::from(text.to_owned())));
    };
    let member = |id: &str| id.parse().map(NodeId).map_err(|_| format!("{text} are no members; write them as {{1,2}}"));
    members.split(',').map(member).collect::<Result<_, _>>().map(Value::Members)
}

fn show_members(members: &Members) -> String {
    members.iter().map(|id| id.0.to_string()).collect::<Vec<_>>().join(",")
}

fn show_value(value: &Value) -> String {
    match value {
        Value::Command(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::NoOp => "-".to_owned(),
        Value::Members(members) => format!("{{{}}}", show_members(members)),
    }
}

/// What a slot holds, on one line.
#[must_use]
pub fn show_entry(entry: Option<&Entry>) -> String {
    entry.map_or_else(|| "none".to_owned(), |entry| format!("{}@{}", show_value(&entry.value), entry.ballot))
}

fn show_base(base: &Base) -> String {
    let members = base.members.iter().map(|(from, members)| format!("{from}:{{{}}}", show_members(members)));
    format!("first={} members={}", base.first, members.collect::<Vec<_>>().join(" "))
}

/// A message on one line.
#[must_use]
pub fn show_message(message: &Message) -> String {
    match message {
        Message::Prepare { ballot, from } => format!("Prepare {ballot} from={from}"),
        Message::Promise { ballot, open, accepted } => {
            let accepted: Vec<_> =
                accepted.iter().map(|(slot, entry)| format!("{slot}={}", show_entry(Some(entry)))).collect();
            let accepted = if accepted.is_empty() { "-".to_owned() } else { accepted.join(" ") };
            format!("Promise {ballot} open={open} accepted: {accepted}")
        }
        Message::Accept { ballot, slot, value, open } => {
            format!("Accept {slot}={}@{ballot} open={open}", show_value(value))
        }
        Message::Accepted { ballot, slot } => format!("Accepted {slot}@{ballot}"),
        Message::Nack { ballot, promised } => format!("Nack {ballot} promised={promised}"),
        Message::Heartbeat { ballot, open, round } => format!("Heartbeat {ballot} open={open} round={round}"),
        Message::HeartbeatAck { ballot, round } => format!("HeartbeatAck {ballot} round={round}"),
        Message::CatchUp { from } => format!("CatchUp from={from}"),
        Message::Entries { from, entries, open } => {
            let entries: Vec<_> = entries.iter().map(|entry| show_entry(Some(entry))).collect();
            format!("Entries from={from} {} open={open}", entries.join(" "))
        }
        Message::Snapshot { base, .. } => format!("Snapshot {}", show_base(base)),
    }
}

/// A write on one line.
#[must_use]
pub fn show_write(write: &Write) -> String {
    match write {
        Write::Round(round) => format!("Round {round}"),
        Write::Promise(ballot) => format!("Promise {ballot}"),
        Write::Entry { slot, entry } => format!("Entry {slot}={}", show_entry(Some(entry))),
        Write::Open(open) => format!("Open {open}"),
        Write::Base(base) => format!("Base {}", show_base(base)),
    }
}

/// An event on one line.
#[must_use]
pub fn show_event(event: &Event) -> String {
    match event {
        Event::Chosen { slot, value } => format!("chosen {slot}={}", show_value(value)),
        Event::Done { id, slot } => format!("{id} done {slot}"),
        Event::Readable { id, until } => format!("{id} readable until {until}"),
        Event::Refused { id, refusal } => format!("{id} refused: {refusal:?}"),
        Event::Unknown { id } => format!("{id} unknown"),
        Event::MasterChanged(Some(id)) => format!("master is {id}"),
        Event::MasterChanged(None) => "master is unknown".to_owned(),
    }
}
