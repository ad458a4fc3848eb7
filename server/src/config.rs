//! A node's configuration: flags, environment (`HEZONG_…`) and a TOML file, in that order of strength.
//!
//! One table says which settings there are, and everything else follows from it. Nothing given is ignored: a key that
//! the table does not have is an error that names the nearest one it has. All problems are found at once, each with its
//! place, before anything is touched.
//!
//! | file | holds |
//! |---|---|
//! | `table.rs` | the settings: name, kind, bounds, default, what it is for |
//! | `kind.rs` | values as people write them, and their bounds |
//! | `file.rs` | TOML, each value with its line |
//! | `flags.rs` | the settings as flags of the command line |
//! | `apply.rs` | what each setting does: options of the floors below |
//! | `show.rs` | `--print-config`, the example, `docs/configuration.md` |
//!
//! Secrets never stand in a setting, only the path of a file that holds one: arguments, environment and configuration
//! are shown to whoever may list processes or read a backup.

mod apply;
mod file;
mod flags;
mod kind;
mod show;
mod table;

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use self::file::InFile;
pub(crate) use self::flags::Flags;
pub(crate) use self::kind::span;
use self::kind::{Raw, Value};
pub use self::show::example;
use self::show::page;
pub(crate) use self::show::print;
use self::table::{Fallback, KEYS, Key, RELATIONS, Relation, When};
pub(crate) use self::table::{LogFormat, Settings};
use crate::args::ExampleConfigArgs;
use crate::say::{self, Exit};
use crate::secure;

/// `hezong check-config`.
pub(crate) fn check(file: &Path) -> Result<()> {
    let sources = Sources::file(file);
    let (values, problems) = sources.gather();
    if !problems.is_empty() {
        return Err(Problems(problems).into());
    }
    let set = KEYS.iter().filter(|key| matches!(values.origin(key.name), Some(Origin::File { .. }))).count();
    let left: Vec<String> =
        KEYS.iter().filter(|key| key.must_be_set() && values.value(key.name).is_none()).map(Key::path).collect();
    let left = match left.len() {
        0 => {
            let settings = Settings::new(&values);
            secure::check(&settings)?;
            match secure::handed_in(&settings) {
                None => secure::Secured::load(&settings).map(|_| String::new())?,
                Some(path) => format!(
                    "; certificates and token are checked at the start: {} is there only while the service runs",
                    path.display()
                ),
            }
        }
        _ => format!("; to be set by flags or variables: {}", left.join(", ")),
    };
    say::line(format!("{}: good, {set} keys set{left}", file.display()));
    Ok(())
}

/// What is wrong with a node's file of settings and nothing else, a line each: as a node says it that is started with it.
#[must_use]
pub fn problems(file: &Path) -> Vec<String> {
    match Sources::file(file).load() {
        Ok(_) => Vec::new(),
        Err(Problems(problems)) => problems.iter().map(Problem::to_string).collect(),
    }
}

/// `hezong example-config`.
pub(crate) fn show(args: &ExampleConfigArgs) -> Result<()> {
    say::bytes(if args.markdown { page() } else { example() }.as_bytes());
    Ok(())
}

/// `hezong node --print-config`: what there is, then what is wrong with it.
pub(crate) fn show_of_node(sources: &Sources) -> Result<()> {
    let (values, _) = sources.gather();
    say::bytes(print(sources, &values).as_bytes());
    sources.load()?;
    Ok(())
}

/// What the names of our variables begin with.
const PREFIX: &str = "HEZONG_";
/// Variables of ours that are no settings of a node.
const OTHER_VARIABLES: &[&str] = &["HEZONG_CONFIG", "HEZONG_ENDPOINTS"];

/// Where settings come from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    pub(crate) flags: Flags,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) file: Option<PathBuf>,
}

/// Who set a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Flag,
    Environment,
    File { line: usize },
    Default,
}

/// The values found, each with who set it. A setting that is absent has none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Values(BTreeMap<&'static str, (Value, Origin)>);

/// A setting that was given another value while the node runs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) key: String,
    pub(crate) from: String,
    pub(crate) to: String,
    /// Whether it takes effect now rather than at the next start.
    pub(crate) at_once: bool,
}

/// Something that is wrong, where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// A flag, a variable, or a file and line.
    place: String,
    text: String,
}

impl Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

/// Everything that is wrong with a configuration; never empty.
#[derive(Debug)]
pub(crate) struct Problems(pub(crate) Vec<Problem>);

impl Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(Problem::to_string).collect();
        f.write_str(&lines.join("\nhezong: "))
    }
}

impl From<Problems> for anyhow::Error {
    fn from(problems: Problems) -> Self {
        Self::new(Exit { code: say::UNFIT, message: problems.to_string() })
    }
}

impl Values {
    /// What a setting holds.
    fn value(&self, name: &str) -> Option<&Value> {
        self.0.get(name).map(|(value, _)| value)
    }

