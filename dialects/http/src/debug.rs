//! `/debug/settings` and `/debug/log`: what someone who looks for the cause of something asks for. The program hands the
//! texts over; they take the cluster's token, since paths and peers are nobody else's business.

use std::fmt;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Response};
use hezong_store::Store;
use tokio::sync::watch;

use crate::query::Params;
use crate::{Answer, Serving};

/// What the program tells of itself.
#[derive(Clone)]
pub struct Debug {
    /// What it runs with, and who set it. Holds no secret.
    pub settings: watch::Receiver<String>,
    /// The last lines of its log, made when they are asked for.
    pub log: Arc<dyn Fn() -> String + Send + Sync>,
}

impl fmt::Debug for Debug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Debug").finish_non_exhaustive()
    }
}

/// `GET /debug/settings`.
pub(crate) async fn settings<S: Store>(serving: &Serving<S>, head: &Parts, _: Body) -> Answer {
    Params::parse(head.uri.query(), &[])?;
    let text = serving.api.debug.settings.borrow().clone();
    Ok(plain(text))
}

/// `GET /debug/log`.
pub(crate) async fn log<S: Store>(serving: &Serving<S>, head: &Parts, _: Body) -> Answer {
    Params::parse(head.uri.query(), &[])?;
    Ok(plain((serving.api.debug.log)()))
}

fn plain(text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
