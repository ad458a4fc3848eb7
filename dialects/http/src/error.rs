//! What a client is told when a request fails: a status, a code for programs and one sentence for people that names the
//! thing, the limit and the remedy. Codes are part of the interface; `docs/http.md` lists them.

use axum::body::Body;
use axum::http::header::{ALLOW, CONNECTION, CONTENT_TYPE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Response, StatusCode};
use hezong_kv::{LimitError, Refusal};
use hezong_node::{Leader, Refused};

/// A request that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The HTTP status.
    pub(crate) status: StatusCode,
    /// The error's name for programs.
    pub(crate) code: &'static str,
    /// One sentence, without a full stop.
    pub(crate) message: String,
    /// Where to go instead, for a redirect: host, port, path and query.
    elsewhere: Option<String>,
    /// Whether that is to be reached by TLS, as this node is.
    tls: bool,
    /// Seconds after which to come again.
    retry_after: Option<u32>,
    /// The methods a path does take.
    allow: Option<&'static str>,
    /// Whether part of the body was left unread, so that the connection cannot carry another request.
    close: bool,
}

impl Failure {
    /// A failure that needs nothing but status, code and sentence.
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, code, message, elsewhere: None, tls: false, retry_after: None, allow: None, close: false }
    }

    /// The request itself is wrong; repeating it will not help.
    pub(crate) fn bad(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// Another node leads: the same request, path and query kept, belongs there.
    pub(crate) fn redirect(leader: &str, path_and_query: &str) -> Self {
        let elsewhere = Some(format!("{leader}{path_and_query}"));
        Self { elsewhere, ..Self::new(StatusCode::TEMPORARY_REDIRECT, "not_leader", String::new()) }
    }

    /// Nobody can do it at the moment.
    pub(crate) fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        Self { retry_after: Some(1), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message) }
    }

    /// The path exists, the method does not.
    pub(crate) fn method(method: &str, path: &str, allow: &'static str) -> Self {
        let message = format!("{path} does not take {method}; it takes {allow}");
        Self { allow: Some(allow), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message) }
    }

    /// The same, with something else that might have been meant.
    pub(crate) fn or_see(mut self, other: &str) -> Self {
        self.message.push_str("; see also ");
        self.message.push_str(other);
        self
    }

    /// The same, and the connection ends with it.
    pub(crate) fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    /// The same from a node that is reached by TLS, or not.
    pub(crate) fn over(mut self, tls: bool) -> Self {
        self.tls = tls;
        self
    }

    /// The reply.
    pub(crate) fn into_response(self) -> Response<Body> {
        let scheme = if self.tls { "https" } else { "http" };
        let location = self.elsewhere.as_ref().map(|elsewhere| format!("{scheme}://{elsewhere}"));
        let mut response = Response::new(Body::from(self.body(location.as_deref())));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(location) = location {
            // Addresses are checked when a node joins and the rest came in as a valid URI; were it ever not so, a
            // redirect without Location is still an error a client understands.
            if let Ok(location) = HeaderValue::from_str(&location) {
                headers.insert(LOCATION, location);
            }
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// The reply as it goes over the wire, for a connection that HTTP is not spoken on; it ends with it.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        let body = self.body(None);
        let retry = self.retry_after.map(|seconds| format!("retry-after: {seconds}\r\n")).unwrap_or_default();
        format!(
            "HTTP/1.1 {}\r\ncontent-type: application/json\r\nconnection: close\r\n{retry}content-length: {}\r\n\r\n{body}",
            self.status,
            body.len()
        )
        .into_bytes()
    }

    fn body(&self, location: Option<&str>) -> String {
        let there = location.map(|at| format!("the leader serves this at {at}; follow the redirect (curl -L)"));
        let message = there.as_ref().unwrap_or(&self.message);
        format!("{}\n", serde_json::json!({ "error": { "code": self.code, "message": message } }))
    }
}

