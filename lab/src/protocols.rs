//! What a protocol adds to the laboratory.

use hezong_base::{NodeId, Protocol as _};
use hezong_commit::TransactionId;
use hezong_commit::tcc::Tcc;
use hezong_commit::three_phase::ThreePhase;
use hezong_commit::two_phase::TwoPhase;
use hezong_invariants::{
    CommitInvariants, Invariants, MultiPaxosInvariants, PaxosInvariants, Proposals, RaftInvariants, RegisterInvariants,
    ReplicatedInvariants, ZabInvariants,
};
use hezong_paxos::basic::{Paxos, Phase};
use hezong_paxos::multi::{Config, MultiPaxos, Role as MultiPaxosRole};
use hezong_paxos::register::Registers;
use hezong_raft::{Entry, Raft, Role};
use hezong_replicated::Replicated;
use hezong_script::Dialect;
use hezong_script::multi_paxos::{MultiPaxosDialect, show_entry};
use hezong_script::paxos::PaxosDialect;
use hezong_script::raft::{RaftDialect, RaftDisk};
use hezong_script::register::RegisterDialect;
use hezong_script::replicated::{GROUP, ReplicatedDialect};
use hezong_script::tcc::TccDialect;
use hezong_script::three_phase::ThreePhaseDialect;
use hezong_script::two_phase::TwoPhaseDialect;
use hezong_script::zab::ZabDialect;
use hezong_zab::{Role as ZabRole, Zab, Zxid};

/// A protocol whose scenarios are played here.
pub(crate) trait Taught: Dialect {
    /// What must hold of it.
    type Invariants: Invariants<Protocol = Self::Protocol>;

    /// What must hold among so many nodes.
    fn invariants(nodes: u8) -> Self::Invariants;
    /// How a node stands, in a few letters.
    fn state(node: &Self::Protocol) -> String;
    /// What the letters mean.
    const LEGEND: &'static str;

    /// What a state machine on top applies, from the first entry on. Only Raft's stories have one.
    fn committed(_node: &Self::Protocol, _disk: &Self::Disk) -> Vec<Entry> {
        Vec::new()
    }
}

impl Taught for RaftDialect {
    type Invariants = RaftInvariants;

    const LEGEND: &'static str = "f follows, p asks whether it may campaign, c campaigns, L leads, each in that term; then its last entry as \
                                  term/index, and after ✓ the last index it knows to be committed";

    fn invariants(_: u8) -> RaftInvariants {
        RaftInvariants
    }

    fn state(node: &Raft) -> String {
        let role = match node.role() {
            Role::Follower => 'f',
            Role::PreCandidate => 'p',
            Role::Candidate => 'c',
            Role::Leader => 'L',
        };
        let last = node.log().last().map(|last| format!(" {}/{}", last.term.0, last.index.0)).unwrap_or_default();
        let committed = node.announced().map(|index| format!(" ✓{}", index.0)).unwrap_or_default();
        format!("{role}{}{last}{committed}", node.term().0)
    }

    fn committed(node: &Raft, disk: &RaftDisk) -> Vec<Entry> {
        disk.entries().iter().filter(|entry| Some(entry.id.index) <= node.announced()).cloned().collect()
    }
}

impl Taught for PaxosDialect {
    type Invariants = PaxosInvariants;

    const LEGEND: &'static str = "the ballot it has promised, as round.node; what it has accepted, with the ballot; after ✓ what it knows to be \
                                  chosen; * while it proposes";

    fn invariants(nodes: u8) -> PaxosInvariants {
        PaxosInvariants { acceptors: nodes, proposals: Proposals::Any }
    }

    fn state(node: &Paxos) -> String {
        let proposes = matches!(node.phase(), Phase::Preparing { .. } | Phase::Accepting(_));
        let promised = node.promised().map_or("–".to_owned(), |ballot| ballot.to_string());
        let accepted = node.accepted().map(|it| format!(" {}@{}", String::from_utf8_lossy(&it.value), it.ballot));
        let chosen = node.chosen().map(|value| format!(" ✓{}", String::from_utf8_lossy(value)));
        let star = if proposes && node.deadline().is_some() { "*" } else { "" };
        format!("{star}{promised}{}{}", accepted.unwrap_or_default(), chosen.unwrap_or_default())
    }
}

impl Taught for MultiPaxosDialect {
    type Invariants = MultiPaxosInvariants;

    const LEGEND: &'static str = "r accepts, c campaigns, M is master; the ballot it has promised, as round.node; then what it has accepted, \
                                  a slot each, and after ✓ the last slot before the first that is not known to be chosen";

    fn invariants(nodes: u8) -> MultiPaxosInvariants {
        let members = (1..=u64::from(nodes)).map(NodeId).collect();
        MultiPaxosInvariants { members, alpha: Config::new(NodeId(1), [NodeId(1)].into()).alpha }
    }

