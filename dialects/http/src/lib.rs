//! The native REST API: HTTP and JSON in, the embedding API out.
//!
//! A dialect translates and nothing more. What a request means is decided by `hezong_kv` (keys, once-only writes,
//! sessions, limits) and `hezong_shell` (who leads, how fresh a read is); here is only how it is spelt, and how their
//! answers are. `docs/http.md` describes every route.
//!
//! What it promises:
//! - Nothing a client sends is ignored: unknown parameters and fields are errors that name the nearest known one.
//! - Every failure is JSON with a code for programs and one sentence for people.
//! - A reply that says "done" is sent after the command was committed and applied here; "refused" means certainly not
//!   done; where neither is known the answer is 504, and a write is never redirected once its outcome is open.
//! - Handlers on the path of every write allocate little and log nothing; what they do is counted in `/metrics`.
//!
//! | file | holds |
//! |---|---|
//! | `lib.rs` | [`Api`] and its routes |
//! | `keys.rs` | `/key`, `/keys`: reading and writing |
//! | `sessions.rs` | `/session` |
//! | `members.rs` | `/join`, `/remove`, `/change`, `/transfer`, `/members` |
//! | `backup.rs` | `/backup` |
//! | `stands.rs` | `/status`, `/health`, `/ready` |
//! | `metrics.rs` | `/metrics`, and the counters kept here |
//! | `debug.rs` | `/debug/…`: settings and log |
//! | `query.rs`, `body.rs`, `octets.rs` | parameters, bodies, bytes in JSON |
//! | `error.rs` | failures as replies |
//! | `traced.rs` | the span of a request that is traced |
//! | `token.rs` | what must be shown to change who takes part or leads, for a backup, and to look into a node |
//! | `serve.rs`, `seldom.rs` | sockets, encrypted or not; what is told of strangers |
//!
//! Left out: who may read and write which keys (whoever is let in may do everything), watches.

#![forbid(unsafe_code)]

mod backup;
mod body;
mod debug;
mod error;
mod keys;
mod members;
mod metrics;
mod octets;
mod query;
mod seldom;
mod serve;
mod sessions;
mod stands;
mod token;
mod traced;

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use axum::routing::{any, get};
use hezong_base::GroupId;
use hezong_kv::{KvReader, Limits};
use hezong_shell::{Handle, NodeTls, trace};
use hezong_store::Store;
use tokio::sync::watch;

pub use crate::debug::Debug;
use crate::error::Failure;
pub use crate::members::check_address;
use crate::metrics::{Metrics, Operation};
pub use crate::query::nearest;
use crate::seldom::Seldom;
pub use crate::serve::{Sockets, serve};
pub use crate::token::Token;
use crate::traced::Traced;

const INDEX: HeaderName = HeaderName::from_static("x-hezong-index");
const REVISION: HeaderName = HeaderName::from_static("x-hezong-revision");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What the routes work on: one group of keys on one node.
pub struct Api<S: Store> {
    /// The node.
    pub node: Handle,
    /// The group whose state machine `keys` reads.
    pub group: GroupId,
    /// Its keys.
    pub keys: KvReader<S>,
    /// What requests are held to. May change while the node runs; a request is held to what holds when it comes.
    pub limits: watch::Receiver<Limits>,
    /// Where clients reach this node, as its members are told.
    pub http: String,
    /// Where other nodes reach it.
    pub peer: String,
    /// What this node shows clients, if they reach the cluster by TLS.
    pub tls: Option<NodeTls>,
    /// What must be shown to change who takes part or leads, and for a backup; `None` lets everybody.
    pub token: Option<Token>,
    /// Whether the state was found damaged when the node started, and set aside, for `/metrics`.
    pub state_repaired: bool,
    /// The program's version, for `/status`.
    pub version: &'static str,
    /// What it tells of itself to who looks for a cause.
    pub debug: Debug,
}

/// An [`Api`] at work.
struct Serving<S: Store> {
    api: Api<S>,
    metrics: Metrics,
    started: Instant,
    /// What is told of wrong tokens.
    seldom: Seldom,
}

impl<S: Store> Serving<S> {
    /// Lets only those pass that show the token.
    fn token(&self, head: &Parts) -> Result<(), Failure> {
        token::check(self.api.token.as_ref(), head, &self.seldom)
    }
}

impl<S: Store> Serving<S> {
    /// What requests are held to now.
    fn limits(&self) -> Limits {
        self.api.limits.borrow().clone()
    }
}

/// How a handler answers.
type Answer = Result<Response<Body>, Failure>;

