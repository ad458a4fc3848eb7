//! Opening a damaged log: what is certain all the same, what is dropped, and what the node then owes.
//!
//! A *gap* is a stretch of a segment that was synced once and is not what it was, or a segment whose header is not, or whose
//! file is gone, with all before it: its header alone told how far they count. The newest without its header can be read all the
//! same, for each batch says where it belongs, and only what is before it is a gap. Which records of which groups lay in it
//! nobody knows, so every group is in doubt, and believed again only where a later record says it all:
//! - Term and vote must be stated behind the last gap, by a State or an Opening. If they are not, the log is refused: a
//!   node that may have voted must not vote again.
//! - Entries that lie behind the last gap are what they should be, since every change after them is known. Those before the
//!   first gap may have been truncated and replaced in it; they are a first part of the log as it was then.
//! - Whatever the state machine has applied is committed, and so are the members as of it: the log can stand on that. Where
//!   it was never told who they are, they are those that the group began with, as the base says. An installed snapshot may
//!   be ahead of a log that does not lead there; such a log is void.
//!
//! So a group stands on what its state machine has applied, or on its base if that is later. If all entries behind that
//! are certain, nothing is missing. Else the longer of two first parts stays: of the log as it is, or as it was before the
//! first gap. Never a mixture, which might be a log that nobody ever had. The state then notes what the log ended with, or
//! could have at most; the protocol (`hezong_raft`'s `damage.rs`) does the rest.
//!
//! Behind the gap that a segment left, the next one's opening states every group. Where that is damaged as well, nothing
//! bounds what a group has lost: unless its end is stated later, the log is refused.
//!
//! All that stays moves into a new segment, written and synced like any other, before anything old is touched. Segments
//! with a gap are kept under another name: they may hold the only copy of something.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use hezong_base::{GroupId, Index};
use hezong_codec::log::Witness;

use crate::error::{OpenError, io_failure};
use crate::folder::Folder;
use crate::index::{Ends, Group, LogIndex};
use crate::opening::{Begin, Carry};
use crate::reader::{Reader, Shared};
use crate::record::{ChangeView, View};
use crate::recovery::{Opened, Opening, recovered, remove_leftovers};
use crate::segment;
use crate::stretch::Place;
use crate::writer::Options;

/// No entry takes fewer bytes on disk: how many a gap may have held at most.
const ENTRY_BYTES_MIN: u64 = 8;
/// What a new segment can take in; offsets in a segment have 32 bits.
const LIVE_BYTES_MAX: u64 = 3 << 30;

/// What opening a damaged log found and made of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Where the log was damaged.
    pub gaps: Vec<Gap>,
    /// What became of each group.
    pub groups: Vec<RepairedGroup>,
}

/// Bytes that were synced once and are not what they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The file, which is kept under this name with `.damaged` behind it.
    pub path: String,
    /// Of the segment.
    pub(crate) segment: u64,
    /// Where they begin; 0 when it is the whole segment, and all before it.
    pub offset: u64,
    /// How many they are, of this segment.
    pub bytes: u64,
    /// Whether there is no such file any more.
    pub(crate) is_missing: bool,
}

impl Gap {
    /// Whether the whole segment is lost, and with it all before it.
    fn is_whole(&self) -> bool {
        self.offset == 0
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, offset, bytes, .. } = self;
        if self.is_missing {
            write!(
                f,
                "{path} is missing, and the files before it cannot be read without it; they are kept with .damaged behind their names"
            )
        } else if self.is_whole() {
            write!(
                f,
                "the header of {path} is damaged, and the files before it cannot be read without it; they are kept with .damaged behind their names"
            )
        } else {
            write!(f, "{bytes} bytes of {path} are damaged at offset {offset}; it is kept as {path}.damaged")
        }
    }
}

/// What became of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepairedGroup {
    /// Which.
    pub group: GroupId,
    /// The last index that its log stands on.
    pub base: Option<Index>,
    /// The last entry kept, or the same.
    pub end: Option<Index>,
    /// Up to where the log is to be filled from peers: at most so far it reached once. `None` when nothing is missing.
    pub owed: Option<Index>,
}

