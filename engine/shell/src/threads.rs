//! What the node's threads share, how they are started, and how they end the process.
//!
//! A thread that died alone would leave a process that still listens, still holds connections and never answers: worse
//! for a cluster than one that is plainly gone. So a panic in any of them, and any failure after which going on proves
//! nothing, ends the process.

use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, TryLockError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hezong_base::{NodeId, Rng};
use hezong_node::{NodeInput, Notice};
use tokio::sync::broadcast;

use crate::clock::Clock;
use crate::event::Event;
use crate::follow::Traces;
use crate::inbox::Inbox;
use crate::metrics::Metrics;
use crate::room::Room;
use crate::run::{Afterwards, Mail, MayWait, Runner};
use crate::slow::Slow;
use crate::trace::Tracer;

/// How long whoever runs a node has to stop it once its log was found damaged.
const DAMAGE_PATIENCE: Duration = Duration::from_secs(30);

/// What every thread of a node holds.
pub(crate) struct Shared {
    /// Of the node.
    pub(crate) inbox: Arc<Inbox<Mail>>,
    /// The node and all that belongs to it, while it runs. Locked for one turn at a time.
    pub(crate) runner: Mutex<Option<Runner>>,
    /// What time it is. Set before the node runs.
    pub(crate) clock: Clock,
    pub(crate) metrics: Metrics,
    pub(crate) slow: Slow,
    pub(crate) traces: Traces,
    pub(crate) room: Room,
    pub(crate) events: broadcast::Sender<Event>,
    /// The peer that said that this node was removed. Set once: whoever is removed stays so.
    pub(crate) removed_by: OnceLock<NodeId>,
    /// What was found wrong with the log. Set once: the node is to stop.
    pub(crate) log_damage: OnceLock<String>,
    /// What was found wrong with the state. Set once.
    pub(crate) state_damage: OnceLock<String>,
    /// Set when the node stops as if it had crashed: what waits in inboxes is not to be worked off.
    abandoned: AtomicBool,
}

impl Shared {
    pub(crate) fn new(inbox_bytes_max: usize, room: Room, tracer: Option<Arc<Tracer>>) -> Self {
        let (events, _) = broadcast::channel(1_024);
        let inbox = Arc::new(Inbox::quiet(inbox_bytes_max));
        Self {
            inbox,
            runner: Mutex::new(None),
            clock: Clock::default(),
            metrics: Metrics::default(),
            slow: Slow::new(Duration::ZERO),
            traces: Traces::new(tracer),
            room,
            events,
            removed_by: OnceLock::new(),
            log_damage: OnceLock::new(),
            state_damage: OnceLock::new(),
            abandoned: AtomicBool::new(false),
        }
    }

    /// Reports the result of something the node asked for.
    pub(crate) fn report(&self, input: NodeInput) {
        self.report_and(input, MayWait::Nothing);
    }

    /// The same from a thread that may wait for what follows.
    pub(crate) fn report_and(&self, input: NodeInput, may_wait: MayWait) {
        self.inbox.push(Mail::Input(input), 0);
        self.deliver(may_wait);
    }

    /// Puts in what needs no haste, for the node's thread.
    pub(crate) fn post(&self, mail: Mail) {
        self.inbox.push(mail, 0);
        self.inbox.wake();
    }

    /// Sees to what was just put into the node's inbox: by a turn on this very thread if the node is idle, which saves
    /// waking another, or by waking the node's own. Nobody ever waits here for somebody else's turn; who may waits for
    /// the disk.
    pub(crate) fn deliver(&self, may_wait: MayWait) {
        match self.runner.try_lock() {
            Ok(mut runner) => match runner.as_mut() {
                Some(idle) if idle.is_idle() => {
                    let mut afterwards = Afterwards::default();
                    guard("of a sender", || afterwards = idle.turn());
                    drop(runner);
                    self.carry_out(afterwards, may_wait);
                }
                Some(_) => {
                    drop(runner);
                    self.inbox.wake();
                }
                // Not yet running, in which case its thread looks when it starts; or over.
                None => {}
            },
            // Whoever is in a turn has taken what it takes; what is here by now is for the node's thread, which looks
            // again after its own turn, and must be woken if the turn is somebody else's.
            Err(TryLockError::WouldBlock) => self.inbox.wake(),
            Err(TryLockError::Poisoned(_)) => {}
        }
    }

