//! How Paxos is told: its messages on one line each, its own commands, and a disk that carries out its writes.
//!
//! | command | effect |
//! |---|---|
//! | `propose 1 foo` | has `foo` chosen, unless another is |
//! | `disk 4 round=4` | what a node that is down finds when it starts; `promised=2.5`, `accepted=foo@2.5`, `chosen=foo` |
//! | `expect 1 chosen=foo promised=1.1 accepted=foo@1.1 phase=idle` | fails unless it is so; `-` for none |
//! | `expect-chosen foo` | fails unless every node that is up knows that this was chosen |
//!
//! Options of `cluster`: `acceptors=3` (the first so many nodes; else all), `learners=2` (so many behind them); `resend`,
//! `backoff`, `learn` (time-outs).

use std::time::Duration;

use bytes::Bytes;
use hezong_base::{NodeId, Protocol, Time};
use hezong_paxos::Ballot;
use hezong_paxos::basic::{Config, Event, Message, Paxos, Phase, Proposal, Request, Saved, Write};

use crate::{Command, Dialect, World};

/// Paxos's dialect.
#[derive(Debug)]
pub struct PaxosDialect;

/// How many acceptors there are where a story does not say.
const ACCEPTORS: u64 = 3;

impl Dialect for PaxosDialect {
    type Protocol = Paxos;
    type Disk = Saved;

    fn config(id: NodeId, options: &Command) -> Result<Config, String> {
        options.only(&["acceptors", "learners", "resend", "backoff", "learn"])?;
        let acceptors = options.number("acceptors")?.unwrap_or(ACCEPTORS);
        let learners = options.number("learners")?.unwrap_or(0);
        let mut config = Config::new(id, (1..=acceptors).map(NodeId).collect());
        config.learners = (acceptors + 1..=acceptors + learners).map(NodeId).collect();
        options.set_span(&mut config.resend_interval, "resend")?;
        options.set_span(&mut config.learn_timeout, "learn")?;
        options.set_span(&mut config.backoff_min, "backoff")?;
        if config.backoff_min.is_zero() {
            config.backoff_max = Duration::ZERO;
        }
        #[cfg(feature = "weakened")]
        {
            config.weakness = options.weakness(&hezong_paxos::basic::Weakness::ALL)?;
        }
        Ok(config)
    }

    fn write(disk: &mut Saved, write: &Write) {
        Paxos::save(disk, write);
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

    fn status(_: Time, node: &Paxos) -> String {
        let phase = show_phase(node.phase());
        let (promised, accepted) = (show(node.promised()), show_proposal(node.accepted()));
        format!("{phase} promised={promised} accepted={accepted} chosen={}", show_value(node.chosen()))
    }

    fn command(world: &mut World<Self>, command: &Command) -> Result<bool, String> {
        match command.name.as_str() {
            "propose" => {
                let value = Bytes::from(command.word(1)?.to_owned());
                world.request(command.node(0)?, Request::Propose(value))?;
            }
            "disk" => prepare_disk(world, command)?,
            "expect" => expect(world, command)?,
            "expect-chosen" => {
                let value = command.word(0)?;
                for id in world.ids() {
                    let Ok(node) = world.running(id) else { continue };
                    let chosen = show_value(node.chosen());
                    if chosen != value {
                        return Err(format!("{id} knows {chosen} as chosen, and not {value}"));
                    }
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn prepare_disk(world: &mut World<PaxosDialect>, command: &Command) -> Result<(), String> {
    command.only(&["round", "promised", "accepted", "chosen"])?;
    let (round, id) = (command.number("round")?.unwrap_or(0), command.node(0)?);
    let accepted = command.options.get("accepted").map(|text| proposal(text)).transpose()?;
    let promised = command.options.get("promised").map(|text| ballot(text)).transpose()?;
    let promised = promised.max(accepted.as_ref().map(|accepted| accepted.ballot));
    let chosen = command.options.get("chosen").map(|text| Bytes::from(text.clone()));
    *world.disk_mut(id)? = Saved { round, promised, accepted, chosen };
    Ok(())
}

fn expect(world: &World<PaxosDialect>, command: &Command) -> Result<(), String> {
    command.only(&["chosen", "promised", "accepted", "phase", "round"])?;
    let id = command.node(0)?;
    let node = world.running(id)?;
    for (key, wanted) in &command.options {
        let is = match key.as_str() {
            "chosen" => show_value(node.chosen()),
            "promised" => show(node.promised()),
            "accepted" => show_proposal(node.accepted()),
            "phase" => show_phase(node.phase()),
            _ => node.round().to_string(),
        };
        if is != *wanted {
            return Err(format!("{id} has {key}={is}, and not {wanted}"));
        }
    }
    Ok(())
}

fn ballot(text: &str) -> Result<Ballot, String> {
    let parts = text.split_once('.').and_then(|(round, node)| Some((round.parse().ok()?, node.parse().ok()?)));
    let (round, node) = parts.ok_or_else(|| format!("{text} is no ballot; write a round and a node, as 2.1"))?;
    Ok(Ballot { round, node: NodeId(node) })
}

fn proposal(text: &str) -> Result<Proposal, String> {
    let (value, at) = text.split_once('@').ok_or_else(|| format!("{text} is no proposal; write it as foo@2.1"))?;
    Ok(Proposal { ballot: ballot(at)?, value: Bytes::from(value.to_owned()) })
}

fn show(ballot: Option<Ballot>) -> String {
    ballot.map_or_else(|| "-".to_owned(), |ballot| ballot.to_string())
}

fn show_value(value: Option<&Bytes>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| String::from_utf8_lossy(value).into_owned())
}

fn show_proposal(proposal: Option<&Proposal>) -> String {
    proposal
        .map_or_else(|| "-".to_owned(), |proposal| format!("{}@{}", show_value(Some(&proposal.value)), proposal.ballot))
}

fn show_phase(phase: &Phase) -> String {
    match phase {
        Phase::Idle => "idle",
        Phase::Waiting => "waiting",
        Phase::Preparing { .. } => "preparing",
        Phase::Accepting(_) => "accepting",
    }
    .to_owned()
}

/// A message on one line.
#[must_use]
pub fn show_message(message: &Message) -> String {
    match message {
        Message::Prepare(ballot) => format!("Prepare {ballot}"),
        Message::Promise { ballot, accepted } => {
            format!("Promise {ballot} accepted={}", show_proposal(accepted.as_ref()))
        }
        Message::Accept(proposal) => format!("Accept {}", show_proposal(Some(proposal))),
        Message::Accepted(proposal) => format!("Accepted {}", show_proposal(Some(proposal))),
        Message::Nack { ballot, promised } => format!("Nack {ballot} promised={promised}"),
        Message::Chosen(value) => format!("Chosen {}", show_value(Some(value))),
    }
}

/// A write on one line.
#[must_use]
pub fn show_write(write: &Write) -> String {
    match write {
        Write::Round(round) => format!("Round {round}"),
        Write::Promise(ballot) => format!("Promise {ballot}"),
        Write::Accept(proposal) => format!("Accept {}", show_proposal(Some(proposal))),
        Write::Chosen(value) => format!("Chosen {}", show_value(Some(value))),
    }
}

/// An event on one line.
#[must_use]
pub fn show_event(event: &Event) -> String {
    match event {
        Event::Chosen(value) => format!("chosen {}", show_value(Some(value))),
        Event::Answered { id, value } => format!("{id} answered {}", show_value(Some(value))),
        Event::Refused { id, refusal } => format!("{id} refused: {refusal:?}"),
    }
}
