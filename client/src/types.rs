//! What calls take and return.

use std::fmt::{self, Write as _};
use std::time::Duration;

use bytes::Bytes;
use hezong_tls::ClientTls;
use hyper::header::HeaderValue;
use serde::{Deserialize, Deserializer, Serialize};
use zeroize::Zeroizing;

use crate::{Error, path};

/// Time limits and habits of a client.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long a call may take with all its attempts. Default 10 s.
    pub timeout: Duration,
    /// How long one attempt may take before another node is tried. A node that is stopped but not dead is noticed by
    /// this alone. Default 2 s.
    pub attempt_timeout: Duration,
    /// How long a connection may take to be made. Default 1 s.
    pub connect_timeout: Duration,
    /// The longest wait between two attempts; waits start at a fiftieth of it, double, and are drawn at random between
    /// half and all of that. Default 500 ms.
    pub backoff_max: Duration,
    /// Whether writes carry an `Idempotency-Key`, so that they may be repeated. Without it a write whose outcome is open
    /// is reported as [`crate::Error::Unknown`] at once. Default yes.
    pub once_only: bool,
    /// Whether the nodes given are the only ones asked: no others are learned of, and no redirect is followed. What a node
    /// tells of itself is then its own word. Default no.
    pub given_only: bool,
    /// Whom to believe, and what to show: with it every connection is by TLS, and nothing ever goes in the clear. Default
    /// none: everything does.
    pub tls: Option<ClientTls>,
    /// The cluster's token, which joining, removing, handing over and backups take where the cluster has one. Sent with
    /// those alone.
    pub token: Option<Token>,
    /// The trace that calls belong to, as W3C Trace Context writes it; nodes that export spans add theirs to it. Default
    /// none.
    pub traceparent: Option<String>,
}

/// A cluster's token. Never shown once it is here.
#[derive(Clone)]
pub struct Token(HeaderValue);

impl Token {
    /// Takes a token.
    ///
    /// # Errors
    /// [`Error::Token`] when it could not be sent.
    pub fn new(secret: &str) -> Result<Self, Error> {
        let bearer = Zeroizing::new(format!("Bearer {secret}"));
        let printable = !secret.is_empty() && secret.bytes().all(|byte| byte.is_ascii_graphic());
        let mut value = HeaderValue::from_str(&bearer).ok().filter(|_| printable).ok_or(Error::Token)?;
        // Kept out of whatever prints headers.
        value.set_sensitive(true);
        Ok(Self(value))
    }

    pub(crate) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            attempt_timeout: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(1),
            backoff_max: Duration::from_millis(500),
            once_only: true,
            given_only: false,
            tls: None,
            token: None,
            traceparent: None,
        }
    }
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// From any node, whatever it has applied.
    Stale,
    /// From the leader under its lease: linearizable as long as clocks keep their bound, without a round trip.
    #[default]
    Default,
    /// After a majority confirmed the leader: linearizable whatever clocks do.
    Consistent,
}

impl Level {
    /// Its name in `?level=`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Default => "default",
            Self::Consistent => "consistent",
        }
    }
}

/// At which level, and not before which index, a read is served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadAt {
    /// The level.
    pub level: Level,
    /// The node waits until it has applied this index.
    pub min_index: Option<u64>,
}

impl ReadAt {
    pub(crate) fn push_to(self, target: &mut String) {
        if self.level != Level::Default {
            target.push_str("&level=");
            target.push_str(self.level.name());
        }
        if let Some(index) = self.min_index {
            write!(target, "&min_index={index}").expect("writing to a String does not fail");
        }
    }
}

/// As of when a reply holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct At {
    /// The log index it reflects.
    pub index: Option<u64>,
    /// The revision of the data it reflects.
    pub revision: Option<u64>,
    /// For a stale read: how long ago the node had heard from its leader.
    pub last_contact: Option<Duration>,
}

/// A write that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Where it stands in the log, and the revision it made.
    pub at: At,
}

/// A delete that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// Whether the key was there.
    pub deleted: bool,
    /// Where it stands in the log, and the revision it made.
    pub at: At,
}

/// A key's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The bytes.
    pub value: Bytes,
    /// The revision that created the key.
    pub created: Option<u64>,
    /// The revision that last changed it.
    pub modified: Option<u64>,
    /// How often it was written since it was created.
    pub version: Option<u64>,
    /// As of when.
    pub at: At,
}

