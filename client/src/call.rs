//! Attempts, back-off and the search for the leader.
//!
//! One call sends the same request to one node after another until somebody answers it for good. Which failures leave
//! no doubt that nothing happened (the connection was refused, or the node said so) and which do not (the connection
//! broke, or the time was up, after the request had left) decides whether a write may be sent again: with an
//! `Idempotency-Key` always, without one only in the first case.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hezong_tls::{explain, inside, is_refusal};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use hyper::http::response::Parts as Head;
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::{Method, StatusCode, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client as Pool, ResponseFuture};
use hyper_util::rt::TokioExecutor;
use tokio::time::Instant;

use crate::endpoints::Endpoints;
use crate::types::At;
use crate::{Error, Level, Members, Options, ReadAt};

const INDEX: HeaderName = HeaderName::from_static("x-hezong-index");
const REVISION: HeaderName = HeaderName::from_static("x-hezong-revision");
const LAST_CONTACT: HeaderName = HeaderName::from_static("x-hezong-last-contact");
const CREATED: HeaderName = HeaderName::from_static("x-hezong-created");
const MODIFIED: HeaderName = HeaderName::from_static("x-hezong-modified");
const VERSION: HeaderName = HeaderName::from_static("x-hezong-version");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const SESSION: HeaderName = HeaderName::from_static("x-hezong-session");
const SEQUENCE: HeaderName = HeaderName::from_static("x-hezong-sequence");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What helps against an address that is none.
const WRITE: &str = "write host:port, as 127.0.0.1:8091";

/// Redirects followed within one attempt. More than a few mean that nodes disagree about who leads: wait, then ask again.
const REDIRECTS_MAX: usize = 4;

/// One request, as often as it has to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    method: Method,
    target: String,
    body: Bytes,
    once: Option<String>,
    pub(crate) session: Option<(String, u64)>,
    /// Whether it may be sent again although an earlier attempt might have been carried out.
    repeatable: bool,
    /// Whether any node may answer.
    anywhere: bool,
    /// Whether a node that is well may let it wait: for a leader to be elected, or for an index to come.
    may_wait: bool,
    /// Whether it takes the cluster's token.
    guarded: bool,
}

impl Request {
    pub(crate) fn read(target: String, at: ReadAt) -> Self {
        let anywhere = at.level == Level::Stale;
        let may_wait = at.level == Level::Consistent || at.min_index.is_some();
        Self { anywhere, may_wait, ..Self::repeatable(Method::GET, target, Bytes::new()) }
    }

    /// What any node tells of itself and its cluster.
    pub(crate) fn ask(target: &str) -> Self {
        Self::read(target.to_owned(), ReadAt { level: Level::Stale, min_index: None })
    }

    pub(crate) fn repeatable(method: Method, target: String, body: Bytes) -> Self {
        Self {
            method,
            target,
            body,
            once: None,
            session: None,
            repeatable: true,
            anywhere: false,
            may_wait: false,
            guarded: false,
        }
    }

    /// The same as something that takes the token.
    pub(crate) fn guarded(self) -> Self {
        Self { guarded: true, ..self }
    }

    pub(crate) fn write(method: Method, target: String, body: Bytes, once: Option<String>) -> Self {
        Self { once, repeatable: false, ..Self::repeatable(method, target, body) }
    }

    pub(crate) fn put(key: &[u8], value: Bytes, once: Option<String>) -> Self {
        Self::write(Method::PUT, crate::path::of_key(key), value, once)
    }

    fn may_repeat(&self) -> bool {
        self.repeatable || self.once.is_some() || self.session.is_some()
    }

    /// Whether this refusal speaks of every attempt: under an `Idempotency-Key` the log answers a repetition as it
    /// answered the first, so what it says on the command itself (409, 412, 422) would have been the first answer too.
    fn is_settled_by(&self, error: &Error) -> bool {
        let of_the_log = matches!(error, Error::Refused { status: 409 | 412 | 422, .. });
        self.method == Method::GET || (self.once.is_some() && of_the_log)
    }

