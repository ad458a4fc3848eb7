//! One command line, taken apart: `deliver from=1 type=Append` is a name, positional words, and options.

use std::collections::BTreeMap;
use std::time::Duration;

use hezong_base::NodeId;

/// A command of a script.
#[derive(Clone, Debug)]
pub struct Command {
    /// The first word.
    pub name: String,
    /// The words without `=`, in order.
    pub words: Vec<String>,
    /// The words with `=`.
    pub options: BTreeMap<String, String>,
}

impl Command {
    /// Takes a line apart. Words are separated by blanks; there is no quoting.
    ///
    /// # Errors
    /// When the line is empty or an option is given twice.
    pub fn parse(line: &str) -> Result<Self, String> {
        let mut parts = line.split_whitespace();
        let name = parts.next().ok_or("empty command")?.to_owned();
        let (mut words, mut options) = (Vec::new(), BTreeMap::new());
        for part in parts {
            match part.split_once('=') {
                Some((key, value)) => {
                    if options.insert(key.to_owned(), value.to_owned()).is_some() {
                        return Err(format!("{name}: option {key} is given twice"));
                    }
                }
                None => words.push(part.to_owned()),
            }
        }
        Ok(Self { name, words, options })
    }

    /// The word at `place`, counted from 0.
    ///
    /// # Errors
    /// When there are fewer words.
    pub fn word(&self, place: usize) -> Result<&str, String> {
        self.words.get(place).map(String::as_str).ok_or_else(|| format!("{}: word {} is missing", self.name, place + 1))
    }

    /// The node named by the word at `place`.
    ///
    /// # Errors
    /// When it is missing or no number.
    pub fn node(&self, place: usize) -> Result<NodeId, String> {
        node(self.word(place)?)
    }

    /// All words as nodes.
    ///
    /// # Errors
    /// When one is no number.
    pub fn nodes(&self) -> Result<Vec<NodeId>, String> {
        self.words.iter().map(|word| node(word)).collect()
    }

    /// A number given as an option.
    ///
    /// # Errors
    /// When it is no number.
    pub fn number(&self, key: &str) -> Result<Option<u64>, String> {
        let Some(text) = self.options.get(key) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| format!("{}: {key}={text} is no number", self.name))
    }

    /// A span given as an option.
    ///
    /// # Errors
    /// When it is no span.
    pub fn span(&self, key: &str) -> Result<Option<Duration>, String> {
        self.options.get(key).map(|text| duration(text)).transpose()
    }

    /// Sets a span to what an option says, if it is given.
    ///
    /// # Errors
    /// When it is no span.
    pub fn set_span(&self, span: &mut Duration, key: &str) -> Result<(), String> {
        *span = self.span(key)?.unwrap_or(*span);
        Ok(())
    }

    /// The known bug that the option `weakness` names, of a build that has any.
    ///
    /// # Errors
    /// When none is called so.
    #[cfg(feature = "weakened")]
    pub fn weakness<W: Copy + std::fmt::Debug>(&self, all: &[W]) -> Result<Option<W>, String> {
        let Some(wanted) = self.options.get("weakness") else { return Ok(None) };
        let found = all.iter().find(|weakness| format!("{weakness:?}") == *wanted);
        found.copied().map(Some).ok_or_else(|| format!("no weakness is called {wanted}; there are {all:?}"))
    }

    /// Refuses options that nobody reads: a misspelt one would silently change what a story tells.
    ///
    /// # Errors
    /// Names the first that is not among `known`.
    pub fn only(&self, known: &[&str]) -> Result<(), String> {
        let is_known = |key: &str| known.contains(&key) || cfg!(feature = "weakened") && key == "weakness";
        match self.options.keys().find(|key| !is_known(key)) {
            Some(key) => Err(format!("{}: no option is called {key}; known are {known:?}", self.name)),
            None => Ok(()),
        }
    }
}

fn node(text: &str) -> Result<NodeId, String> {
    text.parse().map(NodeId).map_err(|_| format!("{text} names no node"))
}

/// Reads a span such as `150ms`, `2s` or `40us`.
///
/// # Errors
/// When the text is none.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| format!("{text} is no span"))?;
    match &text[digits.len()..] {
        "us" => Ok(Duration::from_micros(number)),
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        _ => Err(format!("{text}: a span is given in us, ms or s")),
    }
}
