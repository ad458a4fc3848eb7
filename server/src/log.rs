//! What a node says on stderr: lines for people, or JSON for programs, at a level that can change while it runs. The last
//! lines are kept for who comes later.

use std::collections::VecDeque;
use std::io::{self, IsTerminal as _, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, reload};

use crate::config::LogFormat;
use crate::say;

/// The log that was started; there is one a process.
pub(crate) struct Log {
    filter: reload::Handle<EnvFilter, Registry>,
    /// The last lines.
    pub(crate) recent: Recent,
}

/// What the lines kept may hold in all.
const RECENT_BYTES_MAX: usize = 256 << 10;

/// The last lines of the log, in memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recent(Arc<Mutex<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    all: VecDeque<String>,
    bytes: usize,
    /// How many were let go.
    gone: u64,
}

impl Recent {
    /// What is kept, the oldest first.
    pub(crate) fn text(&self) -> String {
        let lines = self.lines();
        let mut text = format!("# the last {} lines; {} before them were let go\n", lines.all.len(), lines.gone);
        lines.all.iter().for_each(|line| text.push_str(line));
        text
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Recent {
    /// Takes one line: the layer that formats events hands each over whole.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut lines = self.lines();
        let text = String::from_utf8_lossy(&line[..line.len().min(RECENT_BYTES_MAX)]).into_owned();
        lines.bytes += text.len();
        lines.all.push_back(text);
        while lines.bytes > RECENT_BYTES_MAX && lines.all.len() > 1 {
            lines.bytes -= lines.all.pop_front().map_or(0, |line| line.len());
            lines.gone += 1;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Starts it, at a level or with filters.
    pub(crate) fn start(level: &str, format: LogFormat) -> Result<Self> {
        let (filter, handle) = reload::Layer::new(filter(level)?);
        let lines = match format {
            LogFormat::Text => fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal()).boxed(),
            LogFormat::Json => {
                say::through_the_log();
                fmt::layer().with_writer(io::stderr).json().flatten_event(true).with_current_span(false).boxed()
            }
        };
        let recent = Recent::default();
        let kept = recent.clone();
        let kept = fmt::layer().with_writer(move || kept.clone()).with_ansi(false);
        tracing_subscriber::registry().with(filter).with(lines).with(kept).init();
        Ok(Self { filter: handle, recent })
    }

    /// From now on logs at another level.
    pub(crate) fn set_level(&self, level: &str) -> Result<()> {
        self.filter.reload(filter(level)?).context("the log has ended")
    }
}

fn filter(level: &str) -> Result<EnvFilter> {
    EnvFilter::try_new(level)
        .with_context(|| format!("{level:?} is no filter; write a level such as info, or target=level"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recent_lets_the_oldest_go_and_says_how_many() {
        let mut recent = Recent::default();
        let line = |n: usize| format!("{n:07}{}\n", "x".repeat(1_016));
        (0..300).for_each(|n| recent.write_all(line(n).as_bytes()).unwrap());
        let text = recent.text();
        assert!(text.starts_with("# the last 256 lines; 44 before them were let go\n0000044x"), "{}", &text[..80]);
        assert!(text.ends_with(&line(299)));
        recent.write_all("é".repeat(RECENT_BYTES_MAX).as_bytes()).unwrap();
        assert_eq!(recent.text().lines().count(), 2, "one line is kept, however long");
    }
}