/// What is known of the groups while a damaged log is read.
#[derive(Debug, Default)]
pub(crate) struct Doubts {
    pub(crate) gaps: Vec<Gap>,
    groups: BTreeMap<GroupId, Doubt>,
}

/// What is known of one group behind the last gap.
#[derive(Debug, Default)]
struct Doubt {
    /// Whether term and vote were stated.
    stated: bool,
    /// Whether everything was, by an opening.
    opened: bool,
    /// Whether the end of the log was.
    ended: bool,
    /// The end of the log, or how far it may reach.
    end_max: u64,
    /// What the log stood on before the first gap.
    base_before: Option<Option<Index>>,
}

impl Doubts {
    /// Nothing is known of what lay in `gap`.
    pub(crate) fn on_gap(&mut self, gap: Gap, index: &LogIndex) {
        let entries_max = gap.bytes / ENTRY_BYTES_MIN;
        for (id, group) in &index.groups {
            let before = || Doubt { base_before: group.base.as_ref().map(|_| group.ends.base), ..Doubt::default() };
            let doubt = self.groups.entry(*id).or_insert_with(before);
            (doubt.stated, doubt.opened, doubt.ended) = (false, false, false);
            doubt.end_max = doubt.end_max.max(group.ends.end.map_or(0, |end| end.0)) + entries_max;
        }
        self.gaps.push(gap);
    }

    /// A record behind a gap.
    pub(crate) fn on_record(&mut self, view: &View<'_>) {
        let end_max = self.entries_max();
        let unseen = || Doubt { end_max, ..Doubt::default() };
        let doubt = self.groups.entry(view.group).or_insert_with(unseen);
        let end = match view.change {
            ChangeView::State(_) => return doubt.stated = true,
            ChangeView::Truncate { from } => return doubt.end_max = doubt.end_max.min(from.0 - 1),
            ChangeView::Compact { .. } | ChangeView::Carried { .. } => return,
            ChangeView::Append { last, .. } => Some(last),
            ChangeView::Reset { base: (last, _) } => last,
            ChangeView::Opening { end, .. } => {
                (doubt.stated, doubt.opened) = (true, true);
                end
            }
        };
        doubt.ended = true;
        doubt.end_max = end.map_or(0, |end| end.0);
    }

    /// How many entries the gaps may have held.
    fn entries_max(&self) -> u64 {
        self.gaps.iter().map(|gap| gap.bytes / ENTRY_BYTES_MIN).sum()
    }

    /// Whether a record lies behind all gaps.
    fn is_certain(&self, place: Place) -> bool {
        self.gaps.last().is_none_or(|gap| (place.segment, u64::from(place.offset)) > (gap.segment, gap.offset))
    }

    /// Whether a record lies before all gaps.
    fn is_before(&self, place: Place) -> bool {
        self.gaps.first().is_some_and(|gap| (place.segment, u64::from(place.offset)) < (gap.segment, gap.offset))
    }
}

/// What is made of one group.
struct Verdict {
    base: Option<(Option<Index>, Bytes)>,
    state: Option<Bytes>,
    end: Option<Index>,
    owed: Option<Index>,
}

