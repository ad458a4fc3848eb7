//! Bodies: read within a limit, and parsed as strictly as they are documented.

use axum::body::Body;
use axum::body::HttpBody as _;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_LENGTH, EXPECT};
use axum::http::request::Parts;
use bytes::{Bytes, BytesMut};
use hezong_kv::{LimitError, Limits};
use http_body_util::BodyExt as _;
use serde::de::{DeserializeOwned, Deserializer as _, MapAccess, Visitor};

use crate::error::{Failure, grouped};
use crate::query::nearest;

/// An over-long body is still read and thrown away up to this many times the limit: a client that is cut off while it
/// sends sees a broken connection in place of the reply that says why.
const DRAIN_FACTOR: usize = 8;

/// Reads a body of at most `limit` bytes; `what` names it and its limit to people.
pub(crate) async fn read(
    head: &Parts,
    mut body: Body,
    limit: usize,
    over: impl Fn(usize) -> Failure,
) -> Result<Bytes, Failure> {
    let declared = head.headers.get(CONTENT_LENGTH).and_then(|n| n.to_str().ok()).and_then(|n| n.parse::<usize>().ok());
    if let Some(declared) = declared.filter(|declared| *declared > limit) {
        // Who asked first whether to send (curl does for large bodies) has not sent anything.
        if declared <= limit.saturating_mul(DRAIN_FACTOR) && !head.headers.contains_key(EXPECT) {
            while let Some(Ok(_)) = body.frame().await {}
            return Err(over(declared));
        }
        return Err(over(declared).closing());
    }
    // Nearly every body comes in one frame, which is then passed on without a copy.
    let mut first: Option<Bytes> = None;
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Failure::bad("bad_body", format!("the body broke off: {error}; send it whole")).closing()
        })?;
        let Ok(data) = frame.into_data() else { continue };
        let have = first.as_ref().map_or(whole.len(), Bytes::len);
        if have + data.len() > limit {
            return Err(over(have + data.len()).closing());
        }
        match first.take() {
            None if whole.is_empty() => first = Some(data),
            None => whole.extend_from_slice(&data),
            Some(start) => {
                whole.reserve(declared.unwrap_or(0).max(start.len() + data.len()));
                whole.extend_from_slice(&start);
                whole.extend_from_slice(&data);
            }
        }
    }
    Ok(first.unwrap_or_else(|| whole.freeze()))
}

/// A value as the body of `PUT /key/{k}`.
pub(crate) async fn value(head: &Parts, body: Body, limits: &Limits) -> Result<Bytes, Failure> {
    let limit = limits.value_bytes_max;
    read(head, body, limit, |bytes| LimitError::ValueTooLong { bytes, limit }.into()).await
}

/// A JSON document, as sent to any other route.
pub(crate) async fn document(head: &Parts, body: Body, limits: &Limits) -> Result<Bytes, Failure> {
    // Escapes may make a text twice as long as what it stands for; what it stands for is checked once it is parsed.
    let limit = limits.command_bytes_max.saturating_mul(2);
    read(head, body, limit, |bytes| {
        let (bytes, limit) = (grouped(bytes), grouped(limit));
        let message = format!(
            "the body is {bytes} bytes, over the limit of {limit} (twice kv.command_bytes_max); send fewer keys at once"
        );
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
    })
    .await
}

/// Refuses a body where none is taken.
pub(crate) async fn none(head: &Parts, body: Body) -> Result<(), Failure> {
    if body.is_end_stream() {
        return Ok(());
    }
    let over =
        |_| Failure::bad("unexpected_body", format!("{} {} takes no body; leave it out", head.method, head.uri.path()));
    read(head, body, 0, over).await.map(drop)
}

/// The keys and values of `POST /key`: one JSON object whose members are all strings.
pub(crate) fn pairs(body: &[u8]) -> Result<Vec<(Bytes, Bytes)>, Failure> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let members = deserializer.deserialize_map(Members).map_err(malformed)?;
    deserializer.end().map_err(malformed)?;
    let mut pairs = Vec::with_capacity(members.len());
    for (key, value) in members {
        let Some(value) = value else {
            return Err(Failure::bad(
                "not_a_string",
                format!("the value of {key:?} is no string; write it in quotes, or send bytes with PUT /key/{{k}}"),
            ));
        };
        pairs.push((Bytes::from(key), Bytes::from(value)));
    }
    Ok(pairs)
}

