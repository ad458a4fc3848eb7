//! How two-phase commit is told. Its commands are those of `commit.rs`.

use hezong_commit::two_phase::{Message, TwoPhase, Write};
use hezong_commit::{Outcome, TransactionId};

use crate::commit::{CommitDialect, Told, show_nodes, show_outcome, show_vote, show_work};

/// Two-phase commit's dialect.
pub type TwoPhaseDialect = CommitDialect<TwoPhase>;

impl Told for TwoPhase {
    fn under_way(&self) -> (usize, usize) {
        self.under_way()
    }

    fn in_doubt(&self, tx: TransactionId) -> bool {
        self.in_doubt().any(|doubt| doubt == tx)
    }

    fn finished(&self, tx: TransactionId) -> Option<Outcome> {
        self.finished(tx)
    }

    fn show_message(message: &Message) -> String {
        match message {
            Message::Prepare { tx, work, participants } => {
                format!("Prepare {tx} {} among {}", show_work(work), show_nodes(participants))
            }
            Message::Vote { tx, yes } => format!("Vote {tx} {}", show_vote(*yes)),
            Message::Decision { tx, outcome } => format!("Decision {tx} {}", show_outcome(*outcome)),
            Message::Acknowledged(tx) => format!("Acknowledged {tx}"),
            Message::Inquiry(tx) => format!("Inquiry {tx}"),
        }
    }

    fn show_write(write: &Write) -> String {
        match write {
            Write::Numbers(last) => format!("Numbers up to {last}"),
            Write::Commit { number, participants } => format!("Commit {number} at {}", show_nodes(participants)),
            Write::End(number) => format!("End {number}"),
            Write::Prepared { tx, work, .. } => format!("Prepared {tx} {}", show_work(work)),
            Write::Finished { tx, outcome } => format!("Finished {tx} {}", show_outcome(*outcome)),
        }
    }
}
