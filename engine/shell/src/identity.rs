//! Who a data folder belongs to: one small file, and a lock that keeps a second process out.
//!
//! The file is text, so that a person who finds a stray folder can tell what it is:
//!
//! ```text
//! hezong identity 1
//! cluster 5f0c6f1b2a9e4d3c8b7a695847362514
//! node 2
//! label node02
//! ```
//!
//! The number in its first line rises when a version is first used that older programs do not know
//! (`docs/upgrades.md`), so that none of them opens the folder after that. All else is written once.
//!
//! A [`NodeId`] is given once by the cluster and never again, so a node that has lost its folder has lost its identity
//! too, and comes back as a new one. That is why opening never guesses: an empty folder with neither bootstrap nor join
//! is refused, and so is a folder that belongs to somebody else.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use hezong_base::NodeId;
use hezong_codec::{ClusterId, VERSIONS};
use hezong_raft::Version;
use rustix::fs::{FlockOperation, flock};

const FILE: &str = "identity";
pub(crate) const LOCK: &str = "lock";
/// Written beside the log once the log has begun: from then on a log that is not there was lost.
const LOG_BEGUN: &str = "log-begun";

/// Who a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// Its number, given once at bootstrap or join.
    pub node: NodeId,
    /// What a person calls it, as `node01`.
    pub label: String,
    /// What a program must know to open the folder: the newest version that may have been used in it.
    pub version: Version,
}

impl Identity {
    /// The first node of a new cluster, which is named by 128 bits of chance so that nodes of two clusters never mix.
    ///
    /// # Panics
    /// When the system has no entropy: a cluster id that another cluster could share is worse than none.
    #[must_use]
    pub fn bootstrap(label: impl Into<String>) -> Self {
        Self::founder(NodeId(1), label)
    }

    /// The same under another number: of a cluster that is made from what is left of an older one.
    pub(crate) fn founder(node: NodeId, label: impl Into<String>) -> Self {
        let mut id = [0; 16];
        getrandom::fill(&mut id).expect("the system's source of entropy works");
        Self { cluster: ClusterId(u128::from_le_bytes(id)), node, label: label.into(), version: Version::default() }
    }

    /// A node that a cluster has taken in under this number.
    #[must_use]
    pub fn joined(cluster: ClusterId, node: NodeId, label: impl Into<String>) -> Self {
        Self { cluster, node, label: label.into(), version: Version::default() }
    }

