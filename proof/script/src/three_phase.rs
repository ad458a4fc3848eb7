//! How three-phase commit is told. Its commands are those of `commit.rs`.

use hezong_commit::three_phase::{Message, ThreePhase, Write};
use hezong_commit::{Outcome, TransactionId};

use crate::commit::{CommitDialect, Told, show_nodes, show_outcome, show_vote, show_work};

/// Three-phase commit's dialect.
pub type ThreePhaseDialect = CommitDialect<ThreePhase>;

impl Told for ThreePhase {
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
        let note = |recovering: bool| if recovering { " recovering" } else { "" };
        match message {
            Message::CanCommit { tx, work, participants } => {
                format!("CanCommit {tx} {} among {}", show_work(work), show_nodes(participants))
            }
            Message::Vote { tx, yes } => format!("Vote {tx} {}", show_vote(*yes)),
            Message::PreCommit(tx) => format!("PreCommit {tx}"),
            Message::Ready(tx) => format!("Ready {tx}"),
            Message::Decision { tx, outcome } => format!("Decision {tx} {}", show_outcome(*outcome)),
            Message::Acknowledged(tx) => format!("Acknowledged {tx}"),
            Message::StateRequest { tx, recovering } => format!("StateRequest {tx}{}", note(*recovering)),
            Message::State { tx, pre_committed, recovering } => {
                let state = if *pre_committed { "pre-committed" } else { "prepared" };
                format!("State {tx} {state}{}", note(*recovering))
            }
        }
    }

    fn show_write(write: &Write) -> String {
        match write {
            Write::Begun { number, participants } => format!("Begun {number} at {}", show_nodes(participants)),
            Write::Concluded { number, outcome } => format!("Concluded {number} {}", show_outcome(*outcome)),
            Write::End(number) => format!("End {number}"),
            Write::Prepared { tx, work, .. } => format!("Prepared {tx} {}", show_work(work)),
            Write::Decided { tx, outcome } => format!("Decided {tx} {}", show_outcome(*outcome)),
            Write::Finished { tx, outcome } => format!("Finished {tx} {}", show_outcome(*outcome)),
        }
    }
}
