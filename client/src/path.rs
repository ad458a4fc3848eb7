//! Percent-encoding. Keys are bytes; a path or query carries them as RFC 3986 writes bytes that are no text.

use std::fmt::Write as _;

/// The path of one key. `/` stays as it is, so that paths read like the keys they name.
pub(crate) fn of_key(key: &[u8]) -> String {
    let mut path = String::with_capacity(key.len() + 8);
    path.push_str("/key/");
    encode_into(key, &mut path);
    path
}

/// Appends `bytes`, with all but unreserved characters and `/` encoded.
pub(crate) fn encode_into(bytes: &[u8], to: &mut String) {
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/') {
            to.push(char::from(byte));
        } else {
            write!(to, "%{byte:02X}").expect("writing to a String does not fail");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_key_encodes_all_but_unreserved_and_slash() {
        assert_eq!(of_key(b"a/b c?d#e%\xff"), "/key/a/b%20c%3Fd%23e%25%FF");
    }
}
