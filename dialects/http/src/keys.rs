//! `/key` and `/keys`: reading and writing.

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use bytes::Bytes;
use hezong_base::Index;
use hezong_kv::{
    Command, Condition, Done, Expect, KvError, LimitError, Once, Operation, Page, Reply, Request, Revision,
};
use hezong_node::ReadLevel;
use hezong_raft::Version;
use hezong_shell::{Handle, ProposeError, ReadError};
use hezong_store::{Store, StoreError};

use crate::error::{Failure, refused};
use crate::query::{Params, decode, nearest};
use crate::{Answer, Serving, body, json, octets, path_and_query, sessions, tell};

const CREATED: HeaderName = HeaderName::from_static("x-hezong-created");
const MODIFIED: HeaderName = HeaderName::from_static("x-hezong-modified");
const VERSION: HeaderName = HeaderName::from_static("x-hezong-version");
const LAST_CONTACT: HeaderName = HeaderName::from_static("x-hezong-last-contact");
const REPEATED: HeaderName = HeaderName::from_static("x-hezong-repeated");

/// The parameter of a write that happens only if nobody else changed the key meanwhile.
const IF_MODIFIED: &str = "if_modified";

/// How many keys a page holds without `limit`, and at most.
const PAGE_DEFAULT: u64 = 100;
const PAGE_MAX: u64 = 10_000;
/// A page ends once it holds this many bytes of keys and values, so that no reply grows without bound.
const PAGE_BYTES_MAX: usize = 4 << 20;

/// `POST /key`: sets all keys of a JSON object in one command.
pub(crate) async fn set<S: Store>(serving: &Serving<S>, head: &Parts, body: Body) -> Answer {
    Params::parse(head.uri.query(), &[])?;
    let document = body::document(head, body, &serving.limits()).await?;
    let command = Command::Put(body::pairs(&document)?);
    let reply = write(serving, head, command, false).await?;
    Ok(written(&reply, |_| {}))
}

/// `PUT /key/{k}`: sets a key to the bytes of the body, with `?if_modified` only if nobody else has set it meanwhile.
pub(crate) async fn put<S: Store>(serving: &Serving<S>, head: &Parts, body: Body) -> Answer {
    let params = Params::parse(head.uri.query(), &[IF_MODIFIED])?;
    let key = key_of(head)?;
    let value = body::value(head, body, &serving.limits()).await?;
    let command = match condition(&params, &key)? {
        None => Command::Put(vec![(key, value)]),
        Some(condition) => Command::Txn { conditions: vec![condition], then: vec![Operation::Put { key, value }] },
    };
    let reply = write(serving, head, command, false).await?;
    check_held(&reply, &params)?;
    Ok(written(&reply, |_| {}))
}

/// `POST /key/{k}?add=n`: adds to a key that holds a decimal integer.
pub(crate) async fn add<S: Store>(serving: &Serving<S>, head: &Parts, body: Body) -> Answer {
    #[cfg(feature = "next-version")]
    let params = Params::parse(head.uri.query(), &["add", "rename"])?;
    #[cfg(not(feature = "next-version"))]
    let params = Params::parse(head.uri.query(), &["add"])?;
    #[cfg(feature = "next-version")]
    if let Some(to) = params.bytes("rename") {
        let to = Bytes::copy_from_slice(to);
        return rename(serving, head, body, to).await;
    }
    let Some(delta) = params.bytes("add") else {
        let message = "POST on one key adds to it: write ?add=1; to set it use PUT, or POST /key with a JSON object";
        return Err(Failure::bad("missing_parameter", message));
    };
    let text = String::from_utf8_lossy(delta);
    let delta = text.parse().map_err(|_| {
        let message = format!("add is {text:?}; write a whole number of at most 64 bits, as -7");
        Failure::bad("bad_parameter", message)
    })?;
    body::none(head, body).await?;
    let reply = write(serving, head, Command::Add { key: key_of(head)?, delta }, false).await?;
    Ok(written(&reply, |to| {
        if let Ok(Done::Added { value }) = reply.result {
            to.extend_from_slice(format!(",\"value\":{value}").as_bytes());
        }
    }))
}

/// `POST /key/{k}?rename=other`: moves its value, over whatever is there.
#[cfg(feature = "next-version")]
async fn rename<S: Store>(serving: &Serving<S>, head: &Parts, body: Body, to: Bytes) -> Answer {
    body::none(head, body).await?;
    let reply = write(serving, head, Command::Rename { from: key_of(head)?, to }, false).await?;
    Ok(written(&reply, |to| {
        let renamed = matches!(reply.result, Ok(Done::Deleted { keys: 1.. }));
        to.extend_from_slice(format!(",\"renamed\":{renamed}").as_bytes());
    }))
}

