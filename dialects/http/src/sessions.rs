//! `/session`: once-only writes without a window of time.

use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::request::Parts;
use hezong_kv::{Command, Done, SessionId};
use hezong_store::Store;
use serde::Deserialize;

use crate::error::Failure;
use crate::keys::{write, written};
use crate::query::Params;
use crate::{Answer, Serving, body};

const TTL_SECONDS: f64 = 60.0;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Open {
    ttl_seconds: Option<f64>,
}

/// `POST /session` and `POST /session/{id}/keepalive`.
pub(crate) async fn post<S: Store>(serving: &Serving<S>, head: &Parts, body: Body) -> Answer {
    Params::parse(head.uri.query(), &[])?;
    match parts_of(head) {
        (None, _) => open(serving, head, body).await,
        (Some(id), true) => {
            body::none(head, body).await?;
            let reply = write(serving, head, Command::SessionKeepAlive(parse(id)?), false).await?;
            Ok(written(&reply, |_| {}))
        }
        (Some(id), false) => {
            let path = format!("/session/{id}");
            Err(Failure::method("POST", &path, "DELETE").or_see(&format!("POST {path}/keepalive")))
        }
    }
}

/// `DELETE /session/{id}`.
pub(crate) async fn close<S: Store>(serving: &Serving<S>, head: &Parts, body: Body) -> Answer {
    Params::parse(head.uri.query(), &[])?;
    let (Some(id), false) = parts_of(head) else {
        return Err(Failure::method("DELETE", head.uri.path(), "POST"));
    };
    body::none(head, body).await?;
    let reply = write(serving, head, Command::SessionClose(parse(id)?), true).await?;
    Ok(written(&reply, |_| {}))
}

async fn open<S: Store>(serving: &Serving<S>, head: &Parts, body: Body) -> Answer {
    let document = body::document(head, body, &serving.limits()).await?;
    let open = match document.is_empty() {
        true => Open { ttl_seconds: None },
        false => body::fields(&document, &["ttlSeconds"])?,
    };
    let seconds = open.ttl_seconds.unwrap_or(TTL_SECONDS);
    let ttl = Duration::try_from_secs_f64(seconds).map_err(|_| {
        Failure::bad("bad_ttl", format!("ttlSeconds is {seconds}; write a number of seconds above 0, as 60"))
    })?;
    let reply = write(serving, head, Command::SessionOpen { ttl }, false).await?;
    let mut response = written(&reply, |to| {
        if let Ok(Done::SessionOpened(SessionId(id))) = reply.result {
            to.extend_from_slice(format!(",\"session\":\"{id}\",\"ttlSeconds\":{seconds}").as_bytes());
        }
    });
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

/// The session a path names, and whether it is to be kept alive.
fn parts_of(head: &Parts) -> (Option<&str>, bool) {
    let rest = head.uri.path().strip_prefix("/session/");
    match rest.and_then(|rest| rest.strip_suffix("/keepalive")) {
        Some(id) => (Some(id), true),
        None => (rest, false),
    }
}

/// A session's name as the API writes it.
pub(crate) fn parse(id: &str) -> Result<SessionId, Failure> {
    id.parse().map(SessionId).map_err(|_| {
        Failure::bad("bad_session", format!("{id:?} names no session; write what POST /session answered, as \"17\""))
    })
}
