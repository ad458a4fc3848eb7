//! How requests reach the store: over the HTTP and TLS that this program has anyway.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use hezong_client::ClientTls;
use http_body_util::{BodyExt as _, Limited};
use hyper::header::{HeaderValue, IF_NONE_MATCH};
use hyper::{Method, Response};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector as Connects, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
    HttpService,
};

use crate::https;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request may take, with its body and the reply: a part of a backup comes through a line of 1 Mbit/s.
const TIMEOUT: Duration = Duration::from_secs(180);
/// No reply is longer: it holds a piece of an object.
const REPLY_BYTES_MAX: usize = 64 << 20;

/// Makes clients of the one below.
#[derive(Debug)]
pub(super) struct Connector(Service);

impl Connector {
    /// Believes `authority` (PEM), or without it whom the system believes. With `keep` uploads replace nothing.
    pub(super) fn new(authority: Option<&Path>, keep: bool) -> Result<Self> {
        let tls = match authority {
            Some(path) => ClientTls::load(path, None).context("AWS_CA_BUNDLE")?.config(),
            None => https::system_tls().context("the store cannot be verified without AWS_CA_BUNDLE")?,
        };
        let client = Client::builder(TokioExecutor::new()).build(https::connector(tls, CONNECT_TIMEOUT));
        Ok(Self(Service { client, keep }))
    }
}

impl Connects for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

#[derive(Clone, Debug)]
struct Service {
    client: Client<HttpsConnector<HttpConnector>, HttpRequestBody>,
    keep: bool,
}

#[async_trait]
impl HttpService for Service {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        // What completes an upload gives the object its name: the store refuses that if the name is taken by then. It is
        // no part of what is signed, and need not be.
        let completes = request.method() == Method::POST
            && request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair.starts_with("uploadId=")));
        if self.keep && completes {
            request.headers_mut().insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
        }
        let whole = async {
            let reply = self.client.request(request).await.map_err(|error| {
                let kind = if error.is_connect() { HttpErrorKind::Connect } else { HttpErrorKind::Request };
                HttpError::new(kind, error)
            })?;
            let (head, body) = reply.into_parts();
            let body = Limited::new(body, REPLY_BYTES_MAX).collect().await;
            let body = body.map_err(|error| HttpError::new_boxed(HttpErrorKind::Interrupted, error))?.to_bytes();
            Ok::<_, HttpError>(Response::from_parts(head, body))
        };
        let reply = match tokio::time::timeout(TIMEOUT, whole).await {
            Ok(reply) => reply?,
            Err(late) => return Err(HttpError::new(HttpErrorKind::Timeout, late)),
        };
        let is_refusal = reply.status().is_client_error() || reply.status().is_server_error();
        Ok(reply.map(|body| if is_refusal { code_of(&body).into() } else { body.into() }))
    }
}

/// The code in a refusal. The rest may repeat what was asked, with the session's token, and stays unsaid.
fn code_of(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    code.map(|(code, _)| code.chars().filter(char::is_ascii_alphanumeric).take(64).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_of_repeats_the_code_alone() {
        let refusal = b"<?xml version=\"1.0\"?><Error><Code>SignatureDoesNotMatch</Code><Message>no</Message>\
            <CanonicalRequest>x-amz-security-token:SECRET</CanonicalRequest></Error>";
        assert_eq!(code_of(refusal), "SignatureDoesNotMatch");
        for other in [&b""[..], b"<Code>", b"an HTML page that repeats SECRET", b"\xff"] {
            assert_eq!(code_of(other), "");
        }
    }
}
