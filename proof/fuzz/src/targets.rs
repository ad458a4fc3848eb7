//! What is fuzzed.

use hezong_base::Rng;

mod alone;
mod codec;
mod config;
mod history;
mod http;
mod log;
mod multi_paxos;
mod node;
mod paxos;
mod raft;
#[path = "../../../engine/codec/tests/random/mod.rs"]
mod random;
mod register;
mod state;
mod tcc;
mod three_phase;
mod two_phase;
mod zab;

/// A function of bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// What it is called.
    pub name: &'static str,
    /// What the bytes are, and where they come from.
    pub what: &'static str,
    /// Makes a valid input, or one as the target takes it apart.
    pub sample: fn(&mut Rng) -> Vec<u8>,
    /// Runs one; whether it was taken for valid. Panics where something is wrong.
    pub run: fn(&[u8]) -> bool,
    /// How much memory it may take: so many bytes for each of the input,
    pub bytes_a_byte: usize,
    /// and so many beside.
    pub bytes_beside: usize,
}

/// All of them. The last leaves a node behind that goes on working, which would count for those after it.
pub const ALL: &[Target] = &[
    Target {
        name: "frame",
        what: "a frame from a peer",
        sample: codec::frame_sample,
        run: codec::frame,
        bytes_a_byte: 100,
        bytes_beside: 64 << 10,
    },
    Target {
        name: "entry",
        what: "an entry of the log, and what follows it in the log's records",
        sample: codec::record_sample,
        run: codec::record,
        bytes_a_byte: 100,
        bytes_beside: 64 << 10,
    },
    Target {
        name: "cluster-id",
        what: "the id of a cluster, as text",
        sample: codec::cluster_sample,
        run: codec::cluster,
        bytes_a_byte: 100,
        bytes_beside: 64 << 10,
    },
    Target {
        name: "segment",
        what: "the files of a log",
        sample: log::sample,
        run: log::run,
        bytes_a_byte: 200,
        bytes_beside: 2 << 20,
    },
    Target {
        name: "request",
        what: "a command from the log, and what the state makes of it",
        sample: state::request_sample,
        run: state::request,
        bytes_a_byte: 100,
        bytes_beside: 256 << 10,
    },
    Target {
        name: "reply",
        what: "what a client is told",
        sample: state::reply_sample,
        run: state::reply,
        bytes_a_byte: 100,
        bytes_beside: 64 << 10,
    },
    Target {
        name: "snapshot",
        what: "chunks of a snapshot from a peer, and cursors",
        sample: state::snapshot_sample,
        run: state::snapshot,
        bytes_a_byte: 200,
        bytes_beside: 1 << 20,
    },
    Target {
        name: "backup",
        what: "a backup from a file or a store",
        sample: state::backup_sample,
        run: state::backup,
        bytes_a_byte: 100,
        bytes_beside: 256 << 10,
    },
    Target {
        name: "history",
        what: "a history to be checked, and the verdict on it",
        sample: history::sample,
        run: history::run,
        bytes_a_byte: 4_000,
        bytes_beside: 4 << 20,
    },
    Target {
        name: "config",
        what: "a node's file of settings",
        sample: config::sample,
        run: config::run,
        bytes_a_byte: 2_000,
        bytes_beside: 1 << 20,
    },
    Target {
        name: "raft",
        what: "what reaches `Raft::handle`: any message, unknown writes and asks, crashes",
        sample: raft::sample,
        run: raft::run,
        bytes_a_byte: 1_000,
        bytes_beside: 1 << 20,
    },
    Target {
        name: "paxos",
        what: "what reaches `Paxos::handle`: any message, slow disks, crashes",
        sample: raft::sample,
        run: paxos::run,
        bytes_a_byte: 1_000,
        bytes_beside: 1 << 20,
    },
    Target {
        name: "register",
        what: "what reaches `Registers::handle`, CASPaxos: any message, slow disks, crashes",
        sample: raft::sample,
        run: alone::run::<hezong_paxos::register::Registers>,
        bytes_a_byte: 1_000,
        bytes_beside: 1 << 20,
    },
    Target {
        name: "multi-paxos",
        what: "what reaches `MultiPaxos::handle`: any message, snapshots, slow disks, crashes",
        sample: raft::sample,
        run: alone::run::<hezong_paxos::multi::MultiPaxos>,
        bytes_a_byte: 1_000,
        bytes_beside: 1 << 20,
    },
    Target {
        name: "zab",
        what: "what reaches `Zab::handle`: any message in and out of sessions, slow disks, crashes",
        sample: raft::sample,
        run: alone::run::<hezong_zab::Zab>,
        bytes_a_byte: 1_000,
        bytes_beside: 1 << 20,
    },
    Target {
        name: "two-phase",
        what: "what reaches `TwoPhase::handle`: any message and vote, slow disks, crashes",
        sample: raft::sample,
        run: alone::run::<hezong_commit::two_phase::TwoPhase>,
        bytes_a_byte: 1_000,
        bytes_beside: 1 << 20,
    },
    Target {
        name: "three-phase",
        what: "what reaches `ThreePhase::handle`: any message and vote, slow disks, crashes",
        sample: raft::sample,
        run: alone::run::<hezong_commit::three_phase::ThreePhase>,
        bytes_a_byte: 1_000,
        bytes_beside: 1 << 20,
    },
    Target {
        name: "tcc",
        what: "what reaches `Tcc::handle`: any message and vote, slow disks, crashes",
        sample: raft::sample,
        run: alone::run::<hezong_commit::tcc::Tcc>,
        bytes_a_byte: 1_000,
        bytes_beside: 1 << 20,
    },
    Target {
        name: "node",
        what: "what reaches `Node::handle` from peers and clients",
        sample: raft::sample,
        run: node::run,
        bytes_a_byte: 2_000,
        bytes_beside: 2 << 20,
    },
    Target {
        name: "http",
        what: "a client's connection, and what a node answers",
        sample: http::sample,
        run: http::run,
        bytes_a_byte: 1_000,
        // A node is started by the one that comes first.
        bytes_beside: 16 << 20,
    },
];