    /// What the folder says; `None` when it is empty or not there.
    ///
    /// # Errors
    /// [`IdentityError`] when it cannot be read, is damaged, is of a newer format, or holds files but no identity.
    pub fn load(folder: &Path) -> Result<Option<Self>, IdentityError> {
        let path = folder.join(FILE);
        let failed = |source| IdentityError::Io { path: path.clone(), source };
        match fs::read_to_string(&path) {
            Ok(text) => parse(&text, &path).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let Ok(mut entries) = fs::read_dir(folder) else { return Ok(None) };
                let ours = |entry: &fs::DirEntry| entry.file_name() == LOCK || entry.file_name() == "identity.new";
                let stray = entries.try_fold(None, |found, entry| {
                    let entry = entry.map_err(failed)?;
                    Ok(found.or_else(|| (!ours(&entry)).then(|| entry.file_name())))
                })?;
                match stray {
                    None => Ok(None),
                    Some(found) => Err(IdentityError::Stray {
                        folder: folder.to_owned(),
                        found: found.to_string_lossy().into_owned(),
                    }),
                }
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Notes that `version` may be used in a folder from now on. Durable on return.
    pub(crate) fn note_version(folder: &Path, version: Version) -> Result<(), IdentityError> {
        let found = Self::load(folder)?.ok_or_else(|| IdentityError::Empty(folder.to_owned()))?;
        if found.version < version { Self { version, ..found }.store(folder) } else { Ok(()) }
    }

    /// Writes it, so that a crash leaves the whole file or none.
    pub(crate) fn store(&self, folder: &Path) -> Result<(), IdentityError> {
        let text = format!(
            "hezong identity {}\ncluster {}\nnode {}\nlabel {}\n",
            self.version, self.cluster, self.node.0, self.label
        );
        replace(folder, FILE, &text)
    }
}

/// Writes a small file of a folder anew, so that a crash leaves the whole file or what was there before.
pub(crate) fn replace(folder: &Path, name: &str, text: &str) -> Result<(), IdentityError> {
    let (path, new) = (folder.join(name), folder.join(format!("{name}.new")));
    let write = || {
        let mut file = File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|source| IdentityError::Io { path: path.clone(), source })
}

/// How a node comes to its identity.
#[derive(Clone, Debug)]
pub enum Start {
    /// By its folder, which must know it.
    Reopen,
    /// As the first node of a new cluster, made by [`Identity::bootstrap`]. A folder that already has an identity keeps
    /// it, if the label is the same, so that a service may be started with the same flags every time.
    Bootstrap(Identity),
    /// As one that a cluster has taken in, made by [`Identity::joined`]. A folder that has an identity must have this one.
    Join(Identity),
}

/// Why a folder is not this node's to open. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// An empty folder, and nothing that says who the node is to be.
    #[error("{} is empty: start a new cluster with bootstrap, join one, or name the folder that holds this node's data", .0.display())]
    Empty(PathBuf),
    /// A folder with files in it, but no identity.
    #[error("{} holds {found:?} but no file named identity: it is no data folder; name an empty one", .folder.display())]
    Stray {
        /// The folder.
        folder: PathBuf,
        /// The first file in it.
        found: String,
    },
    /// A folder that was to be empty.
    #[error("{} is not empty, it holds {found:?}: name an empty folder, or one that is not there yet", .folder.display())]
    Taken {
        /// The folder.
        folder: PathBuf,
        /// The first file in it.
        found: String,
    },
    /// The folder of another node.
    #[error("{} belongs to {found}, not to {wanted}: start {found} on it, or name another folder", .folder.display())]
    OtherNode {
        /// The folder.
        folder: PathBuf,
        /// Whose it is.
        found: String,
        /// Who wanted it.
        wanted: String,
    },
    /// The folder of another cluster.
    #[error("{} belongs to cluster {found}, not to {wanted}: name another folder to join with", .folder.display())]
    OtherCluster {
        /// The folder.
        folder: PathBuf,
        /// Whose it is.
        found: ClusterId,
        /// Which was wanted.
        wanted: ClusterId,
    },
    /// A version was used in the folder that this program does not know. Start the newer program again.
    #[error("{} has format {found}: cluster version {found} was used in this folder, and this program knows up to {}; \
        upgrade to a program that knows {found}", .path.display(), VERSIONS.max)]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version.
        found: u32,
    },
    /// Not what we wrote.
    #[error("{} is damaged: {reason}; restore it, or empty the folder and join as a new node", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The log has begun once and is not there any more. What this node voted and acknowledged is in no other place,
    /// and with the same number and no memory it would vote twice, or found the cluster a second time.
    #[error("{} is missing or empty, and this node has written to it: put it back, or empty the whole data folder and \
        join as a new node", .0.display())]
    LogGone(PathBuf),
    /// The file that says how long a lease this node may have granted is not what we wrote.
    #[error("{} is damaged: it should say how long a lease this node has granted; restore it, or remove it once the \
        longest lease this cluster was ever run with has passed since the node stopped", .0.display())]
    Lease(PathBuf),
    /// Another process has the folder open.
    #[error("{} is in use by another process: stop that one, wait for its end if it is stopping, or name another folder",
        .0.display())]
    InUse(PathBuf),
    /// A label that would not survive being written down.
    #[error("the label {0:?} is empty, over 64 bytes or has a control character: choose a plain name such as node01")]
    Label(String),
    /// The system said no.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// Keeps every other process out of a folder for as long as it or one of its clones lives; a crash lets go of it too.
#[derive(Clone, Debug)]
pub struct FolderLock(Arc<File>);

impl FolderLock {
    /// The same lock for as long as somebody else holds it.
    pub(crate) fn downgrade(&self) -> Weak<File> {
        Arc::downgrade(&self.0)
    }

    pub(crate) fn upgrade(lock: &Weak<File>) -> Option<Self> {
        lock.upgrade().map(Self)
    }
}

