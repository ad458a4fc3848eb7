//! How registers are told: messages on one line each, their own commands, and a disk that carries out their writes.
//!
//! | command | effect |
//! |---|---|
//! | `read 1 a`, `set 1 a x`, `init 1 a x`, `append 1 a x`, `delete 1 a` | changes register `a` by node 1 |
//! | `cas 1 a 2.1 x` | sets it where its version is 2.1 |
//! | `collect 1 a` | has the register forgotten, if it holds no value |
//! | `reconfigure 1 1 1 2 3 4` | node 1 proposes to 1, 2, 3 and 4 from now on, in epoch 1 |
//! | `rewrite 1` | has node 1 read every register that it holds |
//! | `expect 1 a accepted=x@2.1 promised=2.1 phase=idle remembered=3.1` | fails unless it is so; `-` for none |
//! | `expect-value a x` | fails unless a majority of the acceptors of the first node that is up has accepted this at one ballot |
//!
//! Options of `cluster` and `node`: `acceptors=3` (the first so many; else 3), `proposers=4` (the first so many; else as many as
//! accept); `resend`, `backoff`, `collect`, `give-up` (time-outs), `reserved` (rounds written down at once).

use std::collections::BTreeMap;

use bytes::Bytes;
use hezong_base::{NodeId, Protocol, Time};
use hezong_paxos::Ballot;
use hezong_paxos::register::{
    Body, Change, Config, Epoch, Event, Membership, Message, Phase, Proposal, Registers, Request, Saved, State, Write,
};

use crate::{Command, Dialect, World};

/// The registers' dialect.
#[derive(Debug)]
pub struct RegisterDialect;

/// How many acceptors there are where a story does not say.
const ACCEPTORS: u64 = 3;

impl Dialect for RegisterDialect {
    type Protocol = Registers;
    type Disk = Saved;

    fn config(id: NodeId, options: &Command) -> Result<Config, String> {
        options.only(&["acceptors", "proposers", "resend", "backoff", "collect", "give-up", "reserved"])?;
        let acceptors = options.number("acceptors")?.unwrap_or(ACCEPTORS);
        let proposers = options.number("proposers")?.unwrap_or(acceptors);
        let mut config = Config::new(id, (1..=acceptors).map(NodeId).collect());
        config.proposers = (1..=proposers).map(NodeId).collect();
        config.rounds_reserved = options.number("reserved")?.unwrap_or(config.rounds_reserved);
        options.set_span(&mut config.resend_interval, "resend")?;
        options.set_span(&mut config.backoff_min, "backoff")?;
        options.set_span(&mut config.collect_delay, "collect")?;
        options.set_span(&mut config.change_timeout, "give-up")?;
        #[cfg(feature = "weakened")]
        {
            config.weakness = options.weakness(&hezong_paxos::register::Weakness::ALL)?;
        }
        Ok(config)
    }

    fn write(disk: &mut Saved, write: &Write) {
        Registers::save(disk, write);
    }

    fn saved(disk: &Saved) -> Saved {
        disk.clone()
    }

    fn answer(_: &Saved, ask: &std::convert::Infallible) -> std::convert::Infallible {
        match *ask {}
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

    fn ask(ask: &std::convert::Infallible) -> String {
        match *ask {}
    }

    fn status(_: Time, node: &Registers) -> String {
        let ((held, remembered), members) = (node.sizes(), node.membership());
        format!("registers={held} remembered={remembered} age={} epoch={}", node.age().0, members.epoch.0)
    }

    fn command(world: &mut World<Self>, command: &Command) -> Result<bool, String> {
        let word = |place| command.word(place).map(|word| Bytes::from(word.to_owned()));
        let change = match command.name.as_str() {
            "read" => Change::Read,
            "set" => Change::Set(word(2)?),
            "init" => Change::InitialiseIfEmpty(word(2)?),
            "append" => Change::Append(word(2)?),
            "delete" => Change::Delete,
            "cas" => Change::CompareAndSet { expected: ballot(command.word(2)?)?, value: word(3)? },
            "collect" => return world.tell(command.node(0)?, Request::Collect(word(1)?)).map(|()| true),
            "reconfigure" => {
                let numbers = command.nodes()?;
                let (Some(at), Some(epoch)) = (numbers.first(), numbers.get(1)) else {
                    return Err("reconfigure: node and epoch are missing".to_owned());
                };
                let acceptors = numbers.iter().skip(2).copied().collect();
                let membership = Membership { epoch: Epoch(epoch.0), acceptors };
                return world.request(*at, Request::Reconfigure(membership)).map(|()| true);
            }
            "rewrite" => return world.request(command.node(0)?, Request::Rewrite).map(|()| true),
            "expect" => return expect(world, command).map(|()| true),
            "expect-value" => return expect_value(world, command).map(|()| true),
            _ => return Ok(false),
        };
        world.request(command.node(0)?, Request::Change { key: word(1)?, change }).map(|()| true)
    }
}

fn expect(world: &World<RegisterDialect>, command: &Command) -> Result<(), String> {
    command.only(&["accepted", "promised", "phase", "remembered"])?;
    let (id, key) = (command.node(0)?, command.word(1)?.as_bytes());
    let node = world.running(id)?;
    let register = node.register(key);
    for (option, wanted) in &command.options {
        let is = match option.as_str() {
            "accepted" => show_proposal(register.and_then(|register| register.accepted.as_ref())),
            "promised" => show(register.map(|register| register.promised)),
            "remembered" => show(node.remembered(key).map(|proposal| proposal.ballot)),
            _ => show_phase(node.phase(key)).to_owned(),
        };
        if is != *wanted {
            return Err(format!("{id} has {option}={is}, and not {wanted}"));
        }
    }
    Ok(())
}

fn expect_value(world: &World<RegisterDialect>, command: &Command) -> Result<(), String> {
    let (key, wanted) = (command.word(0)?, command.word(1)?);
    let up: Vec<_> = world.ids().into_iter().filter_map(|id| world.running(id).ok()).collect();
    let acceptors = up.first().map(|node| node.membership().acceptors.clone()).unwrap_or_default();
    let mut counts = BTreeMap::<Ballot, (usize, String)>::new();
    for node in up.iter().filter(|node| acceptors.contains(&node.id())) {
        if let Some(accepted) = node.register(key.as_bytes()).and_then(|register| register.accepted.as_ref()) {
            let entry = counts.entry(accepted.ballot).or_insert_with(|| (0, show_value(accepted.state.value.as_ref())));
            entry.0 += 1;
        }
    }
    let held = counts.values().find(|(count, _)| *count > acceptors.len() / 2).map(|(_, value)| value.as_str());
    if held == Some(wanted) { Ok(()) } else { Err(format!("a majority holds {held:?}, and not {wanted}")) }
}

fn ballot(text: &str) -> Result<Ballot, String> {
    let parsed = text.split_once('.').and_then(|(round, node)| Some((round.parse().ok()?, node.parse().ok()?)));
    let (round, node) = parsed.ok_or_else(|| format!("{text} is no ballot; write it as 2.1"))?;
    Ok(Ballot { round, node: NodeId(node) })
}

fn show(ballot: Option<Ballot>) -> String {
    ballot.map_or_else(|| "-".to_owned(), |ballot| ballot.to_string())
}

fn show_value(value: Option<&Bytes>) -> String {
    value.map_or_else(|| "nothing".to_owned(), |value| String::from_utf8_lossy(value).into_owned())
}

fn show_state(state: &State) -> String {
    format!("{} version={}", show_value(state.value.as_ref()), show(state.version))
}

fn show_proposal(proposal: Option<&Proposal>) -> String {
    proposal.map_or_else(
        || "-".to_owned(),
        |proposal| format!("{}@{}", show_value(proposal.state.value.as_ref()), proposal.ballot),
    )
}

fn show_phase(phase: Option<&Phase>) -> &'static str {
    match phase {
        None => "idle",
        Some(Phase::Waiting) => "waiting",
        Some(Phase::Preparing { .. }) => "preparing",
        Some(Phase::Accepting { .. }) => "accepting",
    }
}

