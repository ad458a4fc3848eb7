//! The command line. `--help` teaches: every command shows what to type first.

use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use clap::{ArgAction, Parser, Subcommand, ValueEnum};
use hezong_client::Level;
use hezong_shell::trace;

use crate::backup::Place;
use crate::cert::CertArgs;
use crate::check::CheckArgs;
use crate::config::{Flags, Sources};
use crate::secure::ClientSecurity;
use crate::torture::TortureArgs;

/// Keeps many machines agreed: a replicated, linearizable store of keys.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Start here:\n  \
        hezong up                                   three nodes on this machine, data in ./hezong-data\n  \
        hezong put foo bar                          write through whichever node leads\n  \
        hezong get foo                              read it back\n  \
        curl 127.0.0.1:8092/key/foo -L              the same over HTTP, from any node"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs a cluster of node processes on this machine.
    Up(UpArgs),
    /// Runs one node.
    Node(Box<NodeArgs>),
    /// Checks a node's configuration file without starting anything.
    CheckConfig(CheckConfigArgs),
    /// Prints a configuration file in which every key is explained.
    ExampleConfig(ExampleConfigArgs),
    /// Prints the value of a key.
    Get(GetArgs),
    /// Sets a key.
    Put(PutArgs),
    /// Deletes keys; harmless for those that are absent.
    Del(DelArgs),
    /// Moves a value to another key.
    #[cfg(feature = "next-version")]
    Rename(RenameArgs),
    /// Prints keys and values in order.
    Scan(ScanArgs),
    /// Shows how every node stands.
    Status(StatusArgs),
    /// Shows how every node stands and what it does, live.
    Top(TopArgs),
    /// Shows who takes part.
    Members(StatusArgs),
    /// Lets members go for good.
    Remove(RemoveArgs),
    /// Lets learners vote, once they have caught up.
    Promote(PromoteArgs),
    /// Lets new members take the place of old ones.
    Replace(ReplaceArgs),
    /// Has another node lead.
    Transfer(TransferArgs),
    /// Writes the whole state, as of one moment, to a file or an object store.
    Backup(BackupArgs),
    /// Makes the first node of a new cluster from a backup.
    Restore(RestoreArgs),
    /// Makes a new cluster of what one node holds, after the majority was lost.
    Recover(RecoverArgs),
    /// Gathers what is needed to find the cause of something.
    Debug(DebugArgs),
    /// Writes keys as fast as the cluster takes them, and measures.
    Bench(BenchArgs),
    /// Checks what clients recorded: is it linearizable, are transactions isolated, are sessions kept?
    Check(CheckArgs),
    /// Starts a cluster, does everything bad to it, and judges what its clients saw.
    Torture(TortureArgs),
    /// Makes certificates for a cluster, and a token.
    Cert(CertArgs),
    /// Prints what makes a shell complete this program's commands.
    Completions(CompletionsArgs),
    /// Writes man pages.
    Man(ManArgs),
}

/// Which cluster.
#[derive(Debug, clap::Args)]
pub(crate) struct ClusterArgs {
    /// Nodes to ask, host:port or https://host:port; any of them will do, the leader is found by itself.
    #[arg(
        short,
        long,
        env = "HEZONG_ENDPOINTS",
        value_delimiter = ',',
        default_value = "127.0.0.1:8091,127.0.0.1:8092,127.0.0.1:8093",
        global = true
    )]
    pub(crate) endpoints: Vec<String>,
    /// How many seconds to keep trying.
    #[arg(long, default_value_t = 10.0, value_name = "SECONDS")]
    pub(crate) timeout: f64,
    /// Prints JSON, for machines.
    #[arg(long)]
    pub(crate) json: bool,
    /// The trace this belongs to, as W3C writes it, or `new` to begin one and print its id.
    /// Without it, what the variable TRACEPARENT holds, if that is one.
    #[arg(long, value_name = "TRACEPARENT", value_parser = traceparent)]
    pub(crate) traceparent: Option<String>,
    #[command(flatten)]
    pub(crate) security: ClientSecurity,
}

pub(crate) fn traceparent(given: &str) -> Result<String, &'static str> {
    let given = given.trim();
    let is_good = given == "new" || trace::parse(given).is_some();
    is_good.then(|| given.to_owned()).ok_or("write 00-, 32 hex digits, -, 16 hex digits, -01; or new")
}

/// A read level as typed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LevelArg {
    /// From any node, whatever it has applied.
    Stale,
    /// From the leader, under its lease.
    Default,
    /// After a majority confirmed the leader.
    Consistent,
}

