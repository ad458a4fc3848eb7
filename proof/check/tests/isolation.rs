//! Histories of transactions made by hand: one for each anomaly, the model that forbids it, and the next weaker one that
//! does not.

mod notation;

use hezong_check::{Dependency, IsolationVerdict, Model, Transactions, check_isolation};
use notation::{found, lists, names, registers};

const MODELS: [&str; 8] = [
    "strict-serializable",
    "strong-session-serializable",
    "serializable",
    "strong-snapshot-isolation",
    "strong-session-snapshot-isolation",
    "snapshot-isolation",
    "read-committed",
    "read-uncommitted",
];

/// Exactly these models are broken, and by this.
#[track_caller]
fn broken(history: &Transactions, anomaly: &str, models: &[&str]) {
    for model in MODELS {
        let names = names(history, model);
        assert_eq!(!names.is_empty(), models.contains(&model), "{model}: {names:?}");
        assert!(names.is_empty() || names.contains(&anomaly.to_owned()), "{model}: {names:?}");
    }
}

#[track_caller]
fn fine(history: &Transactions) {
    broken(history, "", &[]);
}

const FROM_COMMITTED: [&str; 7] = [
    "strict-serializable",
    "strong-session-serializable",
    "serializable",
    "strong-snapshot-isolation",
    "strong-session-snapshot-isolation",
    "snapshot-isolation",
    "read-committed",
];
const FROM_SNAPSHOT: [&str; 6] = [
    "strict-serializable",
    "strong-session-serializable",
    "serializable",
    "strong-snapshot-isolation",
    "strong-session-snapshot-isolation",
    "snapshot-isolation",
];
const SERIALIZABLE: [&str; 3] = ["strict-serializable", "strong-session-serializable", "serializable"];

#[test]
fn lists_clean() {
    fine(&lists(&[]));
    fine(&lists(&["1 0-1 rx", "1 2-3 ax1 rx1", "2 2-5 rx1 ax2", "1 6-7 rx12 ry"]));
    // Unknown and seen, unknown and unseen.
    fine(&lists(&["1 0- ax1", "2 0- ay1", "3 5-6 rx1 ry", "3 7-8 ry1"]));
    fine(&lists(&["1 0! ax1", "3 5-6 rx"]));
}

#[test]
fn lists_g0() {
    broken(&lists(&["1 0-9 ax1 ay1", "2 0-9 ax2 ay2", "3 0-9 rx12 ry21"]), "G0", &MODELS);
}

#[test]
fn lists_g1a() {
    broken(&lists(&["1 0! ax1", "2 0-9 rx1"]), "G1a", &FROM_COMMITTED);
}

#[test]
fn lists_g1b() {
    broken(&lists(&["1 0-9 ax1 ax2", "2 0-9 rx1", "3 0-9 rx12"]), "G1b", &FROM_COMMITTED);
    fine(&lists(&["1 0-9 ax1 ax2", "2 0-9 rx", "3 0-9 rx12"]));
}

#[test]
fn lists_g1c() {
    broken(&lists(&["1 0-9 ax1 ry1", "2 0-9 ay1 rx1"]), "G1c", &FROM_COMMITTED);
}

#[test]
fn lists_g_single() {
    // Read skew: x before T2, y after it.
    let history = lists(&["1 0-9 rx ry1", "2 0-9 ax1 ay1", "3 0-9 rx1"]);
    broken(&history, "G-single", &FROM_SNAPSHOT);
    let [anomaly] = &found(&history, "serializable")[..] else { panic!() };
    let told: Vec<_> = anomaly.steps.iter().map(|step| (step.transaction, step.dependency)).collect();
    assert_eq!(told, [(0, Some(Dependency::ReadWrite)), (1, Some(Dependency::WriteRead))]);
    assert_eq!(anomaly.steps[0].why, "T1 read x when it was empty and so missed T2's 1 in x, as T3 read the list");
    assert_eq!(anomaly.steps[1].why, "T1 read T2's write of 1 to y");
}

