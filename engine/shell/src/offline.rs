//! Data folders while no node runs on them: reading what one holds, and making one for a node of a new cluster.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hezong_base::{GroupId, LogId};
use hezong_codec::log::{Record, decode_base, decode_entry, to_change};
use hezong_raft::{Base, Entry, Write};
use hezong_wal::{DiskFolder, Recovered, Wal};

use crate::identity::{FolderLock, Identity, IdentityError, Start, check_label, check_log, claim, lock, note_log};
use crate::open::wal_options;
use crate::options::OpenError;

/// A folder that belongs to a node which does not run, locked so that it stays so.
pub struct Resting {
    folder: PathBuf,
    identity: Identity,
    wal: Wal,
    groups: Vec<Recovered>,
    _lock: FolderLock,
}

impl Resting {
    /// Opens it.
    ///
    /// # Errors
    /// [`OpenError`], [`IdentityError::InUse`] while its node runs.
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        let (identity, lock) = claim(folder, &Start::Reopen)?;
        let log = folder.join("log");
        check_log(folder, &log)?;
        if !log.try_exists().map_err(|source| OpenError::Folder { path: log.clone(), source })? {
            return Err(IdentityError::LogGone(log).into());
        }
        let (wal, groups) = open_log(&log, &identity)?;
        Ok(Self { folder: folder.to_owned(), identity, wal, groups, _lock: lock })
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whose it is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What the log of a group stands on; `None` when there is no such group or it stands on nothing.
    ///
    /// # Errors
    /// [`OpenError::Record`].
    pub fn base(&self, group: GroupId) -> Result<Option<Base>, OpenError> {
        let found = self.groups.iter().find(|found| found.group == group).and_then(|found| found.base.clone());
        let base = found.map(|(_, base)| decode_base(base)).transpose();
        base.map_err(|source| OpenError::Record { group, source })
    }

    /// All entries its log holds of a group, committed or not, in order, about a megabyte at a time.
    pub fn entries(&self, group: GroupId) -> impl Iterator<Item = Result<Vec<Entry>, OpenError>> {
        self.wal.reader().entries(group).map(move |piece| {
            let (_, blobs) = piece.map_err(hezong_wal::OpenError::from)?;
            let entries = blobs.into_iter().map(decode_entry).collect::<Result<_, _>>();
            entries.map_err(|source| OpenError::Record { group, source })
        })
    }
}

/// A folder that is being made. Until [`Founding::finish`] it holds no identity, so that no node starts on it.
#[derive(Debug)]
pub struct Founding {
    folder: PathBuf,
    label: String,
    _lock: FolderLock,
}

impl Founding {
    /// Takes an empty folder, or makes it.
    ///
    /// # Errors
    /// [`IdentityError::Taken`] when something is in it, [`IdentityError::Label`]; nothing was changed.
    pub fn begin(folder: &Path, label: &str) -> Result<Self, IdentityError> {
        check_label(label)?;
        Self::check_empty(folder)?;
        let io = |source| IdentityError::Io { path: folder.to_owned(), source };
        fs::create_dir_all(folder).map_err(io)?;
        let lock = lock(folder)?;
        // Another process may have been at it just now.
        Self::check_empty(folder)?;
        Ok(Self { folder: folder.to_owned(), label: label.to_owned(), _lock: lock })
    }

    /// Whether a folder could be taken.
    ///
    /// # Errors
    /// [`IdentityError::Taken`] when something is in it.
    pub fn check_empty(folder: &Path) -> Result<(), IdentityError> {
        let io = |source| IdentityError::Io { path: folder.to_owned(), source };
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(io)?,
        };
        for entry in entries {
            let found = entry.map_err(io)?.file_name();
            if found != crate::identity::LOCK {
                let (folder, found) = (folder.to_owned(), found.to_string_lossy().into_owned());
                return Err(IdentityError::Taken { folder, found });
            }
        }
        Ok(())
    }

    /// Begins the log of a group on `base`, whose members are to be the new node alone, and writes down who the node is.
    /// From then on it can be opened with [`Start::Reopen`].
    ///
    /// # Errors
    /// [`OpenError`]; the folder has no identity and is of no use.
    ///
    /// # Panics
    /// When `base` covers no entry or has not exactly one voter: a new cluster of one node begins with a state.
    pub fn finish(self, group: GroupId, base: Base) -> Result<Identity, OpenError> {
        let LogId { term, .. } = base.last.expect("a new cluster is made of a state, and that covers an entry");
        let voters: Vec<_> = base.membership.voters().iter().copied().collect();
        let [node] = voters.as_slice() else { panic!("a new cluster has one voter, and not {}", voters.len()) };
        let version = base.membership.used();
        let identity = Identity { version, ..Identity::founder(*node, self.label.as_str()) };
        let log = self.folder.join("log");
        let (mut wal, _) = open_log(&log, &identity)?;
        let writes = [Write::Reset(base), Write::Vote { term, vote: None }];
        let records: Vec<Record> = writes.iter().map(|write| Record { group, change: to_change(write) }).collect();
        wal.append(&records).and_then(|()| wal.sync()).and_then(|()| wal.close()).map_err(OpenError::LogWrite)?;
        note_log(&self.folder)?;
        identity.store(&self.folder)?;
        Ok(identity)
    }
}

fn open_log(path: &Path, identity: &Identity) -> Result<(Wal, Vec<Recovered>), OpenError> {
    let folder = DiskFolder::open(path).map_err(|source| OpenError::Folder { path: path.to_owned(), source })?;
    Ok(Wal::open(Arc::new(folder), wal_options(identity))?)
}