impl From<LevelArg> for Level {
    fn from(level: LevelArg) -> Self {
        match level {
            LevelArg::Stale => Self::Stale,
            LevelArg::Default => Self::Default,
            LevelArg::Consistent => Self::Consistent,
        }
    }
}

/// `hezong up`
#[derive(Debug, clap::Args)]
#[command(after_help = "The first time a new cluster is made in the data folder; afterwards it is found again.\n\
    Ctrl-C stops all nodes gracefully. If `up` itself dies, its nodes stop too.\n\n\
    Examples:\n  \
        hezong up\n  \
        hezong up --restart                         nodes that die are started again\n  \
        hezong up --nodes 5 --http-port 9001 --peer-port 9101 --data /tmp/five")]
pub(crate) struct UpArgs {
    /// The folder for the data of all nodes.
    #[arg(long, default_value = "hezong-data")]
    pub(crate) data: PathBuf,
    /// How many nodes, 1 to 9; an odd number survives more [default: 3, or as the data folder says].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=9))]
    pub(crate) nodes: Option<u16>,
    /// The first node's client port; the others follow [default: 8091, or as the data folder says].
    #[arg(long)]
    pub(crate) http_port: Option<u16>,
    /// The first node's port for other nodes; the others follow [default: 8081, or as the data folder says].
    #[arg(long)]
    pub(crate) peer_port: Option<u16>,
    /// Starts a node again when its process ends.
    #[arg(long)]
    pub(crate) restart: bool,
}

/// `hezong node`
#[derive(Debug, clap::Args)]
#[command(after_help = "A new cluster is made by exactly one node with --bootstrap; every other one is taken in with \
    --join, which matters\nonly the first time: afterwards the folder says who the node is. SIGTERM and Ctrl-C stop it \
    gracefully, SIGHUP has\nit read its file again. Every setting may also stand in the file, or in a variable HEZONG_…: see \
    `hezong example-config`.\n\n\
    Examples:\n  \
        hezong node --id node01 --bootstrap --http 127.0.0.1:8091 --peer 127.0.0.1:8089 data01\n  \
        hezong node --id node02 --join host1:8091 --http host2:8091 --peer host2:8089 \\\n      \
            --tls-cert node02.pem --tls-key node02.key --tls-ca ca.pem --token-file token /var/lib/hezong\n  \
        hezong node --config /etc/hezong/hezong.toml --print-config")]
pub(crate) struct NodeArgs {
    /// The folder for its data, as --data-dir.
    #[arg(value_name = "DIR", conflicts_with = "data_dir")]
    pub(crate) dir: Option<String>,
    /// Makes a new cluster, of which this is the first node.
    #[arg(long, conflicts_with = "join")]
    pub(crate) bootstrap: bool,
    /// With --join: takes the place of the member with this label, whose disk is lost; it is let go, and this is a new member.
    #[arg(long)]
    pub(crate) replace: bool,
    /// Reads settings from this file; flags and variables are stronger.
    #[arg(long, value_name = "FILE", env = "HEZONG_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Prints what the node would run with, and who set it, and ends.
    #[arg(long)]
    pub(crate) print_config: bool,
    /// Stops gracefully when stdin ends: how `up` takes its nodes with it.
    #[arg(long, hide = true, action = ArgAction::SetTrue)]
    pub(crate) stop_with_stdin: bool,
    #[command(flatten)]
    pub(crate) trial: Trial,
    #[command(flatten)]
    pub(crate) flags: Flags,
}

/// For proofs on real processes: how `torture` bends what a node rests on.
#[derive(Debug, clap::Args)]
pub(crate) struct Trial {
    /// A file that says how the log's disk behaves: slow, or losing with the process what was not synced.
    #[arg(long, hide = true, value_name = "FILE")]
    pub(crate) trial_disk: Option<PathBuf>,
    /// A file that says how fast the node's clock runs.
    #[arg(long, hide = true, value_name = "FILE")]
    pub(crate) trial_clock: Option<PathBuf>,
}

impl NodeArgs {
    /// Where the node's settings come from.
    pub(crate) fn sources(&self) -> Sources {
        let mut flags = self.flags.clone();
        flags.0.extend(self.dir.clone().map(|dir| ("data_dir", dir)));
        // A variable that is there and empty names no file.
        Sources::new(flags, self.config.clone().filter(|file| !file.as_os_str().is_empty()))
    }
}

