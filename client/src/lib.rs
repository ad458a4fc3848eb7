//! The Rust client of Hezong.
//!
//! What it promises:
//! - It **follows the leader by itself**: it may be given the address of any node; redirects are followed, and a node
//!   that is gone, stopped or without a leader is left for another until the deadline of the call.
//! - A **write happens at most once**, however often it has to be sent: each carries an `Idempotency-Key` of its own,
//!   under which the cluster remembers the first outcome. If the deadline passes while the outcome is open, the error is
//!   [`Error::Unknown`] and names that key, so that a later [`Client::put_with_key`] settles it.
//! - With [`Options::tls`] it **never speaks in the clear**, whatever an address or a redirect says, and only with nodes
//!   whose certificate is of the host they were asked at.
//! - It **never answers from a guess**: what a read returns was served at the level asked for.
//!
//! Its words: an *endpoint* is a node's client address, `host:port`; an *attempt* is one request to one endpoint; a
//! *call* is all attempts until an answer or the deadline.
//!
//! Map: `lib.rs` the calls; `backup.rs` taking a backup; `call.rs` attempts, back-off and the search for the leader; `endpoints.rs` whom to ask, and
//! who is silent; `types.rs` what calls take and return; `error.rs` how they fail; `path.rs` percent-encoding of keys.
//!
//! Left out: watching keys, which comes with the cluster's own support for it.
//!
//! ```no_run
//! # async fn example() -> Result<(), hezong_client::Error> {
//! let client = hezong_client::Client::new(["127.0.0.1:8091", "127.0.0.1:8092"])?;
//! client.put(b"foo", "bar").await?;
//! let found = client.get(b"foo", hezong_client::Level::Default).await?;
//! assert_eq!(found.unwrap().value, "bar");
//! # Ok(()) }
//! ```

mod backup;
mod call;
mod endpoints;
mod error;
mod path;
mod types;

use std::sync::Arc;

use bytes::Bytes;
use hyper::Method;
use serde::de::DeserializeOwned;

pub use crate::backup::Backup;
use crate::call::{Caller, Request};
pub use crate::error::Error;
pub use crate::types::{
    At, Deleted, Found, Join, Joined, Level, Member, Members, Options, Page, Pair, ReadAt, Scan, Session, Token,
    Written,
};
pub use hezong_tls::{ClientTls, TlsError};

/// A handle on a cluster. Cloning it is cheap; clones share connections and what they know of the cluster.
#[derive(Clone, Debug)]
pub struct Client {
    caller: Arc<Caller>,
}

impl Client {
    /// A client that starts from these endpoints, each `host:port`, `http://host:port` or with [`Options::tls`]
    /// `https://host:port`, and learns of the others.
    ///
    /// # Errors
    /// [`Error::Endpoint`] when there is none, or one is no address. Nothing is dialled yet.
    pub fn new<E: AsRef<str>>(endpoints: impl IntoIterator<Item = E>) -> Result<Self, Error> {
        Self::with_options(endpoints, Options::default())
    }

