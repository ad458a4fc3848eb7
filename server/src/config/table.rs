//! Every setting of a node, one row each: flags, environment, file, `--print-config`, the example and
//! `docs/configuration.md` all follow from this table. A new setting is a new row, and a line in `apply.rs` that hands
//! its value to what it concerns.
//!
//! A row reads `section.name: type = kind, fallback, when;`. The name is the flag (`--election-timeout`) and the
//! variable (`HEZONG_ELECTION_TIMEOUT`); in a file it stands under its section, without the section's name if it begins
//! with that (`[raft] election_timeout`, `[disk] reserve`).

use std::path::PathBuf;
use std::time::Duration;

use super::kind::{Kind, Value, ms, seconds};
use super::{Field as _, Values};

/// One setting.
#[derive(Debug)]
pub(crate) struct Key {
    /// Where it stands in a file.
    pub(crate) section: &'static str,
    /// Its name, the same everywhere.
    pub(crate) name: &'static str,
    /// What it is for, in whole sentences.
    pub(crate) doc: &'static str,
    pub(crate) kind: Kind,
    pub(crate) fallback: Fallback,
    pub(crate) when: When,
}

/// What a setting holds that nobody has set.
#[derive(Debug)]
pub(crate) enum Fallback {
    /// It must be set. An example.
    Required(&'static str),
    /// Nothing. An example.
    Absent(&'static str),
    /// This.
    Fixed(&'static str),
    /// What follows from settings above it, in words and by calculation.
    Derived(&'static str, fn(&Values) -> Value),
}

/// When a change takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// At the next start.
    Restart,
    /// On SIGHUP.
    Reload,
}

/// What must hold between two settings.
#[derive(Debug)]
pub(crate) enum Relation {
    /// The first, taken so many times, is at most the second.
    AtMost(&'static str, u32, &'static str),
    /// They differ.
    Differ(&'static str, &'static str),
    /// The first is of no use without the second.
    Needs(&'static str, &'static str),
    /// At most one of them.
    Excludes(&'static str, &'static str),
}

/// The sections of a file, in order, and what each is about.
pub(crate) const SECTIONS: &[(&str, &str)] = &[
    ("node", "Who this node is, where it is reached, and what it takes on at once."),
    ("raft", "How nodes agree. The times should be the same on all nodes."),
    ("disk", "What is kept on disk, and how much of it stays free."),
    ("snapshot", "How members that were away for long get the state."),
    ("peer", "Connections to other nodes."),
    ("security", "Who is let in, and how nodes and clients prove who they are. Secrets are named by their files."),
    ("kv", "What requests on keys are held to."),
    ("log", "What the node says on stderr."),
    ("trace", "Requests followed through the nodes, for OpenTelemetry."),
];

pub(crate) const RELATIONS: &[Relation] = &[
    Relation::Differ("http", "peer"),
    Relation::Needs("tls_cert", "tls_key"),
    Relation::Needs("tls_cert", "tls_ca"),
    // Someone who gives one of these believes that the node encrypts.
    Relation::Needs("tls_key", "tls_cert"),
    Relation::Needs("tls_ca", "tls_cert"),
    Relation::Needs("tls_client_auth", "tls_cert"),
    Relation::Excludes("insecure", "tls_cert"),
    Relation::AtMost("heartbeat_interval", 3, "election_timeout"),
    Relation::AtMost("lease", 1, "election_timeout"),
    Relation::AtMost("append_bytes_max", 1, "window_bytes_max"),
    Relation::AtMost("value_bytes_max", 1, "command_bytes_max"),
    // What waits must have room for the largest command beside others, or that one would never be let in.
    Relation::AtMost("command_bytes_max", 2, "queue_bytes_max"),
    Relation::AtMost("command_bytes_max", 2, "inbox_bytes_max"),
    Relation::AtMost("session_ttl_min", 1, "session_ttl_max"),
];

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

macro_rules! settings {
    ($($(#[doc = $doc:literal])+ $section:ident . $name:ident : $type:ty = $kind:expr, $fallback:expr, $when:ident;)+) => {
        /// What a node is told, whoever said it.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub(crate) struct Settings {
            $($(#[doc = $doc])+ pub(crate) $name: $type,)+
        }

        /// All settings, grouped by section.
        pub(crate) const KEYS: &[Key] = &[$(Key {
            section: stringify!($section),
            name: stringify!($name),
            doc: concat!($($doc),+),
            kind: $kind,
            fallback: $fallback,
            when: When::$when,
        },)+];

        impl Settings {
            /// Of values that are complete.
            pub(super) fn new(values: &Values) -> Self {
                Self { $($name: <$type>::of(values.value(stringify!($name))),)+ }
            }
        }
    };
}

use Fallback::{Absent, Derived, Fixed, Required};
use Kind::{Address, Addresses, Choice, Count, Filter, Label, Listen, Path, Size, Span, Switch, Url};

settings! {
    /// The node's label, unique in its cluster.
    node.id: String = Label, Required("node01"), Restart;
    /// The folder for its data.
    node.data_dir: PathBuf = Path, Required("/var/lib/hezong"), Restart;
    /// Where clients and other nodes reach its HTTP API. It listens there.
    node.http: String = Address, Required("host1:8091"), Restart;
    /// Where other nodes reach it. It listens there.
    node.peer: String = Address, Required("host1:8089"), Restart;
    /// Listens for clients here in place of `http`.
    node.http_bind: Option<String> = Listen, Absent("0.0.0.0:8091"), Restart;
    /// Listens for other nodes here in place of `peer`.
    node.peer_bind: Option<String> = Listen, Absent("0.0.0.0:8089"), Restart;
    /// Nodes, by their `http`, that are asked to take this one in while its folder is empty; afterwards the folder says
    /// which cluster it belongs to.
    node.join: Vec<String> = Addresses, Fixed(""), Restart;
    /// How long a client waits at most for the node. Then a write that was accepted is unknown, anything else refused.
    node.request_timeout: Duration = Span(ms(100)..=seconds(600)), Fixed("5s"), Restart;
    /// How many clients may wait at once; more are refused with 429.
    node.waiting_max: usize = Count(1..=10_000_000), Fixed("65536"), Restart;
    /// How many bytes of commands one turn of the node takes; more are refused with 429.
    node.queue_bytes_max: usize = Size(MIB..=4 * GIB), Fixed("64MiB"), Restart;
    /// How many bytes may wait for the node; above it clients are refused with 429, and peers wait.
    node.inbox_bytes_max: usize = Size(MIB..=4 * GIB), Fixed("64MiB"), Restart;
    /// How many entries may be committed and not yet applied before writes are refused with 429.
    node.apply_lag_max: u64 = Count(100..=100_000_000), Fixed("100000"), Restart;
    /// How long a graceful stop waits for clients.
    node.shutdown_timeout: Duration = Span(Duration::ZERO..=seconds(600)), Fixed("5s"), Restart;
    /// Whether a node that joined becomes a voter by itself once it has caught up.
    node.auto_promote: bool = Switch, Fixed("true"), Restart;

    /// How long a follower waits for its leader before it campaigns; each wait is drawn between this and twice this.
    raft.election_timeout: Duration = Span(ms(50)..=seconds(60)), Fixed("1s"), Restart;
    /// How often a leader makes itself heard.
    raft.heartbeat_interval: Duration = Span(ms(5)..=seconds(20)),
        Derived("a tenth of election_timeout", |values| values.share("election_timeout", 1, 10)), Restart;
    /// For how long an acknowledged heartbeat lets the leader serve reads from memory; 0 makes such reads ask a majority
    /// each time. The data folder remembers a longer one it was run with, and waits it out before it votes.
    raft.lease: Duration = Span(Duration::ZERO..=seconds(60)),
        Derived("nine tenths of election_timeout", |values| values.share("election_timeout", 9, 10)), Restart;
    /// How far two clocks may drift apart while both measure the same span, in parts per million; leases are counted that
    /// much shorter.
    raft.clock_drift_ppm: u32 = Count(0..=500_000), Fixed("10000"), Restart;
    /// How long a write to disk may take before a leader gives up leading.
    raft.store_timeout: Duration = Span(ms(50)..=seconds(600)),
        Derived("election_timeout", |values| values.share("election_timeout", 1, 1)), Restart;
    /// How many bytes of entries one message carries; a single larger entry still goes, alone.
    raft.append_bytes_max: usize = Size(4 * KIB..=8 * MIB), Fixed("1MiB"), Restart;
    /// How many bytes of entries may be on their way to one follower.
    raft.window_bytes_max: usize = Size(4 * KIB..=GIB), Fixed("8MiB"), Restart;
    /// How many bytes of recent entries are kept in memory for followers.
    raft.cache_bytes_max: usize = Size(0..=16 * GIB), Fixed("16MiB"), Restart;
    /// How many bytes may be proposed and not yet committed; above it writes are refused with 429.
    raft.uncommitted_bytes_max: usize = Size(MIB..=16 * GIB), Fixed("64MiB"), Restart;
    /// How many `consistent` reads may wait for a majority; more are refused with 429.
    raft.reads_max: usize = Count(1..=10_000_000), Fixed("65536"), Restart;

    /// Below this many free bytes, writes are refused with 507 and only deletes taken.
    disk.disk_reserve: u64 = Size(0..=1024 * TIB), Fixed("256MiB"), Restart;
    /// How often free space is looked at, at least: also whenever a sixteenth of the reserve was written.
    disk.disk_reserve_interval: Duration = Span(ms(100)..=seconds(3_600)), Fixed("5s"), Restart;
    /// How many bytes of log and state are read again in a second to find damage while others still have what it took; 0: none.
    disk.scrub_bytes_per_second: u64 = Size(0..=TIB), Fixed("1MiB"), Restart;
    /// The size of the files the log is kept in, set aside one ahead.
    disk.segment_bytes: u64 = Size(MIB..=GIB), Fixed("64MiB"), Restart;
    /// After how many bytes applied the state is made durable, which bounds what is replayed after a crash.
    disk.persist_bytes: usize = Size(64 * KIB..=64 * GIB), Fixed("64MiB"), Restart;
    /// How long after something was applied the state is made durable at the latest.
    disk.persist_interval: Duration = Span(ms(100)..=seconds(86_400)), Fixed("30s"), Restart;
    /// How many bytes of applied entries the log keeps for members that are behind; who is further behind fetches a
    /// snapshot of the state.
    disk.log_retain_bytes: usize = Size(0..=1024 * TIB), Fixed("256MiB"), Reload;
    /// How many applied entries it keeps at most.
    disk.log_retain_entries: u64 = Count(0..=1_000_000_000_000), Fixed("1000000"), Reload;

    /// How many bytes of a snapshot this node fetches in a second, at most; none: as fast as it can.
    snapshot.snapshot_bytes_per_second: Option<u64> = Size(KIB..=TIB), Absent("50MiB"), Reload;
    /// How many bytes of a snapshot are asked for at once.
    snapshot.snapshot_chunk_bytes: usize = Size(4 * KIB..=8 * MIB), Fixed("1MiB"), Restart;
    /// After how long a chunk is asked for again; after five times its holder counts as gone.
    snapshot.snapshot_fetch_timeout: Duration = Span(ms(50)..=seconds(600)), Fixed("3s"), Restart;
    /// How long a snapshot, and the log behind it, are held for a member that does not fetch.
    snapshot.snapshot_patience: Duration = Span(ms(100)..=seconds(86_400)), Fixed("60s"), Restart;
    /// How long a snapshot is held at most: the disk space that it needs cannot be freed meanwhile.
    snapshot.snapshot_age_max: Duration = Span(seconds(1)..=seconds(30 * 86_400)), Fixed("1h"), Restart;

    /// How many bytes may wait for one peer; above it the oldest are dropped and sent again later.
    peer.peer_queue_bytes_max: usize = Size(MIB..=16 * GIB), Fixed("32MiB"), Restart;
    /// How long a peer may leave what we sent unacknowledged before its connection counts as dead.
    peer.peer_timeout: Duration = Span(ms(100)..=seconds(600)), Fixed("5s"), Restart;
    /// The longest pause before a peer is dialled again.
    peer.reconnect_pause_max: Duration = Span(ms(10)..=seconds(600)), Fixed("1s"), Restart;

    /// The node's certificate (PEM). With it everything is encrypted, with clients and with other nodes, which must all have
    /// one. Its file, like those of the key and the authority, is read again when it changes.
    security.tls_cert: Option<PathBuf> = Path, Absent("/etc/hezong/node01.pem"), Restart;
    /// The key of the certificate (PEM).
    security.tls_key: Option<PathBuf> = Path, Absent("/etc/hezong/node01.key"), Restart;
    /// The certificate of the cluster's authority (PEM).
    security.tls_ca: Option<PathBuf> = Path, Absent("/etc/hezong/ca.pem"), Restart;
    /// Whether only clients are served that show a certificate of the authority.
    security.tls_client_auth: bool = Switch, Fixed("false"), Restart;
    /// The file with the cluster's token, the same on all nodes: joining, removing, handing over and backups then take it.
    security.token_file: Option<PathBuf> = Path, Absent("/etc/hezong/token"), Restart;
    /// Whether other machines may reach this node in the clear, where anybody may read and change everything.
    security.insecure: bool = Switch, Fixed("false"), Restart;

    /// The longest key taken, in reads too: lowered, it hides longer ones that are there.
    kv.key_bytes_max: usize = Size(1..=32 * KIB), Fixed("4KiB"), Reload;
    /// The largest value taken.
    kv.value_bytes_max: usize = Size(1..=12 * MIB), Fixed("1MiB"), Reload;
    /// How many keys one request may name.
    kv.command_keys_max: usize = Count(1..=1_000_000), Fixed("1024"), Reload;
    /// How many bytes of keys and values one request may carry.
    kv.command_bytes_max: usize = Size(KIB..=12 * MIB), Fixed("8MiB"), Reload;
    /// The shortest life of an unused session that may be asked for.
    kv.session_ttl_min: Duration = Span(ms(100)..=seconds(86_400)), Fixed("1s"), Reload;
    /// The longest life of an unused session that may be asked for.
    kv.session_ttl_max: Duration = Span(ms(100)..=seconds(30 * 86_400)), Fixed("24h"), Reload;

    /// What to log: a level (error, warn, info, debug, trace), or tracing's filters, as `info,hezong_node=trace`.
    log.log_level: String = Filter, Fixed("info"), Reload;
    /// Lines for people, or one JSON object a line.
    log.log_format: LogFormat = Choice(&["text", "json"]), Fixed("text"), Restart;
    /// A step of the node (its turn, the log's write and sync, applying, what waits for a peer) that takes longer is
    /// logged with its parts; 0 turns that off.
    log.slow_step: Duration = Span(Duration::ZERO..=seconds(3_600)), Fixed("200ms"), Reload;

    /// The collector that takes spans of traced requests (OTLP over HTTP, protobuf). Without a path, /v1/traces is added.
    trace.trace_endpoint: Option<String> = Url, Absent("http://127.0.0.1:4318"), Restart;
    /// Of so many requests that come without a `traceparent` one is traced; 0: none. Those that come with one are traced if
    /// it says so.
    trace.trace_one_in: u32 = Count(0..=1_000_000_000), Fixed("1000"), Reload;
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

impl Key {
    /// Its name in a file, without the section.
    pub(crate) fn short(&self) -> &'static str {
        let rest = self.name.strip_prefix(self.section).and_then(|rest| rest.strip_prefix('_'));
        rest.unwrap_or(self.name)
    }

    /// Its name in a file, as `raft.election_timeout`; also what errors call it.
    pub(crate) fn path(&self) -> String {
        format!("{}.{}", self.section, self.short())
    }

    pub(crate) fn flag(&self) -> String {
        format!("--{}", self.name.replace('_', "-"))
    }

    pub(crate) fn variable(&self) -> String {
        format!("{}{}", super::PREFIX, self.name.to_uppercase())
    }

    /// The setting of this name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.name == name)
    }

    /// Whether a node cannot do without.
    pub(crate) fn must_be_set(&self) -> bool {
        matches!(self.fallback, Required(_))
    }

    /// What it holds when nobody has set it, in words.
    pub(crate) fn fallback_words(&self) -> String {
        match &self.fallback {
            Required(_) => "must be set".to_owned(),
            Absent(_) => "not set".to_owned(),
            Fixed("") => "none".to_owned(),
            Fixed(text) => (*text).to_owned(),
            Derived(words, _) => (*words).to_owned(),
        }
    }
}