    fn origin(&self, name: &str) -> Option<&Origin> {
        self.0.get(name).map(|(_, origin)| origin)
    }

    /// What differs from `new`, and whether it may take effect at once.
    pub(crate) fn changes(&self, new: &Self) -> Vec<Change> {
        let shown = |values: &Self, key: &Key| values.value(key.name).map_or("nothing".to_owned(), Value::plain);
        let differing = KEYS.iter().filter(|key| self.value(key.name) != new.value(key.name));
        let change = |key: &Key| Change {
            key: key.path(),
            from: shown(self, key),
            to: shown(new, key),
            at_once: key.when == When::Reload,
        };
        differing.map(change).collect()
    }

    /// Takes over from `new` what may take effect at once.
    pub(crate) fn adopt(&mut self, new: &Self) {
        for key in KEYS.iter().filter(|key| key.when == When::Reload) {
            match new.0.get(key.name) {
                Some(found) => self.0.insert(key.name, found.clone()),
                None => self.0.remove(key.name),
            };
        }
    }

    /// A part of another span, for defaults.
    fn share(&self, name: &str, times: u32, of: u32) -> Value {
        Value::Span(Duration::of(self.value(name)) * times / of)
    }
}

impl Sources {
    /// What this process was started with.
    pub(crate) fn new(flags: Flags, file: Option<PathBuf>) -> Self {
        let ours = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            let name = name.into_string().ok().filter(|name| name.starts_with(PREFIX))?;
            Some((name, value.to_string_lossy().into_owned()))
        };
        Self { flags, environment: std::env::vars_os().filter_map(ours).collect(), file }
    }

    /// A file alone.
    pub(crate) fn file(path: &Path) -> Self {
        Self { file: Some(path.to_owned()), ..Self::default() }
    }

    /// Reads everything and puts it together.
    ///
    /// # Errors
    /// [`Problems`], all of them.
    pub(crate) fn load(&self) -> Result<(Settings, Values), Problems> {
        let (values, mut problems, in_file) = self.read();
        for key in KEYS.iter().filter(|key| key.must_be_set()) {
            // What stands in a file that cannot be understood nobody knows.
            let in_file = in_file.as_ref().is_none_or(|found| found.contains_key(key.name));
            if !in_file && !self.gives(key, &values) {
                let (flag, variable, section) = (key.flag(), key.variable(), key.section);
                let text = format!("it is not set; give {flag}, {variable}, or {} under [{section}]", key.short());
                problems.push(Problem { place: key.path(), text });
            }
        }
        if problems.is_empty() { Ok((Settings::new(&values), values)) } else { Err(Problems(problems)) }
    }

    /// The values as far as they can be made out, and what is wrong. What must be set may be missing.
    pub(crate) fn gather(&self) -> (Values, Vec<Problem>) {
        let (values, problems, _) = self.read();
        (values, problems)
    }

    /// The same, and what the file gives: `None` for one that cannot be understood, and nothing without one.
    fn read(&self) -> (Values, Vec<Problem>, Option<InFile>) {
        let mut problems = Vec::new();
        let in_file = self.file.as_deref().map_or(Some(InFile::new()), |path| file::read(path, &mut problems));
        let mut values = Values::default();
        for key in KEYS {
            let given = [
                self.flags.0.get(key.name).map(|text| (text, Origin::Flag)),
                self.environment.get(&key.variable()).map(|text| (text, Origin::Environment)),
            ];
            let of_file = in_file.as_ref().and_then(|found| found.get(key.name));
            let mut found = of_file.and_then(|(value, line)| Some((value.clone()?, Origin::File { line: *line })));
            // From the weaker to the stronger; a value that is outdone must be right all the same.
            for (text, origin) in given.into_iter().rev().flatten() {
                match key.kind.parse(&Raw::Text(text.clone())) {
                    Ok(value) => found = Some((value, origin)),
                    Err(text) => {
                        problems
                            .push(Problem { place: self.place(key, &origin), text: format!("{} {text}", key.path()) });
                    }
                }
            }
            let found = found.or_else(|| fallback(key, &values).map(|value| (value, Origin::Default)));
            if let Some(found) = found {
                values.0.insert(key.name, found);
            }
        }
        // Half of what belongs together may stand in a file that cannot be understood.
        if in_file.is_some() {
            for relation in RELATIONS {
                problems.extend(self.check(relation, &values));
            }
        }
        (values, problems, in_file)
    }

    /// Variables that look like settings of ours and are none, each with the one that may be meant. They are no errors:
    /// some systems put variables of such names there by themselves (a service called hezong in Kubernetes does).
    pub(crate) fn stray_variables(&self) -> Vec<(String, String)> {
        let known: Vec<String> = KEYS.iter().map(Key::variable).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).chain(OTHER_VARIABLES.iter().copied()).collect();
        let strays = self.environment.keys().filter(|name| !known.contains(&name.as_str()));
        let near = |name: &String| {
            let bare: Vec<&str> = known.iter().filter_map(|known| known.strip_prefix(PREFIX)).collect();
            let near = hezong_http::nearest(name.strip_prefix(PREFIX)?, &bare)?;
            Some((name.clone(), format!("{PREFIX}{near}")))
        };
        strays.filter_map(near).collect()
    }

    /// Where a value was given, for a person.
    pub(crate) fn place(&self, key: &Key, origin: &Origin) -> String {
        match origin {
            Origin::Flag => key.flag(),
            Origin::Environment => key.variable(),
            Origin::File { line } => format!("{}:{line}", self.file.as_deref().unwrap_or(Path::new("")).display()),
            Origin::Default => "default".to_owned(),
        }
    }

    fn gives(&self, key: &Key, values: &Values) -> bool {
        // A value that could not be made out was given all the same, and is a problem already.
        let tried = self.flags.0.contains_key(key.name) || self.environment.contains_key(&key.variable());
        tried || values.value(key.name).is_some()
    }

    fn check(&self, relation: &Relation, values: &Values) -> Option<Problem> {
        let of = |name: &str| Some((Key::named(name)?, values.0.get(name)?));
        let is_on = |name: &str| of(name).filter(|(_, (value, _))| *value != Value::Switch(false));
        let (first, second, text) = match *relation {
            Relation::AtMost(lesser, times, greater) => {
                let (lesser, greater) = (of(lesser)?, of(greater)?);
                if lesser.1.0.amount()? * u128::from(times) <= greater.1.0.amount()? {
                    return None;
                }
                let share = match times {
                    1 => String::new(),
                    times => format!("a {} of ", if times == 2 { "half" } else { "third" }),
                };
                let (is, path, limit) = (lesser.1.0.plain(), greater.0.path(), greater.1.0.plain());
                let lower = format!("is {is}, above {share}{path}, which is {limit}; lower the one or raise the other");
                (lesser, greater, lower)
            }
            Relation::Differ(one, other) => {
                let (one, other) = (of(one)?, of(other)?);
                if one.1.0 != other.1.0 {
                    return None;
                }
                (
                    one,
                    other,
                    format!("and {} are both {}; give them ports of their own", other.0.path(), one.1.0.plain()),
                )
            }
            Relation::Needs(one, other) => {
                let one = is_on(one)?;
                let other = Key::named(other).filter(|key| is_on(key.name).is_none())?;
                (one, one, format!("is of no use without {}; give {} too", other.path(), other.flag()))
            }
            Relation::Excludes(one, other) => {
                let (one, other) = (is_on(one)?, is_on(other)?);
                (one, other, format!("does not go with {}; leave one of them out", other.0.path()))
            }
        };
        let at = if first.1.1 == Origin::Default { second } else { first };
        Some(Problem { place: self.place(at.0, &at.1.1), text: format!("{} {text}", first.0.path()) })
    }
}

