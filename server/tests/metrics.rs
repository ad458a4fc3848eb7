//! `docs/metrics.md`, the dashboard and the alert rules against what a node prints: a metric renamed, added or left out
//! in one place only is found here.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use support::{Cluster, Node, get, get_by_tls, hezong, send, wait_until};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// A metric's type and the labels it was seen with.
#[derive(Debug, Default, PartialEq, Eq)]
struct Metric {
    kind: String,
    labels: BTreeSet<String>,
}

/// What a histogram is printed as.
const PARTS: [&str; 3] = ["_bucket", "_sum", "_count"];

/// The metric a series belongs to.
fn base<'a>(series: &'a str, metrics: &BTreeMap<String, Metric>) -> &'a str {
    let whole = PARTS.iter().find_map(|part| series.strip_suffix(part));
    whole.filter(|name| metrics.get(*name).is_some_and(|metric| metric.kind == "histogram")).unwrap_or(series)
}

fn printed() -> BTreeMap<String, Metric> {
    let cluster = Cluster::steady(2);
    let nodes = &cluster.nodes;
    // Whoever follows refuses, so that there are reasons.
    for node in nodes {
        send(&node.http, "PUT", "/key/a", &[("Idempotency-Key", "one")], b"v").unwrap();
        get(&node.http, "/key/a").unwrap();
    }
    let mut texts: Vec<String> = nodes.iter().map(|node| get(&node.http, "/metrics").unwrap().text()).collect();
    texts.push(encrypted());
    let mut metrics: BTreeMap<String, Metric> = BTreeMap::new();
    for text in texts {
        for line in text.lines() {
            if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
                kind.clone_into(&mut metrics.entry(name.to_owned()).or_default().kind);
                let help = format!("# HELP {name} ");
                assert!(text.lines().any(|line| line.len() > help.len() && line.starts_with(&help)), "{name}: no help");
            } else if !line.starts_with('#') {
                let (series, _) = line.rsplit_once(' ').unwrap();
                let (name, labels) = series.split_once('{').unwrap_or((series, ""));
                let name = base(name, &metrics).to_owned();
                let metric = metrics.get_mut(&name).unwrap_or_else(|| panic!("{name} has no type"));
                let labels = labels.split("\",").filter_map(|label| label.split_once('=')).map(|(name, _)| name);
                metric.labels.extend(labels.filter(|label| *label != "le").map(str::to_owned));
            }
        }
    }
    metrics
}

/// What a node with a certificate prints.
fn encrypted() -> String {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name).display().to_string();
    let out = at("own");
    hezong(&["cert", "authority", &out]);
    let (_, flags, _) = hezong(&["cert", "node", "node01", "--host", "127.0.0.1", "--authority", &out, "--out", &out]);
    let mut node = Node::new(root.path(), "node01");
    node.start(&flags.split_whitespace().chain(["--bootstrap"]).collect::<Vec<_>>());
    // Once it says that this port speaks TLS, it serves.
    wait_until("it serves", || get(&node.http, "/health").is_some());
    get_by_tls(&node.http, &root.path().join("own/ca.pem"), "/metrics").0.text()
}

fn documented() -> BTreeMap<String, Metric> {
    let page = fs::read_to_string(format!("{ROOT}/docs/metrics.md")).unwrap();
    let row = |line: &str| {
        let cells: Vec<&str> = line.strip_prefix("| `hezong_")?.trim_end_matches(" |").split(" | ").collect();
        let [name, kind, unit, rest @ ..] = cells.as_slice() else { panic!("{line}: too few cells") };
        let labels = if rest.len() > 1 { rest[0] } else { "" };
        let meaning = rest.last().unwrap().trim_start_matches("| ");
        assert!(!unit.is_empty() && meaning.ends_with('.'), "{line}: unit and a sentence");
        let labels = labels.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        Some((format!("hezong_{}", name.trim_end_matches('`')), Metric { kind: (*kind).to_owned(), labels }))
    };
    page.lines().filter_map(row).collect()
}

/// Every word of a text that looks like a metric of ours.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_lowercase() && c != '_' && !c.is_ascii_digit());
    words.filter(|word| word.starts_with("hezong_")).collect()
}

#[test]
fn metrics_printed_documented_and_used_are_the_same() {
    let printed = printed();
    assert!(printed.len() > 40 && !printed["hezong_refused_total"].labels.is_empty(), "{printed:?}");
    let documented = documented();
    for (name, metric) in &printed {
        assert_eq!(documented.get(name), Some(metric), "docs/metrics.md on {name}");
    }
    for name in documented.keys() {
        assert!(printed.contains_key(name), "docs/metrics.md has {name}, which no node prints");
    }
    for file in ["alerts.yml", "alerts_test.yml", "grafana.json"] {
        let text = fs::read_to_string(format!("{ROOT}/ops/{file}")).unwrap();
        let used = names(&text);
        assert!(used.len() > 10, "ops/{file}: {used:?}");
        for name in used {
            assert!(printed.contains_key(base(name, &printed)), "ops/{file} uses {name}, which no node prints");
        }
    }
    let dashboard = fs::read_to_string(format!("{ROOT}/ops/grafana.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let empty = |panel: &&serde_json::Value| panel["type"] != "row" && panel["targets"][0]["expr"].as_str().is_none();
    assert_eq!(panels.iter().find(empty), None, "a panel without a query");
}
