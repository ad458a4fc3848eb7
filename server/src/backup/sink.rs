//! A backup on its way to where it will lie. Nothing is found under its name before all of it is there and was found
//! whole; what fails is taken away again.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write as _};
use std::mem;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use bytes::{Buf as _, Bytes};
use hezong_kv::{BackupError, BackupReader, Header};
use object_store::{MultipartUpload, PutPayloadMut};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use crate::backup::place::Place;
use crate::backup::s3::{Bucket, explain};

/// How long a part of an object is. Some stores want all parts but the last to be of one length.
const PART_BYTES: usize = 16 << 20;
/// More parts no store takes.
const PARTS_MAX: u64 = 10_000;
/// Parts on their way at once. With the one that is being filled they are all the memory an upload takes.
const PARTS_OPEN_MAX: usize = 2;
/// Of what the check found wrong.
const NOT_WHOLE: &str = "what came is not whole; take another backup";

pub(super) enum Sink {
    File(ToFile),
    Object(ToObject),
}

impl Sink {
    /// Prepares the place. What is there already stays, unless told otherwise.
    pub(super) async fn open(place: &Place, force: bool) -> Result<Self> {
        match place {
            Place::File(path) => Ok(Self::File(ToFile::create(path, force)?)),
            Place::Object { bucket, key } => {
                let object = Bucket::connect(bucket, !force)?.object(key.clone());
                if !force && object.exists().await? {
                    bail!(exists(place));
                }
                let upload = object.begin().await?;
                Ok(Self::Object(ToObject::new(upload, place.to_string(), PART_BYTES)))
            }
        }
    }

    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<()> {
        match self {
            Self::File(file) => file.write(&bytes),
            Self::Object(object) => object.write(bytes).await,
        }
    }

    /// Gives it its name. Returns what it says of itself, and its length. What fails, or is dropped half-way, is to be
    /// discarded.
    pub(super) async fn finish(&mut self) -> Result<(Header, u64)> {
        match self {
            Self::File(file) => file.finish().await,
            Self::Object(object) => object.finish().await,
        }
    }

    /// Takes away what came so far. Returns what is left all the same.
    pub(super) async fn discard(self) -> Option<String> {
        match self {
            Self::File(file) => {
                drop(file);
                None
            }
            Self::Object(object) => object.discard().await,
        }
    }
}

fn exists(place: &Place) -> String {
    format!("{place} is there already, and stays as it is; --force replaces it")
}

/// The file beside it that is written first. It goes when this is dropped.
pub(super) struct ToFile {
    path: PathBuf,
    part: PathBuf,
    /// Locked, so that another backup to this name does not take it for what an earlier attempt left.
    file: File,
    force: bool,
    /// Whether it has its name.
    placed: bool,
}

impl ToFile {
    fn create(path: &Path, force: bool) -> Result<Self> {
        let mut part: OsString = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        refuse_existing(path, force)?;
        // It holds every key: others have no business with it. What an earlier attempt left may be open to them.
        let left = File::open(&part).ok();
        if let Some(left) = &left {
            lock(left, &part)?;
            fs::remove_file(&part).ok();
        }
        let file = File::options().write(true).create_new(true).mode(0o600).open(&part);
        let file = file.with_context(|| format!("{} cannot be written", part.display()))?;
        lock(&file, &part)?;
        Ok(Self { path: path.to_owned(), part, file, force, placed: false })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).with_context(|| format!("{} cannot be written", self.part.display()))
    }

    /// Reads it back: what was checked is what lies on the disk.
    async fn finish(&mut self) -> Result<(Header, u64)> {
        let cannot = || format!("{} cannot be written", self.part.display());
        let (file, part) = (self.file.try_clone().with_context(cannot)?, Place::File(self.part.clone()));
        // It takes a while, in which this may be given up.
        let read_back = tokio::task::spawn_blocking(move || (file.sync_all(), part.check())).await;
        let (synced, checked) = read_back.context("the check of what came was broken off")?;
        synced.with_context(cannot)?;
        let checked = checked.context(NOT_WHOLE)?;
        refuse_existing(&self.path, self.force)?;
        fs::rename(&self.part, &self.path)
            .with_context(|| format!("{} cannot be put in place", self.path.display()))?;
        self.placed = true;
        let folder = self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .with_context(|| format!("{} cannot be made durable", folder.display()))?;
        Ok(checked)
    }
}

impl Drop for ToFile {
    fn drop(&mut self) {
        if !self.placed {
            fs::remove_file(&self.part).ok();
        }
    }
}

/// Refuses what another process writes. File systems without locks leave that unnoticed.
fn lock(file: &File, part: &Path) -> Result<()> {
    if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
        bail!("another backup writes {} at this moment; wait for it or name another file", part.display());
    }
    Ok(())
}