/// Makes of a log that was read across its gaps one without any.
pub(crate) fn repair(
    folder: &dyn Folder,
    options: &Options,
    witness: &Witness,
    index: LogIndex,
    doubts: Doubts,
    report: Opened,
    present: &[u64],
) -> Result<Opening, OpenError> {
    let shared = Arc::new(Shared::new(index));
    let court = Court { shared: &shared, witness, doubts: &doubts };
    let ids: Vec<GroupId> = shared.index().groups.keys().copied().collect();
    if let Some(absent) = witness.groups().find(|group| !ids.contains(group)) {
        return Err(court.refuse(format!("what the log held of {absent} may have been there")));
    }
    let verdicts = ids.iter().map(|id| Ok((*id, court.judge(*id)?))).collect::<Result<Vec<_>, OpenError>>()?;

    let mut repaired = Repaired { gaps: doubts.gaps.clone(), groups: Vec::new() };
    let mut carry: Carry = Vec::new();
    for (id, Verdict { base, state, end, owed }) in verdicts {
        let (base, blob) = base.map_or((None, None), |(last, blob)| (last, Some(blob)));
        repaired.groups.push(RepairedGroup { group: id, base, end, owed });
        let mut index = shared.index_mut();
        let group = index.groups.get_mut(&id).expect("it was judged a line above");
        group.replace(state, blob, Ends { base, end });
        carry.extend(group.live().map(|(first, last)| (id, first, last)));
    }
    let live: u64 = shared.index().live_bytes().values().sum();
    if live > LIVE_BYTES_MAX {
        return Err(court.refuse(format!("the {live} bytes that are left are too many to be moved")));
    }
    let number = present.iter().max().map_or(1, |newest| newest + 1);
    let mut chain = VecDeque::new();
    let begin = Begin { folder, shared: &shared, identity: &options.identity, bytes: options.segment_bytes, number };
    let file = begin.create()?;
    let kept = keep(folder, &doubts.gaps, present)?;
    let begun = begin.run(file, &mut chain, &carry)?;
    remove_leftovers(folder, &shared, &chain, present, &kept)?;
    let recovered = recovered(&shared.index().groups);
    let report = Opened { repaired: Some(repaired), ..report };
    Ok(Opening { shared, chain, begun, recovered, report })
}

/// Takes the names under which damaged segments are kept. From the new segment on the old ones are leftovers, and whoever
/// finds such a name, also after a crash, moves its segment there instead of removing it.
fn keep(folder: &dyn Folder, gaps: &[Gap], present: &[u64]) -> Result<BTreeSet<u64>, OpenError> {
    let mut segments: BTreeSet<u64> = gaps.iter().map(|gap| gap.segment).collect();
    let whole = gaps.iter().find(|gap| gap.is_whole());
    segments.extend(present.iter().filter(|number| whole.is_some_and(|gap| **number < gap.segment)));
    segments.retain(|number| present.contains(number));
    for number in &segments {
        let name = segment::damaged_name(*number);
        match folder.create(&name, 0) {
            // A crash has ended a repair before.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => drop(result.map_err(io_failure("create", folder.path(&name), 0))?),
        }
    }
    folder.sync().map_err(io_failure("sync", folder.path(""), 0))?;
    Ok(segments)
}

/// Who decides what is believed.
struct Court<'a> {
    shared: &'a Arc<Shared>,
    witness: &'a Witness,
    doubts: &'a Doubts,
}

