//! What a setting may hold: values as people write them, `64MiB`, `900ms`, `true`, and the bounds they are held to.

use std::fmt::{self, Display};
use std::ops::RangeInclusive;
use std::time::Duration;

use hezong_http::check_address;
use tracing_subscriber::EnvFilter;

/// A node's label must survive being written into its folder and into addresses of other tools.
const LABEL_BYTES_MAX: usize = 64;

/// Units of sizes, the largest first.
const SIZES: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];
/// Units of spans of time in microseconds, the largest first.
const SPANS: &[(&str, u64)] =
    &[("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("us", 1)];

/// What kind of value a setting takes.
#[derive(Debug)]
pub(crate) enum Kind {
    /// A node's label.
    Label,
    /// host:port that others can reach.
    Address,
    /// Any number of these.
    Addresses,
    /// host:port to listen at, which may mean every address of the machine.
    Listen,
    /// Where a service is reached by HTTP.
    Url,
    /// A file or folder.
    Path,
    /// What to log, as tracing's filters.
    Filter,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Bytes.
    Size(RangeInclusive<u64>),
    /// A span of time, to the microsecond.
    Span(RangeInclusive<Duration>),
    /// A number.
    Count(RangeInclusive<u64>),
    /// Yes or no.
    Switch,
}

/// What a setting holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    List(Vec<String>),
    Size(u64),
    Span(Duration),
    Count(u64),
    Switch(bool),
}

/// A value as it was written, before anybody knows what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Raw {
    /// Text: in quotes in a file, anything in a flag or the environment.
    Text(String),
    /// A number or a truth value without quotes, in a file.
    Bare(String),
    /// A list of texts, in a file.
    List(Vec<String>),
    /// What no setting takes, in words.
    Other(&'static str),
}

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl Kind {
    /// Understands a value.
    ///
    /// # Errors
    /// What is wrong with it and what to write instead; reads well behind the setting's name.
    pub(crate) fn parse(&self, raw: &Raw) -> Result<Value, String> {
        let text = match (self, raw) {
            (Self::Addresses, Raw::List(items)) => return addresses(items.iter().map(String::as_str)),
            (Self::Size(_) | Self::Span(_) | Self::Count(_) | Self::Switch, Raw::Text(text) | Raw::Bare(text))
            | (_, Raw::Text(text)) => text.trim(),
            (_, Raw::Bare(text)) => return Err(format!("is {text}; write {} in quotes", self.noun())),
            (_, Raw::List(_)) => return Err(format!("is a list; write {}", self.noun())),
            (_, Raw::Other(what)) => return Err(format!("is {what}; write {}", self.noun())),
        };
        let wrong = |why: String| format!("is {text:?}{why}");
        match self {
            Self::Label => label(text).map_err(wrong),
            Self::Address => address(text),
            Self::Addresses => addresses(text.split(',').map(str::trim).filter(|item| !item.is_empty())),
            Self::Listen => {
                let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
                match port.map(|(_, port)| port.parse::<u16>()) {
                    Some(Ok(1..)) => Ok(Value::Text(text.to_owned())),
                    _ => Err(wrong("; write IP:port, as 0.0.0.0:8091".to_owned())),
                }
            }
            Self::Url => url(text),
            Self::Path if text.is_empty() => Err(wrong("; name a file or folder".to_owned())),
            Self::Path => Ok(Value::Text(text.to_owned())),
            Self::Filter => match EnvFilter::try_new(text) {
                Ok(_) if !text.is_empty() => Ok(Value::Text(text.to_owned())),
                _ => Err(wrong("; write a level such as info, or target=level with commas between".to_owned())),
            },
            Self::Choice(words) if words.contains(&text) => Ok(Value::Text(text.to_owned())),
            Self::Choice(words) => Err(wrong(format!("; choose from {}", words.join(", ")))),
            Self::Size(bounds) => match quantity(text, SIZES).or_else(|| number(text)) {
                Some(bytes) => within(bounds, &bytes, Value::Size).map_err(wrong),
                None => Err(wrong("; write a whole number with a unit, as 64MiB".to_owned())),
            },
            Self::Span(bounds) => match quantity(text, SPANS).or_else(|| number(text).filter(|zero| *zero == 0)) {
                Some(micros) => within(bounds, &Duration::from_micros(micros), Value::Span).map_err(wrong),
                None => Err(wrong("; write a whole number with a unit (us, ms, s, m, h, d), as 900ms".to_owned())),
            },
            Self::Count(bounds) => match number(text) {
                Some(count) => within(bounds, &count, Value::Count).map_err(wrong),
                None => Err(wrong("; write a whole number".to_owned())),
            },
            Self::Switch => match text {
                "true" => Ok(Value::Switch(true)),
                "false" => Ok(Value::Switch(false)),
                _ => Err(wrong("; write true or false".to_owned())),
            },
        }
    }

    /// What it is, in one or two words.
    pub(crate) fn noun(&self) -> &'static str {
        match self {
            Self::Label => "a label",
            Self::Address => "host:port",
            Self::Addresses => "a list of host:port",
            Self::Listen => "IP:port",
            Self::Url => "a URL",
            Self::Path => "a path",
            Self::Filter => "a filter",
            Self::Choice(_) => "a word",
            Self::Size(_) => "a size",
            Self::Span(_) => "a time",
            Self::Count(_) => "a number",
            Self::Switch => "true or false",
        }
    }

    /// What a flag's help calls its value.
    pub(crate) fn placeholder(&self) -> &'static str {
        match self {
            Self::Label => "LABEL",
            Self::Address | Self::Addresses => "HOST:PORT",
            Self::Listen => "IP:PORT",
            Self::Url => "URL",
            Self::Path => "PATH",
            Self::Filter => "FILTER",
            Self::Choice(_) => "WORD",
            Self::Size(_) => "SIZE",
            Self::Span(_) => "TIME",
            Self::Count(_) => "NUMBER",
            Self::Switch => "BOOL",
        }
    }

    /// The bounds, for a person; `None` where there are none to name.
    pub(crate) fn bounds(&self) -> Option<String> {
        let from_to = |min: Value, max: Value| Some(format!("{} to {}", min.plain(), max.plain()));
        match self {
            Self::Size(bounds) => from_to(Value::Size(*bounds.start()), Value::Size(*bounds.end())),
            Self::Span(bounds) => from_to(Value::Span(*bounds.start()), Value::Span(*bounds.end())),
            Self::Count(bounds) => from_to(Value::Count(*bounds.start()), Value::Count(*bounds.end())),
            Self::Choice(words) => Some(words.join(", ")),
            Self::Label => Some(format!("1 to {LABEL_BYTES_MAX} bytes")),
            Self::Address | Self::Addresses | Self::Listen | Self::Url | Self::Path | Self::Filter | Self::Switch => {
                None
            }
        }
    }
}