fn show_next(next: Option<Ballot>) -> String {
    next.map_or_else(String::new, |next| format!(" next={next}"))
}

/// A message on one line. The version is told where it is not the ballot's own, and ages from the first on.
#[must_use]
pub fn show_message(message: &Message) -> String {
    let key = String::from_utf8_lossy(&message.key);
    let show_age = |age: u64| if age == 0 { String::new() } else { format!(" age={age}") };
    match &message.body {
        Body::Prepare { age, ballot } => format!("Prepare {key} {ballot}{}", show_age(age.0)),
        Body::Promise { ballot, accepted } => {
            format!("Promise {key} {ballot} accepted={}", show_proposal(accepted.as_ref()))
        }
        Body::Accept { age, proposal, next } => {
            format!("Accept {key} {}{}{}", show_proposal(Some(proposal)), show_next(*next), show_age(age.0))
        }
        Body::Accepted { ballot } => format!("Accepted {key} {ballot}"),
        Body::Nack { ballot, promised } => format!("Nack {key} {ballot} promised={promised}"),
        Body::Retire { tombstone, epoch } => format!("Retire {key} {tombstone} epoch={}", epoch.0),
        Body::Retired { tombstone, age } => format!("Retired {key} {tombstone} age={}", age.0),
        Body::Erase { tombstone, ages } => format!("Erase {key} {tombstone} {}", show_ages(ages)),
        Body::Erased { tombstone } => format!("Erased {key} {tombstone}"),
    }
}

fn show_ages(ages: &BTreeMap<NodeId, hezong_paxos::register::Age>) -> String {
    let ages: Vec<_> = ages.iter().map(|(node, age)| format!("{node}:{}", age.0)).collect();
    format!("ages={}", ages.join(","))
}

/// A write on one line.
#[must_use]
pub fn show_write(write: &Write) -> String {
    let text = |key: &Bytes| String::from_utf8_lossy(key).into_owned();
    match write {
        Write::Proposer { reserved, age } => format!("Proposer reserved={reserved} age={}", age.0),
        Write::Promise { key, ballot } => format!("Promise {} {ballot}", text(key)),
        Write::Accept { key, proposal, next } => {
            format!("Accept {} {}{}", text(key), show_proposal(Some(proposal)), show_next(*next))
        }
        Write::Erase { key, ages } => format!("Erase {} {}", text(key), show_ages(ages)),
        Write::Membership(membership) => {
            let acceptors: Vec<_> = membership.acceptors.iter().map(ToString::to_string).collect();
            format!("Membership epoch={} {}", membership.epoch.0, acceptors.join(","))
        }
    }
}

/// An event on one line.
#[must_use]
pub fn show_event(event: &Event) -> String {
    match event {
        Event::Done { id, took, state } => {
            format!("{id} {} {}", if *took { "took" } else { "done" }, show_state(state))
        }
        Event::Refused { id, refusal } => format!("{id} refused: {refusal:?}"),
        Event::Unknown { id } => format!("{id} unknown"),
        Event::Collected(key) => format!("collected {}", String::from_utf8_lossy(key)),
        Event::NotCollected(key) => format!("not collected {}", String::from_utf8_lossy(key)),
        Event::Reconfigured { id, epoch } => format!("{id} reconfigured epoch={}", epoch.0),
        Event::Rewritten { id, epoch } => format!("{id} rewritten epoch={}", epoch.0),
    }
}
