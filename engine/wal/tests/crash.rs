//! Crashes: power lost or the process killed at every operation, during recovery too, and a disk that fails.

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::{Twin, append, compact, options, random_record, reset, state};
use hezong_base::{GroupId, Index, Rng};
use hezong_wal::model::ModelFolder;
use hezong_wal::{OpenError, ReadError, Wal, WriteError};

const SEGMENT: u64 = 4 << 10;

/// What a log may hold: it was one of these, at least the one that was synced last.
struct History {
    /// After each batch, from none on.
    twins: Vec<Twin>,
    /// How many batches were synced for certain.
    synced: usize,
    /// Whether it is made smaller now and then.
    reclaims: bool,
}

impl History {
    fn new(first: Twin) -> Self {
        Self { twins: vec![first], synced: 0, reclaims: false }
    }

    fn check(&self, found: &Twin, what: &str) {
        assert!(
            self.twins[self.synced..].contains(found),
            "{what}: what was found is none of the {} states since the last sync",
            self.twins.len() - self.synced
        );
    }

    /// Appends random batches and syncs now and then, until the disk fails or `batches` are written.
    fn run(&mut self, wal: &mut Wal, rng: &mut Rng, batches: usize) -> Result<(), WriteError> {
        for _ in 0..batches {
            let mut twin = self.twins.last().expect("there is always one").clone();
            let mut records = Vec::new();
            for _ in 0..=rng.below(3) {
                let record = random_record(rng, &twin, 4, 80);
                twin.apply(&record);
                records.push(record);
            }
            // Before it is tried: what failed half-way may still be found whole.
            self.twins.push(twin);
            wal.append(&records)?;
            if rng.chance(250) {
                wal.sync()?;
                self.synced = self.twins.len() - 1;
            }
            if self.reclaims && rng.chance(150) && wal.reclaim()? > 0 {
                self.synced = self.twins.len() - 1;
            }
        }
        Ok(())
    }
}

fn open(model: &ModelFolder) -> Result<(Wal, Twin), OpenError> {
    let (wal, recovered) = Wal::open(model.handle(), options(SEGMENT))?;
    let twin = Twin::of(&wal, &recovered);
    Ok((wal, twin))
}

/// Lives one after the other on one disk, each ended by a crash or a kill at some operation, many of them while opening.
#[test]
fn random_lives() {
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let model = ModelFolder::new();
        let mut history = History::new(Twin::default());
        let mut opened = 0;
        for life in 0..40 {
            let what = format!("seed {seed}, life {life}");
            let short = rng.chance(500);
            model.stop_after(rng.below(if short { 12 } else { 150 }));
            let ended = match open(&model) {
                Err(OpenError::Io(_)) => None,
                Err(error) => panic!("{what}: {error}"),
                Ok((wal, twin)) => {
                    history.check(&twin, &what);
                    // Told is told: from here on it must not change, synced before or not.
                    history = History::new(twin);
                    history.reclaims = seed % 2 == 0;
                    opened += 1;
                    Some(wal)
                }
            };
            if let Some(mut wal) = ended {
                let error = history.run(&mut wal, &mut rng, 100).expect_err("100 batches take more operations");
                assert!(matches!(error, WriteError::Io(_)), "{what}: {error}");
                assert!(matches!(wal.sync(), Err(WriteError::Stopped { .. })), "{what}");
            }
            if rng.chance(300) { model.kill() } else { model.crash(&mut rng) }
        }
        assert!(opened > 5, "seed {seed}: opened {opened} times");
        let (_, twin) = open(&model).expect("it opens when nothing fails");
        history.check(&twin, &format!("seed {seed}, at last"));
    }
}

/// One log with an unsynced tail; recovery stopped at each of its operations, then at each of the next recovery's.
#[test]
fn recovery_stopped_everywhere() {
    // With much in the newest segment, which stays, and with little, which moves.
    for seed in [1, 2, 3, 4] {
        let mut rng = Rng::new(seed);
        let model = ModelFolder::new();
        let (mut wal, twin) = open(&model).unwrap();
        let mut history = History::new(twin);
        history.run(&mut wal, &mut rng, if seed % 2 == 0 { 60 } else { 8 }).unwrap();
        drop(wal);
        for first in 0.. {
            let model = model.fork();
            model.kill();
            model.stop_after(first);
            if let Ok((_, twin)) = open(&model) {
                assert!(first > 3, "recovery does something");
                history.check(&twin, "recovered");
                break;
            }
            for second in 0.. {
                let model = model.fork();
                if second % 3 == 0 {
                    model.kill()
                } else {
                    model.crash(&mut rng)
                }
                model.stop_after(second);
                let done = open(&model).is_ok();
                model.crash(&mut rng);
                let (_, twin) = open(&model).unwrap_or_else(|error| panic!("{seed} {first} {second}: {error}"));
                history.check(&twin, &format!("seed {seed}, stopped at {first} and {second}"));
                if done {
                    break;
                }
            }
        }
    }
}