    fn to_http(&self, endpoint: &Authority, options: &Options) -> Result<hyper::Request<Full<Bytes>>, Error> {
        let bad = |reason: String| Error::Endpoint { endpoint: format!("{endpoint}{}", self.target), reason };
        let mut uri = hyper::http::uri::Parts::default();
        uri.scheme = Some(if options.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP });
        uri.authority = Some(endpoint.clone());
        uri.path_and_query = Some(PathAndQuery::try_from(self.target.as_str()).map_err(|e| bad(e.to_string()))?);
        let uri = Uri::from_parts(uri).map_err(|e| bad(e.to_string()))?;
        let mut request = hyper::Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        if let Some(once) = &self.once {
            headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_str(once).map_err(|e| bad(e.to_string()))?);
        }
        if let Some((session, sequence)) = &self.session {
            headers.insert(SESSION, HeaderValue::from_str(session).map_err(|e| bad(e.to_string()))?);
            headers.insert(SEQUENCE, HeaderValue::from(*sequence));
        }
        if let Some(traceparent) = &options.traceparent {
            headers.insert(TRACEPARENT, HeaderValue::from_str(traceparent).map_err(|e| bad(e.to_string()))?);
        }
        if let Some(token) = options.token.as_ref().filter(|_| self.guarded) {
            headers.insert(AUTHORIZATION, token.header());
        }
        Ok(request)
    }
}

/// An answer for good.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) body: Bytes,
    pub(crate) at: At,
    pub(crate) created: Option<u64>,
    pub(crate) modified: Option<u64>,
    pub(crate) version: Option<u64>,
}

/// What one attempt came to.
enum Attempt {
    Done(Reply),
    /// Final: the error is the call's.
    Failed(Error),
    /// Another node leads.
    Redirected(Authority),
    /// Certainly not done; another node, or this one later, may do it.
    NotDone {
        why: String,
        wait: Option<Duration>,
    },
    /// Certainly not done: it cannot be talked to by TLS, and that will not change by itself.
    Untrusted {
        reason: String,
    },
    /// Perhaps done.
    Open {
        why: String,
    },
}

/// Who was tried, each with what it said or failed with last; the last one tried is the last here.
#[derive(Default)]
struct Tried(Vec<(Authority, String)>);

impl Tried {
    fn note(&mut self, endpoint: &Authority, why: String) {
        self.0.retain(|(known, _)| known != endpoint);
        self.0.push((endpoint.clone(), why));
    }
}

/// How connections are made.
#[derive(Debug)]
enum Http {
    Clear(Pool<HttpConnector, Full<Bytes>>),
    Encrypted(Pool<HttpsConnector<HttpConnector>, Full<Bytes>>),
}

impl Http {
    fn new(options: &Options) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(options.connect_timeout));
        connector.set_nodelay(true);
        let mut pool = Pool::builder(TokioExecutor::new());
        // Below the time after which a node hangs up on those that say nothing.
        pool.pool_idle_timeout(Duration::from_secs(30));
        let Some(tls) = &options.tls else { return Self::Clear(pool.build(connector)) };
        connector.enforce_http(false);
        let mut connector = HttpsConnector::from((connector, tls.config()));
        connector.enforce_https();
        Self::Encrypted(pool.build(connector))
    }

    fn request(&self, request: hyper::Request<Full<Bytes>>) -> ResponseFuture {
        match self {
            Self::Clear(pool) => pool.request(request),
            Self::Encrypted(pool) => pool.request(request),
        }
    }
}

/// Connections, and what is known of the cluster.
#[derive(Debug)]
pub(crate) struct Caller {
    http: Http,
    options: Options,
    endpoints: Endpoints,
    /// First half of every idempotency key of this client: 128 random bits, so that no two clients ever share one.
    key_prefix: String,
    /// Second half: counts up.
    key_next: AtomicU64,
}

