//! Small databases that isolate transactions to a known degree, and what their clients see.
#![allow(dead_code, reason = "each test file uses its share")]

use std::collections::BTreeMap;

use hezong_base::Rng;
use hezong_check::{End, Micro, Name, Transaction, Transactions, Workload};

/// How the database works.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Engine {
    /// Every transaction takes effect at one instant between its call and its end.
    Strict,
    /// Reads see the state at the beginning; of two that wrote a key meanwhile the later is aborted.
    Snapshot,
    /// Each read sees what is committed at its instant; writes appear together at the end.
    Committed,
}

#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) workload: Workload,
    pub(crate) transactions: u64,
    pub(crate) clients: u64,
    pub(crate) keys: u64,
    pub(crate) micros: u64,
    /// Of a thousand, those whose end nobody knows; half of them never happened.
    pub(crate) lost_per_mille: u64,
    /// After so many writes a key is retired, so that lists stay short.
    pub(crate) writes_per_key: u64,
}

/// A transaction under way.
struct Plan {
    at: usize,
    begin: u64,
    commit: u64,
    lost: bool,
    happens: bool,
}

type State = BTreeMap<Name, Vec<Name>>;

pub(crate) fn history(rng: &mut Rng, engine: Engine, load: Load) -> Transactions {
    let mut history = Transactions { workload: load.workload, ..Transactions::default() };
    let mut free_at = vec![0_u64; usize::try_from(load.clients).unwrap()];
    let mut plans = Vec::new();
    let mut written: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    let mut next_value = 0;
    for at in 0..load.transactions {
        let client = usize::try_from(rng.below(load.clients)).unwrap();
        let called = free_at[client] + 1 + rng.below(20);
        let begin = called + rng.below(20);
        let commit = begin + rng.below(40);
        let end = commit + 1 + rng.below(20);
        free_at[client] = end;
        let lost = rng.chance(load.lost_per_mille);
        let micros = (0..1 + rng.below(load.micros)).map(|_| {
            let slot = rng.below(load.keys);
            let (generation, writes) = written.entry(slot).or_default();
            let key = history.names.name(&format!("k{slot}.{generation}"));
            if rng.chance(500) {
                return Micro::Read { key, found: None };
            }
            *writes += 1;
            if *writes == load.writes_per_key {
                (*generation, *writes) = (*generation + 1, 0);
            }
            next_value += 1;
            Micro::Write { key, value: history.names.name(&next_value.to_string()) }
        });
        let micros = micros.collect();
        let end = if lost { End::Unknown } else { End::Committed(end) };
        history.all.push(Transaction { client: client as u64, called, end, micros });
        let commit = if lost { commit + rng.below(200) } else { commit };
        plans.push(Plan { at: usize::try_from(at).unwrap(), begin, commit, lost, happens: !lost || rng.chance(500) });
    }
    run(&mut history, engine, plans);
    history
}

fn run(history: &mut Transactions, engine: Engine, plans: Vec<Plan>) {
    // Begins and commits in time. What a client did with a lost answer is not recorded as read.
    let mut events: Vec<(u64, usize, bool)> = Vec::new();
    for (place, plan) in plans.iter().enumerate().filter(|(_, plan)| plan.happens) {
        events.push((plan.begin, place, false));
        events.push((plan.commit, place, true));
    }
    events.sort_unstable();
    let mut state = State::new();
    let mut last_write: BTreeMap<Name, usize> = BTreeMap::new();
    // Of what a transaction under way saw at its beginning, the keys it touches; and how many had committed then.
    let mut snapshots: BTreeMap<usize, (State, usize)> = BTreeMap::new();
    let mut commits = 0;
    let workload = history.workload;
    for (_, place, is_commit) in events {
        let plan = &plans[place];
        let transaction = &mut history.all[plan.at];
        let touched = transaction.micros.iter().map(|micro| match micro {
            Micro::Write { key, .. } | Micro::Read { key, .. } => *key,
        });
        let now: State = touched.filter_map(|key| Some((key, state.get(&key)?.clone()))).collect();
        if !is_commit {
            if engine != Engine::Strict {
                snapshots.insert(place, (now, commits));
            }
            continue;
        }
        let (then, since) = snapshots.remove(&place).unwrap_or_else(|| (now.clone(), commits));
        let is_newer = |micro: &Micro| match micro {
            Micro::Write { key, .. } => last_write.get(key).is_some_and(|at| *at > since),
            Micro::Read { .. } => false,
        };
        if engine == Engine::Snapshot && transaction.micros.iter().any(is_newer) {
            if !plan.lost {
                transaction.end = End::Aborted;
            }
            continue;
        }
        let mut own = State::new();
        let half = transaction.micros.len() / 2;
        for (step, micro) in transaction.micros.iter_mut().enumerate() {
            let view = if engine == Engine::Committed && step >= half { &now } else { &then };
            match micro {
                Micro::Read { key, found } => {
                    let seen = own.get(key).or(view.get(key)).cloned().unwrap_or_default();
                    *found = (!plan.lost).then_some(seen);
                }
                Micro::Write { key, value } => {
                    // A write waits for others of its key, so it is upon what is there now.
                    own.entry(*key).or_insert_with(|| now.get(key).cloned().unwrap_or_default());
                    write(workload, &mut own, *key, *value);
                }
            }
        }
        commits += 1;
        last_write.extend(own.keys().map(|key| (*key, commits)));
        state.extend(own);
    }
}

fn write(workload: Workload, state: &mut State, key: Name, value: Name) {
    let values = state.entry(key).or_default();
    if workload == Workload::Register {
        values.clear();
    }
    values.push(value);
}
