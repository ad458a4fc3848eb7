//! What changes while a node runs: on SIGHUP it reads its file again, does what may be done at once, and says of each
//! setting that differs whether it is in effect or needs a restart.

use hezong_kv::Limits;
use hezong_shell::Handle;
use tokio::signal::unix::Signal;
use tokio::sync::watch;

use crate::config::{self, Settings, Sources, Values};
use crate::log::Log;
use crate::notify;

/// A running node, as far as its settings go.
pub(crate) struct Reload {
    pub(crate) sources: Sources,
    /// What it runs with.
    pub(crate) values: Values,
    /// The same, for `/debug/settings`.
    pub(crate) shown: watch::Sender<String>,
    pub(crate) log: Log,
    /// Followed by the HTTP API.
    pub(crate) limits: watch::Sender<Limits>,
    pub(crate) node: Handle,
}

impl Reload {
    /// Reads again each time it is asked to, for as long as the node lives.
    pub(crate) async fn on(mut self, mut hangup: Signal) {
        while hangup.recv().await.is_some() {
            notify::reloading();
            self.again();
            notify::ready();
        }
    }

    fn again(&mut self) {
        let Some(file) = &self.sources.file else {
            tracing::info!("SIGHUP: there is no file to read again; name one with --config");
            return;
        };
        let file = file.display().to_string();
        let (settings, values) = match self.sources.load() {
            Ok(loaded) => loaded,
            Err(problems) => {
                for problem in problems.0 {
                    tracing::error!("{problem}");
                }
                tracing::error!("{file} is wrong; nothing was changed");
                return;
            }
        };
        let changes = self.values.changes(&values);
        tracing::info!("{file} was read again; {} settings differ", changes.len());
        for change in &changes {
            let (key, from, to) = (&change.key, &change.from, &change.to);
            if change.at_once {
                tracing::info!(key, from, to, "{key}: {from} → {to}, in effect from now on");
            } else {
                tracing::warn!(key, from, to, "{key}: {from} → {to} needs a restart; until then {from} holds");
            }
        }
        self.apply(&settings);
        self.values.adopt(&values);
        self.shown.send_replace(config::print(&self.sources, &self.values));
    }

    /// Hands on what may change while the node runs.
    fn apply(&self, settings: &Settings) {
        if let Err(error) = self.log.set_level(&settings.log_level) {
            tracing::error!("{error:#}");
        }
        self.limits.send_replace(settings.limits());
        self.node.set_slow_step(settings.slow_step);
        if let Some(tracer) = self.node.tracer() {
            tracer.set_one_in(settings.trace_one_in);
        }
        self.node.tune(settings.tuning());
    }
}
