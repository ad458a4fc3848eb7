//! One call of `apply`: the commands of a slice of entries, each seeing what those before it did, gathered into one
//! batch of the store. Nothing here reads a clock or draws a chance, and nothing depends on how entries are sliced.

use bytes::Bytes;
use hezong_base::Index;
use hezong_raft::{Entry, Membership, Payload};
use hezong_store::{Batch, KeyRange, Map, View};

use crate::record::{self, Maps, StateRecord, decode_value, encode_value};
use crate::{
    Command, Condition, Done, Expect, KeyValue, KvError, Operation, Refusal, Reply, Request, Revision, Rules, SessionId,
};

/// What came of a command, before it is told when.
pub(crate) type Outcome = Result<Done, Refusal>;

pub(crate) struct Turn<'a, V: View> {
    /// The store as it was when the turn began.
    view: V,
    /// What this turn changes; read before `view`.
    batch: Batch,
    pub(crate) maps: Maps,
    pub(crate) rules: &'a Rules,
    pub(crate) state: StateRecord,
    /// The last membership entry of this turn.
    membership: Option<Membership>,
    /// Whether the command at hand has taken its revision yet.
    revised: bool,
}

impl<'a, V: View> Turn<'a, V> {
    pub(crate) fn new(view: V, maps: Maps, rules: &'a Rules, state: StateRecord) -> Self {
        Self { view, batch: Batch::new(), maps, rules, state, membership: None, revised: false }
    }

    /// The state after the turn, the membership if it changed, and what is to be applied to the store.
    pub(crate) fn finish(self) -> (StateRecord, Option<Membership>, Batch) {
        (self.state, self.membership, self.batch)
    }

    /// Applies one entry and returns its encoded reply; empty for anything but a command.
    pub(crate) fn apply(&mut self, entry: &Entry) -> Result<Bytes, KvError> {
        let (found, expected) = (entry.id.index, Index(self.state.index + 1));
        if found != expected {
            return Err(KvError::Order { expected, found });
        }
        (self.state.term, self.state.index) = (entry.id.term.0, found.0);
        // Log time never decreases; the maximum makes a leader that broke this rule harmless.
        self.state.time = self.state.time.max(record::log_time(entry.time));
        self.sweep()?;
        match &entry.payload {
            Payload::Empty => Ok(Bytes::new()),
            Payload::Membership(membership) => {
                self.membership = Some(membership.clone());
                Ok(Bytes::new())
            }
            Payload::Command(bytes) => {
                let request = Request::decode(bytes.clone());
                self.request(request.map_err(|source| KvError::Entry { index: found, source })?)
            }
        }
    }

    /// Log time of the entry at hand.
    pub(crate) fn now(&self) -> u64 {
        self.state.time
    }

    /// The reply of the entry at hand.
    pub(crate) fn reply(&self, result: Outcome) -> Bytes {
        let (index, revision) = (Index(self.state.index), Revision(self.state.revision));
        Reply { index, revision, repeated: false, result }.encode()
    }

    /// Carries a command out. Whatever can be refused is refused before anything is changed.
    pub(crate) fn execute(&mut self, command: Command) -> Result<Outcome, KvError> {
        self.revised = false;
        Ok(match command {
            Command::Put(pairs) => {
                let keys = pairs.len() as u64;
                let mut created = 0;
                for (key, value) in pairs {
                    created += u64::from(self.put_key(key, &value)?);
                }
                Ok(Done::Put { keys, created })
            }
            Command::Delete(keys) => {
                let mut deleted = 0;
                for key in keys {
                    deleted += u64::from(self.delete_key(key)?);
                }
                Ok(Done::Deleted { keys: deleted })
            }
            Command::Txn { conditions, then } => self.transact(&conditions, then)?,
            Command::Add { key, delta } => self.add(key, delta)?,
            #[cfg(feature = "next-version")]
            Command::Rename { from, to } => {
                let found = self.key(&from)?;
                if let Some(found) = &found {
                    self.put_key(to, &found.value)?;
                    self.delete_key(from)?;
                }
                Ok(Done::Deleted { keys: u64::from(found.is_some()) })
            }
            Command::SessionOpen { ttl } => self.session_open(record::log_time(ttl))?,
            Command::SessionKeepAlive(session) => self.session_keep_alive(session)?,
            Command::SessionClose(session) => self.session_close(session)?,
        })
    }