impl Caller {
    pub(crate) fn new<E: AsRef<str>>(endpoints: impl IntoIterator<Item = E>, options: Options) -> Result<Self, Error> {
        let tls = options.tls.is_some();
        let all = endpoints
            .into_iter()
            .map(|endpoint| authority_of(endpoint.as_ref(), tls))
            .collect::<Result<Vec<_>, _>>()?;
        let none = || Error::Endpoint { endpoint: String::new(), reason: format!("none was given; {WRITE}") };
        let endpoints = Endpoints::new(all).ok_or_else(none)?;
        let http = Http::new(&options);
        let key_prefix = format!("{:016x}{:016x}", random(), random());
        Ok(Self { http, options, endpoints, key_prefix, key_next: AtomicU64::new(1) })
    }

    /// A key no other write ever had; `None` when the client was told to send none.
    pub(crate) fn fresh_key(&self) -> Option<String> {
        self.options.once_only.then(|| format!("{}-{}", self.key_prefix, self.key_next.fetch_add(1, Ordering::Relaxed)))
    }

    pub(crate) fn endpoints(&self) -> Vec<String> {
        self.endpoints.list().iter().map(ToString::to_string).collect()
    }

    /// Sends `request` until it is answered for good or the deadline passes.
    pub(crate) async fn call(&self, request: Request) -> Result<Reply, Error> {
        let deadline = Instant::now() + self.options.timeout;
        let mut endpoint = self.endpoints.first();
        let mut tried = Tried::default();
        let mut untrusted: Vec<Authority> = Vec::new();
        let mut open = false;
        let mut failures = 0_u32;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let attempt = self.attempt(&request, &mut endpoint, self.options.attempt_timeout.min(left)).await;
            let (why, wait) = match attempt {
                Attempt::Done(reply) => {
                    if !request.anywhere {
                        self.endpoints.prefer(&endpoint);
                    }
                    return Ok(reply);
                }
                // A refusal settles this attempt alone. If an earlier one is open, a disk that is full by now or a session
                // that is gone by now says nothing about what that one did.
                Attempt::Failed(error) if open && !request.is_settled_by(&error) => {
                    tried.note(&endpoint, format!("{endpoint}: {error}"));
                    return Err(self.out_of_time(&request, &tried, true));
                }
                Attempt::Failed(error) => return Err(error),
                Attempt::Redirected(to) => (format!("{endpoint} sent us on to {to}, again and again"), None),
                Attempt::NotDone { why, wait } => (why, wait),
                Attempt::Untrusted { reason } => {
                    if !untrusted.contains(&endpoint) {
                        untrusted.push(endpoint.clone());
                    }
                    if !open && self.endpoints.list().iter().all(|known| untrusted.contains(known)) {
                        return Err(Error::Tls { endpoint: endpoint.to_string(), reason });
                    }
                    (format!("no TLS with {endpoint}: {reason}"), None)
                }
                Attempt::Open { why } => {
                    open = true;
                    if !request.may_repeat() {
                        tried.note(&endpoint, why);
                        return Err(self.out_of_time(&request, &tried, true));
                    }
                    (why, None)
                }
            };
            tried.note(&endpoint, why);
            let pause = self.pause(failures, wait, tried.0.len());
            failures += 1;
            if Instant::now() + pause >= deadline {
                return Err(self.out_of_time(&request, &tried, open));
            }
            tokio::time::sleep(pause).await;
            if failures % 4 == 2 && !self.options.given_only {
                self.learn(deadline).await;
            }
            endpoint = self.endpoints.next_after(&endpoint);
        }
    }

    /// One request and the redirects it meets. `endpoint` is left at whoever answered last.
    async fn attempt(&self, request: &Request, endpoint: &mut Authority, limit: Duration) -> Attempt {
        let end = Instant::now() + limit;
        for _ in 0..REDIRECTS_MAX {
            let asked = Instant::now();
            match tokio::time::timeout(end.saturating_duration_since(asked), self.send(request, endpoint)).await {
                Ok(Attempt::Redirected(to)) => {
                    self.endpoints.add([to.clone()]);
                    // Nothing was sent there, and whoever sends us on will soon miss its leader as well.
                    if !self.endpoints.trusts(&to) {
                        let why = format!("{endpoint} sent us on to {to}, which did not answer a moment ago");
                        return Attempt::NotDone { why, wait: None };
                    }
                    *endpoint = to;
                }
                Ok(attempt) => return attempt,
                Err(_) => {
                    // Whom the call's own end cut short has not had the time to answer.
                    let had_time = asked.elapsed() >= self.options.attempt_timeout / 2;
                    if had_time && !request.may_wait {
                        self.endpoints.fell_silent(endpoint);
                    }
                    return Attempt::Open { why: format!("{endpoint} did not answer within {limit:?}") };
                }
            }
        }
        Attempt::Redirected(endpoint.clone())
    }

    async fn send(&self, request: &Request, endpoint: &Authority) -> Attempt {
        match self.dial(request, endpoint).await {
            Ok((head, body)) => self.read(endpoint, head, body).await,
            Err(attempt) => attempt,
        }
    }

    /// How long a call may take.
    pub(crate) fn patience(&self) -> Duration {
        self.options.timeout
    }

    /// As [`Caller::call`], for a read whose reply is too long to be held: hands its body over, and who sends it.
    pub(crate) async fn open(&self, request: &Request) -> Result<(Incoming, String), Error> {
        let deadline = Instant::now() + self.options.timeout;
        let mut endpoint = self.endpoints.first();
        let mut tried = Tried::default();
        let mut untrusted: Vec<Authority> = Vec::new();
        let mut failures = 0_u32;
        let mut redirects = 0;
        loop {
            let limit = self.options.attempt_timeout.min(deadline.saturating_duration_since(Instant::now()));
            let attempt = async {
                match self.dial(request, &endpoint).await {
                    Ok((head, body)) if head.status.is_success() => Ok(body),
                    Ok((head, body)) => Err(self.read(&endpoint, head, body).await),
                    Err(attempt) => Err(attempt),
                }
            };
            let why = match tokio::time::timeout(limit, attempt).await {
                Ok(Ok(body)) => return Ok((body, endpoint.to_string())),
                Ok(Err(Attempt::Failed(error))) => return Err(error),
                Ok(Err(Attempt::Redirected(to))) => {
                    self.endpoints.add([to.clone()]);
                    redirects += 1;
                    if redirects <= REDIRECTS_MAX {
                        tried.note(&endpoint, format!("{endpoint} sent us on to {to}"));
                        endpoint = to;
                        continue;
                    }
                    redirects = 0;
                    format!("{endpoint} sent us on to {to}, again and again")
                }
                Ok(Err(Attempt::NotDone { why, .. } | Attempt::Open { why })) => why,
                Ok(Err(Attempt::Untrusted { reason })) => {
                    untrusted.push(endpoint.clone());
                    if self.endpoints.list().iter().all(|known| untrusted.contains(known)) {
                        return Err(Error::Tls { endpoint: endpoint.to_string(), reason });
                    }
                    format!("no TLS with {endpoint}: {reason}")
                }
                // Only read() makes one, and not of what it is given here.
                Ok(Err(Attempt::Done(_))) => "a reply could not be used".to_owned(),
                Err(_) => format!("{endpoint} did not answer within {limit:?}"),
            };
            tried.note(&endpoint, why);
            let pause = self.pause(failures, None, tried.0.len());
            failures += 1;
            if Instant::now() + pause >= deadline {
                return Err(self.out_of_time(request, &tried, false));
            }
            tokio::time::sleep(pause).await;
            endpoint = self.endpoints.next_after(&endpoint);
        }
    }

    /// Sends a request and waits for the head of its reply.
    async fn dial(&self, request: &Request, endpoint: &Authority) -> Result<(Head, Incoming), Attempt> {
        let http = match request.to_http(endpoint, &self.options) {
            Ok(http) => http,
            Err(error) => return Err(Attempt::Failed(error)),
        };
        let response = match self.http.request(http).await {
            Ok(response) => response,
            Err(error) => return Err(self.failed(endpoint, &error)),
        };
        self.endpoints.answered(endpoint);
        Ok(response.into_parts())
    }

    /// Reads a reply to its end.
    async fn read(&self, endpoint: &Authority, head: Head, body: Incoming) -> Attempt {
        if head.status == StatusCode::TEMPORARY_REDIRECT {
            let location = head.headers.get(LOCATION).and_then(|at| at.to_str().ok()).unwrap_or_default();
            return match self.authority_of(location) {
                Ok(to) if self.options.given_only => Attempt::NotDone {
                    why: format!("{endpoint} sent us on to {to}, and only it was to be asked"),
                    wait: None,
                },
                Ok(to) => Attempt::Redirected(to),
                Err(error) => Attempt::NotDone { why: format!("{endpoint} sent us on: {error}"), wait: None },
            };
        }
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => return Attempt::Open { why: format!("{endpoint}: {}", root_of(&error)) },
        };
        answer_of(endpoint, head.status, &head.headers, body)
    }

    /// What a request came to that was not answered.
    fn failed(&self, endpoint: &Authority, error: &hyper_util::client::legacy::Error) -> Attempt {
        match inside(error) {
            Some(tls) if error.is_connect() || is_refusal(tls) => Attempt::Untrusted { reason: explain(tls) },
            Some(tls) => Attempt::Open { why: format!("{endpoint}: {}", explain(tls)) },
            None if error.is_connect() => {
                if is_timeout(error) {
                    self.endpoints.fell_silent(endpoint);
                }
                Attempt::NotDone { why: format!("{endpoint}: {}", root_of(error)), wait: None }
            }
            None if is_unsent(error) => Attempt::NotDone { why: format!("{endpoint}: {}", root_of(error)), wait: None },
            None => Attempt::Open { why: format!("{endpoint}: {}", root_of(error)) },
        }
    }

    /// Asks the nodes known for the members, so that a client given one address survives that node.
    async fn learn(&self, deadline: Instant) {
        let request = Request::ask("/members");
        let endpoints = self.endpoints.list();
        for endpoint in endpoints.into_iter().filter(|endpoint| self.endpoints.trusts(endpoint)) {
            let left = deadline.saturating_duration_since(Instant::now()).min(self.options.connect_timeout / 2);
            let Ok(Attempt::Done(reply)) = tokio::time::timeout(left, self.send(&request, &endpoint)).await else {
                continue;
            };
            if let Ok(members) = serde_json::from_slice::<Members>(&reply.body) {
                self.endpoints
                    .add(members.members.iter().filter_map(|member| self.authority_of(&member.http_addr).ok()));
                return;
            }
        }
    }

    fn pause(&self, failures: u32, wait: Option<Duration>, tried: usize) -> Duration {
        // The first failure says nothing about other nodes yet: go on to the next one at once.
        if failures == 0 && wait.is_none() && self.endpoints.len() > tried {
            return Duration::ZERO;
        }
        let ceiling = (self.options.backoff_max / 50 * 2_u32.pow(failures.min(10))).min(self.options.backoff_max);
        let micros = u64::try_from(ceiling.as_micros()).unwrap_or(u64::MAX).max(2);
        let drawn = Duration::from_micros(micros / 2 + random() % (micros / 2));
        // Retry-After is given in whole seconds, which an election seldom needs: it caps patience, it does not set it.
        wait.map_or(drawn, |wait| drawn.min(wait))
    }

    fn out_of_time(&self, request: &Request, tried: &Tried, open: bool) -> Error {
        let seconds = self.options.timeout.as_secs_f64();
        let last = tried.0.iter().map(|(_, why)| why.as_str()).collect::<Vec<_>>().join("; ");
        if open && request.method != Method::GET {
            return Error::Unknown { seconds, key: request.once.clone(), last };
        }
        let tried = tried.0.iter().map(|(endpoint, _)| endpoint.as_str()).collect::<Vec<_>>().join(", ");
        Error::Unavailable { seconds, tried, last }
    }

    fn authority_of(&self, endpoint: &str) -> Result<Authority, Error> {
        authority_of(endpoint, self.options.tls.is_some())
    }
}