/// What is found after a kill may only be in the page cache. Once told it must survive losing power.
#[test]
fn killed_then_power_lost() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let model = ModelFolder::new();
        let (mut wal, twin) = open(&model).unwrap();
        let mut history = History::new(twin);
        history.run(&mut wal, &mut rng, 30).unwrap();
        drop(wal);
        model.kill();
        let (wal, told) = open(&model).unwrap();
        assert_eq!(Some(&told), history.twins.last(), "a kill loses nothing");
        drop(wal);
        model.crash(&mut rng);
        assert_eq!(open(&model).unwrap().1, told, "seed {seed}");
    }
}

/// The page cache goes on showing what a failed fdatasync has lost.
#[test]
fn failed_sync_stops_and_is_not_believed() {
    for seed in 0..100 {
        let mut rng = Rng::new(seed);
        let model = ModelFolder::new();
        let (mut wal, twin) = open(&model).unwrap();
        let mut history = History::new(twin);
        model.fail_sync(1 + rng.below(4));
        let error = history.run(&mut wal, &mut rng, 200).expect_err("a sync fails");
        match &error {
            WriteError::Io(failure) => assert_eq!(failure.doing, "sync"),
            other => panic!("{other}"),
        }
        assert!(
            matches!(wal.append(&[state(1, b"s")]), Err(WriteError::Stopped { first }) if first == error.to_string())
        );
        assert!(matches!(wal.sync(), Err(WriteError::Stopped { .. })));
        drop(wal);
        model.kill();
        let (wal, told) = open(&model).unwrap();
        history.check(&told, &format!("seed {seed}"));
        drop(wal);
        model.crash(&mut rng);
        assert_eq!(open(&model).unwrap().1, told, "seed {seed}");
    }
}