/// A document with known fields.
pub(crate) fn fields<T: DeserializeOwned>(body: &[u8], known: &[&'static str]) -> Result<T, Failure> {
    let value: serde_json::Value = serde_json::from_slice(body).map_err(malformed)?;
    let Some(object) = value.as_object() else {
        return Err(Failure::bad("malformed_json", format!("the body is no JSON object; give {}", known.join(", "))));
    };
    if let Some(name) = object.keys().find(|name| !known.contains(&name.as_str())) {
        let remedy = nearest(name, known)
            .map_or_else(|| format!("the fields are {}", known.join(", ")), |near| format!("did you mean {near:?}?"));
        return Err(Failure::bad("unknown_field", format!("field {name:?} is unknown; {remedy}")));
    }
    serde_json::from_value(value).map_err(|error| {
        Failure::bad("bad_field", format!("the body does not fit: {error}; the fields are {}", known.join(", ")))
    })
}

fn malformed(error: serde_json::Error) -> Failure {
    Failure::bad("malformed_json", format!("the body is no JSON object: {error}; write {{\"key\":\"value\"}}"))
}

/// Collects an object's members in order, with `None` for what is no string.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(String, Option<String>)>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = match map.next_value::<serde_json::Value>()? {
                serde_json::Value::String(text) => Some(text),
                _ => None,
            };
            members.push((name, value));
        }
        Ok(members)
    }
}

/// Refuses anything but a short printable text in a header that names something.
pub(crate) fn header_text<'a>(
    head: &'a Parts,
    name: &'static str,
    bytes_max: usize,
) -> Result<Option<&'a str>, Failure> {
    let mut values = head.headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Failure::bad("bad_header", format!("header {name} is given twice; give it once")));
    }
    let text = value
        .to_str()
        .map_err(|_| Failure::bad("bad_header", format!("header {name} is no plain text; write printable ASCII")))?;
    if text.is_empty() || text.len() > bytes_max {
        return Err(Failure::bad(
            "bad_header",
            format!("header {name} is {} bytes; write 1 to {bytes_max}", grouped(text.len())),
        ));
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_keep_order_and_content() {
        let pairs = pairs(br#"{"b":"1","a/b":"\u5408"}"#).unwrap();
        assert_eq!(pairs, [("b".into(), "1".into()), ("a/b".into(), "合".into())]);
    }

    #[test]
    fn pairs_malformed_refused() {
        for body in ["", "{", "{\"a\":\"b\"} x", "[]", "\"a\"", "7", "{\"a\":}", "\u{0}"] {
            assert_eq!(pairs(body.as_bytes()).unwrap_err().code, "malformed_json", "{body:?}");
        }
    }

    #[test]
    fn pairs_other_than_strings_refused() {
        for body in [r#"{"a":1}"#, r#"{"a":null}"#, r#"{"a":["b"]}"#, r#"{"a":"b","c":{}}"#] {
            assert_eq!(pairs(body.as_bytes()).unwrap_err().code, "not_a_string", "{body}");
        }
    }

    #[test]
    fn pairs_repeated_are_both_kept_for_the_limits_to_refuse() {
        let twice = pairs(br#"{"a":"1","a":"2"}"#).unwrap();
        let refused = hezong_kv::Command::Put(twice).validate(&Limits::default()).unwrap_err();
        assert_eq!(Failure::from(refused).code, "repeated_key");
    }

    #[test]
    fn fields_unknown_names_nearest() {
        let failure = fields::<serde_json::Value>(br#"{"httpAdr":"x"}"#, &["id", "httpAddr", "raftAddr"]).unwrap_err();
        assert!(failure.message.contains("did you mean \"httpAddr\""), "{}", failure.message);
    }
}