/// What a complete reply means.
fn answer_of(endpoint: &Authority, status: StatusCode, headers: &HeaderMap, body: Bytes) -> Attempt {
    if status.is_success() {
        let at = At {
            index: number(headers, &INDEX),
            revision: number(headers, &REVISION),
            last_contact: number(headers, &LAST_CONTACT).map(Duration::from_millis),
        };
        let created = number(headers, &CREATED);
        let modified = number(headers, &MODIFIED);
        let version = number(headers, &VERSION);
        return Attempt::Done(Reply { body, at, created, modified, version });
    }
    let (code, message) = error_of(&body).unwrap_or_else(|| {
        (String::new(), format!("{endpoint} answered {status}: {}", String::from_utf8_lossy(&body)))
    });
    let why = format!("{endpoint}: {message}");
    match status {
        // The cluster says whether it may help to come again: 503 and 429 are certainly not done, 504 is open.
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
            let wait = number(headers, &RETRY_AFTER).map(Duration::from_secs);
            Attempt::NotDone { why, wait }
        }
        StatusCode::GATEWAY_TIMEOUT => Attempt::Open { why },
        status if status.is_server_error() && status != StatusCode::INSUFFICIENT_STORAGE => Attempt::Open { why },
        status => Attempt::Failed(Error::Refused { status: status.as_u16(), code, message }),
    }
}