/// `hezong check-config`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "All that is wrong is told, each with its line; exit code 2. The certificates and the token that a whole \
    file names are checked as a start does; exit code 1. Neither the environment nor the data folder is looked \
    at.\n\nExample:\n  hezong check-config /etc/hezong/hezong.toml"
)]
pub(crate) struct CheckConfigArgs {
    /// The file.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// `hezong example-config`
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  hezong example-config > hezong.toml")]
pub(crate) struct ExampleConfigArgs {
    /// Prints the page of the documentation in its place.
    #[arg(long, hide = true)]
    pub(crate) markdown: bool,
}

/// `hezong get`
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code 3 when the key is absent.\n\nExamples:\n  \
        hezong get foo\n  \
        hezong get app/db/password --level consistent\n  \
        hezong get foo --level stale --endpoints 127.0.0.1:8093 --json")]
pub(crate) struct GetArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// The key.
    pub(crate) key: String,
    /// How fresh.
    #[arg(long, value_enum, default_value = "default")]
    pub(crate) level: LevelArg,
    /// Waits until the node has applied this index.
    #[arg(long)]
    pub(crate) min_index: Option<u64>,
    /// Prints the bytes without a line end.
    #[arg(long)]
    pub(crate) raw: bool,
}

/// `hezong put`
#[derive(Debug, clap::Args)]
#[command(after_help = "Each write carries an Idempotency-Key of its own, so that retries happen at most once.\n\n\
    Examples:\n  \
        hezong put foo bar\n  \
        hezong put app/config - < config.toml       the value from stdin\n  \
        hezong put paid/17 yes --once order-17      safe to repeat, also from another machine\n  \
        hezong put lock me --if-modified 0          only if there is no such key: exit code 1 if there is\n  \
        hezong put n 8 --if-modified 41             only if revision 41 (`hezong get n --json`) set it last")]
pub(crate) struct PutArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// The key.
    pub(crate) key: String,
    /// The value; `-` reads it from stdin.
    pub(crate) value: String,
    /// The Idempotency-Key to send.
    #[arg(long, value_name = "KEY")]
    pub(crate) once: Option<String>,
    /// Only if this revision was the last to change the key; 0: only if the key is absent.
    #[arg(long, value_name = "REVISION", conflicts_with = "once")]
    pub(crate) if_modified: Option<u64>,
}

/// `hezong rename`
#[cfg(feature = "next-version")]
#[derive(Debug, clap::Args)]
pub(crate) struct RenameArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// The key.
    pub(crate) from: String,
    /// What it is to be called.
    pub(crate) to: String,
}

/// `hezong del`
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  hezong del foo\n  hezong del app/a app/b")]
pub(crate) struct DelArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// The keys.
    #[arg(required = true)]
    pub(crate) keys: Vec<String>,
}

/// `hezong scan`
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  hezong scan\n  hezong scan app/ --limit 20\n  hezong scan app/ --keys-only")]
pub(crate) struct ScanArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// Only keys that start with this.
    #[arg(default_value = "")]
    pub(crate) prefix: String,
    /// Only keys after this one.
    #[arg(long)]
    pub(crate) after: Option<String>,
    /// At most so many; without it, all.
    #[arg(long)]
    pub(crate) limit: Option<u64>,
    /// How fresh. Pages are read one after the other, each as of its own moment.
    #[arg(long, value_enum, default_value = "default")]
    pub(crate) level: LevelArg,
    /// Prints no values.
    #[arg(long)]
    pub(crate) keys_only: bool,
}

/// `hezong status`, `hezong members`
#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

/// `hezong top`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Keys: q ends, s sorts, p pauses, ? explains the columns. Where nobody looks, as in a pipe, one view is \
    printed as text.\n\nExamples:\n  \
        hezong top\n  \
        hezong top --interval 0.5 -e host3:8091     any one node leads to all of them\n  \
        hezong top --once --json                    one view, for programs"
)]
pub(crate) struct TopArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// How many seconds lie between two views.
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS")]
    pub(crate) interval: f64,
    /// Prints one view as text and ends; rates are of one interval.
    #[arg(long)]
    pub(crate) once: bool,
}

/// `hezong remove`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Several at once are one step: a majority of the voters before and one of those after it decide everything \
    meanwhile. Refused\nwhen too few of those left can be reached. A member's number is never used again. To bring the machine \
    back, empty its\nfolder and start it with --join. Exit code 3 when no member has the label, as after an earlier removal.\n\nExamples:\n  hezong remove node03\n  hezong remove node04 node05"
)]
pub(crate) struct RemoveArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// The members' labels.
    #[arg(required = true, value_name = "ID")]
    pub(crate) ids: Vec<String>,
}

