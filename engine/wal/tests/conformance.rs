//! What a log does, on the real folder and on the model alike.

mod common;

use std::sync::Arc;

use common::{IDENTITY, Twin, append, compact, options, random_record, reset, state, truncate};
use hezong_base::{GroupId, Index, Rng};
use hezong_wal::model::ModelFolder;
use hezong_wal::{DiskFolder, Folder, Misfit, OpenError, Options, ReadError, Wal, WriteError};

/// Runs a test on both folders. It is handed a way to come by the folder anew, as a process that starts would.
fn both(test: impl Fn(&dyn Fn() -> Arc<dyn Folder>)) {
    let model = ModelFolder::new();
    test(&|| model.handle());
    let temporary = tempfile::tempdir().expect("a temporary folder");
    test(&|| Arc::new(DiskFolder::open(temporary.path().join("log")).expect("the folder opens")));
}

fn open(folder: Arc<dyn Folder>, segment_bytes: u64) -> (Wal, Twin) {
    let (wal, recovered) = Wal::open(folder, options(segment_bytes)).expect("the log opens");
    let twin = Twin::of(&wal, &recovered);
    (wal, twin)
}

const SEGMENT: u64 = 16 << 10;

#[test]
fn open_empty_folder() {
    both(|folder| {
        let (wal, twin) = open(folder(), SEGMENT);
        assert_eq!(twin, Twin::default());
        drop(wal);
        assert_eq!(open(folder(), SEGMENT).1, Twin::default(), "and again, now that there is a segment");
    });
}

#[test]
fn append_sync_reopen_finds_all() {
    both(|folder| {
        let records = [
            state(1, b"term 3"),
            append(1, 1, &[b"one", b"two", b""]),
            reset(2, Some(7), b"base"),
            append(2, 8, &[b"eight"]),
            reset(3, None, b"members"),
        ];
        let mut expected = Twin::default();
        records.iter().for_each(|record| expected.apply(record));
        let (mut wal, _) = open(folder(), SEGMENT);
        wal.append(&records).expect("it is written");
        wal.sync().expect("it is synced");
        drop(wal);
        for _ in 0..3 {
            let (wal, twin) = open(folder(), SEGMENT);
            assert_eq!(twin, expected);
            wal.close().expect("it closes");
        }
    });
}

#[test]
fn read_within_limits() {
    both(|folder| {
        let (mut wal, _) = open(folder(), SEGMENT);
        wal.append(&[append(1, 1, &[b"aaaa", b"bbbb"]), append(1, 3, &[b"cccc"])]).expect("it is written");
        let read = |from, through, bytes| {
            let entries = wal.read(GroupId(1), Index(from), Index(through), bytes);
            entries.map(|entries| entries.concat())
        };
        assert_eq!(read(1, 3, 1000).unwrap(), b"aaaabbbbcccc");
        assert_eq!(read(2, 9, 1000).unwrap(), b"bbbbcccc", "what is not there yet is left out");
        assert_eq!(read(2, 2, 1000).unwrap(), b"bbbb");
        assert_eq!(read(1, 3, 11).unwrap(), b"aaaabbbb");
        assert_eq!(read(1, 3, 0).unwrap(), b"aaaa", "one entry at least");
        for (from, through) in [(4, 9), (2, 1)] {
            assert!(matches!(read(from, through, 1), Err(ReadError::Absent { .. })), "{from} to {through}");
        }
        wal.append(&[compact(1, 1, b"base")]).expect("it is written");
        let live = Some((Index(2), Index(3)));
        let gone = wal.read(GroupId(1), Index(1), Index(3), 1);
        assert!(matches!(gone, Err(ReadError::Absent { live: found, .. }) if found == live), "{gone:?}");
        assert!(matches!(wal.read(GroupId(9), Index(1), Index(3), 1), Err(ReadError::Absent { live: None, .. })));
    });
}

