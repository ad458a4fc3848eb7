//! Accounts: what a story's log amounts to, in the state machine that ships, one at each node.
//!
//! An entry `alice+100#p1` pays 100 into alice's account, under the idempotency key `p1`; one without a key pays each time it
//! comes. Others change nothing. `expect-balance 1 2 3 alice=100` fails unless these nodes' machines say so.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use hezong_base::NodeId;
use hezong_kv::{Kv, KvReader, Once, Request, Rules};
use hezong_node::StateMachine as _;
use hezong_raft::{Entry, Payload};
use hezong_script::Command;
use hezong_store::ModelStore;

/// A store in memory does not fail, and these are entries that it can take.
const IN_MEMORY: &str = "the store is in memory";

/// The machines.
pub(crate) struct Accounts {
    rules: Rules,
    machines: BTreeMap<NodeId, Machine>,
}

struct Machine {
    store: ModelStore,
    kv: Kv<ModelStore>,
    reader: KvReader<ModelStore>,
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accounts").field("nodes", &self.machines.keys()).finish_non_exhaustive()
    }
}

impl Machine {
    fn open(store: ModelStore, rules: &Rules) -> Self {
        let kv = Kv::open(store.clone(), "group1", rules.clone()).expect(IN_MEMORY);
        let reader = kv.reader();
        Self { store, kv, reader }
    }
}

impl Accounts {
    /// None yet; with this known bug in each, if this build has it.
    pub(crate) fn new(weakness: Option<&str>) -> Self {
        #[cfg(feature = "weakened")]
        let rules = {
            let named = |bug: &hezong_kv::Weakness| weakness == Some(&format!("{bug:?}"));
            Rules { weakness: hezong_kv::Weakness::ALL.into_iter().find(named), ..Rules::default() }
        };
        #[cfg(not(feature = "weakened"))]
        let rules = {
            let _ = weakness;
            Rules::default()
        };
        Self { rules, machines: BTreeMap::new() }
    }

    /// A node starts, with what its machine had stored.
    pub(crate) fn start(&mut self, id: NodeId) {
        let store = self.machines.get(&id).map_or_else(ModelStore::new, |machine| machine.store.kill());
        self.machines.insert(id, Machine::open(store, &self.rules));
    }

    /// Applies what is committed at a node and not applied yet.
    pub(crate) fn apply(&mut self, id: NodeId, committed: &[Entry]) {
        let Some(machine) = self.machines.get_mut(&id) else { return };
        let applied = machine.kv.applied().expect(IN_MEMORY).and_then(|base| base.last).map(|last| last.index);
        let fresh = committed.iter().filter(|entry| Some(entry.id.index) > applied);
        let fresh: Vec<_> = fresh.map(|entry| Entry { payload: payment(&entry.payload), ..entry.clone() }).collect();
        if !fresh.is_empty() {
            machine.kv.apply(&fresh).expect(IN_MEMORY);
        }
    }

    /// What is in all accounts of a node.
    pub(crate) fn balances(&self, id: NodeId) -> Vec<(String, String)> {
        let Some(machine) = self.machines.get(&id) else { return Vec::new() };
        let page = machine.reader.view().and_then(|view| view.range(b"", None, 100, 1 << 20)).expect(IN_MEMORY);
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        page.items.iter().map(|item| (text(&item.key), text(&item.value))).collect()
    }

    /// `expect-balance 1 2 3 alice=100`.
    pub(crate) fn expect(&self, command: &Command) -> Result<(), String> {
        for id in command.nodes()? {
            let balances = self.balances(id);
            for (account, wanted) in &command.options {
                let found = balances.iter().find(|(name, _)| name == account).map_or("0", |(_, balance)| balance);
                if found != wanted {
                    return Err(format!("{id}: {account} should have {wanted} and has {found}"));
                }
            }
        }
        Ok(())
    }
}

/// What an entry's text means to the state machine.
fn payment(payload: &Payload) -> Payload {
    let parsed = || {
        let Payload::Command(text) = payload else { return None };
        let (account, rest) = std::str::from_utf8(text).ok()?.split_once('+')?;
        let (delta, key) = rest.split_once('#').map_or((rest, None), |(delta, key)| (delta, Some(key)));
        let command = hezong_kv::Command::Add { key: account.to_owned().into(), delta: delta.parse().ok()? };
        let once = key.map(|key| Once::idempotency(key.to_owned(), &command));
        Some(Payload::Command(Request { once, command }.encode()))
    };
    match payload {
        Payload::Command(_) => parsed().unwrap_or(Payload::Empty),
        Payload::Empty | Payload::Membership(_) => payload.clone(),
    }
}
