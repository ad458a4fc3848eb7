//! Reading the files of the state again, slowly, so that damage is found while others still have what it took.
//!
//! Each file that holds keys and values is written once, and fjall notes its checksum in another. Comparing the two reads
//! all of a file, its index and filters too, past every cache, and needs neither a view nor a key to go on from: what is
//! merged away meanwhile is simply not there any more. What else there is, journals, lists of files and of maps, is read
//! at every start.

use std::fs::File;
use std::num::NonZero;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use fjall::AbstractTree as _;
use rustix::fs::{Advice, fadvise};
use thiserror::Error;
use xxhash_rust::xxh3::Xxh3Default;

use super::{Open, Shared, is_lost};
use crate::{Operation, Scrub, StoreError};

/// What a step reads.
const STEP_BYTES: usize = 1 << 20;

/// What is wrong with a file.
#[derive(Debug, Error)]
enum Fault {
    #[error("{} is not what was written: its checksum should be {expected:#034x}, and is {found:#034x}", path.display())]
    Differs { path: PathBuf, expected: u128, found: u128 },
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
}

/// The place of a map and the number of a file, which is given once in a map's life.
type Name = (usize, u64);

/// A file, as far as it was read. Held open rather than by fjall's own handle, with which it would stay in the folder
/// when it was merged away, to be removed when it is let go of: by then another may have its name.
struct Reading {
    path: PathBuf,
    file: File,
    offset: u64,
    so_far: Xxh3Default,
    expected: u128,
}

/// What reads all files, one after the other, again and again.
pub(super) fn of(shared: Arc<Shared>) -> Scrub {
    // What is left of this round. What was written since it began is for the next one, or it might never end.
    let mut round: Option<Vec<Name>> = None;
    // Of the last of them.
    let mut reading: Option<Reading> = None;
    let mut is_doubted = false;
    let mut buffer = vec![0; STEP_BYTES];
    Box::new(move || {
        // While it is opened anew there is nothing to read, and nobody knows what there will be.
        let Some(open) = shared.opened() else { return Ok(0) };
        let left = round.get_or_insert_with(|| open.files());
        let Some(&name) = left.last() else {
            round = None;
            return Ok(0);
        };
        match open.read_on(name, &mut reading, &mut buffer) {
            Ok(0) => {
                left.pop();
                (reading, is_doubted) = (None, false);
            }
            Ok(read) => return Ok(read as u64),
            Err(fault) if !fault.is_damage() => return Err(StoreError::failed(Operation::Scrub)(fault)),
            // What is wrong on the disk is wrong again; memory or a cable may be wrong once.
            Err(fault) if is_doubted => return Err(shared.damaged(Box::new(fault))),
            Err(fault) => {
                tracing::warn!("{fault}; it is read once more");
                (reading, is_doubted) = (None, true);
            }
        }
        // The end of a file is not the end of the round.
        Ok(1)
    })
}

impl Shared {
    /// Reads all files without a pause, to tell whether any of them is damaged.
    pub(super) fn check(self: &Arc<Self>) -> Result<(), StoreError> {
        let mut scrub = of(Arc::clone(self));
        while scrub()? > 0 {}
        Ok(())
    }
}

impl Fault {
    fn is_damage(&self) -> bool {
        match self {
            Self::Differs { .. } => true,
            Self::Unreadable { source, .. } => is_lost(source),
        }
    }
}

impl Open {
    fn files(&self) -> Vec<Name> {
        let maps = self.maps();
        let present = maps.iter().enumerate().filter_map(|(place, map)| Some((place, map.as_ref()?)));
        let files = present.flat_map(|(place, map)| {
            let ids: Vec<_> = map.tree.current_version().iter_tables().map(|table| (place, table.id())).collect();
            ids
        });
        files.collect()
    }

    /// Reads on in a file, or begins to. 0 once it was read and is what was written, or if it is needed no more.
    fn read_on(&self, name: Name, reading: &mut Option<Reading>, buffer: &mut [u8]) -> Result<usize, Fault> {
        if reading.is_none() {
            *reading = self.read(name)?;
        }
        reading.as_mut().map_or(Ok(0), |reading| reading.step(buffer))
    }

    /// Begins to read a file; `None` if it is needed no more.
    fn read(&self, (place, id): Name) -> Result<Option<Reading>, Fault> {
        let maps = self.maps();
        let Some(map) = maps.get(place).and_then(Option::as_ref) else { return Ok(None) };
        // While this is held, no file that it names is removed.
        let version = map.tree.current_version();
        let Some(table) = version.iter_tables().find(|table| table.id() == id) else { return Ok(None) };
        let path = table.path.to_path_buf();
        let expected = table.checksum().into_u128();
        match File::open(&path) {
            Ok(file) => Ok(Some(Reading { path, file, offset: 0, so_far: Xxh3Default::new(), expected })),
            Err(source) => Err(Fault::Unreadable { path, source }),
        }
    }
}

impl Reading {
    /// Reads on, from the disk and not from what is cached of it; 0 at the end, once it was compared.
    fn step(&mut self, buffer: &mut [u8]) -> Result<usize, Fault> {
        // Without it, what is cached is compared.
        fadvise(&self.file, self.offset, NonZero::new(buffer.len() as u64), Advice::DontNeed).ok();
        let read = loop {
            match self.file.read_at(buffer, self.offset) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) => return Err(Fault::Unreadable { path: self.path.clone(), source }),
                Ok(read) => break read,
            }
        };
        self.so_far.update(&buffer[..read]);
        self.offset += read as u64;
        if read > 0 {
            return Ok(read);
        }
        let (expected, found) = (self.expected, self.so_far.digest128());
        if found != expected {
            return Err(Fault::Differs { path: self.path.clone(), expected, found });
        }
        Ok(0)
    }
}