#[test]
fn lists_g_nonadjacent() {
    // Long fork: two readers see two writes in different orders.
    let history = lists(&["1 0-9 ax1", "2 0-9 ay1", "3 0-9 rx1 ry", "4 0-9 rx ry1"]);
    broken(&history, "G-nonadjacent", &FROM_SNAPSHOT);
}

#[test]
fn lists_g2_item() {
    // Write skew.
    broken(&lists(&["1 0-9 rx ay1", "2 0-9 ry ax1", "3 0-9 rx1 ry1"]), "G2-item", &SERIALIZABLE);
    // The values nobody read are known to come later as well.
    broken(&lists(&["1 0-9 rx ay1", "2 0-9 ry ax1"]), "G2-item", &SERIALIZABLE);
}

#[test]
fn lists_session_and_time() {
    // A client that does not see its own write.
    let session = ["1 0-1 ax1", "1 2-3 rx", "2 4-5 rx1"];
    let strong = [
        "strict-serializable",
        "strong-session-serializable",
        "strong-snapshot-isolation",
        "strong-session-snapshot-isolation",
    ];
    broken(&lists(&session), "G-single-process", &strong);
    // Another client that does not see it: only time tells.
    let time = ["1 0-1 ax1", "2 2-3 rx", "2 4-5 rx1"];
    broken(&lists(&time), "G-single-realtime", &["strict-serializable", "strong-snapshot-isolation"]);
    // At the same time, it may.
    fine(&lists(&["1 0-2 ax1", "2 2-3 rx", "2 4-5 rx1"]));
    // Read before it was written.
    let early = lists(&["1 0-1 rx1", "2 2-3 ax1"]);
    broken(&early, "G1c-realtime", &["strict-serializable", "strong-snapshot-isolation"]);
    // A write that was acknowledged and is gone: it can only come after what was read.
    let lost = lists(&["1 0-1 ax1", "2 2-3 ax2", "3 4-5 rx2"]);
    broken(&lost, "G0-realtime", &["strict-serializable", "strong-snapshot-isolation"]);
}

/// A shorter cycle that a weaker model allows does not hide the one it forbids.
#[test]
fn lists_g_single_behind_write_skew() {
    let history = lists(&["1 0-9 rx ay1 rz3", "2 0-9 ry ax1", "3 0-9 rx1 az3"]);
    assert_eq!(names(&history, "snapshot-isolation"), ["G-single"]);
}

/// Whose end nobody knows has happened, once somebody saw it.
#[test]
fn lists_unknown_but_seen() {
    broken(&lists(&["1 0- ax1 ay1", "2 0-9 rx ry1", "3 0-9 rx1"]), "G-single", &FROM_SNAPSHOT);
    broken(&registers(&["1 0- wx1 wy1", "2 0-9 rx ry1"]), "G-single", &FROM_SNAPSHOT);
}

/// What a client has begun before it was told of the other is in no order with it.
#[test]
fn lists_client_at_two_things_at_once() {
    fine(&lists(&["1 0-9 ax1", "1 5-6 rx", "2 10-11 rx1"]));
}

#[test]
fn lists_lost_update() {
    let history = lists(&["1 0-9 rx ax1", "2 0-9 rx ax2", "3 0-9 rx12"]);
    broken(&history, "lost-update", &FROM_SNAPSHOT);
}

#[test]
fn lists_dirty_update() {
    broken(&lists(&["1 0! ax1", "2 0-9 ax2", "3 0-9 rx12"]), "dirty-update", &FROM_COMMITTED);
}

#[test]
fn lists_incompatible_order() {
    broken(&lists(&["1 0-9 ax1", "2 0-9 ax2", "3 0-9 rx12", "4 0-9 rx2"]), "incompatible-order", &FROM_COMMITTED);
}