/// `hezong promote`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A node that joins becomes a voter by itself once it has caught up. This is for several at once, which \
    are one step:\na majority of the voters before and one of those after it decide everything meanwhile.\n\n\
    Example:\n  hezong promote node04 node05"
)]
pub(crate) struct PromoteArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) patience: PatienceArgs,
    /// The learners' labels.
    #[arg(required = true, value_name = "ID")]
    pub(crate) ids: Vec<String>,
}

/// `hezong replace`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Start the new node with --join, before this or after it. Once it has caught up, one step gives it a vote \
    and lets the old\none go; a majority of the voters before and one of those after it decide everything meanwhile. The old \
    one may be dead.\nIf only its disk is lost, start it again with an empty folder, --join and --replace: it then takes its own \
    place.\n\n\
    Examples:\n  \
        hezong node --id node04 --join host1:8091 --http host4:8091 --peer host4:8089 /var/lib/hezong    # on the new machine\n  \
        hezong replace node02 --with node04\n  \
        hezong replace node02 node03 --with node04,node05"
)]
pub(crate) struct ReplaceArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) patience: PatienceArgs,
    /// The labels of those that go.
    #[arg(required = true, value_name = "ID")]
    pub(crate) ids: Vec<String>,
    /// The labels of those that take their place.
    #[arg(long, required = true, value_delimiter = ',', value_name = "ID")]
    pub(crate) with: Vec<String>,
}

/// How long to wait for new members.
#[derive(Debug, clap::Args)]
pub(crate) struct PatienceArgs {
    /// How many seconds new members may take to join and to catch up.
    #[arg(long, default_value_t = 600.0, value_name = "SECONDS")]
    pub(crate) wait: f64,
}

/// `hezong completions`
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
        hezong completions bash > /etc/bash_completion.d/hezong\n  \
        hezong completions fish > ~/.config/fish/completions/hezong.fish")]
pub(crate) struct CompletionsArgs {
    /// Which shell.
    pub(crate) shell: clap_complete::Shell,
}

/// `hezong man`
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  hezong man /usr/local/share/man/man1")]
pub(crate) struct ManArgs {
    /// The folder to write them to, one page a command.
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
}

/// `hezong transfer`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The leader takes no writes until the other's log is level with its own, then the other leads at once.     Clients that\nretry notice nothing. A node that is stopped with SIGTERM or Ctrl-C hands over by itself.\n\n\
    Examples:\n  \
        hezong transfer node02\n  \
        hezong transfer                             to whichever node suits best"
)]
pub(crate) struct TransferArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// The label of the member that is to lead; without it, the voter that suits best.
    pub(crate) to: Option<String>,
}

/// `hezong backup`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Nothing stops meanwhile. The file is there once it is whole, checked and on the disk; until then it is \
    FILE.part.\n\nExamples:\n  \
        hezong backup /backup/hezong-monday\n  \
        hezong backup --check /backup/hezong-monday       is it whole?\n  \
        hezong backup b --level stale -e host3:8091       from a node that does not lead\n  \
        hezong backup s3://bucket/hezong-monday           to a store that speaks S3\n\n\
    Who asks the store, and where it is, comes from the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,\n\
    AWS_SESSION_TOKEN, AWS_REGION, AWS_ENDPOINT_URL (or AWS_ENDPOINT_URL_S3), AWS_CA_BUNDLE."
)]
pub(crate) struct BackupArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// A file, or an object as s3://BUCKET/PATH.
    #[arg(value_name = "FILE|URL", value_parser = OsStringValueParser::new().try_map(Place::parse))]
    pub(crate) place: Place,
    /// Replaces what is there.
    #[arg(long, conflicts_with = "check")]
    pub(crate) force: bool,
    /// How fresh.
    #[arg(long, value_enum, default_value = "default")]
    pub(crate) level: LevelArg,
    /// Reads a backup to its end and tells what is wrong with it; no cluster is asked.
    #[arg(long)]
    pub(crate) check: bool,
}

