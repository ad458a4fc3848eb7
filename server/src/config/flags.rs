//! The settings as flags of the command line.

use std::collections::BTreeMap;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::kind::Kind;
use super::table::{Fallback, KEYS, Key, SECTIONS, When};

/// The settings given as flags, as they were written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags(pub(crate) BTreeMap<&'static str, String>);

impl clap::FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |key: &'static Key| {
            let texts: Vec<&str> = matches.get_many::<String>(key.name)?.map(String::as_str).collect();
            Some((key.name, texts.join(",")))
        };
        Ok(Self(KEYS.iter().filter_map(given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.extend(Self::from_arg_matches(matches)?.0);
        Ok(())
    }
}

impl clap::Args for Flags {
    fn augment_args(command: Command) -> Command {
        KEYS.iter().fold(command, |command, key| command.arg(flag(key)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn flag(key: &'static Key) -> Arg {
    let about = SECTIONS.iter().find(|(section, _)| *section == key.section).map_or("", |(_, about)| about);
    let default = match &key.fallback {
        Fallback::Required(_) | Fallback::Absent(_) | Fallback::Fixed("") => String::new(),
        Fallback::Fixed(_) | Fallback::Derived(..) => format!(" [default: {}]", key.fallback_words()),
    };
    let bounds = key.kind.bounds().map(|bounds| format!(" [{bounds}]")).unwrap_or_default();
    let reload = if key.when == When::Reload { " [may change on SIGHUP]" } else { "" };
    let doc = key.doc.trim().trim_end_matches('.');
    let arg = Arg::new(key.name)
        .long(key.name.replace('_', "-"))
        .value_name(key.kind.placeholder())
        .help(format!("{doc}{default}"))
        .long_help(format!("{doc}{bounds}{default} [env: {}]{reload}", key.variable()))
        .help_heading(about.split('.').next())
        // Who asks with -h wants to start a node; who tunes one, --help.
        .hide_short_help(key.section != "node" || matches!(key.kind, Kind::Size(_) | Kind::Count(_)));
    match key.kind {
        Kind::Addresses => arg.action(ArgAction::Append),
        // There is nothing to say but that it is wanted.
        Kind::Switch if matches!(key.fallback, Fallback::Fixed("false")) => {
            arg.action(ArgAction::Set).num_args(0).default_missing_value("true")
        }
        _ => arg.action(ArgAction::Set),
    }
}
