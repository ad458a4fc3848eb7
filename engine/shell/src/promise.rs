//! The longest lease this node may have granted, remembered in its folder.
//!
//! A node that restarts has forgotten which leases it granted, so it waits a whole one out before it votes. How long
//! that is must not be taken from today's configuration alone: a node that ran with ten seconds, granted a lease and is
//! started with one would vote while a leader still reads from memory under the longer one. So the folder says how long
//! the longest was, written before the first can be granted:
//!
//! ```text
//! hezong lease 1
//! micros 900000
//! ```
//!
//! Once a node has run for as long as the longer one lasts, nothing granted before is left, and it is forgotten.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::identity::{IdentityError, replace};

const FILE: &str = "lease";
const HEAD: &str = "hezong lease 1\nmicros ";

/// What was promised before, and what is promised now.
#[derive(Debug)]
pub(crate) struct Promise {
    folder: PathBuf,
    /// What the folder says: no lease granted from this folder that may still run is longer.
    remembered: Duration,
    /// The longest that is granted from now on.
    lease: Duration,
    since: Instant,
}

impl Promise {
    /// Reads what the folder remembers, and writes down a longer lease before it can be granted.
    pub(crate) fn open(folder: &Path, lease: Duration) -> Result<Self, IdentityError> {
        let before = load(folder)?;
        let promise = Self { folder: folder.to_owned(), remembered: before.max(lease), lease, since: Instant::now() };
        if promise.remembered > before {
            promise.store(promise.remembered)?;
        }
        Ok(promise)
    }

    /// How long a lease may be that was granted from this folder.
    pub(crate) fn longest(&self) -> Duration {
        self.remembered
    }

    /// Forgets a longer lease once whatever was granted under it has passed. To be called now and then.
    pub(crate) fn settle(&mut self) {
        if self.remembered == self.lease || self.since.elapsed() <= self.remembered {
            return;
        }
        match self.store(self.lease) {
            Ok(()) => self.remembered = self.lease,
            // The next start waits longer than it had to; nothing worse.
            Err(error) => tracing::warn!("the lease granted cannot be noted: {error}"),
        }
    }

    fn store(&self, longest: Duration) -> Result<(), IdentityError> {
        // Rounded up: less than what was granted must never be read back.
        let micros = longest.as_nanos().div_ceil(1_000);
        replace(&self.folder, FILE, &format!("{HEAD}{micros}\n"))
    }
}

/// What the folder remembers: nothing in a new one, or one of a version that did not.
fn load(folder: &Path) -> Result<Duration, IdentityError> {
    let path = folder.join(FILE);
    match fs::read_to_string(&path) {
        Ok(text) => {
            let micros = text.strip_prefix(HEAD).and_then(|rest| rest.trim_end().parse().ok());
            micros.map(Duration::from_micros).ok_or(IdentityError::Lease(path))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Duration::ZERO),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(IdentityError::Lease(path)),
        Err(source) => Err(IdentityError::Io { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_secs(9);

    #[test]
    fn promise_longer_lease_outlives_restarts_with_a_shorter_one() {
        let folder = tempfile::tempdir().unwrap();
        let open = |lease| Promise::open(folder.path(), lease).unwrap();
        assert_eq!(open(SHORT).longest(), SHORT);
        assert_eq!(open(LONG).longest(), LONG);
        for _ in 0..3 {
            let mut again = open(SHORT);
            assert_eq!(again.longest(), LONG);
            again.settle();
            assert_eq!(again.longest(), LONG, "what was granted may still run");
        }
    }

    #[test]
    fn promise_longer_lease_forgotten_once_it_has_passed() {
        let folder = tempfile::tempdir().unwrap();
        drop(Promise::open(folder.path(), LONG).unwrap());
        let mut again = Promise::open(folder.path(), SHORT).unwrap();
        again.since = Instant::now().checked_sub(LONG * 2).expect("the machine has been up for longer");
        again.settle();
        assert_eq!(again.longest(), SHORT);
        assert_eq!(Promise::open(folder.path(), SHORT).unwrap().longest(), SHORT);
    }

    #[test]
    fn promise_that_cannot_be_understood_refused() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["", "hezong lease 1\nmicros soon\n", "hezong lease 2\nmicros 1\n", "hezong lease 1\nmicros -1\n"] {
            fs::write(folder.path().join(FILE), text).unwrap();
            let error = Promise::open(folder.path(), SHORT).unwrap_err();
            assert!(matches!(error, IdentityError::Lease(_)), "{error}");
        }
        fs::write(folder.path().join(FILE), [0xff]).unwrap();
        assert!(matches!(Promise::open(folder.path(), SHORT), Err(IdentityError::Lease(_))));
    }
}