impl Value {
    /// As a person writes it in a flag.
    pub(crate) fn plain(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::List(items) => items.join(","),
            Self::Size(bytes) => with_unit(*bytes, SIZES),
            // Bounded far below what microseconds in 64 bits hold.
            Self::Span(span) => with_unit(u64::try_from(span.as_micros()).unwrap_or(u64::MAX), SPANS),
            Self::Count(count) => count.to_string(),
            Self::Switch(on) => on.to_string(),
        }
    }

    /// How much it is, to compare it with another of its kind.
    pub(crate) fn amount(&self) -> Option<u128> {
        match self {
            Self::Size(number) | Self::Count(number) => Some(u128::from(*number)),
            Self::Span(span) => Some(span.as_micros()),
            Self::Text(_) | Self::List(_) | Self::Switch(_) => None,
        }
    }
}

/// As it stands in a file.
impl Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(_) | Self::Switch(_) => f.write_str(&self.plain()),
            Self::List(items) => {
                let quoted: Vec<String> = items.iter().map(|item| quoted(item)).collect();
                write!(f, "[{}]", quoted.join(", "))
            }
            Self::Text(_) | Self::Size(_) | Self::Span(_) => f.write_str(&quoted(&self.plain())),
        }
    }
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out + "\""
}

/// What is wrong with it is said without it where it holds a password.
fn url(text: &str) -> Result<Value, String> {
    let remedy = "write http://host:port or https://host:port";
    let uri: hyper::Uri = text.parse().map_err(|_| format!("is no URL; {remedy}"))?;
    match (uri.scheme_str(), uri.authority()) {
        (_, Some(authority)) if authority.as_str().contains('@') => {
            Err(format!("holds a name or password, which anybody may read there; {remedy}"))
        }
        _ if uri.query().is_some() => {
            Err(format!("holds a query, which may be a secret that anybody may read there; {remedy}"))
        }
        (Some("http" | "https"), Some(_)) => Ok(Value::Text(text.to_owned())),
        _ => Err(format!("is {text:?}; {remedy}")),
    }
}