    fn transact(&mut self, conditions: &[Condition], then: Vec<Operation>) -> Result<Outcome, KvError> {
        for (place, Condition { key, expect }) in conditions.iter().enumerate() {
            if !holds(expect, self.key(key)?.as_ref()) {
                return Ok(Ok(Done::NotHeld { condition: place as u64 }));
            }
        }
        let (mut put, mut deleted) = (0, 0);
        for operation in then {
            match operation {
                Operation::Put { key, value } => {
                    self.put_key(key, &value)?;
                    put += 1;
                }
                Operation::Delete { key } => deleted += u64::from(self.delete_key(key)?),
            }
        }
        Ok(Ok(Done::Committed { put, deleted }))
    }

    fn add(&mut self, key: Bytes, delta: i64) -> Result<Outcome, KvError> {
        let before = match self.key(&key)? {
            Some(KeyValue { value, .. }) => match parse(&value) {
                Some(number) => number,
                None => return Ok(Err(Refusal::NotANumber)),
            },
            None => 0,
        };
        let Some(value) = before.checked_add(delta) else { return Ok(Err(Refusal::OutOfRange)) };
        self.put_key(key, value.to_string().as_bytes())?;
        Ok(Ok(Done::Added { value }))
    }

    /// Sets a key; whether it was absent.
    fn put_key(&mut self, key: Bytes, value: &[u8]) -> Result<bool, KvError> {
        let before = self.key(&key)?;
        let revision = self.revise();
        let (created, version) = before.as_ref().map_or((revision, 1), |kv| (kv.created, kv.version + 1));
        self.put(self.maps.keys, key, encode_value(created, revision, version, value));
        self.state.keys += u64::from(before.is_none());
        Ok(before.is_none())
    }

    /// Removes a key; whether it was there.
    fn delete_key(&mut self, key: Bytes) -> Result<bool, KvError> {
        let there = self.get(self.maps.keys, &key)?.is_some();
        if there {
            self.revise();
            self.delete(self.maps.keys, key);
            self.state.keys -= 1;
        }
        Ok(there)
    }

    /// The revision of the command at hand, which it takes with its first change.
    fn revise(&mut self) -> Revision {
        if !self.revised {
            self.revised = true;
            self.state.revision += 1;
        }
        Revision(self.state.revision)
    }

    /// A key as the command at hand sees it.
    fn key(&self, key: &Bytes) -> Result<Option<KeyValue>, KvError> {
        self.get(self.maps.keys, key)?.map(|stored| decode_value(key.clone(), &stored)).transpose()
    }

    /// What the command at hand sees under a key of any map.
    pub(crate) fn get(&self, map: Map, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        match self.batch.get(map, key) {
            Some(changed) => Ok(changed.cloned()),
            None => Ok(self.view.get(map, key)?),
        }
    }

    pub(crate) fn put(&mut self, map: Map, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.batch.put(map, key, value);
    }

    pub(crate) fn delete(&mut self, map: Map, key: impl Into<Bytes>) {
        self.batch.delete(map, key);
    }

    /// The first key from `from` on that the command at hand sees in a map, and its value.
    pub(crate) fn first(&self, map: Map, from: &[u8]) -> Result<Option<(Bytes, Bytes)>, KvError> {
        let changed = self.batch.range(map, KeyRange::from(from)).find_map(|(key, value)| Some((key, value?)));
        for stored in self.view.range(map, KeyRange::from(from))? {
            let (key, value) = stored?;
            if changed.is_some_and(|(first, _)| *first <= key) {
                break;
            }
            if self.batch.get(map, &key).is_none() {
                return Ok(Some((key, value)));
            }
        }
        Ok(changed.map(|(key, value)| (key.clone(), value.clone())))
    }
}

/// Whether what a transaction expects of a key is so.
fn holds(expect: &Expect, found: Option<&KeyValue>) -> bool {
    match (expect, found) {
        (Expect::Absent, found) => found.is_none(),
        (Expect::Present, found) => found.is_some(),
        (_, None) => false,
        (Expect::Created(revision), Some(kv)) => kv.created == *revision,
        (Expect::Modified(revision), Some(kv)) => kv.modified == *revision,
        (Expect::Version(version), Some(kv)) => kv.version == *version,
        (Expect::Value(value), Some(kv)) => kv.value == *value,
    }
}

/// A decimal integer, as [`Command::Add`] writes it.
fn parse(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

impl From<SessionId> for Bytes {
    fn from(session: SessionId) -> Self {
        // Big-endian, so that sessions lie in the order in which they were opened.
        Self::copy_from_slice(&session.0.to_be_bytes())
    }
}
