//! One binary that keeps many machines agreed: composition only. It reads arguments and environment, puts the floors
//! below together, and talks to people. A library besides a program, so that what it reads can be fuzzed.
//!
//! | file | holds |
//! |---|---|
//! | `args.rs` | the command line |
//! | `config.rs`, `config/` | a node's settings |
//! | `node.rs` | one node; `log.rs` what it says, `reload.rs` what changes while it runs, `notify.rs` what systemd is told |
//! | `secure.rs` | its certificates and token, and a client's; what keeps secrets in this process |
//! | `cert.rs` | making certificates |
//! | `up.rs`, `up/` | a cluster on this machine |
//! | `data.rs` | the commands that read and write keys |
//! | `top.rs`, `top/` | a live view of all nodes |
//! | `members.rs` | the commands of who takes part and who leads |
//! | `backup.rs`, `restore.rs` | a state in a file; a new cluster from a file, or from what is left |
//! | `debug.rs` | what a maintainer needs, in one file |
//! | `bench.rs` | the load it can put on a cluster |
//! | `torture.rs` | a cluster under faults, and a verdict |
//! | `https.rs`, `spans.rs` | TLS to an object store; spans on their way to a collector |
//! | `check.rs` | whether what clients recorded fits what they were promised |
//! | `help.rs` | completions and man pages |
//! | `say.rs` | how it talks |
//!
//! Its word for failure: one sentence on stderr that names the thing, the limit and the remedy, and an exit code other
//! than zero: 1 for most, 2 for arguments or a configuration that do not fit, 3 for a key that is absent, 4 when no node
//! could serve in time, 5 when something stays unknown: the outcome of a write, or the verdict on a history.

mod args;
mod backup;
mod bench;
mod cert;
mod check;
mod config;
mod data;
mod debug;
mod help;
mod https;
mod log;
mod members;
mod node;
mod notify;
mod reload;
mod restore;
mod say;
mod secure;
mod spans;
mod top;
mod torture;
mod up;

pub use crate::config::{example as example_config, problems as config_problems};

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{Args, Command};

/// What the program does.
pub fn main() -> ExitCode {
    let args = Args::parse();
    let workers = match &args.command {
        // The node's own threads do the work. Beyond one for two processors, those that serve its clients would only
        // wake each other.
        Command::Node(_) => std::thread::available_parallelism().map_or(1, |processors| processors.get().div_ceil(2)),
        Command::Bench(bench) => bench.threads,
        _ => 1,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return say::failed(&anyhow::Error::new(error).context("threads cannot be started")),
    };
    let done = runtime.block_on(async {
        match args.command {
            Command::Node(node) => node::run(*node).await,
            Command::CheckConfig(check) => config::check(&check.file),
            Command::ExampleConfig(example) => config::show(&example),
            Command::Up(up) => up::run(up).await,
            Command::Get(get) => data::get(get).await,
            Command::Put(put) => data::put(put).await,
            Command::Del(del) => data::del(del).await,
            #[cfg(feature = "next-version")]
            Command::Rename(rename) => data::rename(rename).await,
            Command::Scan(scan) => data::scan(scan).await,
            Command::Status(status) => data::status(status).await,
            Command::Top(top) => top::run(top).await,
            Command::Members(members) => members::members(members).await,
            Command::Remove(remove) => members::remove(remove).await,
            Command::Promote(promote) => members::promote(promote).await,
            Command::Replace(replace) => members::replace(replace).await,
            Command::Transfer(transfer) => members::transfer(transfer).await,
            Command::Backup(backup) => backup::run(backup).await,
            Command::Restore(restore) => tokio::task::spawn_blocking(move || restore::restore(&restore)).await?,
            Command::Recover(recover) => restore::recover(&recover).await,
            Command::Debug(debug) => debug::run(debug).await,
            Command::Bench(bench) => bench::run(bench).await,
            Command::Check(check) => check::run(&check),
            Command::Torture(torture) => torture::run_it(torture).await,
            Command::Cert(cert) => cert::run(cert),
            Command::Completions(completions) => help::completions(&completions),
            Command::Man(man) => help::man(&man),
        }
    });
    // Whatever still runs only serves connections that nobody waits for.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => say::failed(&error),
    }
}
