//! Bytes in JSON: a text when they are UTF-8, else `{"base64":"…"}`. Written by hand into one buffer, since this runs
//! for every read.

use base64::Engine as _;

/// Appends bytes as a JSON value.
pub(crate) fn push(bytes: &[u8], to: &mut Vec<u8>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => push_text(text, to),
        Err(_) => {
            to.extend_from_slice(b"{\"base64\":\"");
            to.extend_from_slice(base64::engine::general_purpose::STANDARD.encode(bytes).as_bytes());
            to.extend_from_slice(b"\"}");
        }
    }
}

/// Appends a text as a JSON string.
pub(crate) fn push_text(text: &str, to: &mut Vec<u8>) {
    serde_json::to_writer(to, text).expect("writing a string into memory does not fail");
}

/// Appends bytes as the name of a JSON member, which must be a text. Bytes that are none are written percent-encoded,
/// as in the path they were asked by.
pub(crate) fn push_name(bytes: &[u8], to: &mut Vec<u8>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => push_text(text, to),
        Err(_) => {
            to.push(b'"');
            for &byte in bytes {
                if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/') {
                    to.push(byte);
                } else {
                    to.extend_from_slice(format!("%{byte:02X}").as_bytes());
                }
            }
            to.push(b'"');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn push_text_or_base64() {
        let json = |bytes: &[u8]| {
            let mut to = Vec::new();
            push(bytes, &mut to);
            String::from_utf8(to).unwrap()
        };
        assert_eq!(json("a\"\n合".as_bytes()), r#""a\"\n合""#);
        assert_eq!(json(b"\xff\x00"), r#"{"base64":"/wA="}"#);
    }

    #[test]
    fn push_name_encodes_what_is_no_text() {
        let mut to = Vec::new();
        push_name(b"a/\xff", &mut to);
        assert_eq!(to, b"\"a/%FF\"");
    }
}