/// Opens the folder, making it if need be: locks it, and finds or writes down who we are.
pub(crate) fn claim(folder: &Path, start: &Start) -> Result<(Identity, FolderLock), IdentityError> {
    let io = |source| IdentityError::Io { path: folder.to_owned(), source };
    if let Start::Bootstrap(identity) | Start::Join(identity) = start {
        fs::create_dir_all(folder).map_err(io)?;
        check_label(&identity.label)?;
    } else if !folder.exists() {
        return Err(IdentityError::Empty(folder.to_owned()));
    }
    let lock = lock(folder)?;
    let identity = match (Identity::load(folder)?, start) {
        (None, Start::Reopen) => return Err(IdentityError::Empty(folder.to_owned())),
        (None, Start::Bootstrap(new) | Start::Join(new)) => {
            new.store(folder)?;
            new.clone()
        }
        (Some(found), Start::Reopen) => found,
        (Some(found), Start::Bootstrap(wanted)) => same(folder, found, &wanted.label, None)?,
        (Some(found), Start::Join(wanted)) => same(folder, found, &wanted.label, Some(wanted))?,
    };
    Ok((identity, lock))
}

/// Locks a folder that is there.
pub(crate) fn lock(folder: &Path) -> Result<FolderLock, IdentityError> {
    let io = |source| IdentityError::Io { path: folder.to_owned(), source };
    let lock = File::options().create(true).truncate(false).write(true).open(folder.join(LOCK)).map_err(io)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(FolderLock(Arc::new(lock))),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(IdentityError::InUse(folder.to_owned())),
        Err(error) => Err(io(error.into())),
    }
}

/// Refuses a label that would not survive being written down.
pub(crate) fn check_label(label: &str) -> Result<(), IdentityError> {
    if label.is_empty() || label.len() > 64 || label.chars().any(char::is_control) {
        return Err(IdentityError::Label(label.to_owned()));
    }
    Ok(())
}

/// Refuses a node whose log has begun and is gone.
pub(crate) fn check_log(folder: &Path, log: &Path) -> Result<(), IdentityError> {
    let io = |path: &Path, source| IdentityError::Io { path: path.to_owned(), source };
    let marker = folder.join(LOG_BEGUN);
    if !marker.try_exists().map_err(|source| io(&marker, source))? {
        return Ok(());
    }
    let mut entries = match fs::read_dir(log) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(IdentityError::LogGone(log.to_owned())),
        entries => entries.map_err(|source| io(log, source))?,
    };
    let written = entries.any(|entry| entry.is_ok_and(|entry| entry.file_name() != LOCK));
    if written { Ok(()) } else { Err(IdentityError::LogGone(log.to_owned())) }
}

