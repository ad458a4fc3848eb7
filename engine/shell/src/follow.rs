//! Following traced requests: which of their steps this node takes, and when.
//!
//! Nothing but the shell knows of it. It sees at which place of the log a traced command lies, and which effects and
//! inputs concern that place. A follower learns of the place by an extra field of the frame that brings the entry. While
//! nothing is traced, all of it costs one look at a counter a turn. What is followed is bounded in number and age, and
//! forgotten when it is not settled in time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use hezong_base::{GroupId, Index, LogId, NodeId};
use hezong_codec::TracedEntry;
use hezong_node::BatchId;
use hezong_raft::{Body, Entry, Message, Write};

use crate::trace::{Attribute, Span, TraceContext, Tracer, chance};

/// How many entries are followed at once; others are not.
const ENTRIES_MAX: usize = 1_024;
/// For how long: what has not come by then is not waited for.
const AGE_MAX: Duration = Duration::from_secs(10);

/// A request of a client that is traced, on its way to the log.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) context: TraceContext,
    pub(crate) at: SystemTime,
}

/// How long the disk took over a batch, as `slow.rs` is told too.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DiskParts {
    pub(crate) waited: Duration,
    pub(crate) wrote: Duration,
    pub(crate) synced: Duration,
}

/// The entries that are followed.
#[derive(Debug, Default)]
pub(crate) struct Tracing {
    tracer: Option<Arc<Tracer>>,
    /// How many there are, so that a turn without any knows at once.
    count: AtomicUsize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    entries: BTreeMap<(GroupId, Index), Followed>,
    disk: DiskParts,
}

/// One entry.
#[derive(Debug)]
struct Followed {
    /// What its spans here are children of. On a follower: the span that ends with its acknowledgement.
    context: TraceContext,
    since: SystemTime,
    role: Role,
    /// In which batch it went to the disk, and when; taken once it is stored.
    disk: Option<(BatchId, SystemTime)>,
}

#[derive(Debug)]
enum Role {
    Leads {
        /// Handed to these, by spans that end with their acknowledgement.
        sent: BTreeMap<NodeId, ([u8; 8], SystemTime)>,
        /// When it was handed to the state machine.
        applying: Option<SystemTime>,
        applied: bool,
    },
    Follows {
        leader: NodeId,
        /// The leader's span that brought it.
        parent: [u8; 8],
    },
}

impl Tracing {
    pub(crate) fn new(tracer: Option<Arc<Tracer>>) -> Self {
        Self { tracer, ..Self::default() }
    }

    pub(crate) fn tracer(&self) -> Option<&Arc<Tracer>> {
        self.tracer.as_ref()
    }