#[test]
fn append_misfit_changes_nothing() {
    both(|folder| {
        let (mut wal, _) = open(folder(), SEGMENT);
        wal.append(&[append(1, 1, &[b"a", b"b", b"c"]), compact(1, 1, b"base")]).expect("it is written");
        let mut refuse = |records: &[_]| match wal.append(records) {
            Err(WriteError::Misfit(misfit)) => misfit,
            other => panic!("{other:?}"),
        };
        let group = GroupId(1);
        // The first record of each fits, so that all or nothing shows.
        let fits = state(1, b"never");
        let gap = Misfit::Gap { group, first: Index(5), expected: Index(4) };
        assert_eq!(refuse(&[fits.clone(), append(1, 5, &[b"e"])]), gap);
        assert_eq!(
            refuse(&[fits.clone(), append(1, 3, &[b"c"])]),
            Misfit::Gap { first: Index(3), group, expected: Index(4) }
        );
        assert_eq!(refuse(&[fits.clone(), append(1, 4, &[])]), Misfit::Nothing { group });
        assert_eq!(refuse(&[fits.clone(), truncate(1, 1)]), Misfit::Covered { group, index: Index(1) });
        assert_eq!(refuse(&[fits.clone(), compact(1, 4, b"")]), Misfit::PastEnd { group, through: Index(4) });
        assert_eq!(
            refuse(&[fits.clone(), truncate(1, 3), compact(1, 3, b"")]),
            Misfit::PastEnd { group, through: Index(3) }
        );
        assert_eq!(refuse(&[fits.clone(), truncate(1, 0)]), Misfit::NoPlace { group, index: 0 });
        assert_eq!(refuse(&[fits.clone(), compact(1, 0, b"")]), Misfit::NoPlace { group, index: 0 });
        assert_eq!(refuse(&[fits.clone(), reset(1, Some(0), b"")]), Misfit::NoPlace { group, index: 0 });
        assert_eq!(refuse(&[reset(1, Some(1 << 63), b"")]), Misfit::NoPlace { group, index: 1 << 63 });
        let last = (1 << 63) - 1;
        let past = [reset(1, Some(last), b""), append(1, last + 1, &[b"z"])];
        assert_eq!(refuse(&past), Misfit::NoPlace { group, index: last + 1 });
        wal.append(&[truncate(1, 3), append(1, 3, &[b"C"])]).expect("the log can still be used");
        wal.sync().expect("and synced");
        drop(wal);
        let (_, twin) = open(folder(), SEGMENT);
        assert_eq!(twin.groups[&group].state, None);
        assert_eq!(twin.groups[&group].entries[&3], "C");
    });
}

#[test]
fn open_in_use_refused() {
    both(|folder| {
        let (wal, _) = open(folder(), SEGMENT);
        let second = Wal::open(folder(), options(SEGMENT)).map(|_| ());
        assert!(matches!(second, Err(OpenError::InUse { .. })), "{second:?}");
        drop(wal);
        open(folder(), SEGMENT);
    });
}

#[test]
fn open_other_identity_refused() {
    both(|folder| {
        drop(open(folder(), SEGMENT));
        let refused = Wal::open(folder(), Options::new("cluster 1 node 2")).map(|_| ());
        match refused {
            Err(OpenError::Identity { found, ours, .. }) => {
                assert_eq!((&found[..], &ours[..]), (IDENTITY, &b"cluster 1 node 2"[..]));
            }
            other => panic!("{other:?}"),
        }
        open(folder(), SEGMENT);
        let long = Wal::open(folder(), Options::new(vec![b'x'; 1025])).map(|_| ());
        assert!(matches!(long, Err(OpenError::IdentityTooLong { bytes: 1025, max: 1024 })), "{long:?}");
    });
}

#[test]
fn entries_larger_than_a_segment() {
    both(|folder| {
        let (large, huge) = (vec![b'l'; 5_000], vec![b'h'; 200_000]);
        let (mut wal, _) = open(folder(), SEGMENT);
        for first in [1, 4, 7] {
            wal.append(&[append(1, first, &[&large, &huge, &large])]).expect("it is written");
        }
        wal.sync().expect("it is synced");
        let check = |wal: &Wal| {
            let all: Vec<_> = wal.reader().entries(GroupId(1)).flat_map(|chunk| chunk.unwrap().1).collect();
            assert_eq!(all.iter().map(|entry| entry.len()).collect::<Vec<_>>(), [5_000, 200_000, 5_000].repeat(3));
            assert_eq!(wal.read(GroupId(1), Index(5), Index(5), 10).unwrap()[0], huge);
        };
        check(&wal);
        drop(wal);
        check(&open(folder(), SEGMENT).0);
    });
}

