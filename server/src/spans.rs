//! Spans of traced requests, on their way to a collector: OTLP over HTTP, as binary protobuf.
//!
//! A request never waits for it. What a collector does not take within its time is dropped and counted
//! (`hezong_spans_total`), and the first failure after a success is logged.

mod otlp;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use hezong_shell::trace::{Attribute, Span, Tracer};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::CONTENT_TYPE;
use hyper::http::uri::Scheme;
use hyper::{Method, Request, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use prost::Message as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::config::Settings;
use crate::https;

/// How many spans go in one request.
const BATCH_MAX: usize = 512;
/// For how long spans are gathered. A trace shows up about so much later.
const GATHER: Duration = Duration::from_millis(500);
/// How long a collector may take; what comes meanwhile waits, up to the bound of the channel.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long a node that stops waits for the last spans to be taken.
const LAST_WAIT: Duration = Duration::from_secs(1);
/// No reply is longer that says anything.
const REPLY_BYTES_MAX: usize = 64 << 10;

/// The export of a node's spans.
pub(crate) struct Export {
    /// Where they come from.
    pub(crate) tracer: Arc<Tracer>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Export {
    /// Begins to export, if there is a collector. It is not asked yet: a node starts without it.
    pub(crate) fn start(settings: &Settings) -> Result<Option<Self>> {
        let Some(endpoint) = &settings.trace_endpoint else { return Ok(None) };
        let (tracer, spans) = Tracer::new(settings.trace_one_in);
        let uri = traces_of(endpoint)?;
        let exporter = Exporter {
            client: client(&uri)?,
            uri,
            resource: resource(settings),
            tracer: Arc::clone(&tracer),
            failing: false,
        };
        let (stop, stopped) = oneshot::channel();
        Ok(Some(Self { tracer, stop, task: tokio::spawn(exporter.run(spans, stopped)) }))
    }

    /// Sees the last spans off.
    pub(crate) async fn finish(self) {
        drop(self.stop);
        // Err: the collector is slow; the node stops all the same.
        tokio::time::timeout(LAST_WAIT, self.task).await.ok();
    }
}

/// Where a collector takes spans: under the path that the protocol gives, unless a path is given.
fn traces_of(endpoint: &str) -> Result<Uri> {
    let uri: Uri = endpoint.parse().with_context(|| format!("trace.endpoint is {endpoint:?}"))?;
    let whole = match uri.path() {
        "/" => format!("{}/v1/traces", endpoint.trim_end_matches('/')),
        _ => endpoint.to_owned(),
    };
    whole.parse().with_context(|| format!("trace.endpoint is {endpoint:?}"))
}

fn client(uri: &Uri) -> Result<Client<HttpsConnector<HttpConnector>, Full<Bytes>>> {
    let tls = if uri.scheme() == Some(&Scheme::HTTPS) {
        https::system_tls().context("the collector at trace.endpoint cannot be verified")?
    } else {
        Arc::new(ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth())
    };
    Ok(Client::builder(TokioExecutor::new()).build(https::connector(tls, TIMEOUT)))
}

/// Who speaks, as the conventions of OpenTelemetry name it.
fn resource(settings: &Settings) -> otlp::Resource {
    let text = |key: &str, text: &str| key_value(key, otlp::Value::Text(text.to_owned()));
    otlp::Resource {
        attributes: vec![
            text("service.name", "hezong"),
            text("service.instance.id", &settings.id),
            text("service.version", env!("CARGO_PKG_VERSION")),
        ],
    }
}

struct Exporter {
    uri: Uri,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    resource: otlp::Resource,
    tracer: Arc<Tracer>,
    /// Whether the last attempt failed.
    failing: bool,
}

impl Exporter {
    /// Exports until it is stopped, and then what there is.
    async fn run(mut self, mut spans: mpsc::Receiver<Span>, mut stopped: oneshot::Receiver<()>) {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                taken = spans.recv_many(&mut batch, BATCH_MAX) => if taken == 0 { return },
                _ = &mut stopped, if !spans.is_closed() => {
                    spans.close();
                    continue;
                }
            }
            // More may come soon, and goes along.
            let full = Instant::now() + GATHER;
            while batch.len() < BATCH_MAX {
                let room = BATCH_MAX - batch.len();
                tokio::select! {
                    taken = spans.recv_many(&mut batch, room) => if taken == 0 { break },
                    () = tokio::time::sleep_until(full), if !spans.is_closed() => break,
                    _ = &mut stopped, if !spans.is_closed() => spans.close(),
                }
            }
            self.export(&mut batch).await;
        }
    }

    async fn export(&mut self, batch: &mut Vec<Span>) {
        let count = batch.len() as u64;
        let body = encode(&self.resource, batch.drain(..));
        let (rejected, why) = match self.send(body).await {
            Ok(partly) => {
                (u64::try_from(partly.rejected_spans).unwrap_or(0).min(count), anyhow::anyhow!(partly.error_message))
            }
            Err(error) => (count, error),
        };
        self.tracer.add_exported(count - rejected);
        self.tracer.add_dropped(rejected);
        let failed = std::mem::replace(&mut self.failing, rejected > 0);
        if self.failing && !failed {
            tracing::warn!("spans are dropped: {why:#}; this is not repeated until all are taken again");
        } else if failed && !self.failing {
            tracing::info!("the collector at {} takes spans again", self.uri);
        }
    }

    /// Sends one request; returns what was not taken, and why.
    async fn send(&self, body: Vec<u8>) -> Result<otlp::PartialSuccess> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.uri.clone())
            .header(CONTENT_TYPE, "application/x-protobuf")
            .body(Full::new(Bytes::from(body)))?;
        let exchange = async {
            let reply = self.client.request(request).await?;
            let status = reply.status();
            if !status.is_success() {
                bail!("it answers {status}");
            }
            let body = Limited::new(reply.into_body(), REPLY_BYTES_MAX).collect().await;
            Ok(body.map_err(|error| anyhow::anyhow!(error))?.to_bytes())
        };
        let at = || format!("the collector at {}", self.uri);
        let reply = match tokio::time::timeout(TIMEOUT, exchange).await {
            Ok(reply) => reply.with_context(at)?,
            Err(_) => bail!("{} has not answered within {TIMEOUT:?}", at()),
        };
        // Some answer with nothing, or in another form; what was taken was taken.
        let told = otlp::ExportTraceServiceResponse::decode(reply).unwrap_or_default();
        Ok(told.partial_success.unwrap_or_default())
    }
}

