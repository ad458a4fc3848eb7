//! A recording as it leaves the laboratory: data for machines, and a page.

use hezong_lab::{SCENARIOS, data, find, page, play};
use serde_json::Value;

/// What stands between these in the page.
fn between<'a>(page: &'a str, begin: &str, end: &str) -> &'a str {
    let (_, rest) = page.split_once(begin).expect("the page has it");
    rest.split_once(end).expect("and it ends").0
}

#[test]
fn data_has_every_row_and_the_verdict() {
    for scenario in &SCENARIOS {
        let recording = play(scenario, false, 0);
        let data = data(&recording);
        assert_eq!(
            (&data["id"], &data["verdict"], &data["weakness"]),
            (&scenario.id.into(), &"holds".into(), &Value::Null)
        );
        let [rows, nodes] = ["rows", "nodes"].map(|key| data[key].as_array().expect("a list"));
        assert_eq!((rows.len(), nodes.len()), (recording.rows.len(), recording.nodes.len()), "{}", scenario.id);
        let named = |row: &Value| {
            ["node", "from", "to"].into_iter().filter_map(|key| row.get(key).cloned()).collect::<Vec<_>>()
        };
        for row in rows {
            assert!(named(row).iter().all(|node| nodes.contains(node)), "{}: {row}", scenario.id);
        }
        assert!(rows.iter().any(|row| row["kind"] == "message"), "{}: nobody says anything", scenario.id);
    }
}

#[test]
fn page_holds_the_recording_and_needs_nothing_else() {
    let recording = play(find("raft-1").expect("it is there"), false, 0);
    let page = page(&recording);
    let text = between(&page, r#"<script id="recording" type="application/json">"#, "</script>");
    assert_eq!(serde_json::from_str::<Value>(text).expect("it is JSON"), data(&recording));
    assert_eq!(between(&page, "<title>", "</title>"), "RAFT-1");
    // The names of XML are no addresses to load from.
    let loads = page.replace("http://www.w3.org/2000/svg", "");
    assert!(!["http:", "https:", "src=", "@import", "{{"].iter().any(|mark| loads.contains(mark)));
}

#[test]
fn page_is_not_ended_by_what_is_said_in_it() {
    let mut recording = play(find("raft-1").expect("it is there"), false, 0);
    let said = "</script><script>alert(1)</script>";
    said.clone_into(&mut recording.rows[0].text);
    let page = page(&recording);
    let text = between(&page, r#"<script id="recording" type="application/json">"#, "</script>");
    assert_eq!(serde_json::from_str::<Value>(text).expect("it is JSON")["rows"][0]["text"], said);
}
