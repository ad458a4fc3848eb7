//! Following traced requests: which of their steps this node takes, and when.
//!
//! Nothing but the shell knows of it. It sees at which place of the log a traced command lies, and which effects and
//! inputs concern that place. A follower learns of the place by an extra field of the frame that brings the entry. Only
//! the leader that made an entry has it traced, so that index and term tell it from every other, and an acknowledgement
//! concerns it if it is of that term. While nothing is traced, all of it costs one look at a counter a turn. What is
//! followed is bounded in number and age, and forgotten when it is not settled in time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use hezong_base::{GroupId, Index, LogId, NodeId};
use hezong_codec::TracedEntry;
use hezong_node::BatchId;
use hezong_raft::{Body, Entry, Message, Write};

use crate::trace::{Attribute, Span, TraceContext, Tracer, draw};

/// How many entries are followed at once; others are not.
const ENTRIES_MAX: usize = 1_024;
/// For how long: what has not come by then is not waited for.
const AGE_MAX: Duration = Duration::from_secs(10);
/// How often the old ones are looked for.
const SWEEP: Duration = Duration::from_secs(1);

/// A request of a client that is traced, on its way to the log.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) context: TraceContext,
    pub(crate) at: SystemTime,
}

/// How long the disk took over what it wrote and synced at once, as `slow.rs` is told too.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DiskParts {
    pub(crate) waited: Duration,
    pub(crate) wrote: Duration,
    pub(crate) synced: Duration,
}

/// The entries that are followed.
#[derive(Debug, Default)]
pub(crate) struct Traces {
    tracer: Option<Arc<Tracer>>,
    /// How much there is, so that a turn without any knows at once.
    count: AtomicUsize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    entries: BTreeMap<(GroupId, Index), Followed>,
    /// Entries on their way to the disk, in its order: with which batch, on behalf of what, and since when.
    storing: VecDeque<(BatchId, TraceContext, SystemTime)>,
    /// When the old ones were looked for last.
    swept: Option<Instant>,
}

/// One entry.
#[derive(Debug)]
struct Followed {
    id: LogId,
    /// What its spans here are children of. On a follower: the span that ends with its acknowledgement.
    context: TraceContext,
    since: SystemTime,
    /// When it is given up.
    until: Instant,
    role: Role,
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

impl Traces {
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
        self.tell(step("hezong.queue", &asked.context, asked.at, SystemTime::now()));
        let role = Role::Leads { sent: BTreeMap::new(), applying: None, applied: false };
        self.follow(group, id, asked.context, role);
    }

    /// A peer sends entries that are traced.
    pub(crate) fn received(&self, leader: NodeId, traced: &[TracedEntry]) {
        if self.tracer.is_none() {
            return;
        }
        for entry in traced {
            let role = Role::Follows { leader, parent: entry.context.span };
            self.follow(entry.group, entry.id, TraceContext { span: draw(), ..entry.context }, role);
        }
    }

    /// From here on an entry is followed, if there is room. One that comes again is followed already; a later one in its
    /// place shows that it was lost.
    fn follow(&self, group: GroupId, id: LogId, context: TraceContext, role: Role) {
        let (now, mut table) = (Instant::now(), self.table());
        self.sweep(&mut table, now);
        let key = (group, id.index);
        if table.entries.get(&key).is_some_and(|followed| followed.id.term >= id.term) {
            return;
        }
        if table.entries.len() >= ENTRIES_MAX {
            self.tracer.iter().for_each(|tracer| tracer.add_dropped(1));
            return;
        }
        let followed = Followed { id, context, since: SystemTime::now(), until: now + AGE_MAX, role };
        table.entries.insert(key, followed);
        self.note(&table);
    }

    /// Writes go to the disk.
    pub(crate) fn storing(&self, batch: BatchId, writes: &[(GroupId, Write)]) {
        let (now, mut table) = (SystemTime::now(), self.table());
        let Table { entries: followed, storing, .. } = &mut *table;
        for (group, write) in writes {
            let Write::Append(entries) = write else { continue };
            storing.extend(among(followed, *group, entries).map(|it| (batch, it.context, now)));
        }
        self.note(&table);
    }

    /// A batch, and all before it, are on the disk, which took that long.
    pub(crate) fn stored(&self, batch: BatchId, parts: DiskParts) {
        let (now, mut table) = (SystemTime::now(), self.table());
        let micros = |span: Duration| Attribute::Number(u64::try_from(span.as_micros()).unwrap_or(u64::MAX));
        while let Some((_, context, since)) = table.storing.pop_front_if(|(other, ..)| *other <= batch) {
            let attributes = vec![
                ("hezong.disk.waited_us", micros(parts.waited)),
                ("hezong.disk.wrote_us", micros(parts.wrote)),
                ("hezong.disk.synced_us", micros(parts.synced)),
            ];
            self.tell(Span { attributes, ..step("hezong.disk", &context, since, now) });
        }
        self.note(&table);
    }

