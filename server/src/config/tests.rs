//! The table, and what follows from it, tried out.

use std::fs;

use super::kind::{Kind, ms, seconds};
use super::table::SECTIONS;
use super::*;

/// Reads a file's text.
fn of_file(text: &str) -> (Values, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hezong.toml");
    fs::write(&path, text).unwrap();
    let (values, problems) = Sources::file(&path).gather();
    let place = folder.path().display().to_string() + "/";
    (values, problems.iter().map(|problem| problem.to_string().replace(&place, "")).collect())
}

fn required() -> Flags {
    let given = [("id", "node01"), ("data_dir", "d"), ("http", "host1:8091"), ("peer", "host1:8089")];
    Flags(given.map(|(name, value)| (name, value.to_owned())).into())
}

fn with(flags: &[(&'static str, &str)], environment: &[(&str, &str)]) -> Sources {
    let mut sources = Sources { flags: required(), ..Sources::default() };
    sources.flags.0.extend(flags.iter().map(|(name, value)| (*name, (*value).to_owned())));
    sources.environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    sources
}

#[test]
fn table_every_row_resolves_and_is_well_formed() {
    let (settings, values) = with(&[], &[]).load().unwrap();
    assert_eq!(settings.election_timeout, seconds(1));
    assert_eq!((settings.heartbeat_interval, settings.lease), (ms(100), ms(900)));
    let mut names: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), KEYS.len(), "a flag has one meaning");
    // Sections are in one piece, in the order in which they are shown.
    let mut sections: Vec<&str> = KEYS.iter().map(|key| key.section).collect();
    sections.dedup();
    assert_eq!(sections, SECTIONS.iter().map(|(section, _)| *section).collect::<Vec<_>>());
    for key in KEYS {
        assert!(key.doc.trim().ends_with('.'), "{}: whole sentences", key.name);
        if let Fallback::Required(text) | Fallback::Absent(text) | Fallback::Fixed(text) = &key.fallback {
            key.kind.parse(&Raw::Text((*text).to_owned())).unwrap_or_else(|why| panic!("{}: {why}", key.name));
        }
        if let Fallback::Derived(..) = &key.fallback {
            let derived = values.value(key.name).unwrap();
            assert!(key.kind.parse(&Raw::Text(derived.plain())).is_ok(), "{}: {derived}", key.name);
        }
    }
    for relation in RELATIONS {
        let (Relation::AtMost(one, _, other)
        | Relation::Differ(one, other)
        | Relation::Needs(one, other)
        | Relation::Excludes(one, other)) = relation;
        assert!(Key::named(one).is_some() && Key::named(other).is_some(), "{relation:?}");
    }
}

/// A row without its line in `apply.rs` would be a setting that does nothing.
#[test]
fn table_every_row_does_something() {
    /// Used by `node.rs`, `log.rs` and `spans.rs` themselves, and tried there.
    const ELSEWHERE: &[&str] =
        &["id", "http", "http_bind", "join", "log_level", "log_format", "trace_endpoint", "trace_one_in"];
    /// Used by `secure.rs`, and tried there.
    const OF_SECURITY: &str = "security";
    let effect =
        |settings: &Settings| format!("{:?} {:?}", settings.options(hezong_shell::Start::Reopen), settings.limits());
    let before = with(&[], &[]).load().unwrap();
    for key in KEYS.iter().filter(|key| !ELSEWHERE.contains(&key.name) && key.section != OF_SECURITY) {
        let now = before.1.value(key.name);
        let other = match &key.kind {
            Kind::Size(bounds) | Kind::Count(bounds) => {
                [*bounds.start(), *bounds.end()].map(|number| number.to_string()).to_vec()
            }
            Kind::Span(bounds) => [*bounds.start(), *bounds.end()].map(|span| Value::Span(span).plain()).to_vec(),
            Kind::Switch => vec!["true".to_owned(), "false".to_owned()],
            _ => vec!["other:1".to_owned()],
        };
        let other = other.into_iter().find(|text| key.kind.parse(&Raw::Text(text.clone())).ok().as_ref() != now);
        let mut values = before.1.clone();
        let value = key.kind.parse(&Raw::Text(other.unwrap())).unwrap();
        values.0.insert(key.name, (value, Origin::Flag));
        assert_ne!(effect(&before.0), effect(&Settings::new(&values)), "{} changes nothing", key.name);
    }
}