#[test]
fn failed_write_names_file_and_offset() {
    let model = ModelFolder::new();
    let (mut wal, _) = open(&model).unwrap();
    wal.append(&[append(1, 1, &[b"first"])]).unwrap();
    wal.sync().unwrap();
    model.fail_write(0);
    match wal.append(&[append(1, 2, &[b"second"])]) {
        Err(WriteError::Io(failure)) => {
            assert_eq!((failure.doing, failure.path.as_str()), ("write", "model/0000000000000001.wal"));
            // The header of 80 bytes, and a batch of 32 + 16 + 16 + 8 + 5, padded.
            assert_eq!(failure.offset, 80 + 80);
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(wal.sync(), Err(WriteError::Stopped { .. })));
    assert_eq!(wal.read(GroupId(1), Index(1), Index(9), 100).unwrap(), ["first"], "what is there can still be read");
}

#[test]
fn full_disk_refuses_and_goes_on_with_room() {
    let model = ModelFolder::new();
    let (mut wal, twin) = open(&model).unwrap();
    let mut history = History::new(twin);
    model.limit_space(Some(3 * SEGMENT));
    // Nothing was begun that could not be finished, so it is the same when it is tried again.
    for seed in [3, 4, 5] {
        let error = history.run(&mut wal, &mut Rng::new(seed), 1_000).expect_err("the disk fills");
        assert!(matches!(&error, WriteError::Full(failure) if failure.doing == "create"), "{error}");
        history.twins.pop();
    }
    model.limit_space(None);
    history.run(&mut wal, &mut Rng::new(6), 100).expect("there is room");
    wal.close().unwrap();

    model.limit_space(Some(model.bytes()));
    let full = open(&model).map(|_| ());
    assert!(matches!(&full, Err(OpenError::Io(failure)) if failure.doing == "create"), "{full:?}");
    model.limit_space(None);
    let (_, twin) = open(&model).unwrap();
    history.check(&twin, "with room again");
}

/// Of the usual size no segment fits on the disk, and smaller ones do, for batches that fit into them.
#[test]
fn full_disk_is_filled_with_small_segments() {
    const SEGMENT: u64 = 16 << 10;
    let model = ModelFolder::new();
    let (mut wal, _) = Wal::open(model.handle(), options(SEGMENT)).unwrap();
    let mut twin = Twin::default();
    model.limit_space(Some(model.bytes() + SEGMENT * 3 / 4));
    let mut put = |wal: &mut Wal, index, bytes: usize| {
        let record = append(1, index, &[&vec![b'a'; bytes]]);
        wal.append(std::slice::from_ref(&record)).inspect(|()| twin.apply(&record))
    };
    let mut index = 1;
    while wal.segments() < 3 {
        put(&mut wal, index, 300).unwrap();
        index += 1;
    }
    let error = put(&mut wal, index, 5_000).unwrap_err();
    assert!(matches!(&error, WriteError::Full(failure) if failure.doing == "create"), "{error}");
    while put(&mut wal, index, 300).is_ok() {
        index += 1;
    }
    assert_eq!(wal.segments(), 4);
    model.limit_space(None);
    put(&mut wal, index, 5_000).unwrap();
    wal.close().unwrap();
    let (wal, recovered) = Wal::open(model.handle(), options(SEGMENT)).unwrap();
    assert_eq!(Twin::of(&wal, &recovered), twin);
}

/// With room for a usual one no small segment is begun, and none that could hold little more than how the groups stand.
#[test]
fn reclaim_begins_a_small_segment_only_where_it_helps() {
    const SEGMENT: u64 = 16 << 10;
    for (members, is_full) in [(10, false), (2_000, true), (10, true)] {
        let model = ModelFolder::new();
        let (mut wal, _) = Wal::open(model.handle(), options(SEGMENT)).unwrap();
        wal.append(&[reset(1, None, &vec![b'm'; members])]).unwrap();
        let mut index = 0;
        while is_full && wal.segments() < 2 {
            index += 1;
            wal.append(&[append(1, index, &[&[b'b'; 300]])]).unwrap();
        }
        if index > 0 {
            wal.append(&[compact(1, index, &vec![b'm'; members])]).unwrap();
        }
        wal.sync().unwrap();
        if is_full {
            model.limit_space(Some(model.bytes() + SEGMENT / 2));
        }
        assert_eq!(wal.reclaim().unwrap() > 0, members == 10 && is_full);
    }
}

/// What was written is not needed any more, and nothing more is: the log goes on to a next segment at once, out of room
/// for a whole one or for less, wherever the machine stops meanwhile.
#[test]
fn reclaim_gives_room_back_and_survives_every_crash() {
    const SEGMENT: u64 = 16 << 10;
    let written = || {
        let model = ModelFolder::new();
        let (mut wal, _) = Wal::open(model.handle(), options(SEGMENT)).unwrap();
        let mut twin = Twin::default();
        let mut put = |wal: &mut Wal, record| {
            wal.append(std::slice::from_ref(&record)).unwrap();
            twin.apply(&record);
        };
        put(&mut wal, reset(2, None, b"members"));
        put(&mut wal, append(2, 1, &[b"an idle group's, which pins all of it"]));
        for index in 1..=180 {
            put(&mut wal, append(1, index, &[&[b'b'; 300]]));
        }
        put(&mut wal, compact(1, 178, b"base"));
        wal.sync().unwrap();
        (model, wal, twin)
    };
    for spare in [SEGMENT, SEGMENT / 2, SEGMENT / 8] {
        let mut stops = 0;
        loop {
            let (model, mut wal, mut twin) = written();
            let before = model.bytes();
            assert!(before > 3 * SEGMENT && wal.segments() > 3);
            model.limit_space(Some(before + spare));
            model.stop_after(stops);
            let freed = wal.reclaim();
            if let Ok(freed) = freed {
                model.stop_after(u64::MAX);
                assert!(freed >= 2 * SEGMENT || spare < SEGMENT / 4, "{freed} of {before}");
                assert!(before - model.bytes() >= freed, "{freed} of {before}");
                // A small one may leave the last to the next.
                let more = wal.reclaim().unwrap();
                assert!(before - model.bytes() >= freed + more);
                assert_eq!(wal.reclaim().unwrap(), 0, "that is all");
                if freed > 0 {
                    assert!(wal.segments() <= 2);
                    // And goes on from there, into segments of the usual size.
                    for index in 181..=300 {
                        let record = append(1, index, &[&[b'c'; 300]]);
                        wal.append(std::slice::from_ref(&record)).unwrap();
                        twin.apply(&record);
                        let record = compact(1, index - 1, b"base");
                        wal.append(std::slice::from_ref(&record)).unwrap();
                        twin.apply(&record);
                    }
                    wal.sync().unwrap();
                }
            }
            let is_over = freed.is_ok();
            drop(wal);
            model.crash(&mut Rng::new(stops));
            model.limit_space(None);
            let (wal, recovered) = Wal::open(model.handle(), options(SEGMENT)).unwrap();
            assert_eq!(Twin::of(&wal, &recovered), twin, "{spare} spare, stopped after {stops}");
            if is_over {
                break;
            }
            stops += 1;
        }
        assert!(stops > 5 || spare < SEGMENT / 4, "{stops}");
    }
}

/// Many groups that do nothing and one that does much: the log does not grow with what was written.
#[test]
fn idle_groups_do_not_pin_the_disk() {
    const SEGMENT: u64 = 64 << 10;
    let model = ModelFolder::new();
    let (mut wal, _) = Wal::open(model.handle(), options(SEGMENT)).unwrap();
    let mut twin = Twin::default();
    let mut put = |wal: &mut Wal, record| {
        wal.append(std::slice::from_ref(&record)).unwrap();
        twin.apply(&record);
    };
    let mut live = 0;
    for group in 1..=63 {
        put(&mut wal, reset(group, None, b"members"));
        for index in 1..=20 {
            put(&mut wal, append(group, index, &[&[group as u8; 100]]));
            live += 32 + 8 + 100;
        }
    }
    let (mut written, mut disk_max, mut files_max) = (0_u64, 0, 0);
    for index in 1..=20_000 {
        put(&mut wal, append(64, index, &[&[b'b'; 300]]));
        written += 340;
        if index > 10 {
            put(&mut wal, compact(64, index - 10, b"base"));
        }
        wal.sync().unwrap();
        disk_max = disk_max.max(wal.disk_bytes());
        files_max = files_max.max(model.bytes());
    }
    // Moving begins when the log is twice what is live and two segments. While it goes on, half a segment of new
    // records is written for each half that moves, which comes to what is live once more; the segment being written
    // and what the busy group holds itself come on top.
    let bound = 3 * live + 4 * SEGMENT;
    assert!(disk_max <= bound, "{disk_max} bytes counted, over the bound of {bound}");
    assert!(files_max <= bound + SEGMENT, "{files_max} bytes of files, over the bound of {}", bound + SEGMENT);
    assert!(written > 8 * bound, "or the test shows nothing");
    drop(wal);
    model.crash(&mut Rng::new(1));
    let (wal, recovered) = Wal::open(model.handle(), options(SEGMENT)).unwrap();
    assert_eq!(Twin::of(&wal, &recovered), twin);
}

/// Readers on other threads, while the writer goes through segments and removes them. It goes on until each has read
/// enough, however the threads take turns.
#[test]
fn readers_see_what_was_written() {
    let model = ModelFolder::new();
    let (mut wal, _) = open(&model).unwrap();
    let entry = |index: u64| index.to_string().repeat(20).into_bytes();
    let done = &AtomicBool::new(false);
    let counts = &[AtomicU64::new(0), AtomicU64::new(0)];
    std::thread::scope(|scope| {
        for count in counts {
            let reader = wal.reader();
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let Some((first, last)) = reader.live(GroupId(1)) else { continue };
                    match reader.read(GroupId(1), first, last, 2_000) {
                        Ok(entries) => {
                            for (at, found) in entries.iter().enumerate() {
                                assert_eq!(*found, entry(first.0 + at as u64));
                            }
                            count.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(ReadError::Absent { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
        let mut index = 0;
        while index < 3_000 || counts.iter().any(|count| count.load(Ordering::Relaxed) < 100) {
            index += 1;
            // A reader that failed reads no more; the scope reports it.
            if index > 1_000_000 {
                break;
            }
            wal.append(&[append(1, index, &[&entry(index)])]).unwrap();
            if index > 50 {
                wal.append(&[compact(1, index - 50, b"")]).unwrap();
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) >= 100), "a reader was never let in");
    assert!(model.files().len() < 8, "{:?}", model.files());
}