/// The routes. [`serve`] gives them sockets.
pub fn router<S: Store>(api: Api<S>) -> Router {
    let serving =
        Arc::new(Serving { api, metrics: Metrics::default(), started: Instant::now(), seldom: Seldom::default() });
    Router::new()
        .route("/key", any(on_key_set::<S>))
        .route("/key/", any(on_key::<S>))
        .route("/key/{*key}", any(on_key::<S>))
        .route("/keys", any(on_keys::<S>))
        .route("/session", any(on_session::<S>))
        .route("/session/{id}", any(on_session::<S>))
        .route("/session/{id}/keepalive", any(on_session::<S>))
        .route("/join", any(on_join::<S>))
        .route("/remove", any(on_remove::<S>))
        .route("/change", any(on_change::<S>))
        .route("/transfer", any(on_transfer::<S>))
        .route("/members", any(on_members::<S>))
        .route("/backup", any(on_backup::<S>))
        .route("/status", any(on_status::<S>))
        .route("/metrics", any(on_metrics::<S>))
        .route("/ready", any(on_ready::<S>))
        .route("/debug/settings", any(on_debug_settings::<S>))
        .route("/debug/log", any(on_debug_log::<S>))
        .route("/health", get(|| async { json("{\"status\":\"ok\"}\n".into()) }).fallback(on_health_otherwise))
        .fallback(on_nothing)
        .with_state(serving)
}

/// Names a method's handler, its operation in the metrics, and refuses other methods with what is allowed. `[token]`
/// before a handler stands for what takes the cluster's token: changes of who takes part or leads, everything at once,
/// and what looks into a node.
macro_rules! methods {
    ($name:ident, $allow:literal, { $($method:ident => $operation:ident $([$guard:ident])? $handler:path,)* }) => {
        async fn $name<S: Store>(State(serving): State<Arc<Serving<S>>>, request: Request) -> Response<Body> {
            let (head, body) = request.into_parts();
            match head.method {
                $(axum::http::Method::$method => {
                    let answer = async {
                        $(serving.$guard(&head)?;)?
                        $handler(&serving, &head, body).await
                    };
                    observe(&serving, Operation::$operation, &head, answer).await
                })*
                _ => Failure::method(head.method.as_str(), head.uri.path(), $allow).into_response(),
            }
        }
    };
}

methods!(on_key_set, "POST", { POST => Set keys::set, });
methods!(on_key, "GET, PUT, POST, DELETE", {
    GET => Get keys::get,
    PUT => Put keys::put,
    POST => Add keys::add,
    DELETE => Delete keys::delete,
});
methods!(on_keys, "GET", { GET => Scan keys::scan, });
methods!(on_session, "POST, DELETE", { POST => Session sessions::post, DELETE => Session sessions::close, });
methods!(on_join, "POST", { POST => Join [token] members::join, });
methods!(on_remove, "POST", { POST => Remove [token] members::remove, });
methods!(on_transfer, "POST", { POST => Transfer [token] members::transfer, });
methods!(on_change, "POST", { POST => Change [token] members::change, });
methods!(on_members, "GET", { GET => Members members::list, });
methods!(on_backup, "GET", { GET => Backup [token] backup::stream, });
methods!(on_status, "GET", { GET => Status stands::status, });
methods!(on_metrics, "GET", { GET => Metrics metrics::show, });
methods!(on_debug_settings, "GET", { GET => Debug [token] debug::settings, });
methods!(on_debug_log, "GET", { GET => Debug [token] debug::log, });
methods!(on_ready, "GET", { GET => Ready stands::ready, });

async fn on_health_otherwise(request: Request) -> Response<Body> {
    Failure::method(request.method().as_str(), "/health", "GET").into_response()
}

async fn on_nothing(request: Request) -> Response<Body> {
    const ROUTES: &[&str] = &[
        "/key",
        "/keys",
        "/session",
        "/join",
        "/remove",
        "/change",
        "/transfer",
        "/members",
        "/backup",
        "/status",
        "/metrics",
        "/health",
        "/ready",
        "/debug/settings",
        "/debug/log",
    ];
    let path = request.uri().path();
    let remedy = match nearest(path, ROUTES) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("the paths are {}", ROUTES.join(", ")),
    };
    Failure::new(StatusCode::NOT_FOUND, "no_such_path", format!("there is no {path}; {remedy}")).into_response()
}

async fn observe<S: Store>(
    serving: &Serving<S>,
    operation: Operation,
    head: &Parts,
    answer: impl Future<Output = Answer>,
) -> Response<Body> {
    let began = Instant::now();
    let traced = Traced::begin(&serving.api.node, operation.name(), head);
    let answer = match &traced {
        Some(traced) => trace::within(traced.context, answer).await,
        None => answer.await,
    };
    let response = answer.unwrap_or_else(|failure| failure.over(serving.api.tls.is_some()).into_response());
    serving.metrics.observe(operation, response.status(), began.elapsed());
    if let Some(traced) = traced {
        traced.answered(response.status());
    }
    response
}

/// A reply of JSON.
fn json(body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// Tells as of when a reply holds.
fn tell(headers: &mut HeaderMap, index: Option<u64>, revision: u64) {
    // Nothing applied yet is shown as 0, the index before the first.
    headers.insert(INDEX, HeaderValue::from(index.unwrap_or(0)));
    headers.insert(REVISION, HeaderValue::from(revision));
}

/// Where the same request goes at the leader.
fn path_and_query(head: &Parts) -> &str {
    head.uri.path_and_query().map_or("/", |whole| whole.as_str())
}
