//! How the binary talks: lines on stdout that survive a closed pipe, failures as one sentence on stderr.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A failure with an exit code of its own.
#[derive(Debug)]
pub(crate) struct Exit {
    pub(crate) code: u8,
    pub(crate) message: String,
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Exit {}

/// The exit code for arguments or a configuration that do not fit.
pub(crate) const UNFIT: u8 = 2;
/// The exit code for a key that is absent.
pub(crate) const ABSENT: u8 = 3;
/// The exit code when no node could serve in time.
pub(crate) const UNAVAILABLE: u8 = 4;
/// The exit code when the outcome of a write, or the verdict on a history, is unknown.
pub(crate) const UNKNOWN: u8 = 5;

/// Prints one line; a reader that has gone away (`hezong scan | head`) ends the program quietly.
pub(crate) fn line(text: impl AsRef<str>) {
    bytes(format!("{}\n", text.as_ref()).as_bytes());
}

/// Prints bytes as they are.
pub(crate) fn bytes(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    if out.write_all(bytes).and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// Prints one line with the time of day (UTC), for events.
pub(crate) fn event(text: impl AsRef<str>) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs() % 86_400;
    line(format!("{:02}:{:02}:{:02}Z  {}", since / 3_600, since / 60 % 60, since % 60, text.as_ref()));
}

/// Prints a sentence on stderr, beside the one a failure ends with.
pub(crate) fn aside(text: impl AsRef<str>) {
    // Err: nobody is left to read it.
    writeln!(io::stderr(), "hezong: {}", text.as_ref()).ok();
}

/// Whether stderr is read by a program that wants nothing but JSON.
static STRUCTURED: AtomicBool = AtomicBool::new(false);

/// From now on failures are told as the log's last line.
pub(crate) fn through_the_log() {
    STRUCTURED.store(true, Ordering::Relaxed);
}

/// Prints why, and returns the exit code.
pub(crate) fn failed(error: &anyhow::Error) -> ExitCode {
    if STRUCTURED.load(Ordering::Relaxed) {
        tracing::error!("{}", sentence(error));
        return code(error);
    }
    // Err: nobody is left to read it; the exit code remains.
    writeln!(io::stderr(), "hezong: {}", sentence(error)).ok();
    code(error)
}

/// The context and its causes as one sentence. `{:#}` would tell a cause twice where the error above it already names it.
fn sentence(error: &anyhow::Error) -> String {
    let mut said = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !said.contains(&cause) {
            said = format!("{said}: {cause}");
        }
    }
    said
}

fn code(error: &anyhow::Error) -> ExitCode {
    ExitCode::from(error.downcast_ref::<Exit>().map_or(1, |exit| exit.code))
}
