//! What a node says on stderr: lines for people, or JSON for programs, at a level that can change while it runs.

use std::io::{self, IsTerminal as _};

use anyhow::{Context as _, Result};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, reload};

use crate::config::LogFormat;
use crate::say;

/// The log that was started; there is one a process.
pub(crate) struct Log {
    filter: reload::Handle<EnvFilter, Registry>,
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
        tracing_subscriber::registry().with(filter).with(lines).init();
        Ok(Self { filter: handle })
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