fn label(text: &str) -> Result<Value, String> {
    if text.is_empty() || text.len() > LABEL_BYTES_MAX || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(format!("; write 1 to {LABEL_BYTES_MAX} bytes without spaces, as node01"));
    }
    Ok(Value::Text(text.to_owned()))
}

fn address(text: &str) -> Result<Value, String> {
    let cannot = |reason| {
        format!(
            "is {text:?}, which others cannot reach: {reason}; write host:port, and use --http-bind or --peer-bind to \
             listen elsewhere"
        )
    };
    check_address(text).map(|()| Value::Text(text.to_owned())).map_err(cannot)
}

fn addresses<'a>(items: impl Iterator<Item = &'a str>) -> Result<Value, String> {
    let mut list = Vec::new();
    for item in items {
        check_address(item).map_err(|reason| {
            format!("names {item:?}, which cannot be reached: {reason}; write host:port, as host1:8091")
        })?;
        list.push(item.to_owned());
    }
    Ok(Value::List(list))
}

fn within<T: Copy + PartialOrd>(bounds: &RangeInclusive<T>, value: &T, of: fn(T) -> Value) -> Result<Value, String> {
    if bounds.contains(value) {
        return Ok(of(*value));
    }
    let (limit, least) = if value < bounds.start() { (bounds.start(), true) } else { (bounds.end(), false) };
    let side = if least { "below the least, which is" } else { "above the most, which is" };
    let (limit, min, max) = (of(*limit).plain(), of(*bounds.start()).plain(), of(*bounds.end()).plain());
    Err(format!(", {side} {limit}; choose from {min} to {max}"))
}

/// A span of time on the command line, as `30m`.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    quantity(text.trim(), SPANS)
        .map(Duration::from_micros)
        .ok_or_else(|| "write a number and its unit, as 30m".to_owned())
}

/// A whole number; `_` may stand between digits.
fn number(text: &str) -> Option<u64> {
    let well = text.starts_with(|c: char| c.is_ascii_digit()) && !text.ends_with('_') && !text.contains("__");
    if well && text.chars().all(|c| c.is_ascii_digit() || c == '_') { text.replace('_', "").parse().ok() } else { None }
}

/// A whole number and its unit.
fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let at = text.find(|c: char| c != '_' && !c.is_ascii_digit())?;
    let unit = text[at..].trim_start();
    let (_, size) = units.iter().find(|(name, _)| *name == unit)?;
    number(&text[..at])?.checked_mul(*size)
}