fn encode(resource: &otlp::Resource, spans: impl Iterator<Item = Span>) -> Vec<u8> {
    let scope = otlp::Scope { name: "hezong".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
    let scope_spans = vec![otlp::ScopeSpans { scope: Some(scope), spans: spans.map(span).collect() }];
    let resource_spans = vec![otlp::ResourceSpans { resource: Some(resource.clone()), scope_spans }];
    otlp::ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

fn span(span: Span) -> otlp::Span {
    let attribute = |(key, value): (&str, Attribute)| {
        let value = match value {
            Attribute::Text(text) => otlp::Value::Text(text),
            Attribute::Number(number) => otlp::Value::Number(i64::try_from(number).unwrap_or(i64::MAX)),
        };
        key_value(key, value)
    };
    otlp::Span {
        trace_id: span.context.trace.to_vec(),
        span_id: span.context.span.to_vec(),
        parent_span_id: span.parent.map(|parent| parent.to_vec()).unwrap_or_default(),
        name: span.name.to_owned(),
        kind: if span.serves { otlp::KIND_SERVER } else { otlp::KIND_INTERNAL },
        start_time_unix_nano: nanos(span.start),
        end_time_unix_nano: nanos(span.end),
        attributes: span.attributes.into_iter().map(attribute).collect(),
        status: span.failed.then_some(otlp::Status { code: otlp::STATUS_ERROR }),
    }
}

fn key_value(key: &str, value: otlp::Value) -> otlp::KeyValue {
    otlp::KeyValue { key: key.to_owned(), value: Some(otlp::AnyValue { value: Some(value) }) }
}

fn nanos(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_of_adds_the_protocols_path_to_a_bare_endpoint() {
        for (endpoint, uri) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"),
            ("https://collector.example/otlp/v1/traces", "https://collector.example/otlp/v1/traces"),
        ] {
            assert_eq!(traces_of(endpoint).unwrap().to_string(), uri);
        }
    }
}