fn refuse_existing(path: &Path, force: bool) -> Result<()> {
    if !force && path.try_exists().with_context(|| format!("{} cannot be looked at", path.display()))? {
        bail!(exists(&Place::File(path.to_owned())));
    }
    Ok(())
}

/// Parts that become an object all at once. What passes is checked on its way, since it has the name as soon as the store
/// has put it together; the store takes no part whose SHA-256 is not the one that was signed.
pub(super) struct ToObject {
    upload: Box<dyn MultipartUpload>,
    name: String,
    part_bytes: usize,
    bytes: u64,
    /// The part that is being filled.
    part: PutPayloadMut,
    /// Those on their way.
    sending: JoinSet<object_store::Result<()>>,
    /// `None` once all of it has passed.
    to_check: Option<mpsc::Sender<Bytes>>,
    check: JoinHandle<Result<Header, BackupError>>,
    /// Whether the store was asked to put it together and has not answered.
    completing: bool,
}

impl ToObject {
    fn new(upload: Box<dyn MultipartUpload>, name: String, part_bytes: usize) -> Self {
        let (to_check, passing) = mpsc::channel(1);
        let check =
            tokio::task::spawn_blocking(move || BackupReader::open(Passing { passing, rest: Bytes::new() })?.check());
        Self {
            upload,
            name,
            part_bytes,
            bytes: 0,
            part: PutPayloadMut::new(),
            sending: JoinSet::new(),
            to_check: Some(to_check),
            check,
            completing: false,
        }
    }

    async fn write(&mut self, mut bytes: Bytes) -> Result<()> {
        self.bytes += bytes.len() as u64;
        let bytes_max = PARTS_MAX * self.part_bytes as u64;
        if self.bytes > bytes_max {
            bail!(
                "the backup is over {bytes_max} bytes, which is what a store takes in {PARTS_MAX} parts of {} bytes; take \
                 it to a file",
                self.part_bytes
            );
        }
        let to_check =
            self.to_check.as_ref().expect("it is dropped by finish() alone, behind which nothing is written");
        if to_check.send(bytes.clone()).await.is_err() {
            self.checked().await?;
            bail!("{NOT_WHOLE}: it goes on behind its end");
        }
        while !bytes.is_empty() {
            let room = self.part_bytes - self.part.content_length();
            self.part.extend_from_slice(&bytes.split_to(room.min(bytes.len())));
            if self.part.content_length() == self.part_bytes {
                self.send_part().await?;
            }
        }
        Ok(())
    }

    /// Puts the part on its way, as soon as few enough are.
    async fn send_part(&mut self) -> Result<()> {
        self.arrived(PARTS_OPEN_MAX - 1).await?;
        let part = mem::take(&mut self.part);
        self.sending.spawn(self.upload.put_part(part.into()));
        Ok(())
    }

    /// Waits until no more than so many parts are on their way.
    async fn arrived(&mut self, open_max: usize) -> Result<()> {
        while self.sending.len() > open_max
            && let Some(sent) = self.sending.join_next().await
        {
            sent.context("a part was broken off")?.map_err(|error| explain(&self.name, &error))?;
        }
        Ok(())
    }

    async fn checked(&mut self) -> Result<Header> {
        let checked = (&mut self.check).await.context("the check of what came was broken off")?;
        checked.context(NOT_WHOLE)
    }

    async fn finish(&mut self) -> Result<(Header, u64)> {
        self.to_check = None;
        let header = self.checked().await?;
        if !self.part.is_empty() {
            self.send_part().await?;
        }
        self.arrived(0).await?;
        self.completing = true;
        let completed = self.upload.complete().await;
        self.completing = false;
        completed.map_err(|error| explain(&self.name, &error))?;
        Ok((header, self.bytes))
    }

    async fn discard(mut self) -> Option<String> {
        self.to_check = None;
        self.sending.shutdown().await;
        let aborted = self.upload.abort().await;
        if self.completing {
            let name = &self.name;
            return Some(format!("{name} may be there all the same: see hezong backup --check {name}"));
        }
        let error = explain(&self.name, &aborted.err()?);
        Some(format!("parts of it are left, which no name leads to and the store may charge for: {error:#}"))
    }
}

/// What passes, as the check reads it.
struct Passing {
    passing: mpsc::Receiver<Bytes>,
    rest: Bytes,
}

impl Read for Passing {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.passing.blocking_recv() {
                Some(bytes) => self.rest = bytes,
                None => return Ok(0),
            }
        }
        let count = into.len().min(self.rest.len());
        self.rest.copy_to_slice(&mut into[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