/// `DELETE /key/{k}`: harmless when absent; with `?if_modified` only if nobody else has set it meanwhile.
pub(crate) async fn delete<S: Store>(serving: &Serving<S>, head: &Parts, body: Body) -> Answer {
    let params = Params::parse(head.uri.query(), &[IF_MODIFIED])?;
    let key = key_of(head)?;
    body::none(head, body).await?;
    let command = match condition(&params, &key)? {
        None => Command::Delete(vec![key]),
        Some(condition) => Command::Txn { conditions: vec![condition], then: vec![Operation::Delete { key }] },
    };
    let reply = write(serving, head, command, true).await?;
    check_held(&reply, &params)?;
    Ok(written(&reply, |to| {
        let deleted = matches!(reply.result, Ok(Done::Deleted { keys: 1.. } | Done::Committed { deleted: 1.., .. }));
        to.extend_from_slice(format!(",\"deleted\":{deleted}").as_bytes());
    }))
}

/// What `?if_modified` asks of a key: that this revision was the last to change it; of 0, that it is absent.
fn condition(params: &Params, key: &Bytes) -> Result<Option<Condition>, Failure> {
    let expect = match params.number(IF_MODIFIED)? {
        None => return Ok(None),
        Some(0) => Expect::Absent,
        Some(revision) => Expect::Modified(Revision(revision)),
    };
    Ok(Some(Condition { key: key.clone(), expect }))
}

/// 412 when the condition did not hold.
fn check_held(reply: &Reply, params: &Params) -> Result<(), Failure> {
    if !matches!(reply.result, Ok(Done::NotHeld { .. })) {
        return Ok(());
    }
    let message = match params.number(IF_MODIFIED)? {
        Some(0) | None => "the key is there; read it, and write if_modified= with its X-Hezong-Modified".to_owned(),
        Some(revision) => format!(
            "the key was changed or deleted since revision {revision}; read it again, and decide on what is there now"
        ),
    };
    Err(Failure::new(StatusCode::PRECONDITION_FAILED, "condition_failed", message))
}

/// `GET /key/{k}`.
pub(crate) async fn get<S: Store>(serving: &Serving<S>, head: &Parts, _: Body) -> Answer {
    let params = Params::parse(head.uri.query(), &["level", "min_index", "raw"])?;
    let raw = params.switch("raw")?;
    let key = key_of(head)?;
    check_key(&key, serving.limits().key_bytes_max)?;
    let fresh = readable(serving, head, &params).await?;

    let view = serving.api.keys.view().map_err(broken(serving))?;
    let found = view.get(&key).map_err(broken(serving))?;
    let mut response = match &found {
        Some(found) if raw => {
            let mut response = Response::new(Body::from(found.value.clone()));
            let octets = HeaderValue::from_static("application/octet-stream");
            response.headers_mut().insert(CONTENT_TYPE, octets);
            response
        }
        Some(found) => {
            let mut text = Vec::with_capacity(key.len() + found.value.len() + 16);
            text.push(b'{');
            octets::push_name(&key, &mut text);
            text.push(b':');
            octets::push(&found.value, &mut text);
            text.extend_from_slice(b"}\n");
            json(text)
        }
        None => {
            let message = format!("key {:?} is absent; set it with POST /key or PUT", String::from_utf8_lossy(&key));
            Failure::new(StatusCode::NOT_FOUND, "key_not_found", message).into_response()
        }
    };
    let headers = response.headers_mut();
    if let Some(found) = found {
        headers.insert(CREATED, HeaderValue::from(found.created.0));
        headers.insert(MODIFIED, HeaderValue::from(found.modified.0));
        headers.insert(VERSION, HeaderValue::from(found.version));
    }
    tell(headers, view.index().map(|index| index.0), view.revision().0);
    fresh.tell(&mut response);
    Ok(response)
}

