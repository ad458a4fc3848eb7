//! Known bugs as switches. With the feature `weakened`, [`crate::Config`] carries one of them, and the proof shows that
//! its checkers catch it; without the feature every switch is a constant `false` and nothing of it is compiled in.

/// One known bug. Each is of the modules that its comment names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Weakness {
    /// 2PC, 3PC: a yes leaves before it is on disk; after a crash the participant knows of no promise.
    VoteBeforeStored,
    /// 2PC, 3PC: a commit leaves before it is on disk; after a crash the coordinator has not decided anything.
    DecisionBeforeStored,
    /// 2PC: a commit is forgotten once one participant has acknowledged it; the next one that asks is told abort.
    ForgottenEarly,
    /// 2PC: who asks about an unknown transaction is told that it was committed.
    UnknownCommits,
    /// 2PC: a participant in doubt that hears nothing aborts alone.
    DoubtAborts,
    /// 2PC: which numbers were used is forgotten in a crash.
    NumberReused,
    /// 2PC: who asks about a transaction that was not begun yet is told that it was aborted. Harmless while one node coordinates
    /// under its name; where several do, one after the other, another may have begun it.
    UnbegunAborts,
    /// 2PC: votes are counted, not voters: one yes that comes twice stands for two.
    YesCountedTwice,
    /// 2PC: a participant that has voted yes tells another that it has not, and that it may abort.
    PeerAborts,
    /// 2PC, 3PC: a participant that has not voted tells another to abort, and may vote yes afterwards.
    PeerAbortForgotten,
    /// 2PC: a Prepare that comes after its transaction is over is prepared again.
    LatePrepare,
    /// TCC: a Try that comes after its Cancel reserves what nobody cancels any more (suspension).
    LateTry,
    /// TCC: a Cancel that comes before its Try is not remembered (empty rollback).
    EmptyCancelForgotten,
    /// TCC: what was cancelled can be confirmed afterwards.
    ConfirmAfterCancel,
    /// TCC: a reservation is told before it is on disk; after a crash a Confirm finds nothing, and a second Try tries anew.
    TriedBeforeStored,
    /// TCC, 3PC: a branch applies an outcome before it is on disk which; after a crash it may apply the other.
    AppliedBeforeDecided,
    /// TCC: a Confirm leaves before it is on disk; after a crash the coordinator cancels.
    ConfirmBeforeStored,
    /// TCC: a coordinator forgets in a crash what it has begun; its reservations stay for ever.
    BegunForgotten,
    /// 3PC: the coordinator commits as soon as all have voted yes, without waiting until they know that of each other.
    CommitWithoutReady,
    /// 3PC: a coordinator that misses a Ready aborts, as textbooks have it; who is ready may have to commit without it.
    SilenceAborts,
    /// 3PC: a participant that runs out of patience asks nobody: it aborts, or commits if it knows that all have voted yes.
    TimeoutAlone,
    /// 3PC: a backup commits before the others know that all have voted yes.
    CommitUnpromoted,
    /// 3PC: a participant that was gone takes part in the termination as if it had missed nothing.
    RecoveredActs,
    /// 3PC: a coordinator that was gone presumes abort, as in two-phase commit, whatever the others did meanwhile.
    RecoveryAborts,
}

impl Weakness {
    /// Those of two-phase commit.
    pub const TWO_PHASE: [Self; 10] = [
        Self::VoteBeforeStored,
        Self::DecisionBeforeStored,
        Self::ForgottenEarly,
        Self::UnknownCommits,
        Self::DoubtAborts,
        Self::NumberReused,
        Self::YesCountedTwice,
        Self::PeerAborts,
        Self::PeerAbortForgotten,
        Self::LatePrepare,
    ];
    /// Those of two-phase commit that show only where its coordinator is replicated.
    pub const REPLICATED: [Self; 1] = [Self::UnbegunAborts];
    /// Those of Try-Confirm-Cancel.
    pub const TCC: [Self; 7] = [
        Self::LateTry,
        Self::EmptyCancelForgotten,
        Self::ConfirmAfterCancel,
        Self::TriedBeforeStored,
        Self::AppliedBeforeDecided,
        Self::ConfirmBeforeStored,
        Self::BegunForgotten,
    ];
    /// Those of three-phase commit.
    pub const THREE_PHASE: [Self; 10] = [
        Self::VoteBeforeStored,
        Self::DecisionBeforeStored,
        Self::PeerAbortForgotten,
        Self::AppliedBeforeDecided,
        Self::CommitWithoutReady,
        Self::SilenceAborts,
        Self::TimeoutAlone,
        Self::CommitUnpromoted,
        Self::RecoveredActs,
        Self::RecoveryAborts,
    ];

    /// Where one is warned of it.
    #[cfg(feature = "weakened")]
    #[must_use]
    pub const fn origin(self) -> &'static str {
        match self {
            Self::VoteBeforeStored | Self::DecisionBeforeStored => "Gray 1978, *Notes on Data Base Operating Systems*",
            Self::ForgottenEarly | Self::UnknownCommits | Self::UnbegunAborts => {
                "Mohan, Lindsay and Obermarck 1986, presumed abort"
            }
            Self::DoubtAborts | Self::YesCountedTwice => "Gray 1978: all must agree, and then wait",
            Self::NumberReused => "Mohan, Lindsay and Obermarck 1986: names of transactions are unique",
            Self::PeerAborts | Self::PeerAbortForgotten => {
                "Bernstein, Hadzilacos and Goodman 1987, §7.4, cooperative termination"
            }
            Self::LateTry | Self::EmptyCancelForgotten | Self::TriedBeforeStored => {
                "Seata's fence table: suspension, empty rollback, idempotence"
            }
            Self::ConfirmAfterCancel | Self::AppliedBeforeDecided => {
                "a reservation is confirmed or cancelled, never both"
            }
            Self::CommitWithoutReady | Self::TimeoutAlone => "Skeen 1981: no state beside both commit and abort",
            Self::SilenceAborts => "Bernstein, Hadzilacos and Goodman 1987, §7.5: who is not ready has crashed",
            Self::CommitUnpromoted | Self::RecoveredActs | Self::RecoveryAborts => {
                "Bernstein, Hadzilacos and Goodman 1987, §7.5, TR4 and recovery"
            }
            Self::ConfirmBeforeStored | Self::BegunForgotten => "Gray 1978, the coordinator's log",
            Self::LatePrepare => "messages that come late; the suspension of TCC has the same cause",
        }
    }
}