    /// Messages leave for a peer: which of their entries are traced. On a follower they may be what the leader waits for.
    pub(crate) fn sending(&self, to: NodeId, messages: &[(GroupId, Message)]) -> Vec<TracedEntry> {
        let now = SystemTime::now();
        let (mut table, mut traced) = (self.table(), Vec::new());
        for (group, message) in messages {
            match &message.body {
                Body::Append { entries, .. } => {
                    for followed in among(&mut table.entries, *group, entries) {
                        let Role::Leads { sent, .. } = &mut followed.role else { continue };
                        let (span, _) = *sent.entry(to).or_insert_with(|| (draw(), now));
                        let context = TraceContext { span, ..followed.context };
                        traced.push(TracedEntry { group: *group, id: followed.id, context });
                    }
                }
                Body::Appended { matched: Some(matched) } => {
                    let range = (*group, Index(0))..=(*group, *matched);
                    let acknowledged = table.entries.extract_if(range, |_, followed| {
                        let leads = matches!(followed.role, Role::Follows { leader, .. } if leader == to);
                        leads && followed.id.term == message.term
                    });
                    for (_, followed) in acknowledged {
                        let Role::Follows { leader, parent } = followed.role else { continue };
                        let follow = step("hezong.follow", &followed.context, followed.since, now);
                        let (context, attributes) = (followed.context, vec![peer(leader)]);
                        self.tell(Span { context, parent: Some(parent), serves: true, attributes, ..follow });
                    }
                }
                _ => {}
            }
        }
        self.note(&table);
        traced
    }

    /// Messages came from a peer: it may have acknowledged.
    pub(crate) fn heard(&self, from: NodeId, messages: &[(GroupId, Message)]) {
        let (now, mut table) = (SystemTime::now(), self.table());
        for (group, message) in messages {
            let Body::Appended { matched: Some(matched) } = &message.body else { continue };
            let range = (*group, Index(0))..=(*group, *matched);
            let settled = table.entries.extract_if(range, |_, followed| {
                let Role::Leads { sent, applied, .. } = &mut followed.role else { return false };
                if followed.id.term != message.term {
                    return false;
                }
                if let Some((span, since)) = sent.remove(&from) {
                    let context = TraceContext { span, ..followed.context };
                    let replicate = step("hezong.replicate", &followed.context, since, now);
                    self.tell(Span { context, attributes: vec![peer(from)], ..replicate });
                }
                *applied && sent.is_empty()
            });
            settled.for_each(drop);
        }
        self.sweep(&mut table, Instant::now());
        self.note(&table);
    }

    /// Entries that are committed go to the state machine.
    pub(crate) fn applying(&self, group: GroupId, entries: &[Entry]) {
        let (now, mut table) = (SystemTime::now(), self.table());
        for followed in among(&mut table.entries, group, entries) {
            let Role::Leads { applying, .. } = &mut followed.role else { continue };
            if applying.replace(now).is_none() {
                self.tell(step("hezong.commit", &followed.context, followed.since, now));
            }
        }
    }

    /// They were applied.
    pub(crate) fn applied(&self, group: GroupId, through: Index) {
        let (now, mut table) = (SystemTime::now(), self.table());
        let settled = table.entries.extract_if((group, Index(0))..=(group, through), |_, followed| {
            let Role::Leads { sent, applying: Some(since), applied } = &mut followed.role else { return false };
            if !std::mem::replace(applied, true) {
                self.tell(step("hezong.apply", &followed.context, *since, now));
            }
            sent.is_empty()
        });
        settled.for_each(drop);
        self.note(&table);
    }

    /// Lets go of what is too old, now and then.
    fn sweep(&self, table: &mut Table, now: Instant) {
        if table.swept.is_none_or(|swept| now.saturating_duration_since(swept) > SWEEP) {
            table.swept = Some(now);
            table.entries.retain(|_, followed| now < followed.until);
        }
    }

    fn note(&self, table: &Table) {
        self.count.store(table.entries.len() + table.storing.len(), Ordering::Relaxed);
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

/// Those of a run of entries that are followed.
fn among<'a>(
    followed: &'a mut BTreeMap<(GroupId, Index), Followed>,
    group: GroupId,
    entries: &'a [Entry],
) -> impl Iterator<Item = &'a mut Followed> {
    let first = entries.first().map_or(Index(0), |entry| entry.id.index);
    let range = (group, first)..(group, Index(first.0 + entries.len() as u64));
    let entry = move |index: Index| usize::try_from(index.0 - first.0).ok().and_then(|at| entries.get(at));
    let same = move |index: Index, id: LogId| entry(index).is_some_and(|entry| entry.id == id);
    followed.range_mut(range).filter_map(move |((_, index), it)| same(*index, it.id).then_some(it))
}

/// A read at `consistent` that is traced: until a majority has confirmed the leader, and what it may see was applied.
pub(crate) struct Round<'a> {
    traces: &'a Traces,
    context: TraceContext,
    began: SystemTime,
    failed: bool,
}

impl<'a> Round<'a> {
    pub(crate) fn new(traces: &'a Traces, context: TraceContext) -> Self {
        Self { traces, context, began: SystemTime::now(), failed: true }
    }

    /// It ended well. Otherwise it failed, or nobody wants to know any more.
    pub(crate) fn succeeded(mut self) {
        self.failed = false;
    }
}

impl Drop for Round<'_> {
    fn drop(&mut self) {
        let round = step("hezong.round", &self.context, self.began, SystemTime::now());
        self.traces.tell(Span { failed: self.failed, ..round });
    }
}

/// A step that something of this trace caused, under an id of its own.
fn step(name: &'static str, of: &TraceContext, start: SystemTime, end: SystemTime) -> Span {
    let context = TraceContext { span: draw(), ..*of };
    Span { context, parent: Some(of.span), name, serves: false, start, end, attributes: Vec::new(), failed: false }
}

fn peer(id: NodeId) -> (&'static str, Attribute) {
    ("hezong.peer", Attribute::Number(id.0))
}

#[cfg(test)]
mod tests;
