//! How a call fails.

/// Why a call did not succeed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// An address cannot be used. Nothing was sent.
    #[error("endpoint {endpoint:?} cannot be used: {reason}")]
    Endpoint {
        /// What was given.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A token that could not be sent. It is not repeated here.
    #[error(
        "the token is empty or has spaces or other characters that cannot be sent; write letters, digits and signs"
    )]
    Token,
    /// No node known can be talked to by TLS: none shows a certificate that we believe, or none accepts ours. Nothing was
    /// sent.
    #[error("no TLS with {endpoint}: {reason}")]
    Tls {
        /// The last that was tried.
        endpoint: String,
        /// Why not; the node is "it".
        reason: String,
    },
    /// The cluster refused; repeating the same will not help. Nothing was changed.
    #[error("{message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The error's name, as `docs/http.md` lists them.
        code: String,
        /// One sentence for a person.
        message: String,
    },
    /// Nobody took the request before the deadline. Certainly nothing was changed; try again later.
    #[error("no node took the request within {seconds:.1} s (tried {tried}); last: {last}")]
    Unavailable {
        /// The deadline of the call.
        seconds: f64,
        /// The endpoints that were tried.
        tried: String,
        /// What each of them said or failed with last, by name.
        last: String,
    },
    /// The write was sent, and nobody told what became of it before the deadline. Repeat it under the same key to settle
    /// it; a write without a key should be read back first.
    #[error("the outcome is unknown after {seconds:.1} s{}; last: {last}", key_hint(key))]
    Unknown {
        /// The deadline of the call.
        seconds: f64,
        /// The `Idempotency-Key` it was sent with.
        key: Option<String>,
        /// What each endpoint that was tried said or failed with last, by name.
        last: String,
    },
    /// A reply is not what this version expects. After a write: it may have happened.
    #[error("the reply to {what} cannot be understood: {reason}")]
    Reply {
        /// Which request.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

fn key_hint(key: &Option<String>) -> String {
    key.as_ref().map(|key| format!("; repeat it with Idempotency-Key {key}")).unwrap_or_default()
}
