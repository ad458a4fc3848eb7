//! What the node's threads share, how they are started, and how they end the process.
//!
//! A thread that died alone would leave a process that still listens, still holds connections and never answers: worse
//! for a cluster than one that is plainly gone. So a panic in any of them, and any failure after which going on proves
//! nothing, ends the process.

use std::fmt::Display;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use hezong_base::Rng;
use hezong_node::NodeInput;
use tokio::sync::broadcast;

use crate::event::Event;
use crate::inbox::Inbox;
use crate::metrics::Metrics;
use crate::run::Mail;

/// What every thread of a node holds.
pub(crate) struct Shared {
    /// Of the node's thread.
    pub(crate) inbox: Arc<Inbox<Mail>>,
    pub(crate) metrics: Metrics,
    pub(crate) events: broadcast::Sender<Event>,
    /// Set when the node stops as if it had crashed: what waits in inboxes is not to be worked off.
    abandoned: AtomicBool,
}

impl Shared {
    pub(crate) fn new(inbox_bytes_max: usize) -> Self {
        let (events, _) = broadcast::channel(1_024);
        let inbox = Arc::new(Inbox::new(inbox_bytes_max));
        Self { inbox, metrics: Metrics::default(), events, abandoned: AtomicBool::new(false) }
    }

    /// Reports the result of something the node asked for.
    pub(crate) fn report(&self, input: NodeInput) {
        self.inbox.push(Mail::Input(input), 0);
    }

    /// Tells people and programs what happened: once in the log, once to whoever listens.
    pub(crate) fn tell(&self, event: Event) {
        match &event {
            Event::Group(_) | Event::PeerConnected { .. } | Event::DiskReserve { below: false, .. } => {
                tracing::info!("{event}");
            }
            Event::PeerLost { .. }
            | Event::PeerRefused { .. }
            | Event::Garbage { .. }
            | Event::DiskReserve { below: true, .. } => tracing::warn!("{event}"),
        }
        // Nobody listening is fine.
        drop(self.events.send(event));
    }

    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }
}

/// Starts a thread whose panic ends the process.
pub(crate) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let name = name.to_owned();
    thread::Builder::new().name(name.clone()).spawn(move || {
        // The panic's own message has been printed by the time it arrives here.
        if catch_unwind(AssertUnwindSafe(body)).is_err() {
            stop_process(&format_args!("the thread {name} panicked, which is a bug"));
        }
    })
}

/// A source of chance that nobody can foresee.
///
/// # Panics
/// When the system has no entropy: nodes would then campaign in step for ever.
pub(crate) fn chance() -> Rng {
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).expect("the system's source of entropy works");
    Rng::new(u64::from_le_bytes(seed))
}

/// Ends the process at once. What is on disk is whole: that is what the log is for.
pub(crate) fn stop_process(why: &dyn Display) -> ! {
    tracing::error!("{why}; the process ends");
    // Whoever has set up no log must be told as well.
    eprintln!("hezong: {why}; the process ends");
    std::process::abort()
}