    /// The same with time limits and habits of its own.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn with_options<E: AsRef<str>>(
        endpoints: impl IntoIterator<Item = E>,
        options: Options,
    ) -> Result<Self, Error> {
        Ok(Self { caller: Arc::new(Caller::new(endpoints, options)?) })
    }

    /// Sets one key to some bytes.
    ///
    /// # Errors
    /// [`Error`]; after [`Error::Unknown`] the write may have happened.
    pub async fn put(&self, key: &[u8], value: impl Into<Bytes>) -> Result<Written, Error> {
        self.written(Request::put(key, value.into(), self.caller.fresh_key()), "/key/{k}").await
    }

    /// Sets one key under an `Idempotency-Key` of the caller's: as often as it is repeated, also from another process,
    /// it happens at most once within the cluster's window (10 minutes by default).
    ///
    /// # Errors
    /// [`Error`]; [`Error::Refused`] with status 422 when the same key went with another write before.
    pub async fn put_with_key(&self, key: &[u8], value: impl Into<Bytes>, once: &str) -> Result<Written, Error> {
        self.written(Request::put(key, value.into(), Some(once.to_owned())), "/key/{k}").await
    }

    /// Sets one key in a session, as the write with this sequence number; a repeated number is not applied again.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Refused`] with status 410 once the session has expired.
    pub async fn put_in_session(
        &self,
        key: &[u8],
        value: impl Into<Bytes>,
        session: &str,
        sequence: u64,
    ) -> Result<Written, Error> {
        let mut request = Request::put(key, value.into(), None);
        request.session = Some((session.to_owned(), sequence));
        self.written(request, "/key/{k}").await
    }

    /// Sets several keys to texts in one atomic command: all of them, or none.
    ///
    /// # Errors
    /// As [`Client::put`].
    pub async fn set<'a>(&self, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Written, Error> {
        let object: serde_json::Map<_, _> = pairs.into_iter().map(|(k, v)| (k.to_owned(), v.into())).collect();
        let body = Bytes::from(serde_json::Value::Object(object).to_string());
        self.written(Request::write(Method::POST, "/key".to_owned(), body, self.caller.fresh_key()), "/key").await
    }

    /// Deletes a key; harmless when it is absent.
    ///
    /// # Errors
    /// As [`Client::put`].
    pub async fn delete(&self, key: &[u8]) -> Result<Deleted, Error> {
        let request = Request::write(Method::DELETE, path::of_key(key), Bytes::new(), self.caller.fresh_key());
        let reply = self.caller.call(request).await?;
        let body: types::DeletedBody = parse(&reply.body, "DELETE /key/{k}")?;
        Ok(Deleted { deleted: body.deleted, at: reply.at })
    }

    /// Sets one key if `modified` is the revision that last changed it ([`Found::modified`]), or if it is `None` and the key
    /// is absent: what was read is still there. `None` when it is not, and nothing was done.
    ///
    /// # Errors
    /// As [`Client::put`].
    pub async fn put_if(
        &self,
        key: &[u8],
        modified: Option<u64>,
        value: impl Into<Bytes>,
    ) -> Result<Option<Written>, Error> {
        let target = format!("{}?if_modified={}", path::of_key(key), modified.unwrap_or(0));
        let request = Request::write(Method::PUT, target, value.into(), self.caller.fresh_key());
        match self.written(request, "/key/{k}").await {
            Ok(written) => Ok(Some(written)),
            Err(Error::Refused { status: 412, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Adds to a key that holds a decimal integer, where an absent one counts as 0. Returns the sum.
    ///
    /// # Errors
    /// As [`Client::put`]; [`Error::Refused`] with status 409 when the value is no integer, or the sum too large for one.
    pub async fn add(&self, key: &[u8], delta: i64) -> Result<i64, Error> {
        let target = format!("{}?add={delta}", path::of_key(key));
        let reply =
            self.caller.call(Request::write(Method::POST, target, Bytes::new(), self.caller.fresh_key())).await?;
        let body: types::AddedBody = parse(&reply.body, "POST /key/{k}")?;
        Ok(body.value)
    }

    /// Moves a value to another key, over whatever is there; harmless when there is none. Needs cluster version 2.
    ///
    /// # Errors
    /// As [`Client::put`].
    #[cfg(feature = "next-version")]
    pub async fn rename(&self, from: &[u8], to: &[u8]) -> Result<Written, Error> {
        let mut target = path::of_key(from);
        target.push_str("?rename=");
        path::encode_into(to, &mut target);
        self.written(Request::write(Method::POST, target, Bytes::new(), self.caller.fresh_key()), "/key/{k}").await
    }

    /// Reads a key; `None` when it is absent.
    ///
    /// # Errors
    /// [`Error`]; a read is repeated until the deadline, so never [`Error::Unknown`].
    pub async fn get(&self, key: &[u8], level: Level) -> Result<Option<Found>, Error> {
        self.get_at(key, ReadAt { level, min_index: None }).await
    }

    /// Reads a key not older than an index, as told by an earlier reply.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn get_at(&self, key: &[u8], at: ReadAt) -> Result<Option<Found>, Error> {
        let mut target = path::of_key(key);
        target.push_str("?raw");
        at.push_to(&mut target);
        match self.caller.call(Request::read(target, at)).await {
            Ok(reply) => Ok(Some(Found {
                value: reply.body,
                created: reply.created,
                modified: reply.modified,
                version: reply.version,
                at: reply.at,
            })),
            Err(Error::Refused { status: 404, code, .. }) if code == "key_not_found" => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// One page of keys, in the order of their bytes. Pass [`Page::next`] as [`Scan::after`] for the next one.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn scan(&self, scan: &Scan) -> Result<Page, Error> {
        let mut target = "/keys?".to_owned();
        scan.push_to(&mut target);
        let reply = self.caller.call(Request::read(target, scan.at)).await?;
        let body: types::PageBody = parse(&reply.body, "GET /keys")?;
        Ok(Page { pairs: body.keys, next: body.next.map(|next| next.0), at: reply.at })
    }

    /// Who takes part, as the first endpoint that answers knows it.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn members(&self) -> Result<Members, Error> {
        let reply = self.caller.call(Request::ask("/members")).await?;
        parse(&reply.body, "GET /members")
    }

    /// How the first endpoint that answers stands, as JSON with the fields `docs/http.md` lists.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn status(&self) -> Result<serde_json::Value, Error> {
        let reply = self.caller.call(Request::ask("/status")).await?;
        parse(&reply.body, "GET /status")
    }

    /// What the first endpoint that answers says at a route that tells of itself, as `/metrics`: the body as it came. The
    /// token goes along below `/debug/`.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn ask(&self, route: &str) -> Result<Bytes, Error> {
        let request = Request::ask(route);
        let request = if route.starts_with("/debug/") { request.guarded() } else { request };
        Ok(self.caller.call(request).await?.body)
    }

    /// Opens a session: writes in it are once-only without a window, as long as it is kept alive.
    ///
    /// # Errors
    /// As [`Client::put`].
    pub async fn open_session(&self, ttl_seconds: u64) -> Result<Session, Error> {
        let body = Bytes::from(format!("{{\"ttlSeconds\":{ttl_seconds}}}"));
        let request = Request::write(Method::POST, "/session".to_owned(), body, self.caller.fresh_key());
        let reply = self.caller.call(request).await?;
        parse(&reply.body, "POST /session")
    }

    /// Keeps a session from expiring for another time to live.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 410 when it has expired.
    pub async fn keep_session_alive(&self, session: &str) -> Result<(), Error> {
        let target = format!("/session/{session}/keepalive");
        self.caller.call(Request::repeatable(Method::POST, target, Bytes::new())).await.map(drop)
    }

    /// Closes a session; harmless when it is gone.
    ///
    /// # Errors
    /// As [`Client::put`].
    pub async fn close_session(&self, session: &str) -> Result<(), Error> {
        self.caller
            .call(Request::repeatable(Method::DELETE, format!("/session/{session}"), Bytes::new()))
            .await
            .map(drop)
    }

    /// Asks the cluster to take a node in, as a learner that becomes a voter once it has caught up. May be repeated.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 409 when another member uses the name or an address, 401 without the right token.
    pub async fn join(&self, join: &Join) -> Result<Joined, Error> {
        let body = Bytes::from(serde_json::to_vec(join).expect("strings always serialise"));
        let reply = self.caller.call(Request::repeatable(Method::POST, "/join".to_owned(), body).guarded()).await?;
        parse(&reply.body, "POST /join")
    }

    /// Lets the member go for good that has this label now. Which number that is is asked once, before: a later member
    /// of the same label, as a machine that comes back empty, is another and stays, however often the call is repeated
    /// inside. Each of the two steps may take the time of a call.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 404 when there is no such member, 409 when it is the last voter.
    pub async fn remove(&self, label: &str) -> Result<Members, Error> {
        let fresh = ReadAt { level: Level::Consistent, min_index: None };
        let reply = self.caller.call(Request::read("/members?level=consistent".to_owned(), fresh)).await?;
        let members: Members = parse(&reply.body, "GET /members")?;
        let Some(member) = members.members.iter().find(|member| member.id == label) else {
            let message = format!("no member is called {label}; see the list of members");
            return Err(Error::Refused { status: 404, code: "no_such_member".to_owned(), message });
        };
        let body = Bytes::from(serde_json::json!({ "id": label, "nodeId": member.node_id }).to_string());
        let reply = self.caller.call(Request::repeatable(Method::POST, "/remove".to_owned(), body).guarded()).await?;
        parse(&reply.body, "POST /remove")
    }

    /// Lets these learners vote and those members go, by their numbers, all at once: a majority before and one after it decide
    /// everything meanwhile. Waits until the learners have caught up, for as long as calls may take. May be repeated.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 404 when there was no such member, 409 when too few voters could be reached after it;
    /// [`Error::Unavailable`] when learners did not catch up in time.
    pub async fn change(&self, promote: &[u64], remove: &[u64]) -> Result<Members, Error> {
        let body = Bytes::from(serde_json::json!({ "promote": promote, "remove": remove }).to_string());
        let reply = self.caller.call(Request::repeatable(Method::POST, "/change".to_owned(), body).guarded()).await?;
        parse(&reply.body, "POST /change")
    }

    /// Has the member with this label lead; without one, the voter that suits best.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 404 when there is no such member, 409 when it cannot take over or did not in time.
    pub async fn transfer(&self, to: Option<&str>) -> Result<Members, Error> {
        let body = to.map_or_else(Bytes::new, |to| Bytes::from(serde_json::json!({ "to": to }).to_string()));
        let target = "/transfer".to_owned();
        // A wish without a name must not be repeated once it may have been heard: the new leader would hand over again.
        let request = match to {
            Some(_) => Request::repeatable(Method::POST, target, body),
            None => Request::write(Method::POST, target, body, None),
        };
        let reply = self.caller.call(request.guarded()).await?;
        parse(&reply.body, "POST /transfer")
    }

    /// The endpoints known by now, those of the leader first.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        self.caller.endpoints()
    }

    async fn written(&self, request: Request, what: &'static str) -> Result<Written, Error> {
        let reply = self.caller.call(request).await?;
        if reply.at.index.is_none() {
            return Err(Error::Reply { what, reason: "it has no X-Hezong-Index".to_owned() });
        }
        Ok(Written { at: reply.at })
    }
}

fn parse<T: DeserializeOwned>(body: &[u8], what: &'static str) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| Error::Reply { what, reason: error.to_string() })
}
