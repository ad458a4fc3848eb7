//! The cluster's token: what must be shown by whoever wants to change who takes part or leads, have a copy of everything, or
//! look into a node.

use std::fmt;

use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use sha2::{Digest as _, Sha256};

use crate::error::Failure;
use crate::seldom::Seldom;

/// What the token is recognised by. The token itself is not kept: what a node does not hold cannot get out of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token([u8; 32]);

impl Token {
    /// Takes note of a token.
    #[must_use]
    pub fn of(secret: &[u8]) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// Whether this is it, in a time that tells nothing of how much of it is right.
    fn is(&self, shown: &[u8]) -> bool {
        let shown = Self::of(shown);
        self.0.iter().zip(shown.0).fold(0, |differences, (ours, its)| differences | (ours ^ its)) == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// Checks that a request shows the token, if there is one to show.
pub(crate) fn check(token: Option<&Token>, head: &Parts, seldom: &Seldom) -> Result<(), Failure> {
    let Some(token) = token else { return Ok(()) };
    let shown = head.headers.get(AUTHORIZATION).map(|header| header.as_bytes());
    let bearer = shown.and_then(|shown| {
        let (scheme, secret) = shown.split_at_checked("bearer ".len())?;
        scheme.eq_ignore_ascii_case(b"bearer ").then_some(secret)
    });
    match bearer {
        Some(secret) if token.is(secret) => Ok(()),
        Some(_) => {
            if seldom.now() {
                tracing::warn!("a request to {} was refused: its token is wrong", head.uri.path());
            }
            let message = "the cluster's token is wrong; give the file that all nodes have (--token-file)";
            Err(Failure::new(StatusCode::UNAUTHORIZED, "token_wrong", message).closing())
        }
        None => {
            let message = format!(
                "{} takes the cluster's token: give --token-file, or over HTTP the header Authorization: Bearer and the token",
                head.uri.path()
            );
            Err(Failure::new(StatusCode::UNAUTHORIZED, "token_missing", message).closing())
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn head(authorization: Option<&str>) -> Parts {
        let mut request = Request::builder().uri("/join");
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn check_takes_the_token_alone() {
        let token = Token::of(b"correct horse battery");
        let code = |shown: Option<&str>| check(Some(&token), &head(shown), &Seldom::default()).map_err(|f| f.code);
        assert_eq!(code(Some("Bearer correct horse battery")), Ok(()));
        assert_eq!(code(Some("bearer correct horse battery")), Ok(()));
        for wrong in ["Bearer ", "Bearer correct horse batterx", "Bearer correct horse battery ", "Bearer x"] {
            assert_eq!(code(Some(wrong)), Err("token_wrong"), "{wrong:?}");
        }
        for missing in [None, Some(""), Some("Basic correct horse battery"), Some("correct horse battery")] {
            assert_eq!(code(missing), Err("token_missing"), "{missing:?}");
        }
        assert!(check(None, &head(None), &Seldom::default()).is_ok(), "there is none");
        assert!(!format!("{token:?}").contains(|c: char| c.is_ascii_digit()), "nothing of it is shown");
    }
}
