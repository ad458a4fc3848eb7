//! Exactly-once writes (DESIGN §3): of all copies of a write that is recognised, by its key or by its number in a session, one is
//! carried out, and every other is answered with what that one was.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use hezong_kv::{Once, Reply, Request, Rules, SessionId};
use hezong_raft::{Entry, Payload};

use super::Violation;

const PROPERTY: &str = "exactly-once writes";

/// By what copies of a write are recognised.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Key(Bytes),
    Number(SessionId, u64),
}

/// Which writes were carried out.
#[derive(Debug, Default)]
pub(crate) struct ExactlyOnce {
    /// What the one that was carried out was told, and in what log time.
    done: BTreeMap<Name, (Reply, Duration)>,
}

impl ExactlyOnce {
    /// Somebody was the first to apply `entry`, and was told `reply`.
    pub(super) fn on_applied(&mut self, entry: &Entry, reply: &[u8]) -> Result<(), Violation> {
        let Payload::Command(command) = &entry.payload else { return Ok(()) };
        let (Ok(Request { once: Some(once), .. }), Ok(reply)) =
            (Request::decode(command.clone()), Reply::decode(reply))
        else {
            return Ok(());
        };
        let name = match once {
            Once::Idempotency { key, .. } => Name::Key(key),
            Once::Session { session, sequence, .. } => Name::Number(session, sequence),
        };
        let window = Rules::default().once_window;
        let known =
            self.done.get(&name).filter(|(_, at)| matches!(name, Name::Number(..)) || entry.time <= *at + window);
        match known {
            None if reply.repeated => {
                let detail = format!("{} is told to repeat {name:?}, which was never carried out", entry.id);
                return Err(Violation::new(PROPERTY, detail));
            }
            // What is refused is not carried out, and may be tried again.
            None if reply.result.is_err() => {}
            None => drop(self.done.insert(name, (reply, entry.time))),
            Some((first, _)) if !reply.repeated && reply.result.is_ok() => {
                let detail = format!("{} carries out {name:?} once more, after {}", entry.id, first.index);
                return Err(Violation::new(PROPERTY, detail));
            }
            Some((first, _)) if reply.repeated && *first != (Reply { repeated: false, ..reply.clone() }) => {
                let detail = format!("{} is told {reply:?} of {name:?}, which was told {first:?}", entry.id);
                return Err(Violation::new(PROPERTY, detail));
            }
            Some(_) => {}
        }
        Ok(())
    }
}
