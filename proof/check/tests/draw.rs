//! Drawings: whole, safe whatever the history holds, and showing what they are of.

mod notation;

use hezong_check::{
    Answer, Budget, Call, Guarantee, Operation, Outcome, SessionVerdict, Verdict, check, check_sessions, draw_anomaly,
    draw_session, draw_window, shortest_window,
};
use notation::{found, lists};

fn operation(client: u64, called: u64, call: Call, answer: Option<Answer>) -> Operation {
    let outcome = answer.map(|answer| Outcome { at: called + 5, answer });
    Operation { client, key: "<x>".into(), called, call, outcome }
}

/// Every element is closed, in order, and nothing comes from elsewhere.
#[track_caller]
fn whole(html: &str) {
    let mut open: Vec<&str> = Vec::new();
    for tag in html.split('<').skip(1).filter(|tag| !tag.starts_with(['!', '?'])) {
        let (tag, _) = tag.split_once('>').unwrap();
        let name = tag.split([' ', '\n']).next().unwrap();
        if let Some(closed) = name.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed), "{html}");
        } else if !tag.ends_with('/') && name != "meta" {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
    let elsewhere = html.replace("http://www.w3.org/2000/svg", "");
    assert!(!elsewhere.contains("http") && !elsewhere.contains("<script") && !elsewhere.contains("@import"));
    assert!(elsewhere.contains("prefers-color-scheme:dark") && elsewhere.contains("width=device-width"));
}

#[test]
fn draw_window_of_stale_read() {
    let nasty = "</svg><script>\"'&\u{1b}";
    let history = [
        operation(1, 0, Call::Put(nasty.into()), Some(Answer::Done)),
        operation(1, 10, Call::Put("b".into()), Some(Answer::Done)),
        operation(3, 12, Call::Put("c".into()), None),
        operation(2, 20, Call::Get, Some(Answer::Found(Some(nasty.into())))),
    ];
    let Verdict::Violation(violation) = check(&history.into_iter().collect(), Budget::default()) else { panic!() };
    let html = draw_window(&shortest_window(&violation));
    whole(&html);
    assert_eq!(html.matches("<rect class=\"bar mark\"").count(), 3, "{html}");
    assert!(html.contains("<title>client 2 at 20: get &quot;&lt;x&gt;&quot;"), "{html}");
}

#[test]
fn draw_window_unknown_is_open() {
    let history = [
        operation(3, 0, Call::Put("c".into()), None),
        operation(2, 20, Call::Get, Some(Answer::Found(Some("c".into())))),
        operation(2, 30, Call::Get, Some(Answer::Found(None))),
    ];
    let Verdict::Violation(violation) = check(&history.into_iter().collect(), Budget::default()) else { panic!() };
    let html = draw_window(&shortest_window(&violation));
    whole(&html);
    assert_eq!(html.matches("class=\"bar open\"").count(), 1, "{html}");
}

#[test]
fn draw_cycle() {
    let history = lists(&["1 0-9 ax1", "2 0-9 ay1", "3 0-9 rx1 ry", "4 0-9 rx ry1"]);
    let anomalies = found(&history, "serializable");
    let html = draw_anomaly(&history, &anomalies[0], "serializable".parse().unwrap());
    whole(&html);
    assert_eq!(html.matches("class=\"arrow\"").count(), 4);
    assert_eq!(html.matches(">rw</text>").count(), 2);
    assert!(html.contains("<h1>G-nonadjacent: not serializable</h1>"));
    // One that is no cycle.
    let history = lists(&["1 0! ax1", "2 0-9 rx1"]);
    let anomalies = found(&history, "serializable");
    whole(&draw_anomaly(&history, &anomalies[0], "serializable".parse().unwrap()));
}

#[test]
fn draw_session_guarantee() {
    let history = [
        operation(1, 0, Call::Put("a".into()), Some(Answer::Done)),
        operation(1, 10, Call::Get, Some(Answer::Found(None))),
    ];
    let verdict = check_sessions(&history.into_iter().collect(), &[Guarantee::ReadYourWrites], true);
    let SessionVerdict::Broken(violations) = verdict else { panic!() };
    let html = draw_session(&violations[0]);
    whole(&html);
    assert!(html.contains("client 1 wrote &quot;a&quot; and then found nothing"), "{html}");
}
