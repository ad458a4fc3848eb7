//! The TOML file: each value with its line, and every key checked against the table.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Problem;
use super::kind::{Raw, Value};
use super::table::{KEYS, Key, SECTIONS};

/// Larger than any configuration; a file beyond it is another one.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Values by the names of their settings, each with its line. `None`: one was given, and is a problem.
pub(super) type InFile = BTreeMap<&'static str, (Option<Value>, usize)>;

/// Reads a file; what is wrong with it goes to `problems`. `None` when nothing of it could be understood.
pub(super) fn read(path: &Path, problems: &mut Vec<Problem>) -> Option<InFile> {
    let name = path.display().to_string();
    let unread = |why: String| Problem { place: name.clone(), text: why };
    let text = match fs::metadata(path) {
        Ok(found) if found.len() > FILE_BYTES_MAX => {
            problems.push(unread(format!(
                "it is {} bytes, over the limit of {FILE_BYTES_MAX}: is it another file?",
                found.len()
            )));
            return None;
        }
        Ok(_) => fs::read_to_string(path),
        Err(error) => Err(error),
    };
    match text {
        Ok(text) => parse(&name, &text, problems),
        Err(error) => {
            problems.push(unread(format!("it cannot be read: {error}; name a file of TOML in UTF-8")));
            None
        }
    }
}

/// Understands a file's text; `name` is what problems call it. `None` when it is no TOML.
pub(super) fn parse(name: &str, text: &str, problems: &mut Vec<Problem>) -> Option<InFile> {
    let mut reading = Reading { name, text, problems, found: InFile::new() };
    match DeTable::parse(text) {
        Ok(table) => {
            reading.sections(table.get_ref());
            Some(reading.found)
        }
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            reading.problem(at, format!("it is no TOML: {}", error.message()));
            None
        }
    }
}

struct Reading<'a> {
    name: &'a str,
    text: &'a str,
    problems: &'a mut Vec<Problem>,
    found: InFile,
}

impl Reading<'_> {
    fn line(&self, at: usize) -> usize {
        1 + self.text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count()
    }

    fn problem(&mut self, at: usize, text: String) {
        self.problems.push(Problem { place: format!("{}:{}", self.name, self.line(at)), text });
    }

    fn sections(&mut self, table: &DeTable<'_>) {
        for (name, value) in table {
            let (at, name) = (name.span().start, name.get_ref().as_ref());
            match value.get_ref() {
                DeValue::Table(inner) if SECTIONS.iter().any(|(section, _)| *section == name) => self.keys(name, inner),
                DeValue::Table(_) => {
                    let known: Vec<&str> = SECTIONS.iter().map(|(section, _)| *section).collect();
                    let remedy = match hezong_http::nearest(name, &known) {
                        Some(near) => format!("did you mean [{near}]?"),
                        None => format!("the sections are {}", known.join(", ")),
                    };
                    self.problem(at, format!("unknown section [{name}]; {remedy}"));
                }
                _ => self.problem(at, format!("unknown key {name}; {}", meant("", name))),
            }
        }
    }

    fn keys(&mut self, section: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let (at, name) = (name.span().start, name.get_ref().as_ref());
            let Some(key) = KEYS.iter().find(|key| key.section == section && key.short() == name) else {
                self.problem(at, format!("unknown key {section}.{name}; {}", meant(section, name)));
                continue;
            };
            let value = key.kind.parse(&raw(value));
            let value = value.map_err(|text| self.problem(at, format!("{} {text}", key.path()))).ok();
            self.found.insert(key.name, (value, self.line(at)));
        }
    }
}

/// Which key may have been meant: the same name in another place, else the most similar one, first of the section.
fn meant(section: &str, name: &str) -> String {
    let elsewhere = KEYS.iter().find(|key| key.name == name || key.short() == name);
    let here: Vec<&Key> = KEYS.iter().filter(|key| key.section == section).collect();
    let near = |keys: &[&'static Key]| {
        let names: Vec<&str> = keys.iter().map(|key| key.short()).collect();
        let near = hezong_http::nearest(name, &names)?;
        keys.iter().find(|key| key.short() == near).copied()
    };
    let all: Vec<&Key> = KEYS.iter().collect();
    match elsewhere.or_else(|| near(&here)).or_else(|| near(&all)) {
        Some(key) if section.is_empty() => format!("did you mean {}, under [{}]?", key.path(), key.section),
        Some(key) => format!("did you mean {}?", key.path()),
        None => "`hezong example-config` shows all keys".to_owned(),
    }
}

fn raw(value: &Spanned<DeValue<'_>>) -> Raw {
    match value.get_ref() {
        DeValue::String(text) => Raw::Text(text.to_string()),
        // Digits alone, whatever the radix: 0x10 would otherwise be read as 10.
        DeValue::Integer(number) if number.radix() == 10 => Raw::Bare(number.as_str().to_owned()),
        DeValue::Integer(_) => Raw::Other("a number of another base"),
        DeValue::Boolean(on) => Raw::Bare(on.to_string()),
        DeValue::Array(items) => {
            let texts: Option<Vec<String>> =
                items.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect();
            texts.map_or(Raw::Other("a list with something in it that is no text"), Raw::List)
        }
        DeValue::Float(_) => Raw::Other("a fraction"),
        DeValue::Datetime(_) => Raw::Other("a date"),
        DeValue::Table(_) => Raw::Other("a table"),
    }
}