fn fallback(key: &Key, values: &Values) -> Option<Value> {
    match &key.fallback {
        Fallback::Required(_) | Fallback::Absent(_) => None,
        Fallback::Fixed(text) => {
            let value = key.kind.parse(&Raw::Text((*text).to_owned()));
            Some(value.expect("defaults are within bounds, as the tests of the table see"))
        }
        Fallback::Derived(_, of) => Some(of(values)),
    }
}

/// A setting's value as the type its row names.
trait Field {
    /// # Panics
    /// When the kind of the row gives no such value, or none where one must be: rows that do not fit are found by the
    /// tests of the table.
    fn of(value: Option<&Value>) -> Self;
}

macro_rules! fields {
    ($($type:ty: $pattern:pat => $value:expr;)+) => {
        $(impl Field for $type {
            fn of(value: Option<&Value>) -> Self {
                match value {
                    $pattern => $value,
                    other => unreachable!("a row says {} and holds {other:?}", stringify!($type)),
                }
            }
        })+
    };
}

fields! {
    String: Some(Value::Text(text)) => text.clone();
    PathBuf: Some(Value::Text(text)) => PathBuf::from(text);
    Vec<String>: Some(Value::List(items)) => items.clone();
    bool: Some(Value::Switch(on)) => *on;
    Duration: Some(Value::Span(span)) => *span;
    u64: Some(Value::Size(number) | Value::Count(number)) => *number;
    // The bounds of the rows are far below what these hold, on machines of 64 bits.
    u32: Some(Value::Count(number)) => u32::try_from(*number).unwrap_or(u32::MAX);
    usize: Some(Value::Size(number) | Value::Count(number)) => usize::try_from(*number).unwrap_or(usize::MAX);
    LogFormat: Some(Value::Text(word)) => if word == "json" { LogFormat::Json } else { LogFormat::Text };
}

impl<T: Field> Field for Option<T> {
    fn of(value: Option<&Value>) -> Self {
        value.map(|value| T::of(Some(value)))
    }
}

#[cfg(test)]
mod tests;