#[test]
fn lists_duplicates_and_garbage() {
    broken(&lists(&["1 0-9 ax1", "2 0-9 rx11"]), "duplicate-elements", &MODELS);
    broken(&lists(&["1 0-9 ax1", "2 0-9 rx13"]), "garbage-read", &MODELS);
}

#[test]
fn lists_internal() {
    broken(&lists(&["1 0-9 ax1 rx"]), "internal", &FROM_SNAPSHOT);
    broken(&lists(&["1 0-9 ax1", "2 0-9 rx rx1"]), "internal", &FROM_SNAPSHOT);
    fine(&lists(&["1 0-9 ax1", "2 0-9 rx1 ax2 rx12"]));
}

#[test]
fn registers_clean() {
    fine(&registers(&["1 0-1 rx", "1 2-3 wx1 rx1", "2 2-5 rx1 wx2 rx2", "1 6-7 rx2 ry"]));
    fine(&registers(&["1 0- wx1", "2 0- wy1", "3 5-6 rx1 ry", "3 7-8 ry1"]));
}

#[test]
fn registers_g1() {
    broken(&registers(&["1 0! wx1", "2 0-9 rx1"]), "G1a", &FROM_COMMITTED);
    broken(&registers(&["1 0-9 wx1 wx2", "2 0-9 rx1"]), "G1b", &FROM_COMMITTED);
    broken(&registers(&["1 0-9 wx1 ry1", "2 0-9 wy1 rx1"]), "G1c", &FROM_COMMITTED);
}

#[test]
fn registers_skews() {
    broken(&registers(&["1 0-9 rx ry1", "2 0-9 wx1 wy1"]), "G-single", &FROM_SNAPSHOT);
    broken(&registers(&["1 0-9 wx1", "2 0-9 wy1", "3 0-9 rx1 ry", "4 0-9 rx ry1"]), "G-nonadjacent", &FROM_SNAPSHOT);
    broken(&registers(&["1 0-9 rx wy1", "2 0-9 ry wx1"]), "G2-item", &SERIALIZABLE);
    broken(&registers(&["1 0-9 wx1", "2 0-9 rx1 wx2", "3 0-9 rx1 wx3"]), "lost-update", &FROM_SNAPSHOT);
}

#[test]
fn registers_internal_and_garbage() {
    broken(&registers(&["1 0-9 wx1 rx"]), "internal", &FROM_SNAPSHOT);
    broken(&registers(&["1 0-9 rx3"]), "garbage-read", &MODELS);
}

#[test]
fn registers_cyclic_versions() {
    broken(&registers(&["1 0-9 rx1 wx2", "2 0-9 rx2 wx1"]), "cyclic-versions", &MODELS);
}

/// Only an order in time tells which of two blind writes was first.
#[test]
fn registers_stale_read() {
    let time = ["1 0-1 wx1", "2 2-3 wx2", "3 4-5 rx1"];
    broken(&registers(&time), "G-single-realtime", &["strict-serializable", "strong-snapshot-isolation"]);
    let strong = [
        "strict-serializable",
        "strong-session-serializable",
        "strong-snapshot-isolation",
        "strong-session-snapshot-isolation",
    ];
    broken(&registers(&["1 0-1 wx1", "1 2-3 wx2", "1 4-5 rx1"]), "G-single-process", &strong);
    fine(&registers(&["1 0-1 wx1", "2 1-3 wx2", "3 4-5 rx1"]));
}

/// A value written twice makes reads of it ambiguous, which is told and not guessed.
#[test]
fn values_written_twice_are_unknown() {
    let history = lists(&["1 0-1 ax1", "2 2-3 ax1"]);
    let IsolationVerdict::Unknown(why) = check_isolation(&history, Model::STRICT_SERIALIZABLE) else { panic!() };
    assert!(why.starts_with("T1 and T2 both write 1 to x"), "{why}");
}
