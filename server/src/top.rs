//! `hezong top`: how all nodes stand and what they do, renewed every few seconds.
//!
//! | file | holds |
//! |---|---|
//! | `model.rs` | from what nodes tell to what is shown; pure |
//! | `metrics.rs` | `/metrics` read back |
//! | `draw.rs` | a view as text and on a terminal |
//!
//! Two things are asked of each member: `/status` and `/metrics`. Who else takes part is in the former, so that any one
//! node leads to all of them, and those that join are found.

mod draw;
mod metrics;
mod model;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use anyhow::{Context as _, Result};
use hezong_client::{Client, Error, Member, Options};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use self::draw::Screen;
use self::metrics::Metrics;
use self::model::{Board, Round, Sort, Status, Told, View};
use crate::args::TopArgs;
use crate::data::{client_with, explain, options, reason_of};
use crate::say::{self, Exit};

/// How long one node may take to tell before it is shown as silent.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

pub(crate) async fn run(args: TopArgs) -> Result<()> {
    let every = Duration::try_from_secs_f64(args.interval)
        .ok()
        .filter(|every| (Duration::from_millis(100)..=Duration::from_secs(3_600)).contains(every));
    let Some(every) = every else {
        let message = format!("--interval {} is not from 0.1 to 3600; write seconds, as 2", args.interval);
        return Err(Exit { code: say::UNFIT, message }.into());
    };
    let options = options(&args.cluster)?;
    let members = client_with(&args.cluster, options.clone()).await?.members().await.map_err(explain)?;
    let mut sampler = Sampler { began: Instant::now(), options, members: members.members, clients: BTreeMap::new() };
    let screen = Screen { interval: format!("{} s", args.interval), ..Screen::default() };
    if args.cluster.json || args.once || !io::stdout().is_terminal() {
        let view = twice(&mut sampler, every).await;
        if args.cluster.json {
            say::line(serde_json::to_string(&view).expect("numbers and texts always serialise"));
        } else {
            say::bytes(draw::text(&view).as_bytes());
        }
        return Ok(());
    }
    live(sampler, every, screen).await
}

/// One view. Rates take two rounds.
async fn twice(sampler: &mut Sampler, every: Duration) -> View {
    let mut board = Board::default();
    board.take(sampler.round().await);
    tokio::time::sleep(every).await;
    let mut view = board.take(sampler.round().await);
    // Numbers are given in the order of joining, which says nothing to people.
    view.sort(Sort::Label);
    view
}

/// Draws until told to end, and leaves the terminal as it was: also by a panic, whose hook `ratatui::init` sets.
async fn live(sampler: Sampler, every: Duration, screen: Screen) -> Result<()> {
    let mut terminal = ratatui::try_init().context("the terminal cannot be drawn on; try --once")?;
    let done = show(&mut terminal, sampler, every, screen).await;
    ratatui::try_restore().context("the terminal cannot be restored; type reset")?;
    done
}

async fn show(terminal: &mut DefaultTerminal, mut sampler: Sampler, every: Duration, mut screen: Screen) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be caught")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("Ctrl-C cannot be caught")?;
    let mut hangup = signal(SignalKind::hangup()).context("SIGHUP cannot be caught")?;
    let mut keys = keys()?;
    let (to_board, mut rounds) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if to_board.send(sampler.round().await).await.is_err() {
                return;
            }
        }
    });
    let (mut board, mut view) = (Board::default(), View::default());
    loop {
        view.sort(screen.sort);
        terminal.draw(|frame| draw::draw(frame, &view, &screen)).context("the terminal cannot be drawn on")?;
        tokio::select! {
            round = rounds.recv() => match round {
                Some(round) if !screen.paused => view = board.take(round),
                Some(_) => {}
                None => return Ok(()),
            },
            event = keys.recv() => match event {
                Some(Event::Key(key)) if ends(key) => return Ok(()),
                Some(Event::Key(key)) => press(key, &mut screen),
                // A terminal of another size is drawn anew.
                Some(_) => {}
                None => return Ok(()),
            },
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => return Ok(()),
        }
    }
}

/// What is typed, read by a thread of its own, which ends with the process.
fn keys() -> Result<mpsc::UnboundedReceiver<Event>> {
    let (send, keys) = mpsc::unbounded_channel();
    std::thread::Builder::new()
        .name("hezong-keys".to_owned())
        .spawn(move || while event::read().is_ok_and(|event| send.send(event).is_ok()) {})?;
    Ok(keys)
}

fn ends(key: KeyEvent) -> bool {
    // Without line discipline Ctrl-C is a key like others.
    let interrupts = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind != KeyEventKind::Release && (interrupts || key.code == KeyCode::Char('q'))
}

fn press(key: KeyEvent, screen: &mut Screen) {
    match key.code {
        _ if key.kind == KeyEventKind::Release => {}
        KeyCode::Char('s') => screen.sort = screen.sort.next(),
        KeyCode::Char('p' | ' ') => screen.paused = !screen.paused,
        KeyCode::Char('?' | 'h') => screen.help = !screen.help,
        KeyCode::Esc => screen.help = false,
        _ => {}
    }
}

/// Asks all members.
struct Sampler {
    began: Instant,
    options: Options,
    /// As the node that knew of the latest change told.
    members: Vec<Member>,
    /// One for each address, so that connections are kept.
    clients: BTreeMap<String, Client>,
}

impl Sampler {
    async fn round(&mut self) -> Round {
        let mut asked = JoinSet::new();
        for member in &self.members {
            let (id, address) = (member.node_id, &member.http_addr);
            let client = match self.clients.get(address) {
                Some(client) => Ok(client.clone()),
                None => of_node(address, &self.options).inspect(|client| {
                    self.clients.insert(address.clone(), client.clone());
                }),
            };
            asked.spawn(async move { (id, told(client).await.map_err(reason_of)) });
        }
        let told: BTreeMap<u64, Result<Told, String>> = asked.join_all().await.into_iter().collect();
        let knows_most = told.values().flatten().max_by_key(|told| told.status.membership_index);
        if let Some(known) = knows_most.filter(|told| !told.status.members.is_empty()) {
            self.members.clone_from(&known.status.members);
        }
        self.clients.retain(|address, _| self.members.iter().any(|member| member.http_addr == *address));
        Round { at: self.began.elapsed(), members: self.members.clone(), told }
    }
}

/// A client of one node alone.
pub(crate) fn of_node(address: &str, options: &Options) -> Result<Client, Error> {
    let options =
        Options { timeout: ANSWER_TIMEOUT, attempt_timeout: ANSWER_TIMEOUT, given_only: true, ..options.clone() };
    Client::with_options([address], options)
}

async fn told(client: Result<Client, Error>) -> Result<Told, Error> {
    let client = client?;
    let (status, metrics) = tokio::try_join!(client.ask("/status"), client.ask("/metrics"))?;
    let status: Status = serde_json::from_slice(&status)
        .map_err(|error| Error::Reply { what: "GET /status", reason: error.to_string() })?;
    Ok(Told { status, metrics: Metrics::parse(&String::from_utf8_lossy(&metrics)) })
}
