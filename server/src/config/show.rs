//! The configuration as text: what a node runs with, the commented example, and `docs/configuration.md`.

use std::fmt::Write as _;

use super::kind::{Kind, Raw};
use super::table::{Fallback, KEYS, Key, RELATIONS, Relation, SECTIONS, When};
use super::{Origin, Sources, Values};

/// How wide comments are.
const WIDTH: usize = 100;

/// What a node runs with, as a file that would give the same, and where each value came from.
pub(crate) fn print(sources: &Sources, values: &Values) -> String {
    let rows: Vec<(&Key, String, String)> = KEYS.iter().map(|key| row(sources, values, key)).collect();
    let width = rows.iter().map(|(_, value, _)| value.chars().count()).max().unwrap_or(0);
    let mut text =
        String::from("# What this node runs with, and who set it: a flag, the environment, a file, or the default.\n");
    for (section, _) in SECTIONS {
        text += &format!("\n[{section}]\n");
        for (_, value, note) in rows.iter().filter(|(key, ..)| key.section == *section) {
            text += &format!("{value:width$}  # {note}\n");
        }
    }
    text
}

fn row<'a>(sources: &Sources, values: &Values, key: &'a Key) -> (&'a Key, String, String) {
    let (Some(value), Some(origin)) = (values.value(key.name), values.origin(key.name)) else {
        return (key, format!("#{} =", key.short()), key.fallback_words());
    };
    let place = sources.place(key, origin);
    let note = match (&key.fallback, origin) {
        (Fallback::Derived(words, _), Origin::Default) => format!("default: {words}"),
        (_, Origin::Default) | (Fallback::Required(_), _) => place,
        (Fallback::Absent(_), _) => format!("{place} (default: not set)"),
        (Fallback::Fixed(_) | Fallback::Derived(..), _) => format!("{place} (default: {})", key.fallback_words()),
    };
    (key, format!("{} = {value}", key.short()), note)
}

/// A file in which every setting is explained and none is set.
#[must_use]
pub fn example() -> String {
    let mut text = String::from("# Configuration of a Hezong node.\n#\n");
    comment(
        &mut text,
        "Take away the # in front of what you want to set. Flags (--election-timeout) and variables \
         (HEZONG_ELECTION_TIMEOUT) of the same names are stronger than this file. A key that is not known here is an \
         error. `hezong check-config FILE` checks a file, `hezong node --print-config` shows what a node would run with.",
    );
    for (section, about) in SECTIONS {
        text += "\n\n";
        comment(&mut text, about);
        text += &format!("[{section}]\n");
        for key in KEYS.iter().filter(|key| key.section == *section) {
            text.push('\n');
            comment(&mut text, key.doc.trim());
            comment(&mut text, &facts(key));
            text += &format!("#{} = {}\n", key.short(), sample(key));
        }
    }
    text
}

/// `docs/configuration.md`.
pub(crate) fn page() -> String {
    let mut text = String::from(PROSE);
    for (section, about) in SECTIONS {
        text += &format!("\n## `[{section}]`\n\n{about}\n\n");
        text += "| key | flag | variable | default | from, to | what it is for |\n|---|---|---|---|---|---|\n";
        for key in KEYS.iter().filter(|key| key.section == *section) {
            let default = match &key.fallback {
                Fallback::Fixed(text) if !text.is_empty() => format!("`{text}`"),
                _ => key.fallback_words(),
            };
            let limits: Vec<String> = key.kind.bounds().into_iter().chain(relations(key)).collect();
            let reload = if key.when == When::Reload { " Read again on SIGHUP." } else { "" };
            writeln!(
                text,
                "| `{}` | `{}` | `{}` | {default} | {} | {}{reload} |",
                key.short(),
                key.flag(),
                key.variable(),
                if limits.is_empty() { key.kind.noun().to_owned() } else { limits.join("; ") },
                key.doc.trim(),
            )
            .expect("writing to a String does not fail");
        }
    }
    text
}

/// Kind, bounds, default, other spellings and when it takes effect.
fn facts(key: &Key) -> String {
    let bounds: Vec<String> = key.kind.bounds().into_iter().chain(relations(key)).collect();
    let bounds = if bounds.is_empty() { String::new() } else { format!(", {}", bounds.join("; ")) };
    let when = match key.when {
        When::Restart => "at the next start",
        When::Reload => "on SIGHUP",
    };
    let noun = key.kind.noun();
    let (first, rest) = noun.split_at(noun.chars().next().map_or(0, char::len_utf8));
    format!("{}{rest}{bounds}. Default: {}. Takes effect {when}.", first.to_uppercase(), key.fallback_words())
}

