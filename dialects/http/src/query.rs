//! Paths and queries: keys out of percent-encoded paths, and parameters of which none is ever ignored. A misspelt
//! `?levle=consistent` that silently read at the default level would be worse than an error.

use crate::error::Failure;

/// The decoded parameters of one request, in the order they were given.
#[derive(Debug, Default)]
pub(crate) struct Params {
    pairs: Vec<(String, Vec<u8>)>,
}

impl Params {
    /// Parses a query and refuses parameters a route does not know, and repeated ones.
    pub(crate) fn parse(query: Option<&str>, known: &[&'static str]) -> Result<Self, Failure> {
        let Some(query) = query else { return Ok(Self::default()) };
        let mut pairs: Vec<(String, Vec<u8>)> = Vec::new();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let name = String::from_utf8_lossy(&decode(name, true)?).into_owned();
            if !known.contains(&name.as_str()) {
                return Err(unknown(&name, known));
            }
            if pairs.iter().any(|(other, _)| *other == name) {
                return Err(Failure::bad(
                    "repeated_parameter",
                    format!("parameter {name:?} is given twice; give it once"),
                ));
            }
            pairs.push((name, decode(value, true)?));
        }
        Ok(Self { pairs })
    }

    /// The bytes of a parameter.
    pub(crate) fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.pairs.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_slice())
    }

    /// A switch: there without a value, or with `true` or `false`.
    pub(crate) fn switch(&self, name: &str) -> Result<bool, Failure> {
        match self.bytes(name) {
            None | Some(b"false") => Ok(false),
            Some(b"" | b"true") => Ok(true),
            Some(value) => Err(Failure::bad(
                "bad_parameter",
                format!("{name} is {:?}; write ?{name}, or ?{name}=true or false", String::from_utf8_lossy(value)),
            )),
        }
    }

    /// A whole number.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, Failure> {
        let Some(value) = self.bytes(name) else { return Ok(None) };
        let text = String::from_utf8_lossy(value);
        let number = text.parse().map_err(|_| {
            Failure::bad("bad_parameter", format!("{name} is {text:?}; write a whole number from 0 to {}", u64::MAX))
        })?;
        Ok(Some(number))
    }
}

fn unknown(name: &str, known: &[&'static str]) -> Failure {
    let remedy = match nearest(name, known) {
        Some(near) => format!("did you mean {near:?}?"),
        None if known.is_empty() => "this path takes none".to_owned(),
        None => format!("this path takes {}", known.join(", ")),
    };
    Failure::bad("unknown_parameter", format!("parameter {name:?} is unknown; {remedy}"))
}

/// The most similar of `known`, if it is similar at all: for whoever tells people which word they may have meant.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let best = known.iter().map(|other| (distance(word, other), *other)).min()?;
    (best.0 <= best.1.len().div_ceil(2)).then_some(best.1)
}

/// Levenshtein's distance: how many letters have to be changed, added or left out.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    // A longer word is no misspelling of ours, and its length is the client's choice.
    for (i, a) in from.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

/// Undoes percent-encoding; in a query `+` is a space, in a path it is itself.
pub(crate) fn decode(text: &str, plus_is_space: bool) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let hex = |digit: Option<u8>| digit.and_then(|digit| char::from(digit).to_digit(16));
                match (hex(rest.next()), hex(rest.next())) {
                    (Some(high), Some(low)) => bytes.push(u8::try_from(high * 16 + low).expect("two hex digits")),
                    _ => {
                        return Err(Failure::bad(
                            "bad_encoding",
                            format!("{text:?} has a % that two hex digits do not follow; write % itself as %25"),
                        ));
                    }
                }
            }
            b'+' if plus_is_space => bytes.push(b' '),
            other => bytes.push(other),
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &["level", "min_index", "raw"];

    #[test]
    fn parse_misspelt_names_nearest() {
        for (query, near) in [("levle=stale", "level"), ("minindex=3", "min_index"), ("row", "raw")] {
            let failure = Params::parse(Some(query), KNOWN).unwrap_err();
            assert_eq!(failure.code, "unknown_parameter");
            assert!(failure.message.contains(&format!("did you mean {near:?}")), "{}", failure.message);
        }
    }

    #[test]
    fn parse_foreign_lists_known() {
        let failure = Params::parse(Some("consistency=strong"), KNOWN).unwrap_err();
        assert!(failure.message.contains("level, min_index, raw"), "{}", failure.message);
        let failure = Params::parse(Some("x"), &[]).unwrap_err();
        assert!(failure.message.contains("takes none"), "{}", failure.message);
    }

    #[test]
    fn parse_repeated_refused() {
        assert_eq!(Params::parse(Some("raw&raw"), KNOWN).unwrap_err().code, "repeated_parameter");
    }

    #[test]
    fn switch_takes_only_true_and_false() {
        let raw = |query| Params::parse(Some(query), KNOWN).unwrap().switch("raw");
        assert!(raw("raw").unwrap() && raw("raw=true").unwrap());
        assert!(!raw("").unwrap() && !raw("raw=false").unwrap());
        assert_eq!(raw("raw=1").unwrap_err().code, "bad_parameter");
    }

    #[test]
    fn decode_path_and_query_differ_in_plus() {
        assert_eq!(decode("a+b%2Fc%ff", false).unwrap(), b"a+b/c\xff");
        assert_eq!(decode("a+b", true).unwrap(), b"a b");
        for torn in ["%", "%4", "%zz", "a%2"] {
            assert_eq!(decode(torn, false).unwrap_err().code, "bad_encoding", "{torn}");
        }
    }
}