#[test]
fn load_flags_over_environment_over_file_over_default() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hezong.toml");
    let mut sources = with(&[], &[]);
    let timeout = |sources: &Sources| {
        let (settings, values) = sources.load().unwrap();
        let origin = values.origin("election_timeout").unwrap();
        (settings.election_timeout, sources.place(Key::named("election_timeout").unwrap(), origin))
    };
    assert_eq!(timeout(&sources), (seconds(1), "default".to_owned()));
    fs::write(&path, "# first\n[raft]\nelection_timeout = \"2s\"\n").unwrap();
    sources.file = Some(path.clone());
    assert_eq!(timeout(&sources), (seconds(2), format!("{}:3", path.display())));
    sources.environment.insert("HEZONG_ELECTION_TIMEOUT".to_owned(), "3s".to_owned());
    assert_eq!(timeout(&sources), (seconds(3), "HEZONG_ELECTION_TIMEOUT".to_owned()));
    sources.flags.0.insert("election_timeout", "4s".to_owned());
    assert_eq!(timeout(&sources), (seconds(4), "--election-timeout".to_owned()));
}

#[test]
fn file_takes_every_kind_of_value() {
    let (values, problems) = of_file(
        "node.auto_promote = false\n[node]\njoin = [\"host1:8091\", \"host2:8091\"]\nwaiting_max = 1_000\n\
         [disk]\nreserve = 1048576\nsegment_bytes = \"16MiB\"\n[log]\nlevel = \"debug\"\nslow_step = \"1s\"\n",
    );
    // A table once dotted must not be opened again: TOML's own rule.
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with("hezong.toml:2: it is no TOML"), "{problems:?}");
    drop(values);
    let (values, problems) = of_file(
        "[node]\nauto_promote = false\njoin = [\"host1:8091\", \"host2:8091\"]\nwaiting_max = 1_000\n\
         [disk]\nreserve = 1048576\nsegment_bytes = \"16MiB\"\n[log]\nlevel = \"debug\"\nslow_step = \"1s\"\n",
    );
    assert_eq!(problems, Vec::<String>::new());
    assert_eq!(values.value("auto_promote"), Some(&Value::Switch(false)));
    assert_eq!(values.value("join").unwrap().plain(), "host1:8091,host2:8091");
    assert_eq!(values.value("waiting_max"), Some(&Value::Count(1_000)));
    assert_eq!(values.value("disk_reserve"), Some(&Value::Size(1 << 20)));
    assert_eq!(values.value("log_level"), Some(&Value::Text("debug".to_owned())));
    assert_eq!(values.origin("slow_step"), Some(&Origin::File { line: 10 }));
}

#[test]
fn file_problems_are_all_told_each_with_its_line_and_remedy() {
    let (_, problems) = of_file(
        "election_timeout = \"2s\"\n[raft]\nelecton_timeout = \"2s\"\nlease = 900\nreads_max = \"many\"\n\
         [rfat]\nlease = \"1s\"\n[nothing_like_it]\n[disk]\ndisk_reserve = \"1GiB\"\nsegment_bytes = 1.5\n\
         [log]\nzzzzzz = 1\nlevel = \"loud==\"\n",
    );
    let has = |line: usize, words: &[&str]| {
        let at = format!("hezong.toml:{line}: ");
        let hit = |problem: &String| problem.starts_with(&at) && words.iter().all(|word| problem.contains(word));
        assert!(problems.iter().any(hit), "{at}{words:?} is missing in\n{}", problems.join("\n"));
    };
    has(1, &["unknown key election_timeout", "did you mean raft.election_timeout, under [raft]?"]);
    has(3, &["unknown key raft.electon_timeout", "did you mean raft.election_timeout?"]);
    has(4, &["raft.lease is \"900\"", "as 900ms"]);
    has(5, &["raft.reads_max is \"many\"", "whole number"]);
    has(6, &["unknown section [rfat]", "did you mean [raft]?"]);
    has(8, &["unknown section [nothing_like_it]", "the sections are node, raft"]);
    has(10, &["unknown key disk.disk_reserve", "did you mean disk.reserve?"]);
    has(11, &["disk.segment_bytes is a fraction", "write a size"]);
    has(13, &["unknown key log.zzzzzz", "example-config"]);
    has(14, &["log.level is \"loud==\""]);
    assert_eq!(problems.len(), 10, "{problems:?}");
}