/// Notes, before anybody hears of this node, that its log has begun.
pub(crate) fn note_log(folder: &Path) -> Result<(), IdentityError> {
    let marker = folder.join(LOG_BEGUN);
    let note = || {
        if !marker.try_exists()? {
            File::create(&marker)?.sync_all()?;
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    };
    note().map_err(|source| IdentityError::Io { path: marker.clone(), source })
}

/// Checks that the folder's identity is the wanted one.
fn same(folder: &Path, found: Identity, label: &str, wanted: Option<&Identity>) -> Result<Identity, IdentityError> {
    if let Some(wanted) = wanted.filter(|wanted| wanted.cluster != found.cluster) {
        let (found, wanted) = (found.cluster, wanted.cluster);
        return Err(IdentityError::OtherCluster { folder: folder.to_owned(), found, wanted });
    }
    if found.label != label || wanted.is_some_and(|wanted| wanted.node != found.node) {
        let name = |label: &str, node: Option<NodeId>| node.map_or(label.to_owned(), |n| format!("{label} ({n})"));
        return Err(IdentityError::OtherNode {
            folder: folder.to_owned(),
            wanted: name(label, wanted.map(|wanted| wanted.node)),
            found: name(&found.label, wanted.map(|_| found.node)),
        });
    }
    Ok(found)
}

fn parse(text: &str, path: &Path) -> Result<Identity, IdentityError> {
    let damaged = |reason| IdentityError::Damaged { path: path.to_owned(), reason };
    let mut lines = text.lines();
    let mut field = |name: &'static str, reason| {
        let line = lines.next().and_then(|line| line.strip_prefix(name));
        line.and_then(|line| line.strip_prefix(' ')).ok_or_else(|| damaged(reason))
    };
    let version: u32 = field("hezong identity", "its first line is not ours")?
        .parse()
        .map_err(|_| damaged("its format is no number"))?;
    let version = u8::try_from(version)
        .ok()
        .filter(|version| *version <= VERSIONS.max)
        .map(Version)
        .ok_or_else(|| IdentityError::Newer { path: path.to_owned(), found: version })?;
    let cluster =
        field("cluster", "it names no cluster")?.parse().map_err(|_| damaged("its cluster id is malformed"))?;
    let node = field("node", "it names no node")?.parse().map_err(|_| damaged("its node id is no number"))?;
    let label = field("label", "it has no label")?.to_owned();
    Ok(Identity { cluster, node: NodeId(node), label, version })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn claim_bootstrap_written_once_and_found_again() {
        let folder = folder();
        let path = folder.path().join("data");
        let (first, lock) = claim(&path, &Start::Bootstrap(Identity::bootstrap("node01"))).unwrap();
        drop(lock);
        let (again, lock) = claim(&path, &Start::Bootstrap(Identity::bootstrap("node01"))).unwrap();
        drop(lock);
        assert_eq!(first, again);
        assert_eq!(claim(&path, &Start::Reopen).unwrap().0, first);
        assert_eq!(Identity::load(&path).unwrap(), Some(first));
    }

    #[test]
    fn claim_empty_without_bootstrap_or_join_refused() {
        let folder = folder();
        let error = claim(folder.path(), &Start::Reopen).unwrap_err();
        assert!(matches!(error, IdentityError::Empty(_)), "{error}");
        let error = claim(&folder.path().join("missing"), &Start::Reopen).unwrap_err();
        assert!(matches!(error, IdentityError::Empty(_)), "{error}");
        assert!(!folder.path().join("missing").exists());
    }

    #[test]
    fn claim_folder_of_another_refused() {
        let folder = folder();
        let mine = Identity::bootstrap("node01");
        drop(claim(folder.path(), &Start::Bootstrap(mine.clone())).unwrap());
        let claim = |start| claim(folder.path(), &start).unwrap_err();

        let error = claim(Start::Bootstrap(Identity::bootstrap("node02")));
        assert!(matches!(error, IdentityError::OtherNode { .. }), "{error}");
        let error = claim(Start::Join(Identity::joined(mine.cluster, NodeId(2), "node01")));
        assert!(matches!(error, IdentityError::OtherNode { .. }), "{error}");
        let error = claim(Start::Join(Identity::joined(ClusterId(7), NodeId(1), "node01")));
        assert!(matches!(error, IdentityError::OtherCluster { .. }), "{error}");
    }

    #[test]
    fn claim_in_use_refused() {
        let folder = folder();
        let start = Start::Bootstrap(Identity::bootstrap("node01"));
        let _held = claim(folder.path(), &start).unwrap();
        let error = claim(folder.path(), &start).unwrap_err();
        assert!(matches!(error, IdentityError::InUse(_)), "{error}");
    }

    #[test]
    fn claim_stray_newer_and_damaged_refused() {
        let folder = folder();
        fs::write(folder.path().join("thesis.tex"), "").unwrap();
        let start = Start::Bootstrap(Identity::bootstrap("node01"));
        let error = claim(folder.path(), &start).unwrap_err();
        assert!(matches!(error, IdentityError::Stray { .. }), "{error}");

        fs::write(folder.path().join(FILE), "hezong identity 9\nanything").unwrap();
        let error = claim(folder.path(), &start).unwrap_err();
        assert!(matches!(error, IdentityError::Newer { found: 9, .. }), "{error}");

        for text in ["", "hezong identity 1\ncluster 12\nnode 1\nlabel a\n", "hezong identity 1\n"] {
            fs::write(folder.path().join(FILE), text).unwrap();
            let error = claim(folder.path(), &start).unwrap_err();
            assert!(matches!(error, IdentityError::Damaged { .. }), "{error}");
        }
    }

    #[test]
    fn note_version_shuts_out_older_programs() {
        let folder = folder();
        let start = Start::Bootstrap(Identity::bootstrap("node01"));
        let first = claim(folder.path(), &start).unwrap().0;
        let note = |version| Identity::note_version(folder.path(), Version(version));
        note(1).unwrap();
        assert_eq!(Identity::load(folder.path()).unwrap(), Some(first));
        note(VERSIONS.max + 1).unwrap();
        let error = claim(folder.path(), &start).unwrap_err();
        let found = u32::from(VERSIONS.max) + 1;
        assert!(
            error.to_string().contains(&format!("identity has format {found}: cluster version {found}")),
            "{error}"
        );
    }

    #[test]
    fn claim_label_that_breaks_the_file_refused() {
        let folder = folder();
        for label in ["", "a\nnode 2", &"x".repeat(65)] {
            let error = claim(folder.path(), &Start::Bootstrap(Identity::bootstrap(label))).unwrap_err();
            assert!(matches!(error, IdentityError::Label(_)), "{error}");
        }
    }
}