/// Which page of keys to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Only keys that start with these bytes.
    pub prefix: Vec<u8>,
    /// Only keys after this one.
    pub after: Option<Vec<u8>>,
    /// At most so many; the server has a limit of its own.
    pub limit: Option<u64>,
    /// How fresh.
    pub at: ReadAt,
}

impl Scan {
    pub(crate) fn push_to(&self, target: &mut String) {
        target.push_str("prefix=");
        path::encode_into(&self.prefix, target);
        if let Some(after) = &self.after {
            target.push_str("&after=");
            path::encode_into(after, target);
        }
        if let Some(limit) = self.limit {
            write!(target, "&limit={limit}").expect("writing to a String does not fail");
        }
        self.at.push_to(target);
    }
}

/// One page of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// In the order of the keys' bytes.
    pub pairs: Vec<Pair>,
    /// What to pass as [`Scan::after`] for the next page; `None` at the end.
    pub next: Option<Vec<u8>>,
    /// As of when.
    pub at: At,
}

/// One key of a page.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Pair {
    /// The key.
    #[serde(deserialize_with = "bytes_of")]
    pub key: Vec<u8>,
    /// Its value.
    #[serde(deserialize_with = "bytes_of")]
    pub value: Vec<u8>,
    /// The revision that created the key.
    pub created: u64,
    /// The revision that last changed it.
    pub modified: u64,
    /// How often it was written since it was created.
    pub version: u64,
}

#[derive(Deserialize)]
pub(crate) struct PageBody {
    pub(crate) keys: Vec<Pair>,
    #[serde(default)]
    pub(crate) next: Option<Octets>,
}

#[derive(Deserialize)]
pub(crate) struct AddedBody {
    pub(crate) value: i64,
}

#[derive(Deserialize)]
pub(crate) struct DeletedBody {
    pub(crate) deleted: bool,
}

/// Bytes as the API writes them in JSON: a text when they are UTF-8, else `{"base64":"…"}`.
#[derive(Deserialize)]
#[serde(try_from = "Text")]
pub(crate) struct Octets(pub(crate) Vec<u8>);

#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Plain(String),
    Encoded { base64: String },
}

impl TryFrom<Text> for Octets {
    type Error = base64::DecodeError;

    fn try_from(text: Text) -> Result<Self, Self::Error> {
        use base64::Engine as _;
        match text {
            Text::Plain(text) => Ok(Self(text.into_bytes())),
            Text::Encoded { base64 } => base64::engine::general_purpose::STANDARD.decode(base64).map(Self),
        }
    }
}

fn bytes_of<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    Octets::deserialize(from).map(|octets| octets.0)
}

/// A session that was opened.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// Its name, for the header `X-Hezong-Session`.
    pub session: String,
    /// How long it lives without being kept alive.
    pub ttl_seconds: u64,
}

/// A node that asks to be taken in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Join {
    /// Its label, as `node02`.
    pub id: String,
    /// Where clients reach it.
    pub http_addr: String,
    /// Where other nodes reach it.
    pub raft_addr: String,
    /// The cluster it belongs to already, if its folder says so; another cluster refuses it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// Whether it takes the place of the member that has its label, if that one is lost.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub replace: bool,
    /// The newest cluster version it knows; a cluster that uses a newer one refuses it.
    pub version: u8,
}

/// A node that was taken in.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Joined {
    /// The number it goes by from now on.
    pub node_id: u64,
    /// The cluster it belongs to from now on.
    pub cluster_id: String,
    /// All members, itself among them.
    pub members: Vec<Member>,
}

/// Who takes part.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Members {
    /// The cluster.
    pub cluster_id: String,
    /// The leader's number, if one is known.
    #[serde(default)]
    pub leader: Option<u64>,
    /// Whether a change of several voters is half done.
    #[serde(default)]
    pub joint: bool,
    /// All members.
    pub members: Vec<Member>,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Its number, never given twice.
    pub node_id: u64,
    /// Its label.
    pub id: String,
    /// Where clients reach it.
    pub http_addr: String,
    /// Where other nodes reach it.
    pub raft_addr: String,
    /// `voter`, `learner`, or `leaving`: it votes until a change that is half done is over.
    pub suffrage: String,
    /// Whether it leads.
    #[serde(default)]
    pub leader: bool,
    /// Whether the leader heard it within an election timeout; only the leader knows.
    #[serde(default)]
    pub reachable: Option<bool>,
}
