//! What clients did and were told, for the linearizability checker.

/// What a client did to a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Put { key: u64, value: u64 },
    Cas { key: u64, expected: u64, value: u64 },
    Delete { key: u64 },
    Get { key: u64 },
}

/// What it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing yet, or that nobody knows.
    Unknown,
    /// That it was certainly not done.
    Failed,
    /// That it was done; for a comparison, whether it matched.
    Written(bool),
    /// The value; 0 for a register never written.
    Value(u64),
}

#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) client: usize,
    pub(crate) action: Action,
    pub(crate) called: u64,
    /// When it was told; `None` if never.
    pub(crate) returned: Option<u64>,
    pub(crate) outcome: Outcome,
}

/// All operations of a run.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) operations: Vec<Operation>,
    values: u64,
}

impl History {
    /// A value nobody has written.
    pub(crate) fn fresh_value(&mut self) -> u64 {
        self.values += 1;
        self.values
    }

    /// A client calls.
    pub(crate) fn begin(&mut self, client: usize, action: Action, now: u64) -> usize {
        self.operations.push(Operation { client, action, called: now, returned: None, outcome: Outcome::Unknown });
        self.operations.len() - 1
    }

    /// A client is told.
    pub(crate) fn end(&mut self, operation: usize, outcome: Outcome, now: u64) {
        let operation = &mut self.operations[operation];
        operation.outcome = outcome;
        operation.returned = (outcome != Outcome::Unknown).then_some(now);
    }
}