    /// Tells people and programs what happened: once in the log, once to whoever listens.
    pub(crate) fn tell(&self, event: Event) {
        match &event {
            Event::Group(Notice::Left { .. }) => tracing::warn!("{event}"),
            Event::Group(_) | Event::PeerConnected { .. } | Event::DiskReserve { below: false, .. } => {
                tracing::info!("{event}");
            }
            Event::Removed { .. }
            | Event::PeerLost { .. }
            | Event::PeerUnreachable { .. }
            | Event::PeerRefused { .. }
            | Event::Garbage { .. }
            | Event::DiskReserve { below: true, .. } => tracing::warn!("{event}"),
            Event::LogDamaged { .. } | Event::StateDamaged { .. } => tracing::error!("{event}"),
        }
        // Nobody listening is fine.
        drop(self.events.send(event));
    }

    /// A peer says that this node was removed.
    pub(crate) fn removed(&self, by: NodeId) {
        if self.removed_by.set(by).is_ok() {
            self.tell(Event::Removed { by });
        }
    }

    /// The log is not what was written. Whoever runs the node shuts it down, so that leadership is handed over and the log
    /// closed, after which what is certain of it is known; if nobody does, the process ends.
    pub(crate) fn log_damaged(self: &Arc<Self>, damage: &dyn Display) {
        let damage = damage.to_string();
        if self.log_damage.set(damage.clone()).is_err() {
            return;
        }
        self.tell(Event::LogDamaged { damage: damage.clone() });
        let shared = Arc::clone(self);
        let waited = spawn("hezong-damage", move || {
            thread::sleep(DAMAGE_PATIENCE);
            if shared.runner.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
                stop_process(&format_args!("{damage}, and nobody stopped the node"));
            }
        });
        if let Err(error) = waited {
            stop_process(&error);
        }
    }

    /// The state is not what was written. What is whole of it still serves.
    pub(crate) fn state_damaged(&self, damage: &dyn Display) {
        let damage = damage.to_string();
        if self.state_damage.set(damage.clone()).is_ok() {
            self.tell(Event::StateDamaged { damage });
        }
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
    thread::Builder::new().name(name.clone()).spawn(move || guard(&name, body))
}

/// Runs what must not panic; if it does, the process ends.
pub(crate) fn guard(thread: &str, body: impl FnOnce()) {
    // The panic's own message has been printed by the time it arrives here.
    if catch_unwind(AssertUnwindSafe(body)).is_err() {
        stop_process(&format_args!("the thread {thread} panicked, which is a bug"));
    }
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

/// An error, and what it came from as far as it does not say so itself: the last words of a process name the cause.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}

/// Ends the process at once. What is on disk is whole: that is what the log is for.
pub(crate) fn stop_process(why: &dyn Display) -> ! {
    tracing::error!("{why}; the process ends");
    // Whoever has set up no log must be told as well; where nothing can be written any more it ends all the same.
    writeln!(io::stderr(), "hezong: {why}; the process ends").ok();
    std::process::abort()
}

#[cfg(test)]
mod tests {
    use hezong_node::StateError;

    use super::*;

    #[test]
    fn causes_are_told_once_each() {
        let full = io::Error::from(io::ErrorKind::FileTooLarge);
        let outer = StateError::new(StateError::new(full));
        assert_eq!(with_causes(&outer), "the state machine failed: the state machine failed: file too large");

        #[derive(Debug, thiserror::Error)]
        #[error("the store failed")]
        struct Quiet(#[source] io::Error);
        let quiet = StateError::new(Quiet(io::ErrorKind::FileTooLarge.into()));
        assert_eq!(with_causes(&quiet), "the state machine failed: the store failed: file too large");
    }
}