#[test]
fn file_that_is_none_is_told() {
    let (_, problems) = of_file("[raft\nlease = 1\n");
    assert!(problems[0].starts_with("hezong.toml:1: it is no TOML"), "{problems:?}");
    let (_, problems) = of_file("[raft]\nlease = \"1s\"\nlease = \"2s\"\n");
    assert!(problems[0].starts_with("hezong.toml:3: it is no TOML: duplicate key"), "{problems:?}");
    let (_, problems) = of_file(&"#".repeat((1 << 20) + 1));
    assert!(problems[0].contains("over the limit of 1048576"), "{problems:?}");
    let (_, problems) = Sources::file(Path::new("/nowhere/hezong.toml")).gather();
    assert!(problems[0].to_string().contains("/nowhere/hezong.toml: it cannot be read"), "{problems:?}");
}

#[test]
fn load_relations_are_held_whoever_breaks_them() {
    let said = |sources: Sources| sources.load().unwrap_err().to_string();
    let text = said(with(&[("election_timeout", "200ms")], &[("HEZONG_LEASE", "300ms")]));
    assert_eq!(
        text,
        "HEZONG_LEASE: raft.lease is 300ms, above raft.election_timeout, which is 200ms; lower the one or raise the other"
    );
    let text = said(with(&[], &[("HEZONG_HEARTBEAT_INTERVAL", "400ms")]));
    assert!(text.contains("above a third of raft.election_timeout, which is 1s"), "{text}");
    // The default was fine until the other came too low: that one is named.
    let text = said(with(&[("command_bytes_max", "64KiB")], &[]));
    assert!(text.starts_with("--command-bytes-max: kv.value_bytes_max is 1MiB, above kv.command_bytes_max"), "{text}");
    let text = said(with(&[("peer", "host1:8091")], &[]));
    assert!(text.contains("node.http and node.peer are both host1:8091"), "{text}");
}

