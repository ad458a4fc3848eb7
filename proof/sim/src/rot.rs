//! Disks that do not give back what they took: bits flip, a write goes to the wrong sector, another never arrives, a page cannot
//! be read any more. The log finds that at its next start and repairs itself, as the shell has it do, with what the state
//! machine has applied as its witness.
//!
//! Nothing rots that the log cannot tell from a torn tail: the last batch before a crash, of which nobody knows whether it was
//! ever synced. Where too much is lost the log refuses to open, and somebody would have to replace the machine; here its disk
//! is found whole after all.

use hezong_base::Rng;
use hezong_codec::log::Witness;
use hezong_raft::Saved;
use hezong_wal::{OpenError, Wal};

use crate::check::{Recovered, Violation};
use crate::disk::Disk;

/// What disks keep or lose at once.
const SECTOR_BYTES: usize = 512;
/// What a disk does not give back when one place of it is gone.
const PAGE_BYTES: usize = 4_096;

/// What became of a log whose bytes were damaged.
#[derive(Debug)]
pub(crate) enum Rotten {
    /// It was repaired, and a node finds this.
    Repaired(Box<(Saved, Recovered)>),
    /// It was refused, and is as it was.
    Refused,
    /// What was damaged was not needed any more, and a node finds this.
    Spared(Box<(Saved, Recovered)>),
}

impl Disk {
    /// Damages the log that was just opened, and opens it again.
    pub(crate) fn rot(&mut self, witness: &Witness, rng: &mut Rng) -> Result<Rotten, Violation> {
        // Of a log that opens, either all of this has happened or nothing.
        self.folder.stop_after(u64::MAX);
        let wal = self.wal.take().expect("it was just opened");
        // Of a node that stopped in order everything is known to have been synced.
        if rng.chance(700) {
            wal.close().expect("nothing fails meanwhile");
        } else {
            drop(wal);
        }
        let whole = self.folder.fork();
        for _ in 0..1 + rng.below(2) {
            self.spoil(rng);
        }
        match Wal::repair(self.folder.handle(), self.options.clone(), witness) {
            Ok((wal, groups)) => {
                let is_repaired = wal.opened().repaired.is_some();
                let found = Box::new(self.fold(wal, groups)?);
                Ok(if is_repaired { Rotten::Repaired(found) } else { Rotten::Spared(found) })
            }
            Err(OpenError::Corrupt { .. } | OpenError::Missing { .. }) => {
                self.folder = whole;
                Ok(Rotten::Refused)
            }
            Err(error) => Err(Violation::new("damage is repaired or refused", error.to_string())),
        }
    }

    /// Damages one place.
    fn spoil(&mut self, rng: &mut Rng) {
        let files: Vec<_> = self.folder.files().into_iter().filter(|name| name.ends_with(".wal")).collect();
        let Some(newest) = files.last() else { return };
        let name = &files[below(rng, files.len())];
        let Some(mut bytes) = self.folder.contents(name) else { return };
        // The last batch of the newest segment says that those before it were synced; nothing says so of itself.
        let end = match name == newest {
            true => bytes.windows(4).rposition(|four| four == b"hzB1").unwrap_or(0),
            false => bytes.len(),
        };
        if end == 0 {
            return;
        }
        let at = below(rng, end);
        let sector = at - at % SECTOR_BYTES..(at - at % SECTOR_BYTES + SECTOR_BYTES).min(end);
        match rng.below(4) {
            0 => bytes[at] ^= 1 << rng.below(8),
            1 => bytes[sector].fill(0),
            2 => {
                let Some(other) = self.folder.contents(&files[below(rng, files.len())]) else { return };
                let from = below(rng, other.len());
                let from = from - from % SECTOR_BYTES;
                let length = sector.len().min(other.len() - from);
                bytes[sector.start..sector.start + length].copy_from_slice(&other[from..from + length]);
            }
            _ if name != newest || at - at % PAGE_BYTES + PAGE_BYTES <= end => {
                return self.folder.spoil(name, at as u64);
            }
            _ => bytes[at] = !bytes[at],
        }
        self.folder.put(name, &bytes);
    }
}

fn below(rng: &mut Rng, count: usize) -> usize {
    usize::try_from(rng.below(count as u64)).expect("below a usize")
}