    fn state(node: &MultiPaxos) -> String {
        let role = match node.role() {
            MultiPaxosRole::Replica => 'r',
            MultiPaxosRole::Candidate => 'c',
            MultiPaxosRole::Master => 'M',
        };
        let promised = node.promised().map_or("–".to_owned(), |ballot| ballot.to_string());
        let slots: Vec<_> =
            node.entries().map(|(slot, entry)| format!(" {slot}={}", show_entry(Some(entry)))).collect();
        format!("{role}{promised}{} ✓{}", slots.concat(), node.open().0.saturating_sub(1))
    }
}

impl Taught for RegisterDialect {
    type Invariants = RegisterInvariants;

    const LEGEND: &'static str = "of register a: the ballot it has promised, as round.node; what it has accepted, with the ballot, † being a \
                                  tombstone; then its age, once a register was collected; * while it proposes";

    fn invariants(nodes: u8) -> RegisterInvariants {
        RegisterInvariants { acceptors: nodes }
    }

    fn state(node: &Registers) -> String {
        let register = node.register(b"a");
        let promised = register.map_or("–".to_owned(), |register| register.promised.to_string());
        let accepted = register.and_then(|register| register.accepted.as_ref()).map(|it| {
            let value = it.state.value.as_ref().map_or("†".into(), |value| String::from_utf8_lossy(value));
            format!(" {value}@{}", it.ballot)
        });
        let age = if node.age().0 > 0 { format!(" age {}", node.age().0) } else { String::new() };
        let star = if node.phase(b"a").is_some() { "*" } else { "" };
        format!("{star}{promised}{}{age}", accepted.unwrap_or_default())
    }
}

impl Taught for ZabDialect {
    type Invariants = ZabInvariants;

    const LEGEND: &'static str = "l looks for a leader, j joins one, f follows, p prepares to lead, L leads, each with the epoch whose history it \
                                  has; then its last transaction as epoch.counter, and after ✓ the last it knows to be committed";

    fn invariants(voters: u8) -> ZabInvariants {
        ZabInvariants { voters }
    }

    fn state(node: &Zab) -> String {
        let role = match node.role() {
            ZabRole::Looking => 'l',
            ZabRole::Joining(_) => 'j',
            ZabRole::Following(_) => 'f',
            ZabRole::Preparing => 'p',
            ZabRole::Leading => 'L',
        };
        let place = |sign: &str, zxid: Option<Zxid>| zxid.map(|zxid| format!(" {sign}{zxid}")).unwrap_or_default();
        format!("{role}{}{}{}", node.current().0, place("", node.history().last()), place("✓", node.committed()))
    }
}

impl Taught for TwoPhaseDialect {
    type Invariants = CommitInvariants<TwoPhase>;

    const LEGEND: &'static str = "how many transactions it coordinates/takes part in that are not over; then those it is in doubt about: it has \
                                  said yes, and does not know the outcome";

    fn invariants(_: u8) -> Self::Invariants {
        CommitInvariants::new(true)
    }

    fn state(node: &TwoPhase) -> String {
        doubts(node.under_way(), node.in_doubt())
    }
}

impl Taught for ThreePhaseDialect {
    type Invariants = CommitInvariants<ThreePhase>;

    const LEGEND: &'static str = "how many transactions it coordinates/takes part in that are not over; then those it is in doubt about: it has \
                                  said yes, and does not know the outcome";

    fn invariants(_: u8) -> Self::Invariants {
        CommitInvariants::new(true)
    }

    fn state(node: &ThreePhase) -> String {
        doubts(node.under_way(), node.in_doubt())
    }
}

impl Taught for TccDialect {
    type Invariants = CommitInvariants<Tcc>;

    const LEGEND: &'static str = "how many transactions it coordinates/has a branch in that are not over; then those for which it has reserved \
                                  something, and does not know what comes of it";

    fn invariants(_: u8) -> Self::Invariants {
        CommitInvariants::new(true)
    }

    fn state(node: &Tcc) -> String {
        doubts(node.under_way(), node.in_doubt())
    }
}

fn doubts((coordinated, shared): (usize, usize), doubts: impl Iterator<Item = TransactionId>) -> String {
    format!("{coordinated}/{shared}{}", doubts.map(|tx| format!(" ?{tx}")).collect::<String>())
}

impl Taught for ReplicatedDialect {
    type Invariants = ReplicatedInvariants;

    const LEGEND: &'static str = "of members (n1 to n3) as in Raft: f follows, p asks whether it may campaign, c campaigns, L leads, each in that term; \
                                  then the last entry, and after ✓ the last known to be committed; * while it acts as the coordinator. Of \
                                  participants: what they are in doubt about";

    fn invariants(_: u8) -> ReplicatedInvariants {
        ReplicatedInvariants::new(GROUP)
    }

    fn state(node: &Replicated<TwoPhase>) -> String {
        if let Some(raft) = node.raft() {
            return format!("{}{}", if node.is_acting() { "*" } else { "" }, RaftDialect::state(raft));
        }
        let doubts = node.inner().into_iter().flat_map(TwoPhase::in_doubt).map(|tx| format!("?{tx}"));
        doubts.collect::<Vec<_>>().join(" ")
    }
}