/// With the largest unit that leaves a whole number.
fn with_unit(amount: u64, units: &[(&str, u64)]) -> String {
    match units.iter().find(|(_, size)| amount > 0 && amount.is_multiple_of(*size)) {
        Some((unit, size)) => format!("{}{unit}", amount / size),
        None => amount.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Raw {
        Raw::Text(text.to_owned())
    }

    #[test]
    fn sizes_and_spans_as_people_write_them() {
        let size = Kind::Size(0..=u64::MAX);
        for (written, bytes, shown) in [
            ("64MiB", 64 << 20, "64MiB"),
            ("64 MiB", 64 << 20, "64MiB"),
            ("1024KiB", 1 << 20, "1MiB"),
            ("64MB", 64_000_000, "64MB"),
            ("1_000", 1_000, "1kB"),
            ("1048577", 1_048_577, "1048577B"),
            ("0", 0, "0"),
        ] {
            let value = size.parse(&text(written)).unwrap();
            assert_eq!(value, Value::Size(bytes), "{written}");
            assert_eq!(value.plain(), shown);
            assert_eq!(size.parse(&text(shown)).unwrap(), value, "what is shown is read back the same");
        }
        let span = Kind::Span(Duration::ZERO..=Duration::MAX);
        for (written, micros, shown) in [
            ("900ms", 900_000, "900ms"),
            ("1000ms", 1_000_000, "1s"),
            ("90s", 90_000_000, "90s"),
            ("24h", 86_400_000_000, "1d"),
            ("250us", 250, "250us"),
            ("0", 0, "0"),
        ] {
            let value = span.parse(&text(written)).unwrap();
            assert_eq!(value, Value::Span(Duration::from_micros(micros)), "{written}");
            assert_eq!(value.plain(), shown);
            assert_eq!(span.parse(&text(shown)).unwrap(), value, "what is shown is read back the same");
        }
    }

    #[test]
    fn numbers_without_a_unit_are_no_time() {
        // Seconds to one reader, milliseconds to the next.
        let span = Kind::Span(ms(50)..=seconds(60));
        for raw in [text("300"), Raw::Bare("300".to_owned())] {
            let said = span.parse(&raw).unwrap_err();
            assert!(said.contains("\"300\"") && said.contains("900ms"), "{said}");
        }
    }

    #[test]
    fn bounds_are_named_with_the_side_that_was_missed() {
        let span = Kind::Span(ms(50)..=seconds(60));
        assert_eq!(
            span.parse(&text("10ms")).unwrap_err(),
            "is \"10ms\", below the least, which is 50ms; choose from 50ms to 1m"
        );
        assert_eq!(
            span.parse(&text("2m")).unwrap_err(),
            "is \"2m\", above the most, which is 1m; choose from 50ms to 1m"
        );
        assert!(span.parse(&text("50ms")).is_ok() && span.parse(&text("60s")).is_ok());
    }

    #[test]
    fn nonsense_is_refused_with_what_to_write() {
        let cases: &[(Kind, Raw, &str)] = &[
            (Kind::Size(0..=u64::MAX), text("64Mib"), "as 64MiB"),
            (Kind::Size(0..=u64::MAX), text("1.5GiB"), "whole number"),
            (Kind::Size(0..=u64::MAX), text("-1"), "whole number"),
            (Kind::Size(0..=u64::MAX), text("99999999TiB"), "whole number"),
            (Kind::Size(0..=u64::MAX), text(""), "as 64MiB"),
            (Kind::Count(0..=9), text("many"), "whole number"),
            (Kind::Count(0..=9), Raw::Other("a date"), "is a date; write a number"),
            (Kind::Switch, text("yes"), "true or false"),
            (Kind::Choice(&["text", "json"]), text("xml"), "text, json"),
            (Kind::Filter, text("loud=="), "such as info"),
            (Kind::Filter, text(""), "such as info"),
            (Kind::Label, text("node 01"), "without spaces"),
            (Kind::Label, Raw::Bare("7".to_owned()), "in quotes"),
            (Kind::Address, text("0.0.0.0:8091"), "every address"),
            (Kind::Addresses, text("host1:8091,host2"), "\"host2\""),
            (Kind::Addresses, Raw::List(vec!["host1".to_owned()]), "port is missing"),
            (Kind::Listen, text("8091"), "0.0.0.0:8091"),
            (Kind::Listen, text("0.0.0.0:0"), "0.0.0.0:8091"),
            (Kind::Path, text(""), "name a file"),
            (Kind::Path, Raw::List(Vec::new()), "is a list; write a path"),
        ];
        for (kind, raw, word) in cases {
            let said = kind.parse(raw).unwrap_err();
            assert!(said.contains(word), "{raw:?}: {said}");
        }
    }

    #[test]
    fn values_in_a_file_keep_quotes_and_controls() {
        assert_eq!(Value::Text("a\"b\\c\n".to_owned()).to_string(), r#""a\"b\\c\u000A""#);
        assert_eq!(Value::List(vec!["a:1".to_owned(), "b:2".to_owned()]).to_string(), r#"["a:1", "b:2"]"#);
        assert_eq!(Value::Count(7).to_string(), "7");
    }
}
