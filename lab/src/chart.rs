//! A recording as text, with a column a node, and as data.

use hezong_base::NodeId;
use hezong_script::strike;
use serde_json::{Value, json};

use crate::play::{Kind, Recording, Row, Verdict};

/// How wide a column is, in characters.
const COLUMN: usize = 18;
/// How wide the time in front of the columns is.
const MARGIN: usize = 11;

/// The lines of a chart.
#[must_use]
pub fn text(recording: &Recording) -> Vec<String> {
    let scenario = recording.scenario;
    let mut lines = vec![
        format!("{}  {}", scenario.id, scenario.title),
        format!("teaches:  {}", scenario.teaches),
        format!("at stake: {}", scenario.at_stake),
    ];
    let core = match recording.is_spoilt {
        true => format!("weakened: {}", scenario.spoilt),
        false => "as it ships".to_owned(),
    };
    lines.push(format!("core:     {core}"));
    lines.push(format!("letters:  {}", recording.legend));
    lines.push(String::new());
    let mut head = " ".repeat(MARGIN);
    recording.nodes.iter().for_each(|id| head += &centred(&id.to_string()));
    lines.push(head.trim_end().to_owned());
    recording.rows.iter().for_each(|row| show(recording, row, &mut lines));
    lines.push(String::new());
    lines.push(match &recording.verdict {
        Verdict::Holds => format!("verdict: {} holds", scenario.at_stake),
        Verdict::Broken { what, .. } => format!("verdict: BROKEN. {what}"),
        Verdict::Unclear(what) => format!("verdict: none, the story cannot go on. {what}"),
    });
    lines
}

fn show(recording: &Recording, row: &Row, lines: &mut Vec<String>) {
    let time = format!("{:>width$.1} ", row.at.as_nanos() as f64 / 1e6, width = MARGIN - 1);
    match &row.kind {
        Kind::Prose => lines.push(format!("{}{}", " ".repeat(MARGIN), row.text)),
        Kind::Broken => lines.push(format!("{time}✗✗ {}", row.text)),
        Kind::All => lines.push(format!("{time}-- {}", row.text)),
        Kind::At(id) => lines.push(format!("{time}{}  {}", dots(recording, *id), row.text)),
        Kind::Message { from, to, is_lost } => {
            let words = if *is_lost { format!("{} lost", strike(&row.text)) } else { row.text.clone() };
            lines.push(format!("{time}{}  {words}", arrow(recording, *from, *to, *is_lost)));
        }
    }
    if !row.states.is_empty() {
        let mut line = " ".repeat(MARGIN);
        for id in &recording.nodes {
            line += &centred(row.states.get(id).map_or("", String::as_str));
        }
        lines.push(line.trim_end().to_owned());
    }
}

/// The text in the middle of a column.
fn centred(text: &str) -> String {
    format!("{text:^COLUMN$}")
}

/// Where the middle of a node's column is.
fn middle(recording: &Recording, id: NodeId) -> usize {
    let at = recording.nodes.iter().position(|known| *known == id).unwrap_or(0);
    at * COLUMN + COLUMN / 2
}

/// Something at one node.
fn dots(recording: &Recording, id: NodeId) -> String {
    let mut cells = vec![' '; recording.nodes.len() * COLUMN];
    cells[middle(recording, id)] = '●';
    cells.into_iter().collect()
}

/// A message from one column to another.
fn arrow(recording: &Recording, from: NodeId, to: NodeId, is_lost: bool) -> String {
    let (start, end) = (middle(recording, from), middle(recording, to));
    let mut cells = vec![' '; recording.nodes.len() * COLUMN];
    let (low, high) = (start.min(end), start.max(end));
    cells[low..=high].fill(if is_lost { '╌' } else { '─' });
    cells[start] = '●';
    let head = if start < end { '▶' } else { '◀' };
    cells[end] = if is_lost { '✗' } else { head };
    cells.into_iter().collect()
}

/// The recording for machines.
#[must_use]
pub fn data(recording: &Recording) -> Value {
    let scenario = recording.scenario;
    let rows: Vec<Value> = recording.rows.iter().map(row_data).collect();
    let (verdict, broken) = match &recording.verdict {
        Verdict::Holds => ("holds", None),
        Verdict::Broken { what, .. } => ("broken", Some(what)),
        Verdict::Unclear(what) => ("unclear", Some(what)),
    };
    json!({
        "id": scenario.id,
        "title": scenario.title,
        "teaches": scenario.teaches,
        "atStake": scenario.at_stake,
        "weakness": recording.is_spoilt.then(|| scenario.spoilt.to_string()),
        "legend": recording.legend,
        "nodes": recording.nodes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "rows": rows,
        "verdict": verdict,
        "broken": broken,
    })
}

fn row_data(row: &Row) -> Value {
    let states: serde_json::Map<String, Value> =
        row.states.iter().map(|(id, state)| (id.to_string(), json!(state))).collect();
    let nanos = row.at.as_nanos();
    match &row.kind {
        Kind::Prose => json!({ "kind": "prose", "nanos": nanos, "text": row.text }),
        Kind::All => json!({ "kind": "all", "nanos": nanos, "text": row.text, "states": states }),
        Kind::Broken => json!({ "kind": "broken", "nanos": nanos, "text": row.text, "states": states }),
        Kind::At(id) => {
            json!({ "kind": "node", "nanos": nanos, "node": id.to_string(), "text": row.text, "states": states })
        }
        Kind::Message { from, to, is_lost } => json!({
            "kind": if *is_lost { "lost" } else { "message" }, "nanos": nanos, "from": from.to_string(),
            "to": to.to_string(), "text": row.text, "states": states,
        }),
    }
}