#[test]
fn load_certificates_are_whole_and_not_insecure() {
    let said = |flags: &[(&'static str, &str)]| with(flags, &[]).load().unwrap_err().to_string();
    let whole = [("tls_cert", "a"), ("tls_key", "b"), ("tls_ca", "c")];
    assert!(with(&whole, &[("HEZONG_TLS_CLIENT_AUTH", "true")]).load().is_ok());
    assert_eq!(
        said(&whole[..2]),
        "--tls-cert: security.tls_cert is of no use without security.tls_ca; give --tls-ca too"
    );
    for alone in [("tls_key", "b"), ("tls_ca", "c"), ("tls_client_auth", "true")] {
        assert!(said(&[alone]).contains("of no use without security.tls_cert"), "{alone:?}");
    }
    let both = [whole[0], whole[1], whole[2], ("insecure", "true")];
    assert!(
        said(&both).contains("--insecure: security.insecure does not go with security.tls_cert"),
        "{}",
        said(&both)
    );
    assert!(with(&[("insecure", "false"), ("tls_client_auth", "false")], &[]).load().is_ok());
}

#[test]
fn load_missing_and_wrong_are_told_together() {
    let mut sources = with(&[("election_timeout", "1ms")], &[("HEZONG_WAITING_MAX", "few")]);
    sources.flags.0.remove("id");
    sources.flags.0.insert("http", "0.0.0.0:1".to_owned());
    let text = sources.load().unwrap_err().to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(text.contains("node.id: it is not set; give --id, HEZONG_ID, or id under [node]"), "{text}");
    assert!(text.contains("--election-timeout: raft.election_timeout is \"1ms\", below the least"), "{text}");
    assert!(text.contains("HEZONG_WAITING_MAX: node.waiting_max is \"few\""), "{text}");
    assert!(text.contains("--http: node.http is \"0.0.0.0:1\""), "{text}");
}

#[test]
fn environment_names_nearly_ours_are_told() {
    let strays = |name: &str| with(&[], &[(name, "1")]).stray_variables();
    let near = ("HEZONG_ELECTON_TIMEOUT".to_owned(), "HEZONG_ELECTION_TIMEOUT".to_owned());
    assert_eq!(strays("HEZONG_ELECTON_TIMEOUT"), [near]);
    // What Kubernetes sets for a service of that name, and what is another's.
    for name in ["HEZONG_SERVICE_HOST", "HEZONG_PORT_8091_TCP_ADDR", "HEZONG_CONFIG", "HEZONG_ENDPOINTS", "HEZONG_ID"] {
        assert_eq!(strays(name), [], "{name}");
    }
}

#[test]
fn print_gives_back_what_it_was_made_of() {
    let sources =
        with(&[("election_timeout", "2s"), ("join", "a:1,b:2")], &[("HEZONG_LOG_LEVEL", "info,hezong=debug")]);
    let (settings, values) = sources.load().unwrap();
    let text = print(&sources, &values);
    for line in [
        "election_timeout = \"2s\" # --election-timeout (default: 1s)",
        "heartbeat_interval = \"200ms\" # default: a tenth of election_timeout",
        "level = \"info,hezong=debug\" # HEZONG_LOG_LEVEL (default: info)",
        "reserve = \"256MiB\" # default",
        "id = \"node01\" # --id",
        "#http_bind = # not set",
    ] {
        let squeezed = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.lines().any(|other| squeezed(other) == line), "{line} is missing in\n{text}");
    }
    let (again, problems) = of_file(&text);
    assert_eq!((problems, Settings::new(&again)), (Vec::new(), settings));
}

#[test]
fn example_sets_nothing_and_shows_everything() {
    let example = example();
    let (values, problems) = of_file(&example);
    assert_eq!(problems, Vec::<String>::new());
    assert!(values.0.values().all(|(_, origin)| *origin == Origin::Default));
    // With every # before a key taken away it sets all keys, to what they would be anyway where there is a default.
    let is_key = |line: &&str| line.starts_with('#') && !line.starts_with("# ") && line.contains(" = ");
    let all: Vec<&str> = example.lines().map(|line| if is_key(&line) { &line[1..] } else { line }).collect();
    let (set, problems) = of_file(&all.join("\n"));
    assert_eq!(problems, Vec::<String>::new());
    for key in KEYS {
        assert!(matches!(set.origin(key.name), Some(Origin::File { .. })), "{} is not shown", key.name);
        if key.name != "join" && values.value(key.name).is_some() {
            assert_eq!(set.value(key.name), values.value(key.name), "{}", key.name);
        }
    }
}

#[test]
fn page_is_the_one_in_docs() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    let kept = fs::read_to_string(path).unwrap_or_default();
    assert!(kept == page(), "run `cargo run -- example-config --markdown > docs/configuration.md` and commit it");
}

#[test]
fn load_says_not_set_only_of_what_was_not_given() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hezong.toml");
    let problems = |text: &str| {
        fs::write(&path, text).unwrap();
        let Problems(problems) = Sources::file(&path).load().unwrap_err();
        problems.iter().map(|problem| problem.text.clone()).collect::<Vec<_>>()
    };
    let said = problems("[node\nid = \"node01\"\n");
    assert!(said.len() == 1 && said[0].starts_with("it is no TOML"), "{said:?}");
    // One value is wrong, and three are missing.
    let said = problems("[node]\nid = \"node 01\"\n");
    let not_set = said.iter().filter(|text| text.starts_with("it is not set")).count();
    assert!((said.len(), not_set) == (4, 3) && said[0].starts_with("node.id"), "{said:?}");
    fs::remove_file(&path).unwrap();
    let Problems(problems) = Sources::file(&path).load().unwrap_err();
    assert!(problems.len() == 1 && problems[0].text.starts_with("it cannot be read"), "{problems:?}");
}