/// `GET /keys`: one page of keys in order.
pub(crate) async fn scan<S: Store>(serving: &Serving<S>, head: &Parts, _: Body) -> Answer {
    let params = Params::parse(head.uri.query(), &["prefix", "after", "limit", "level", "min_index"])?;
    let limit = params.number("limit")?.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        let message = format!("limit is {limit}; write 1 to {PAGE_MAX} and read further pages with after");
        return Err(Failure::bad("bad_parameter", message));
    }
    let limit = usize::try_from(limit).expect("checked against PAGE_MAX");
    let fresh = readable(serving, head, &params).await?;

    let prefix = params.bytes("prefix").unwrap_or_default().to_vec();
    let after = params.bytes("after").map(<[u8]>::to_vec);
    let keys = serving.api.keys.clone();
    // A page may read a good deal of the disk; that must not hold up the replies of others.
    let read = tokio::task::spawn_blocking(move || {
        let view = keys.view()?;
        let page = view.range(&prefix, after.as_deref(), limit, PAGE_BYTES_MAX)?;
        Ok((page, view.index(), view.revision()))
    });
    let (page, index, revision) = read.await.map_err(|_| stopping())?.map_err(broken(serving))?;
    let mut response = json(page_text(&page));
    tell(response.headers_mut(), index.map(|index| index.0), revision.0);
    fresh.tell(&mut response);
    Ok(response)
}

fn page_text(page: &Page) -> Vec<u8> {
    let bytes: usize = page.items.iter().map(|item| item.key.len() + item.value.len() + 80).sum();
    let mut text = Vec::with_capacity(bytes + 64);
    text.extend_from_slice(b"{\"keys\":[");
    for (at, item) in page.items.iter().enumerate() {
        if at > 0 {
            text.push(b',');
        }
        text.extend_from_slice(b"{\"key\":");
        octets::push(&item.key, &mut text);
        text.extend_from_slice(b",\"value\":");
        octets::push(&item.value, &mut text);
        let (created, modified, version) = (item.created, item.modified, item.version);
        let numbers = format!(",\"created\":{created},\"modified\":{modified},\"version\":{version}}}");
        text.extend_from_slice(numbers.as_bytes());
    }
    text.push(b']');
    if let Some(last) = page.items.last().filter(|_| page.more) {
        text.extend_from_slice(b",\"next\":");
        octets::push(&last.key, &mut text);
    }
    text.extend_from_slice(b"}\n");
    text
}

/// What a read was told about its freshness.
pub(crate) struct Fresh {
    last_contact_ms: Option<u64>,
}

impl Fresh {
    pub(crate) fn tell(&self, response: &mut Response<Body>) {
        if let Some(ms) = self.last_contact_ms {
            response.headers_mut().insert(LAST_CONTACT, HeaderValue::from(ms));
        }
    }
}

/// Waits until this node may serve a read as fresh as the parameters ask for.
pub(crate) async fn readable<S: Store>(serving: &Serving<S>, head: &Parts, params: &Params) -> Result<Fresh, Failure> {
    let level = match params.bytes("level") {
        None | Some(b"default") => ReadLevel::Default,
        Some(b"stale") => ReadLevel::Stale,
        Some(b"consistent") => ReadLevel::Consistent,
        Some(other) => return Err(unknown_level(other)),
    };
    let min_index = params.number("min_index")?.filter(|index| *index > 0).map(Index);
    let read = serving.api.node.read(serving.api.group, level, min_index).await;
    let readable = read.map_err(|error| match error {
        ReadError::Refused(error) => refused(&error, path_and_query(head)),
        ReadError::Unknown => Failure::unavailable("timeout", error.to_string()),
    })?;
    let last_contact_ms = readable.last_contact.and_then(|span| u64::try_from(span.as_millis()).ok());
    Ok(Fresh { last_contact_ms })
}

fn unknown_level(level: &[u8]) -> Failure {
    const LEVELS: &[&str] = &["stale", "default", "consistent"];
    let level = String::from_utf8_lossy(level);
    let hint = nearest(&level, LEVELS).map(|near| format!("did you mean {near}? ")).unwrap_or_default();
    Failure::bad("unknown_level", format!("level {level:?} is unknown; {hint}levels are {}", LEVELS.join(", ")))
}

/// Has a command agreed on and applied, once only if the headers ask for it.
pub(crate) async fn write<S: Store>(
    serving: &Serving<S>,
    head: &Parts,
    command: Command,
    frees_space: bool,
) -> Result<Reply, Failure> {
    let limits = &serving.limits();
    let once = once_of(head, &command, limits.once_key_bytes_max)?;
    let request = Request { once, command };
    request.validate(limits)?;
    let since = request.command.since();
    let (node, group, command) = (&serving.api.node, serving.api.group, request.encode());
    let done = if since > Version::default() {
        node.propose_since(since, group, command).await
    } else if frees_space {
        node.propose_freeing(group, command).await
    } else {
        node.propose(group, command).await
    };
    let done = done.map_err(|error| match error {
        ProposeError::Refused(error) => refused(&error, path_and_query(head)),
        ProposeError::Unknown => unknown(head),
    })?;
    let reply = Reply::decode(&done.reply).map_err(|error| {
        tracing::error!(%error, index = done.id.index.0, "the state machine's reply cannot be read");
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", format!("the write happened, but {error}"))
    })?;
    match reply.result {
        Ok(_) => Ok(reply),
        Err(refusal) => Err(refusal.into()),
    }
}

