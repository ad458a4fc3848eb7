//! `hezong torture`, short: that faults come and do something, that the verdict rests on what clients saw, and that
//! nothing is left running.

mod support;

use std::fs;
use std::path::Path;

use serde_json::Value;
use support::hezong;
use tempfile::TempDir;

#[test]
fn torture_short_run_is_explained_and_leaves_its_history_and_picture() {
    let root = TempDir::new().unwrap();
    let folder = root.path().join("run");
    let folder = folder.to_str().unwrap();
    let faults = "kill,pause,isolate,slow-links,transfer";
    let (code, report, said) =
        hezong(&["torture", "--time", "20s", "--seed", "7", "--faults", faults, "--dir", folder, "--json"]);
    assert_eq!(code, 0, "{said}");
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["verdict"], "explained");
    assert!(report["done"].as_u64().unwrap() > 500, "{report}");
    let struck = report["faults"].as_object().unwrap();
    assert!(struck.len() >= 3, "{report}");
    assert!(struck.contains_key("isolate"), "{report}");
    assert!(report["piecesHeld"].as_u64().unwrap() > 0, "what is cut off is cut off: {report}");

    let (history, picture) = (report["history"].as_str().unwrap(), report["picture"].as_str().unwrap());
    let (code, _, said) = hezong(&["check", history]);
    assert_eq!(code, 0, "{said}");
    let page = fs::read_to_string(picture).unwrap();
    assert!(page.contains("<svg") && page.contains("node03") && page.contains("cut off"), "{page}");
    let (code, _, said) = hezong(&["torture", "--dir", folder]);
    assert_eq!(code, 1);
    assert!(said.contains("holds another run"), "{said}");
}

/// Nodes dial each other before anybody knows their numbers; those connections are cut as well, and nobody makes others.
#[test]
fn torture_links_are_cut_that_were_there_from_the_start() {
    for more in [&[][..], &["--tls"]] {
        let root = TempDir::new().unwrap();
        let folder = root.path().join("run");
        let args = ["torture", "--time", "8s", "--seed", "3", "--faults", "isolate", "--json", "--dir"];
        let (code, report, said) = hezong(&[&args[..], &[folder.to_str().unwrap()], more].concat());
        assert_eq!(code, 0, "{said}");
        let report: Value = serde_json::from_str(&report).unwrap();
        assert!(report["piecesHeld"].as_u64().unwrap() > 0, "{more:?} {report}");
        assert!(report["faults"]["isolate"].as_u64().unwrap() > 0, "{more:?} {report}");
    }
}

/// What counts is what nodes took up: a node that went by its clocks as they are would make these figures 0.
#[test]
fn torture_clocks_are_bent_and_set_wrong() {
    let root = TempDir::new().unwrap();
    let folder = root.path().join("run");
    let args = ["torture", "--time", "20s", "--seed", "5", "--faults", "drift,wall-clock", "--json", "--dir"];
    let (code, report, said) = hezong(&[&args[..], &[folder.to_str().unwrap()]].concat());
    assert_eq!(code, 0, "{said}");
    let report: Value = serde_json::from_str(&report).unwrap();
    assert!(report["faults"]["drift"].as_u64().unwrap() > 0, "{report}");
    assert!(report["clocksApartMs"].as_u64().unwrap() > 20, "{report}");
    if Path::new("/usr/bin/faketime").exists() {
        assert!(report["faults"]["wall-clock"].as_u64().unwrap() > 0, "{report} {said}");
    }
}

/// Another method on the same answers, and its file is one that `hezong check` reads.
#[test]
fn torture_lists_are_judged_as_transactions_too() {
    let root = TempDir::new().unwrap();
    let folder = root.path().join("run");
    let args = ["torture", "--time", "4s", "--seed", "2", "--faults", "kill", "--json", "--dir"];
    let (code, report, said) = hezong(&[&args[..], &[folder.to_str().unwrap()]].concat());
    assert_eq!(code, 0, "{said}");
    let report: Value = serde_json::from_str(&report).unwrap();
    let (code, checked, said) = hezong(&["check", report["lists"].as_str().unwrap()]);
    assert_eq!(code, 0, "{said}");
    assert!(checked.contains("nothing found that strict-serializable forbids"), "{checked}");
    let many = checked.split(' ').find_map(|word| word.parse::<u64>().ok()).unwrap();
    assert!(many > 100, "{checked}");
}

#[test]
fn torture_nonsense_is_refused_by_name() {
    let cases: [(&[&str], &str); 5] = [
        (&["--nodes", "2"], "--nodes is 2; write 3 to 9"),
        (&["--time", "30"], "write a number and its unit, as 30m"),
        (&["--faults", "kil"], "\"kil\" is no kind of fault; there are kill,"),
        (&["--rate", "0"], "--rate is 0"),
        (&["--unsynced", "drop"], "write keep or lose"),
    ];
    for (args, wanted) in cases {
        let (code, _, said) = hezong(&[&["torture"][..], args].concat());
        assert_ne!(code, 0, "{args:?}");
        assert!(said.contains(wanted), "{args:?}: {said}");
    }
}