/// `hezong restore`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The cluster is a new one: nodes of the old one cannot join it by mistake. Start the folder with \
    `hezong node`\nwithout --bootstrap; further nodes join it with empty folders.\n\nExample:\n  \
        hezong restore /backup/hezong-monday /var/lib/hezong --id node01 --http host1:8091 --peer host1:8089"
)]
pub(crate) struct RestoreArgs {
    /// The backup: a file, or an object as s3://BUCKET/PATH.
    #[arg(value_name = "FILE|URL", value_parser = OsStringValueParser::new().try_map(Place::parse))]
    pub(crate) place: Place,
    /// The folder to make; empty, or not there yet.
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// The node's label.
    #[arg(long)]
    pub(crate) id: String,
    /// Where clients will reach it, host:port.
    #[arg(long)]
    pub(crate) http: String,
    /// Where other nodes will reach it, host:port.
    #[arg(long)]
    pub(crate) peer: String,
    /// Prints JSON, for machines.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `hezong recover`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "For when more than half of the voters are gone for good. What only they had is lost. The node must \
    not run; its\nfolder is left as it is, and the new one needs as much room. Refused while a majority could be \
    had.\n\nExample:\n  \
        hezong recover /var/lib/hezong /var/lib/hezong-new"
)]
pub(crate) struct RecoverArgs {
    /// The folder of the node that is left. Of several, take the one whose `hezong status` told the highest LAST.
    #[arg(value_name = "DIR")]
    pub(crate) from: PathBuf,
    /// The folder to make; empty, or not there yet.
    #[arg(value_name = "NEWDIR")]
    pub(crate) to: PathBuf,
    /// The new node's label [default: as it was].
    #[arg(long)]
    pub(crate) id: Option<String>,
    /// Where clients will reach it, host:port [default: as it was].
    #[arg(long)]
    pub(crate) http: Option<String>,
    /// Where other nodes will reach it, host:port [default: as it was].
    #[arg(long)]
    pub(crate) peer: Option<String>,
    /// Prints JSON, for machines.
    #[arg(long)]
    pub(crate) json: bool,
    /// How the other voters are asked whether they are there.
    #[command(flatten)]
    pub(crate) security: ClientSecurity,
}

/// `hezong debug`
#[derive(Debug, clap::Args)]
pub(crate) struct DebugArgs {
    #[command(subcommand)]
    pub(crate) command: DebugCommand,
}

/// What to gather.
#[derive(Debug, Subcommand)]
pub(crate) enum DebugCommand {
    /// Writes status, metrics, settings and log of every node to one file.
    Bundle(BundleArgs),
}

/// `hezong debug bundle`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Of each node that can be reached: status, members, metrics twice, the settings with who set them, and the \
    last lines of\nits log; of this machine: kernel, limits, memory, load. manifest.txt tells what is there, and what is \
    missing and why.\nSettings and log take the cluster's token. No token, no certificate's key and no \
    value is in it; paths,\naddresses and labels are.\n\nExamples:\n  \
        hezong debug bundle monday.tar.gz\n  \
        hezong debug bundle monday.tar.gz -e host1:8091 --token-file token"
)]
pub(crate) struct BundleArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// The file to make; one that is there is not replaced.
    #[arg(value_name = "FILE.tar.gz")]
    pub(crate) file: PathBuf,
    /// How many seconds lie between the two readings of the metrics.
    #[arg(long, default_value_t = 3.0, value_name = "SECONDS")]
    pub(crate) apart: f64,
}

/// `hezong bench`
#[derive(Debug, clap::Args)]
#[command(after_help = "Every acknowledged write is read back afterwards unless --no-verify. A write is acknowledged \
    after fdatasync on a majority.\n\nExamples:\n  \
        hezong bench                                64 clients, 200,000 puts of 256 bytes over 100,000 keys\n  \
        hezong bench --clients 1 --puts 2000 --fsync-dir hezong-data/node01\n  \
        hezong bench --seconds 30 --json")]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// Clients at work at the same time, each waiting for its reply before it sends the next.
    #[arg(long, default_value_t = 64)]
    pub(crate) clients: usize,
    /// How many puts in all; without it 200,000, or as many as fit --seconds.
    #[arg(long)]
    pub(crate) puts: Option<u64>,
    /// Stops after so many seconds.
    #[arg(long)]
    pub(crate) seconds: Option<f64>,
    /// How many keys they go to.
    #[arg(long, default_value_t = 100_000)]
    pub(crate) keys: u64,
    /// How large each value is, in bytes.
    #[arg(long, default_value_t = 256)]
    pub(crate) value_size: usize,
    /// Leaves out reading back.
    #[arg(long)]
    pub(crate) no_verify: bool,
    /// Sends an Idempotency-Key with every put.
    #[arg(long)]
    pub(crate) once: bool,
    /// Measures fdatasync in this folder, in turn with the puts.
    #[arg(long, value_name = "DIR")]
    pub(crate) fsync_dir: Option<PathBuf>,
    /// Threads of this program.
    #[arg(long, default_value_t = 1)]
    pub(crate) threads: usize,
}
