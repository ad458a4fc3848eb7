//! What the nodes say of themselves, and what is news in it.

use std::time::Duration;

use anyhow::Result;
use hezong_client::{Client, Options};
use serde_json::Value;
use tokio::time::Instant;

use crate::up::plan::Place;

/// How long a node may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a running process may be silent before that is news.
const SILENCE: Duration = Duration::from_secs(2);

/// The last a node said.
pub(super) struct Watch {
    id: String,
    client: Client,
    said: Option<Value>,
    heard: Instant,
    /// What people were told last: whether it is up.
    told_up: bool,
}

impl Watch {
    pub(super) fn new(place: &Place) -> Result<Self> {
        let options = Options {
            timeout: ANSWER_TIMEOUT,
            attempt_timeout: ANSWER_TIMEOUT,
            given_only: true,
            ..Options::default()
        };
        let client = Client::with_options([&place.http], options)?;
        Ok(Self { id: place.id.clone(), client, said: None, heard: Instant::now(), told_up: true })
    }

    /// Asks once.
    pub(super) async fn ask(&mut self) {
        let said = self.client.status().await.ok();
        self.hear(said);
    }

    /// Takes note of an answer.
    fn hear(&mut self, said: Option<Value>) {
        self.said = said;
        if self.said.is_some() {
            self.heard = Instant::now();
        }
    }

    /// Its process has ended, and people were told.
    pub(super) fn lost(&mut self) {
        self.said = None;
        self.told_up = false;
    }

    /// Whether it answers.
    pub(super) fn is_up(&self) -> bool {
        self.said.is_some()
    }

    /// Whether it knows who leads.
    pub(super) fn knows_leader(&self) -> bool {
        self.said.as_ref().is_some_and(|said| !said["leader"].is_null())
    }

    /// Whether it votes.
    pub(super) fn is_voter(&self) -> bool {
        self.text("suffrage") == Some("voter")
    }

    /// `leader`, `follower`, …, or `silent`.
    pub(super) fn role(&self) -> String {
        self.text("role").unwrap_or("silent").to_owned()
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.said.as_ref()?[name].as_str()
    }

    /// What people should hear about it now.
    pub(super) fn news(&mut self, process: Option<u32>) -> Option<String> {
        if self.is_up() && !self.told_up {
            self.told_up = true;
            return Some(format!("node back: {} answers again", self.id));
        }
        if !self.is_up() && self.told_up && self.heard.elapsed() >= SILENCE {
            self.told_up = false;
            let id = process.map_or(String::new(), |id| format!(", though process {id} runs"));
            return Some(format!("node silent: {} has not answered for {} s{id}", self.id, SILENCE.as_secs()));
        }
        None
    }
}

/// Asks all nodes at the same time, so that one that hangs does not hold up the rest.
pub(super) async fn ask_all(watches: impl Iterator<Item = &mut Watch>) {
    let mut asked = tokio::task::JoinSet::new();
    let mut watches: Vec<&mut Watch> = watches.collect();
    for (at, watch) in watches.iter().enumerate() {
        let client = watch.client.clone();
        asked.spawn(async move { (at, client.status().await.ok()) });
    }
    while let Some(answer) = asked.join_next().await {
        let Ok((at, said)) = answer else { continue };
        watches[at].hear(said);
    }
}

/// Who leads: of those who say so the one of the highest term, since a deposed leader may not know it yet.
pub(super) fn leader<'a>(watches: impl Iterator<Item = &'a Watch>) -> Option<(u64, String)> {
    let leading = watches.filter(|watch| watch.text("role") == Some("leader"));
    leading.filter_map(|watch| Some((watch.said.as_ref()?["term"].as_u64()?, watch.id.clone()))).max()
}
