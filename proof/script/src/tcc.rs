//! How Try-Confirm-Cancel is told. Its commands are those of `commit.rs`.

use hezong_commit::tcc::{Message, Tcc, Write};
use hezong_commit::{Outcome, TransactionId};

use crate::commit::{CommitDialect, Told, show_nodes, show_outcome, show_vote, show_work};

/// Try-Confirm-Cancel's dialect.
pub type TccDialect = CommitDialect<Tcc>;

impl Told for Tcc {
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
            Message::Try { tx, work } => format!("Try {tx} {}", show_work(work)),
            Message::Tried { tx, yes } => format!("Tried {tx} {}", show_vote(*yes)),
            Message::Confirm(tx) => format!("Confirm {tx}"),
            Message::Cancel(tx) => format!("Cancel {tx}"),
            Message::Done { tx, outcome } => format!("Done {tx} {}", show_outcome(*outcome)),
        }
    }

    fn show_write(write: &Write) -> String {
        match write {
            Write::Begun { number, branches } => format!("Begun {number} at {}", show_nodes(branches)),
            Write::Confirm(number) => format!("Confirm {number}"),
            Write::End(number) => format!("End {number}"),
            Write::Tried { tx, work } => format!("Tried {tx} {}", show_work(work)),
            Write::Decided { tx, outcome } => format!("Decided {tx} {}", show_outcome(*outcome)),
            Write::Finished { tx, outcome } => format!("Finished {tx} {}", show_outcome(*outcome)),
        }
    }
}