    /// Whether anything is followed.
    pub(crate) fn is_active(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// A traced command became an entry of the log of a leader.
    pub(crate) fn accepted(&self, group: GroupId, id: LogId, asked: &Asked) {
        let now = SystemTime::now();
        self.tell(step("hezong.queue", &asked.context, asked.at, now));
        let role = Role::Leads { sent: BTreeMap::new(), applying: None, applied: false };
        self.follow((group, id.index), Followed { context: asked.context, since: now, role, disk: None });
    }

    /// A read waited until a majority had confirmed the leader, and what it may see was applied.
    pub(crate) fn round(&self, context: &TraceContext, began: SystemTime, failed: bool) {
        self.tell(Span { failed, ..step("hezong.round", context, began, SystemTime::now()) });
    }

    /// A peer sends entries that are traced.
    pub(crate) fn received(&self, leader: NodeId, traced: &[TracedEntry]) {
        if self.tracer.is_none() {
            return;
        }
        for entry in traced {
            let role = Role::Follows { leader, parent: entry.context.span };
            let context = TraceContext { span: chance(), ..entry.context };
            let followed = Followed { context, since: SystemTime::now(), role, disk: None };
            self.follow((entry.group, entry.index), followed);
        }
    }

    /// Writes go to the disk.
    pub(crate) fn storing(&self, batch: BatchId, writes: &[(GroupId, Write)]) {
        let mut table = self.table();
        for (group, write) in writes {
            let Write::Append(entries) = write else { continue };
            for (_, followed) in table.among(*group, entries) {
                followed.disk.get_or_insert((batch, SystemTime::now()));
            }
        }
    }

    /// The disk was at work.
    pub(crate) fn disk(&self, parts: DiskParts) {
        self.table().disk = parts;
    }

    /// A batch, and all before it, are on the disk.
    pub(crate) fn stored(&self, batch: BatchId) {
        let mut table = self.table();
        let parts = table.disk;
        for followed in table.entries.values_mut() {
            let Some((_, since)) = followed.disk.filter(|(other, _)| *other <= batch) else { continue };
            followed.disk = None;
            let micros = |span: Duration| Attribute::Number(u64::try_from(span.as_micros()).unwrap_or(u64::MAX));
            let attributes = vec![
                ("hezong.disk.waited_us", micros(parts.waited)),
                ("hezong.disk.wrote_us", micros(parts.wrote)),
                ("hezong.disk.synced_us", micros(parts.synced)),
            ];
            let disk = step("hezong.disk", &followed.context, since, SystemTime::now());
            self.tell(Span { attributes, ..disk });
        }
    }

    /// Messages leave for a peer: which of their entries are traced. On a follower they may be what the leader waits for.
    pub(crate) fn sending(&self, to: NodeId, messages: &[(GroupId, Message)]) -> Vec<TracedEntry> {
        let now = SystemTime::now();
        let (mut table, mut traced) = (self.table(), Vec::new());
        for (group, message) in messages {
            match &message.body {
                Body::Append { entries, .. } => {
                    for (index, followed) in table.among(*group, entries) {
                        let Role::Leads { sent, .. } = &mut followed.role else { continue };
                        let (span, _) = *sent.entry(to).or_insert_with(|| (chance(), now));
                        let context = TraceContext { span, ..followed.context };
                        traced.push(TracedEntry { group: *group, index, context });
                    }
                }
                Body::Appended { matched: Some(matched) } => {
                    let told =
                        |followed: &Followed| matches!(followed.role, Role::Follows { leader, .. } if leader == to);
                    let done: Vec<_> = table
                        .entries
                        .range((*group, Index(0))..=(*group, *matched))
                        .filter(|(_, it)| told(it))
                        .map(|(key, _)| *key)
                        .collect();
                    for key in done {
                        let Some(followed) = table.entries.remove(&key) else { continue };
                        let Role::Follows { leader, parent } = followed.role else { continue };
                        let follow = step("hezong.follow", &followed.context, followed.since, now);
                        let (context, attributes) = (followed.context, vec![peer(leader)]);
                        self.tell(Span { context, parent: Some(parent), serves: true, attributes, ..follow });
                    }
                }
                _ => {}
            }
        }
        self.count.store(table.entries.len(), Ordering::Relaxed);
        traced
    }

    /// Messages came from a peer: it may have acknowledged.
    pub(crate) fn heard(&self, from: NodeId, messages: &[(GroupId, Message)]) {
        let now = SystemTime::now();
        let mut table = self.table();
        for (group, message) in messages {
            let Body::Appended { matched: Some(matched) } = &message.body else { continue };
            for (_, followed) in table.entries.range_mut((*group, Index(0))..=(*group, *matched)) {
                let Role::Leads { sent, .. } = &mut followed.role else { continue };
                let Some((span, since)) = sent.remove(&from) else { continue };
                let context = TraceContext { span, ..followed.context };
                let replicate = step("hezong.replicate", &followed.context, since, now);
                self.tell(Span { context, attributes: vec![peer(from)], ..replicate });
            }
        }
        self.sweep(table, now);
    }

    /// Entries that are committed go to the state machine.
    pub(crate) fn applying(&self, group: GroupId, entries: &[Entry]) {
        let now = SystemTime::now();
        for (_, followed) in self.table().among(group, entries) {
            let Role::Leads { applying, .. } = &mut followed.role else { continue };
            if applying.replace(now).is_none() {
                self.tell(step("hezong.commit", &followed.context, followed.since, now));
            }
        }
    }

    /// They were applied.
    pub(crate) fn applied(&self, group: GroupId, through: Index) {
        let now = SystemTime::now();
        let mut table = self.table();
        for (_, followed) in table.entries.range_mut((group, Index(0))..=(group, through)) {
            let Role::Leads { applying: Some(since), applied, .. } = &mut followed.role else { continue };
            if !std::mem::replace(applied, true) {
                self.tell(step("hezong.apply", &followed.context, *since, now));
            }
        }
        self.sweep(table, now);
    }

    /// Lets go of what is settled, and of what is too old to be.
    fn sweep(&self, mut table: MutexGuard<'_, Table>, now: SystemTime) {
        let is_open = |followed: &Followed| match &followed.role {
            Role::Leads { sent, applied, .. } => !*applied || !sent.is_empty(),
            Role::Follows { .. } => true,
        };
        let is_young = |followed: &Followed| now.duration_since(followed.since).is_ok_and(|age| age < AGE_MAX);
        table.entries.retain(|_, followed| is_open(followed) && is_young(followed));
        self.count.store(table.entries.len(), Ordering::Relaxed);
    }

    fn follow(&self, key: (GroupId, Index), followed: Followed) {
        let mut table = self.table();
        if table.entries.len() < ENTRIES_MAX {
            table.entries.insert(key, followed);
        }
        self.count.store(table.entries.len(), Ordering::Relaxed);
    }

    fn tell(&self, span: Span) {
        if let Some(tracer) = &self.tracer {
            tracer.tell(span);
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Those of a run of entries that are followed.
    fn among<'a>(
        &'a mut self,
        group: GroupId,
        entries: &[Entry],
    ) -> impl Iterator<Item = (Index, &'a mut Followed)> + use<'a> {
        let range = match (entries.first(), entries.last()) {
            (Some(first), Some(last)) => (group, first.id.index)..(group, Index(last.id.index.0 + 1)),
            _ => (group, Index(0))..(group, Index(0)),
        };
        self.entries.range_mut(range).map(|((_, index), followed)| (*index, followed))
    }
}

/// A step that something of this trace caused, under an id of its own.
fn step(name: &'static str, of: &TraceContext, start: SystemTime, end: SystemTime) -> Span {
    let context = TraceContext { span: chance(), ..*of };
    Span { context, parent: Some(of.span), name, serves: false, start, end, attributes: Vec::new(), failed: false }
}

fn peer(id: NodeId) -> (&'static str, Attribute) {
    ("hezong.peer", Attribute::Number(id.0))
}