impl From<LimitError> for Failure {
    fn from(error: LimitError) -> Self {
        use LimitError as E;
        let (status, code) = match &error {
            E::KeyEmpty => (StatusCode::BAD_REQUEST, "empty_key"),
            E::KeyTooLong { .. } => (StatusCode::BAD_REQUEST, "key_too_long"),
            E::ValueTooLong { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "value_too_large"),
            E::NoKeys => (StatusCode::BAD_REQUEST, "no_keys"),
            E::TooManyKeys { .. } => (StatusCode::BAD_REQUEST, "too_many_keys"),
            E::CommandTooLong { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            E::KeyTwice { .. } => (StatusCode::BAD_REQUEST, "repeated_key"),
            E::OnceKeyEmpty | E::OnceKeyTooLong { .. } => (StatusCode::BAD_REQUEST, "bad_idempotency_key"),
            E::SessionTtl { .. } => (StatusCode::BAD_REQUEST, "bad_ttl"),
            E::SessionInSession => (StatusCode::BAD_REQUEST, "session_in_session"),
        };
        Self::new(status, code, error.to_string())
    }
}

/// What all replicas agreed to refuse.
impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        use Refusal as R;
        let (status, code) = match &refusal {
            R::KeyReused => (StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused"),
            R::TooManyKeys { .. } => (StatusCode::TOO_MANY_REQUESTS, "too_many_idempotency_keys"),
            R::SessionGone { .. } => (StatusCode::GONE, "session_gone"),
            R::SequenceOld { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "sequence_old"),
            R::SequenceGap { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "sequence_gap"),
            R::SequenceReused => (StatusCode::UNPROCESSABLE_ENTITY, "sequence_reused"),
            R::SessionInSession => (StatusCode::BAD_REQUEST, "session_in_session"),
            R::TooManySessions { .. } => (StatusCode::TOO_MANY_REQUESTS, "too_many_sessions"),
            R::NotANumber => (StatusCode::CONFLICT, "not_a_number"),
            R::OutOfRange => (StatusCode::CONFLICT, "out_of_range"),
        };
        let mut failure = Self::new(status, code, refusal.to_string());
        if status == StatusCode::TOO_MANY_REQUESTS {
            failure.retry_after = Some(1);
        }
        failure
    }
}

/// What this node certainly did not do. `path_and_query` is where the leader is asked instead.
pub(crate) fn refused(refused: &Refused, path_and_query: &str) -> Failure {
    match refused {
        Refused::NotLeader(Some(Leader { member: Some(member), .. })) => {
            Failure::redirect(&member.client, path_and_query)
        }
        Refused::NotLeader(_) => Failure::unavailable(
            "no_leader",
            "no leader is known at the moment; try again in a second, or another node",
        ),
        Refused::Overloaded { .. } => {
            let message = refused.to_string();
            Failure { retry_after: Some(1), ..Failure::new(StatusCode::TOO_MANY_REQUESTS, "overloaded", message) }
        }
        Refused::DiskFull => Failure::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", refused.to_string()),
        Refused::Change(error) => Failure::new(StatusCode::CONFLICT, "membership", error.to_string()),
        Refused::Version { behind, .. } if behind.is_empty() => Failure::unavailable("version", refused.to_string()),
        Refused::Version { .. } => Failure::new(StatusCode::CONFLICT, "version", refused.to_string()),
        Refused::Transferring(_) => Failure::unavailable("transferring", refused.to_string()),
        Refused::Transfer(error) => Failure::new(StatusCode::CONFLICT, "transfer", error.to_string()),
        Refused::NotEmpty => Failure::new(StatusCode::CONFLICT, "not_empty", refused.to_string()),
        Refused::Timeout => Failure::unavailable("timeout", refused.to_string()),
        Refused::Lost => Failure::unavailable("lost", refused.to_string()),
        Refused::ChangePending => Failure::unavailable("change_pending", format!("{refused}; try again in a second")),
        Refused::NoGroup(_) => Failure::unavailable("no_group", "this node is not in the cluster yet; ask another"),
        Refused::Restoring => Failure::unavailable("restoring", refused.to_string()),
        Refused::Stopping => Failure::unavailable("stopping", format!("{refused}; ask another")),
    }
}

/// A number as people read it: `1,048,577`.
pub(crate) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grouped_sets_commas_every_three_digits() {
        let cases = [(0, "0"), (999, "999"), (1_000, "1,000"), (1_048_577, "1,048,577")];
        for (number, text) in cases {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn redirect_keeps_path_query_and_tls() {
        for (tls, location) in
            [(false, "http://host1:8091/key/a%2Fb?level=default"), (true, "https://host1:8091/key/a%2Fb?level=default")]
        {
            let response = Failure::redirect("host1:8091", "/key/a%2Fb?level=default").over(tls).into_response();
            assert_eq!(response.status(), StatusCode::TEMPORARY_REDIRECT);
            assert_eq!(response.headers()[LOCATION], location);
        }
    }
}
