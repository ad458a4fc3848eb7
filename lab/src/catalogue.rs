//! The scenarios: what each teaches, what is at stake, and the weakness that turns its verdict.

use std::fmt;

/// Whose scenario it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Raft.
    Raft,
    /// Raft, with the state machine that ships on top.
    Accounts,
    /// Basic Paxos.
    Paxos,
    /// CASPaxos registers.
    Register,
    /// Multi-Paxos.
    MultiPaxos,
    /// ZAB.
    Zab,
    /// Two-phase commit.
    TwoPhase,
    /// Three-phase commit.
    ThreePhase,
    /// Try-Confirm-Cancel.
    Tcc,
    /// Two-phase commit with a replicated coordinator.
    Replicated,
}

/// What spoils a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoilt {
    /// A known bug in every node.
    By(&'static str),
    /// An option of every node.
    Option(&'static str, &'static str),
}

/// What a weakness breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breaks {
    /// A property of the protocol, as its invariants call it.
    Property(&'static str),
    /// What the story expects.
    Story,
}

impl fmt::Display for Spoilt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::By(weakness) => f.write_str(weakness),
            Self::Option(name, value) => write!(f, "{name}={value}"),
        }
    }
}

/// One scenario.
#[derive(Debug)]
pub struct Scenario {
    /// As in `docs/scenarios.md`.
    pub id: &'static str,
    /// Of which protocol.
    pub protocol: Protocol,
    /// How many nodes decide.
    pub voters: u8,
    /// What happens, in a line.
    pub title: &'static str,
    /// What one learns from it.
    pub teaches: &'static str,
    /// What must hold.
    pub at_stake: &'static str,
    /// What turns the verdict.
    pub spoilt: Spoilt,
    /// What is broken then.
    pub breaks: Breaks,
    /// The story.
    pub story: &'static str,
}

/// The scenario of this id, however it is written.
#[must_use]
pub fn find(id: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.id.eq_ignore_ascii_case(id))
}

macro_rules! scenarios {
    ($($id:literal $protocol:ident $voters:literal $file:literal: $title:literal, $teaches:literal, $at_stake:literal, $spoilt:expr => $breaks:expr;)*) => {
        /// All of them, in the order in which they build on each other.
        pub static SCENARIOS: [Scenario; [$($id),*].len()] = [$(Scenario {
            id: $id,
            protocol: Protocol::$protocol,
            voters: $voters,
            title: $title,
            teaches: $teaches,
            at_stake: $at_stake,
            spoilt: $spoilt,
            breaks: $breaks,
            story: include_str!(concat!("../scenarios/", $file)),
        }),*];
    };
}

