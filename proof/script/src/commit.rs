//! How atomic commit is told: what its protocols share. Each adds how its messages and writes are printed
//! (`two_phase.rs`, `tcc.rs`).
//!
//! The user of every participant votes and applies by itself: yes, but for work that begins with `no`; work that begins with
//! `wait` is left to `vote`.
//!
//! | command | effect |
//! |---|---|
//! | `begin 1 2=debit 3=credit` | node 1 coordinates a transaction: node 2 is to do `debit`, node 3 `credit` |
//! | `vote 2 1.1 yes` | the user at node 2 votes on the first transaction of node 1 |
//! | `expect 2 1.1=committed` | fails unless it ended so there; `doubt`: it voted yes and does not know; `-`: neither |
//! | `expect 1 under-way=0/0` | fails unless so many are under way, as coordinator and as participant |
//!
//! Options of `cluster`: `vote` (how long a coordinator waits for votes), `retry`, `round-trip` (time-outs), `nodes-all=5` (who
//! there is; else five).

use std::convert::Infallible;
use std::marker::PhantomData;

use bytes::Bytes;
use hezong_base::{NodeId, Protocol, Time};
use hezong_commit::{Config, Event, Outcome, Request, TransactionId, Work};

use crate::{Command, Dialect, World};

/// How many nodes there are where a story does not say.
const NODES: u64 = 5;

/// What a story needs to know of a protocol.
pub trait Told:
    Protocol<Config = Config, Request = Request, Event = Event, Ask = Infallible, Answer = Infallible>
{
    /// How many transactions are under way, as coordinator and as participant.
    fn under_way(&self) -> (usize, usize);
    /// Whether it has voted yes and does not know how the transaction ends.
    fn in_doubt(&self, tx: TransactionId) -> bool;
    /// How a transaction ended here, if it has.
    fn finished(&self, tx: TransactionId) -> Option<Outcome>;
    /// A message on one line.
    fn show_message(message: &Self::Message) -> String;
    /// A write on one line.
    fn show_write(write: &Self::Write) -> String;
}

/// The dialect of one of the protocols.
#[derive(Debug)]
pub struct CommitDialect<P>(PhantomData<P>);

impl<P: Told> Dialect for CommitDialect<P> {
    type Protocol = P;
    type Disk = P::Saved;

    fn config(id: NodeId, options: &Command) -> Result<Config, String> {
        options.only(&["vote", "retry", "round-trip", "nodes-all"])?;
        let nodes = options.number("nodes-all")?.unwrap_or(NODES);
        let mut config = Config::new(id, (1..=nodes).map(NodeId).collect());
        options.set_span(&mut config.vote_timeout, "vote")?;
        options.set_span(&mut config.retry_min, "retry")?;
        options.set_span(&mut config.round_trip_max, "round-trip")?;
        #[cfg(feature = "weakened")]
        {
            use hezong_commit::Weakness;
            config.weakness = options
                .weakness(&[&Weakness::TWO_PHASE[..], &Weakness::TCC[..], &Weakness::THREE_PHASE[..]].concat())?;
        }
        Ok(config)
    }

    fn write(disk: &mut P::Saved, write: &P::Write) {
        P::save(disk, write);
    }

    fn saved(disk: &P::Saved) -> P::Saved {
        disk.clone()
    }

    fn answer(_: &P::Saved, ask: &Infallible) -> Infallible {
        match *ask {}
    }

    fn react(_: &P::Saved, event: &Event) -> Option<Request> {
        match event {
            Event::Prepare { work, .. } if work.starts_with(b"wait") => None,
            Event::Prepare { tx, work } => Some(Request::Vote { tx: *tx, yes: !work.starts_with(b"no") }),
            Event::Apply { tx, .. } => Some(Request::Applied(*tx)),
            Event::InDoubt { .. } | Event::Outcome { .. } | Event::Refused { .. } => None,
        }
    }

