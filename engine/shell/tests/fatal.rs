//! What must end the process does: each case runs in a process of its own, which is this test program again.

mod common;

use std::process::{Command, Stdio};

use bytes::Bytes;
use common::{GROUP, hurry, member};
use hezong_base::{LogId, NodeId};
use hezong_node::{StateError, StateMachine};
use hezong_raft::{Base, Entry, Membership, Payload};
use hezong_shell::{Identity, Network, Options, StateMachines, block_on, open};
use hezong_wal::model::ModelFolder;

/// Set in the process that is to end.
const CHILD: &str = "HEZONG_TEST_FATAL";

/// A state machine that fails or panics on command.
struct Fragile;

impl StateMachine for Fragile {
    fn applied(&self) -> Result<Option<Base>, StateError> {
        Ok(None)
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Bytes>, StateError> {
        for entry in entries {
            match &entry.payload {
                Payload::Command(command) if command == "panic" => panic!("as told"),
                Payload::Command(command) if command == "fail" => return Err(StateError::new("no more")),
                Payload::Command(_) | Payload::Empty | Payload::Membership(_) => {}
            }
        }
        Ok(vec![Bytes::new(); entries.len()])
    }

    fn persist(&mut self) -> Result<Option<LogId>, StateError> {
        Ok(None)
    }
}

/// Runs `act` in a process of its own and returns what that one said before it was aborted.
fn last_words(test: &str, act: impl FnOnce(&hezong_shell::Handle, &ModelFolder)) -> String {
    if std::env::var_os(CHILD).is_some() {
        let disk = ModelFolder::new();
        let options = hurry(Options::in_memory(&Network::new(), &disk, Identity::bootstrap("node01")));
        let machines: StateMachines = [(GROUP, Box::new(Fragile) as Box<dyn StateMachine>)].into();
        let node = open(options, machines).unwrap();
        let members = Membership::of_voters([(NodeId(1), member(1, "memory"))]);
        block_on(node.bootstrap(GROUP, members)).unwrap();
        block_on(node.propose(GROUP, "fine")).unwrap();
        act(&node, &disk);
        // Nothing but the end of the process ends this test.
        eprintln!("still alive");
        std::process::exit(0);
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(!child.status.success(), "the process went on");
    let said = String::from_utf8_lossy(&child.stderr).into_owned();
    assert!(!said.contains("still alive"), "{said}");
    said
}

#[test]
fn log_sync_failed_ends_the_process_and_names_file_and_offset() {
    let said = last_words("log_sync_failed_ends_the_process_and_names_file_and_offset", |node, disk| {
        disk.fail_sync(0);
        drop(block_on(node.propose(GROUP, "lost")));
    });
    assert!(said.contains("the log failed: cannot sync") && said.contains("at offset"), "{said}");
}

#[test]
fn log_write_failed_ends_the_process() {
    let said = last_words("log_write_failed_ends_the_process", |node, disk| {
        disk.fail_write(0);
        drop(block_on(node.propose(GROUP, "lost")));
    });
    assert!(said.contains("the log failed: cannot write") && said.contains("at offset"), "{said}");
}

#[test]
fn state_machine_failed_ends_the_process() {
    let said = last_words("state_machine_failed_ends_the_process", |node, _| {
        drop(block_on(node.propose(GROUP, "fail")));
    });
    assert!(said.contains("group 1: the state machine failed: no more"), "{said}");
}

#[test]
fn state_machine_panicked_ends_the_process() {
    let said = last_words("state_machine_panicked_ends_the_process", |node, _| {
        drop(block_on(node.propose(GROUP, "panic")));
    });
    // It is applied by whichever thread sees it committed.
    assert!(said.contains("panicked, which is a bug; the process ends"), "{said}");
}