/// How retries of this request are recognised.
fn once_of(head: &Parts, command: &Command, key_bytes_max: usize) -> Result<Option<Once>, Failure> {
    let key = body::header_text(head, "Idempotency-Key", key_bytes_max)?;
    let session = body::header_text(head, "X-Hezong-Session", 32)?;
    let sequence = body::header_text(head, "X-Hezong-Sequence", 32)?;
    match (key, session, sequence) {
        (None, None, None) => Ok(None),
        (Some(key), None, None) => Ok(Some(Once::idempotency(Bytes::copy_from_slice(key.as_bytes()), command))),
        (None, Some(session), Some(sequence)) => {
            let session = sessions::parse(session)?;
            let number = sequence.parse().ok().filter(|number| *number > 0).ok_or_else(|| {
                Failure::bad("bad_header", format!("X-Hezong-Sequence is {sequence:?}; number requests from 1"))
            })?;
            Ok(Some(Once::session(session, number, command)))
        }
        _ => Err(Failure::bad(
            "bad_header",
            "a write carries either Idempotency-Key, or both X-Hezong-Session and X-Hezong-Sequence; leave the other out",
        )),
    }
}

/// 504: it may or may not happen. Names what to retry with.
fn unknown(head: &Parts) -> Failure {
    let header = |name: &str| head.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let remedy = if let Some(key) = header("idempotency-key") {
        format!("send the same request again with Idempotency-Key: {key} to settle it")
    } else if let (Some(session), Some(number)) = (header("x-hezong-session"), header("x-hezong-sequence")) {
        format!(
            "send the same request again with X-Hezong-Session: {session} and X-Hezong-Sequence: {number} to settle it"
        )
    } else {
        "read the key before you send it again; a write with an Idempotency-Key can simply be repeated".to_owned()
    };
    let message = format!("the outcome is unknown: the write may or may not take effect; {remedy}");
    Failure::new(StatusCode::GATEWAY_TIMEOUT, "unknown", message)
}

/// A write that happened.
pub(crate) fn written(reply: &Reply, more: impl FnOnce(&mut Vec<u8>)) -> Response<Body> {
    let mut text = Vec::with_capacity(64);
    text.extend_from_slice(format!("{{\"index\":{},\"revision\":{}", reply.index.0, reply.revision.0).as_bytes());
    more(&mut text);
    text.extend_from_slice(b"}\n");
    let mut response = json(text);
    tell(response.headers_mut(), Some(reply.index.0), reply.revision.0);
    if reply.repeated {
        response.headers_mut().insert(REPEATED, HeaderValue::from_static("true"));
    }
    response
}

/// The key a path names.
fn key_of(head: &Parts) -> Result<Bytes, Failure> {
    let path = head.uri.path();
    let key = path.strip_prefix("/key/").unwrap_or_default();
    if !key.contains('%') {
        return Ok(Bytes::copy_from_slice(key.as_bytes()));
    }
    decode(key, false).map(Bytes::from)
}

fn check_key(key: &[u8], limit: usize) -> Result<(), LimitError> {
    match key.len() {
        0 => Err(LimitError::KeyEmpty),
        bytes if bytes > limit => Err(LimitError::KeyTooLong { bytes, limit }),
        _ => Ok(()),
    }
}

/// The state store failed. Where it is damaged, the node is told, and stops; else the thread that applies meets the same.
pub(crate) fn broken<S: Store>(serving: &Serving<S>) -> impl Fn(KvError) -> Failure {
    |error| {
        if let KvError::Store(StoreError::Reopening) = error {
            return Failure::unavailable("state_reopening", error.to_string());
        }
        tell_damage(&serving.api.node, &error);
        tracing::error!(%error, "the state cannot be read");
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", format!("the state cannot be read: {error}"))
    }
}

/// Tells the node where it is damage that a reader has met.
pub(crate) fn tell_damage(node: &Handle, error: &KvError) {
    if let KvError::Store(StoreError::Damaged { .. }) = error {
        node.found_damaged(error);
    }
}

fn stopping() -> Failure {
    Failure::unavailable("stopping", "this node is stopping; ask another")
}