impl Court<'_> {
    fn judge(&self, id: GroupId) -> Result<Verdict, OpenError> {
        let nothing = Doubt::default();
        let doubt = self.doubts.groups.get(&id).unwrap_or(&nothing);
        if !doubt.stated {
            return Err(self.refuse(format!("the latest term and vote of {id} may have been there")));
        }
        let (state, base, end) = {
            let index = self.shared.index();
            let group = &index.groups[&id];
            (group.state.clone(), group.base.clone().map(|blob| (group.ends.base, blob)), group.ends.end)
        };
        let in_log = base.as_ref().and_then(|(last, _)| *last);
        let unreadable = |error| self.refuse(format!("the state of {id}: {error}"));
        let logged = base.as_ref().map(|(_, blob)| blob.clone());
        let applied = self.witness.base(id, logged).map_err(unreadable)?.filter(|(last, _)| Some(*last) > in_log);
        // An opening says as well that there is none.
        let is_stated = base.is_some() || doubt.opened;
        let base = match &applied {
            Some((last, blob)) if is_stated || self.witness.tells_members(id) => Some((Some(*last), blob.clone())),
            None if is_stated => base,
            Some(_) | None => return Err(self.refuse(format!("the first members of {id} may have been there"))),
        };
        let from = base.as_ref().and_then(|(last, _)| *last);
        if let Some((last, _)) = &applied
            && self.is_another(id, *last)?
        {
            // What the log holds was never committed, nor can it be, and so it is as if it were reset already.
            if self.witness.installed.contains(&id) {
                return Ok(Verdict { base, state, end: from, owed: None });
            }
            return Err(self.refuse(format!("and the state machine of {id} has applied another entry {last}")));
        }
        if !doubt.ended && self.doubts.gaps.iter().any(Gap::is_whole) {
            return Err(self.refuse(format!("where the log of {id} ends may have been there")));
        }
        let certain = self.reach(id, from, |place| self.doubts.is_certain(place));
        // Where nothing tells the end, a snapshot may have been installed in the gap as well.
        let end_max = match doubt.end_max {
            end_max if doubt.ended => end_max,
            end_max => end_max.max(from.map_or(0, |last| last.0) + self.doubts.entries_max()),
        };
        let end_max = Some(Index(end_max)).filter(|end| end.0 > 0);
        if doubt.ended && certain >= end_max {
            return Ok(Verdict { base, state, end: certain, owed: None });
        }
        let joins = match applied {
            None => doubt.base_before == Some(in_log),
            Some((last, _)) => self.is_applied_before(id, last)?,
        };
        let before = if joins { self.reach(id, from, |place| self.doubts.is_before(place)) } else { from };
        // The last entry tells its term, if it is certain that it is the last.
        let last = match end.filter(|end| doubt.ended && Some(*end) == end_max) {
            Some(end) if self.place(id, end).is_some_and(|place| self.doubts.is_certain(place)) => {
                Some(self.read(id, end)?)
            }
            _ => None,
        };
        let owed = end_max.max(from);
        let end = certain.max(before);
        let kept = end.filter(|end| last.is_some() && Some(*end) > from).map(|end| self.read(id, end)).transpose()?;
        let state = match owed {
            Some(owed) => Some(Witness::owe(state, owed, last, kept).map_err(unreadable)?),
            None => state,
        };
        Ok(Verdict { base, state, end, owed })
    }

    /// The last entry that can be reached from the one after `base` over records that are as they should be.
    fn reach(&self, id: GroupId, base: Option<Index>, is_good: impl Fn(Place) -> bool) -> Option<Index> {
        let index = self.shared.index();
        let group = &index.groups[&id];
        let mut last = base;
        for piece in group.stretches.pieces(Index::after(base), group.ends.end.unwrap_or(Index(0))) {
            if piece.first != Index::after(last) || !is_good(piece.place) {
                break;
            }
            last = Some(piece.last);
        }
        last
    }

    /// Whether the log certainly does not lead to the entry that the state machine applied last: it has another one there,
    /// or behind it one that cannot follow.
    fn is_another(&self, id: GroupId, last: Index) -> Result<bool, OpenError> {
        let certain = |at: Index| self.place(id, at).is_some_and(|place| self.doubts.is_certain(place));
        if certain(last) {
            return Ok(!self.witness.ends_with(id, self.read(id, last)?));
        }
        Ok(certain(last.next()) && !self.witness.may_follow(id, self.read(id, last.next())?))
    }

    /// Whether the entry that the state machine applied last lay there before the first gap already: then what followed
    /// it, followed it there.
    fn is_applied_before(&self, id: GroupId, last: Index) -> Result<bool, OpenError> {
        let Some(_) = self.place(id, last).filter(|place| self.doubts.is_before(*place)) else { return Ok(false) };
        Ok(self.witness.ends_with(id, self.read(id, last)?))
    }

    fn place(&self, id: GroupId, at: Index) -> Option<Place> {
        self.shared.index().groups[&id].stretches.pieces(at, at).next().map(|piece| piece.place)
    }

    fn read(&self, id: GroupId, at: Index) -> Result<Bytes, OpenError> {
        let mut entries = Reader::new(Arc::clone(self.shared)).read(id, at, at, usize::MAX)?;
        Ok(entries.pop().expect("one is read at least"))
    }

    fn refuse(&self, reason: String) -> OpenError {
        let gap = self.doubts.gaps.last().expect("only a damaged log is judged");
        OpenError::Corrupt { path: gap.path.clone(), offset: gap.offset, reason }
    }
}

impl Group {
    /// What repair made of it.
    fn replace(&mut self, state: Option<Bytes>, base: Option<Bytes>, ends: Ends) {
        (self.state, self.base, self.ends) = (state, base, ends);
        self.clip();
    }
}