/// What other settings bound it.
fn relations(key: &Key) -> Option<String> {
    let told = RELATIONS.iter().filter_map(|relation| match *relation {
        Relation::AtMost(lesser, times, greater) if lesser == key.name => {
            let share = match times {
                1 => "",
                2 => "half of ",
                _ => "a third of ",
            };
            Some(format!("at most {share}{greater}"))
        }
        Relation::Differ(one, other) if one == key.name => Some(format!("other than {other}")),
        Relation::Needs(one, other) if one == key.name => Some(format!("only with {other}")),
        Relation::Excludes(one, other) if one == key.name => Some(format!("not with {other}")),
        Relation::AtMost(..) | Relation::Differ(..) | Relation::Needs(..) | Relation::Excludes(..) => None,
    });
    let told: Vec<String> = told.collect();
    if told.is_empty() { None } else { Some(told.join(", ")) }
}

/// What would stand behind the equals sign: the default, or an example where there is none.
fn sample(key: &Key) -> String {
    let text = match &key.fallback {
        Fallback::Required(text) | Fallback::Absent(text) | Fallback::Fixed(text) => (*text).to_owned(),
        Fallback::Derived(..) => {
            // What follows from the other defaults.
            let (values, _) = Sources::default().gather();
            values.value(key.name).map(super::Value::plain).unwrap_or_default()
        }
    };
    match &key.kind {
        // An empty list would not show what belongs into it.
        Kind::Addresses if text.is_empty() => "[\"host1:8091\", \"host2:8091\"]".to_owned(),
        kind => kind.parse(&Raw::Text(text)).map_or_else(|_| String::new(), |value| value.to_string()),
    }
}

/// Adds a paragraph as a comment.
fn comment(text: &mut String, words: &str) {
    let mut line = String::from("#");
    for word in words.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            text.push_str(&line);
            text.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
}

const PROSE: &str = "\
# Configuration

<!-- Written by `hezong example-config --markdown`; a test compares. Change server/src/config/ instead. -->

A node is told by flags, by variables of the environment, and by a TOML file, in that order of strength:

    hezong node --config /etc/hezong/hezong.toml --election-timeout 2s

The file is named by `--config` or `HEZONG_CONFIG`. Every setting has one name: `election_timeout` is the flag
`--election-timeout`, the variable `HEZONG_ELECTION_TIMEOUT`, and in the file the key `election_timeout` under `[raft]`. A
key whose name begins with its section leaves that away there: `--disk-reserve` is `reserve` under `[disk]`.

| to | type |
|---|---|
| have a file in which every key is explained | `hezong example-config > hezong.toml` |
| check a file without starting anything | `hezong check-config hezong.toml` |
| see what a node would run with, and who said so | `hezong node --print-config …` |
| have a running node read its file again | `kill -HUP`, or `systemctl reload hezong` |

**Values** carry their unit: sizes `B`, `KiB`, `MiB`, `GiB`, `TiB` (of 1,024) or `kB`, `MB`, `GB`, `TB` (of 1,000), a number
alone being bytes; times `us`, `ms`, `s`, `m`, `h`, `d`. A time without a unit is refused, because it would be seconds to one
reader and milliseconds to another. Lists are separated by commas in flags and variables, and are lists in the file.

**Whatever is wrong is an error** before anything is touched, with the flag, the variable, or the file and line, and for an
unknown key with the nearest known one; the exit code is 2. A variable that only looks like one of ours is a warning,
because some systems set variables by themselves.

**At run time** SIGHUP has the node read its file again, flags and variables staying as they were. What may change
does, and one line of the log for each key that differs says so, or says that it needs a restart. A file that is wrong
changes nothing.

**`--bootstrap` is no setting** but a deed done once in a cluster's life: left in a file it would found a second cluster the
day a disk is replaced.

**What a folder remembers.** A node that restarts no longer knows which leases it granted, so it waits out a whole one
before it votes. Its data folder remembers the longest it was run with: lowering `election_timeout` or `lease` does not
make a node forget a longer lease that a leader may still be reading under.
";