fn segments(folder: &Arc<dyn Folder>) -> Vec<String> {
    let mut names = folder.list().expect("the folder lists");
    names.sort();
    assert!(names.iter().all(|name| name.ends_with(".wal")), "{names:?}");
    names
}

#[test]
fn restarts_leave_no_files() {
    both(|folder| {
        for life in 0..20 {
            let (mut wal, twin) = open(folder(), SEGMENT);
            assert_eq!(twin.groups.get(&GroupId(1)).map_or(0, |group| group.entries.len()), life);
            wal.append(&[append(1, life as u64 + 1, &[b"one more"])]).expect("it is written");
            if life % 2 == 0 {
                wal.close().expect("it closes")
            } else {
                drop(wal)
            }
            assert_eq!(segments(&folder()).len(), 1);
        }
    });
}

/// A removal that a crash took back, and a segment that was never finished.
#[test]
fn leftovers_are_removed() {
    both(|folder| {
        let (mut wal, _) = open(folder(), SEGMENT);
        wal.append(&[append(1, 1, &[b"kept"])]).expect("it is written");
        wal.close().expect("it closes");
        let handle = folder();
        let name = &segments(&handle)[0];
        let mut bytes = vec![0; SEGMENT as usize];
        handle.open(name).and_then(|file| file.read_at(0, &mut bytes)).expect("it can be read");
        drop(open(folder(), SEGMENT));
        assert_ne!(segments(&handle)[0], *name, "it was rewritten under the next number");
        for leftover in [name, "0000000000000003.new"] {
            handle.create(leftover, 0).and_then(|file| file.write_at(0, &bytes)).expect("it can be written");
        }
        let (wal, twin) = open(folder(), SEGMENT);
        assert_eq!(twin.groups[&GroupId(1)].entries[&1], "kept");
        drop(wal);
        assert_eq!(segments(&handle), ["0000000000000003.wal"]);
    });
}

/// A segment that stays after a restart gives back what it had set aside.
#[test]
fn restart_gives_back_what_was_set_aside() {
    both(|folder| {
        let (mut wal, _) = open(folder(), SEGMENT);
        wal.append(&[append(1, 1, &[&[b'x'; SEGMENT as usize / 2]])]).expect("it is written");
        let used = wal.disk_bytes();
        wal.close().expect("it closes");
        let (_, twin) = open(folder(), SEGMENT);
        assert_eq!(twin.groups[&GroupId(1)].entries.len(), 1);
        let handle = folder();
        let names = segments(&handle);
        assert_eq!(names.len(), 2);
        assert_eq!(handle.open(&names[0]).and_then(|file| file.size()).expect("it has a size"), used);
    });
}

/// Random changes against the twin, over many segments and restarts, with every entry read back.
#[test]
fn random_changes_as_twin() {
    both(|folder| {
        let mut rng = Rng::new(7);
        let (mut wal, mut twin) = open(folder(), 4 << 10);
        for step in 0..1_500 {
            let mut batch = Vec::new();
            for _ in 0..=rng.below(4) {
                let record = random_record(&mut rng, &twin, 5, 60);
                twin.apply(&record);
                batch.push(record);
            }
            wal.append(&batch).expect("it fits");
            if rng.chance(300) {
                wal.sync().expect("it is synced");
            }
            let id = GroupId(rng.below(5) + 1);
            if let Some(group) = twin.groups.get(&id)
                && let Some(first) = group.entries.keys().next()
            {
                let (from, end) = (first + rng.below(group.entries.len() as u64), group.end());
                let read = wal.read(id, Index(from), Index(end), 500).expect("it is there");
                let expected: Vec<_> = group.entries.range(from..).map(|(_, entry)| entry.clone()).collect();
                assert!(!read.is_empty() && expected.starts_with(&read), "step {step}: {id} from {from}");
            }
            if rng.chance(10) {
                if rng.chance(500) {
                    wal.close().expect("it closes")
                } else {
                    drop(wal)
                }
                let found;
                (wal, found) = open(folder(), 4 << 10);
                assert_eq!(found, twin, "step {step}");
            }
        }
        assert!(wal.segments() < 60, "{} segments", wal.segments());
    });
}