scenarios! {
    "RAFT-1" Raft 3 "raft_1":
        "A, B and C follow; A's patience is the shortest. Later B campaigns, whose disk is slow",
        "how a leader is elected, and why a term must be on disk before anybody hears of it",
        "election safety", Spoilt::By("ForgottenTerm") => Breaks::Property("election safety");
    "RAFT-2" Raft 3 "raft_2":
        "A and B campaign for the same term; C is asked by A first",
        "a node has one vote a term, and gives it to whoever asks first",
        "election safety", Spoilt::By("DoubleVote") => Breaks::Property("election safety");
    "RAFT-3" Raft 3 "raft_3":
        "C campaigns, and B's log is newer than C's",
        "whose log is older gets no vote from whoever knows more",
        "election restriction", Spoilt::By("VoteForStaleLog") => Breaks::Story;
    "RAFT-4" Raft 3 "raft_4":
        "the leader of term 3 was cut off and comes back to term 4",
        "a leader that hears of a later term follows at once, and commits nothing more",
        "state-machine safety", Spoilt::By("CommitWithoutMajority") => Breaks::Property("state-machine safety");
    "RAFT-5" Raft 2 "raft_5":
        "a follower's log has gone another way; the leader finds where",
        "the leader probes backwards to the last common entry, and overwrites the rest",
        "log matching", Spoilt::By("AppendWithoutCheck") => Breaks::Property("log matching");
    "RAFT-6" Raft 5 "raft_6":
        "figure 8 of the paper: an entry of an older term is on a majority",
        "an entry of an older term is never committed by counting its copies",
        "leader completeness", Spoilt::By("CommitOldTermByCounting") => Breaks::Property("leader completeness");
    "RAFT-7" Raft 5 "raft_7":
        "three nodes become five at once, and fall apart into {A, B} and {C, D, E}",
        "members cannot simply be replaced: majorities before and after need not meet",
        "state-machine safety", Spoilt::By("PlainReplacement") => Breaks::Property("leader completeness");
    "RAFT-8" Raft 5 "raft_7":
        "the same through a joint membership",
        "while the membership is joint, a majority of each of both sets decides",
        "state-machine safety", Spoilt::By("JointMajorityOfSum") => Breaks::Property("leader completeness");
    "RAFT-9" Raft 3 "raft_9":
        "the leader is cut off while it holds its lease, and is read from",
        "who leads cannot know whether it still does, but by its lease or by asking a majority",
        "no consistent read is old", Spoilt::By("ReadWithoutRound") => Breaks::Property("reads are not old");
    "RAFT-10" Accounts 3 "raft_10":
        "a client pays 100 coins, hears nothing, and sends the same four times more",
        "an entry for each, and one payment: what a request was sent under is a part of the state, on every replica and over restarts",
        "once-only", Spoilt::By("OnceLostOnRestart") => Breaks::Story;
    "RAFT-11" Raft 4 "raft_11":
        "two changes of members pass each other across two terms",
        "a leader changes no members before an entry of its own term is committed",
        "majorities meet", Spoilt::By("MembershipWithoutEmptyEntry") => Breaks::Story;
    "RAFT-12" Raft 3 "raft_12":
        "all die while an entry is on no disk yet, and once more when it is",
        "what is committed is on a majority of disks, not of memories",
        "leader completeness", Spoilt::By("AckBeforeStored") => Breaks::Property("leader completeness");
    "RAFT-13" Raft 3 "raft_13":
        "a snapshot reaches a follower that is behind, and once more when it is ahead",
        "a snapshot replaces what it covers and leaves what lies behind it",
        "what was acknowledged is kept", Spoilt::By("SnapshotDropsSuffix") => Breaks::Story;
    "RAFT-14" Raft 3 "raft_14":
        "a dead node is replaced: a learner, a voter, the dead one removed",
        "a newcomer learns before it counts",
        "leader completeness", Spoilt::By("LearnerCounted") => Breaks::Property("leader completeness");
    "PAX-1" Paxos 3 "pax_1":
        "A and B see number 1 first, C sees number 5 first",
        "who has promised a number accepts nothing below it",
        "agreement", Spoilt::By("AcceptBelowPromise") => Breaks::Story;
    "PAX-1b" Paxos 3 "pax_1b":
        "the same, but A and B have accepted 3 before they see number 5",
        "who comes later proposes what was accepted, not what it wanted",
        "agreement", Spoilt::By("OwnValue") => Breaks::Property("agreement");
    "PAX-2" Paxos 3 "pax_2":
        "7 is chosen on A and B; a third client proposes 6",
        "what is chosen stays chosen",
        "agreement", Spoilt::By("OwnValue") => Breaks::Property("agreement");
    "PAX-3" Paxos 3 "pax_3":
        "a learner is told by two acceptors of the same value, at two ballots",
        "chosen is what a majority accepted at one ballot, and nothing less",
        "only what was chosen is learned", Spoilt::By("CountAcrossBallots") => Breaks::Property("only what was chosen is learned");
    "PAX-4" Paxos 3 "pax_4":
        "two proposers raise numbers against each other",
        "agreement is safe without pauses, and gets nowhere",
        "progress", Spoilt::Option("backoff", "0s") => Breaks::Story;
    "PAX-5" Paxos 3 "pax_5":
        "three clients create the same variable with three values",
        "one value, the same everywhere: whoever asked is told which",
        "agreement", Spoilt::By("HalfIsMajority") => Breaks::Property("only what was chosen is learned");
    "MPX-1" MultiPaxos 5 "mpx_1":
        "five members, and three of them campaign at once",
        "phase 1 can fail for all; with one master it cannot",
        "one master at a time", Spoilt::By("HalfIsMajority") => Breaks::Story;
    "MPX-2" MultiPaxos 3 "mpx_2":
        "a master proposes value after value, one of them so slowly that it is outbid meanwhile",
        "phase 1 is for all slots to come: a value takes one round trip, for as long as nobody has promised more",
        "agreement", Spoilt::By("AcceptBelowPromise") => Breaks::Property("agreement");
    "MPX-3" MultiPaxos 3 "mpx_3":
        "a replica restarts and has forgotten to whom it granted a lease",
        "who may have granted a lease promises nothing until it has passed",
        "no two masters at once", Spoilt::By("LeaseForgotten") => Breaks::Story;
    "MPX-ORD" MultiPaxos 3 "mpx_ord":
        "A proposes X and Y, B proposes Z, C leads with the promises of A and C: the log is Z, Y",
        "Multi-Paxos agrees on each slot, and not on the order in which a master meant them",
        "agreement (and not order)", Spoilt::By("LowestBallot") => Breaks::Property("agreement");
    "MPX-ORD-RAFT" Raft 3 "mpx_ord_raft":
        "the same on Raft: X and Y go together",
        "a log that parts from the leader's is cut off where it parts, so that no order is torn",
        "log matching", Spoilt::By("AppendWithoutCheck") => Breaks::Property("state-machine safety");
    "CAS-1" Register 3 "cas_1":
        "a register is set, deleted and collected; a copy of what set it arrives after that",
        "who forgets a tombstone must remember how old the proposers were, or what was deleted comes back",
        "promises are kept", Spoilt::By("AgesSkipped") => Breaks::Property("promises are kept");
    "CAS-2" Register 3 "cas_2":
        "three clients create the same register with three values",
        "a register that is set only where it is empty is a variable that is created once",
        "one chain of states", Spoilt::By("HalfIsMajority") => Breaks::Property("what users are told was chosen since they asked");
    "ZAB-1" Zab 3 "zab_1":
        "a leader has used up the counters of its epoch while it is cut off, and is asked for more",
        "a zxid is an epoch and a counter that begins anew with each: a leader steps down rather than reach into the next epoch",
        "total order", Spoilt::By("RollOver") => Breaks::Property("total order");
    "ZAB-2" Zab 3 "zab_2":
        "the node of the highest name comes back, and its history is older than the others'",
        "votes are compared by epoch, then zxid, and only then name: whoever leads has what was committed",
        "who serves has all that was before", Spoilt::By("OldestHistoryLeads") => Breaks::Property("who serves has all that was before");
    "ZAB-3" Zab 3 "zab_3":
        "a parent is lost on its way, and its child is not",
        "a session with a hole in it is over, so that no child is there without its parent",
        "committed is on a majority of disks", Spoilt::By("GapUnnoticed") => Breaks::Property("committed is on a majority of disks");
    "ZAB-4" Zab 3 "zab_4":
        "a follower that has not heard of a commit asks for sync, and so does an observer of a leader that is none any more",
        "a follower may read what is old; sync is answered behind every commit, and once a majority has said that it follows",
        "sync is up to date", Spoilt::By("SyncUnconfirmed") => Breaks::Property("sync is up to date");
    "TX-1" TwoPhase 3 "tx_1":
        "Zhao coordinates, Wei and Han take part: both say yes, and another time one says no",
        "what all have promised is committed everywhere, and one no aborts it everywhere; what is counted is who votes",
        "atomicity", Spoilt::By("YesCountedTwice") => Breaks::Property("only what all have promised is committed");
    "TX-2" TwoPhase 3 "tx_2":
        "the coordinator dies between the phases",
        "who has promised waits for its coordinator, and blocks while that is gone; a commit is on disk before anybody hears of it",
        "atomicity (and not an end)", Spoilt::By("DecisionBeforeStored") => Breaks::Property("only what was decided is applied");
    "TX-3" ThreePhase 3 "tx_3":
        "one participant knows of all votes and is cut off, another's Ready is lost, and the coordinator is left in silence",
        "three-phase commit takes silence for death: a coordinator that aborts then meets one that knows, and commits",
        "agreement", Spoilt::By("SilenceAborts") => Breaks::Property("agreement");
    "TX-4" Tcc 2 "tx_4":
        "one branch, and every message comes twice; the Cancel comes before its Try",
        "a Cancel that finds nothing is remembered, so that the Try it overtook reserves nothing that nobody cancels",
        "one outcome for what is reserved", Spoilt::By("EmptyCancelForgotten") => Breaks::Property("a transaction is kept until it is over");
    "TX-6" TwoPhase 3 "tx_6":
        "the commit reaches one participant; the coordinator and that one die",
        "whoever is left cannot tell whether it was committed or aborted, and must wait; one that comes back and knows is enough",
        "agreement", Spoilt::By("DoubtAborts") => Breaks::Property("agreement");
    "TX-2R" Replicated 3 "tx_2r":
        "both have voted yes, and the member that acts as their coordinator dies before it decides",
        "a coordinator that several members stand for: another has all that was committed, and presumes abort; nobody waits",
        "nobody remains in doubt", Spoilt::By("AsksOne") => Breaks::Story;
    "TX-6R" Replicated 3 "tx_6r":
        "the commit reaches one participant; then it dies, and the member that acts",
        "a commit is told once it is an entry on a majority of disks, so that the member that acts next has it",
        "what is told is on disk", Spoilt::By("StoredWhenProposed") => Breaks::Property("what is told is on disk");
    "TX-6S" Replicated 3 "tx_6s":
        "a member acts that is cut off and does not know it, beside the one that follows it",
        "an abort is said without a write: it must be true for ever, so that nothing is said of numbers that are another's",
        "agreement", Spoilt::By("UnbegunAborts") => Breaks::Property("agreement");
}