fn error_of(body: &[u8]) -> Option<(String, String)> {
    #[derive(serde::Deserialize)]
    struct Body {
        error: Inner,
    }
    #[derive(serde::Deserialize)]
    struct Inner {
        code: String,
        message: String,
    }
    let body: Body = serde_json::from_slice(body).ok()?;
    Some((body.error.code, body.error.message))
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

/// `host:port` out of what a person or a `Location` header writes. Nobody is taken from TLS into the clear, or the other
/// way round, by what an address says.
fn authority_of(endpoint: &str, tls: bool) -> Result<Authority, Error> {
    let bad = |reason: &str| Error::Endpoint { endpoint: endpoint.to_owned(), reason: reason.to_owned() };
    let rest = endpoint.trim();
    let rest = match rest.split_once("://") {
        None => rest,
        Some(("https", rest)) if tls => rest,
        Some(("http", rest)) if !tls => rest,
        Some(("https", _)) => return Err(bad("https takes the certificate of the cluster's authority: --tls-ca")),
        Some(("http", _)) => return Err(bad("it is in the clear, and --tls-ca asks for https; write https://")),
        Some(_) => return Err(bad("it is neither http nor https")),
    };
    let rest = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority: Authority = rest.parse().map_err(|_| bad(&format!("it does not parse; {WRITE}")))?;
    if authority.port_u16().is_none() {
        return Err(bad(&format!("the port is missing; {WRITE}")));
    }
    if authority.host().is_empty() || authority.as_str().contains('@') {
        return Err(bad(&format!("the host is missing; {WRITE}")));
    }
    Ok(authority)
}

/// The innermost cause: `connection refused` tells a person more than `client error (Connect)`.
fn root_of(error: &dyn std::error::Error) -> String {
    let mut root = error;
    while let Some(source) = root.source() {
        root = source;
    }
    root.to_string()
}

/// Whether the connection ended before any of the request was written to it, as one does whose certificate was refused.
fn is_unsent(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.any(|error| error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled))
}

/// Whether it is time that ran out, rather than an answer that came in the negative.
fn is_timeout(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.any(|error| {
        error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::TimedOut)
    })
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the operating system hands out entropy once it has booted");
    u64::from_le_bytes(bytes)
}