    fn message(message: &P::Message) -> String {
        P::show_message(message)
    }

    fn show_write(write: &P::Write) -> String {
        P::show_write(write)
    }

    fn event(event: &Event) -> String {
        match event {
            Event::Outcome { id, tx, outcome } => format!("{id} {tx} {}", show_outcome(*outcome)),
            Event::Refused { id, refusal } => format!("{id} refused: {refusal:?}"),
            Event::Prepare { tx, work } => format!("prepare {tx} {}", show_work(work)),
            Event::InDoubt { tx, work } => format!("in doubt {tx} {}", show_work(work)),
            Event::Apply { tx, outcome } => format!("apply {tx} {}", show_outcome(*outcome)),
        }
    }

    fn ask(ask: &Infallible) -> String {
        match *ask {}
    }

    fn status(_: Time, node: &P) -> String {
        show_under_way(node)
    }

    fn command(world: &mut World<Self>, command: &Command) -> Result<bool, String> {
        match command.name.as_str() {
            "begin" => world.request(command.node(0)?, Request::Begin(begun_work(command)?))?,
            "vote" => world.tell(command.node(0)?, told_vote(command)?)?,
            "expect" => expect(world, command)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn expect<P: Told>(world: &World<CommitDialect<P>>, command: &Command) -> Result<(), String> {
    let id = command.node(0)?;
    let node = world.running(id)?;
    for (key, wanted) in &command.options {
        let is = show_standing(node, key)?;
        if is != *wanted {
            return Err(format!("{id} has {key}={is}, and not {wanted}"));
        }
    }
    Ok(())
}

/// Everybody's work, as the options of `begin` say.
pub(crate) fn begun_work(command: &Command) -> Result<Work, String> {
    let part = |(id, part): (&String, &String)| {
        let id = id.parse().map_err(|_| format!("{id} is no node"))?;
        Ok((NodeId(id), Bytes::from(part.clone())))
    };
    command.options.iter().map(part).collect()
}

/// The vote that `vote` tells of.
pub(crate) fn told_vote(command: &Command) -> Result<Request, String> {
    let tx = transaction(command.word(1)?)?;
    match command.word(2)? {
        "yes" => Ok(Request::Vote { tx, yes: true }),
        "no" => Ok(Request::Vote { tx, yes: false }),
        other => Err(format!("{other} is no vote; write yes or no")),
    }
}

/// What `expect` asks of a node: how many are under way, or how a transaction stands.
pub(crate) fn show_standing<P: Told>(node: &P, key: &str) -> Result<String, String> {
    if key == "under-way" {
        return Ok(show_under_way(node));
    }
    let tx = transaction(key)?;
    Ok(match node.finished(tx) {
        Some(outcome) => show_outcome(outcome).to_owned(),
        None if node.in_doubt(tx) => "doubt".to_owned(),
        None => "-".to_owned(),
    })
}

fn transaction(text: &str) -> Result<TransactionId, String> {
    let parts = text.split_once('.').and_then(|(node, number)| Some((node.parse().ok()?, number.parse().ok()?)));
    let (node, number) = parts.ok_or_else(|| format!("{text} is no transaction; write a node and a number, as 1.2"))?;
    Ok(TransactionId { coordinator: NodeId(node), number })
}

pub(crate) fn show_under_way<P: Told>(node: &P) -> String {
    let (coordinating, taking_part) = node.under_way();
    format!("{coordinating}/{taking_part}")
}

/// An outcome in a word.
#[must_use]
pub fn show_outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Committed => "committed",
        Outcome::Aborted => "aborted",
    }
}

/// Work as it was given.
#[must_use]
pub fn show_work(work: &Bytes) -> String {
    String::from_utf8_lossy(work).into_owned()
}

/// A vote in a word.
#[must_use]
pub fn show_vote(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

/// Several nodes.
pub fn show_nodes<'a>(nodes: impl IntoIterator<Item = &'a NodeId>) -> String {
    nodes.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
