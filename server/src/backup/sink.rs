//! A backup on its way to where it will lie. Nothing is found under its name before all of it is there and was found
//! whole; what fails is taken away again.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use bytes::{Buf as _, Bytes};
use hezong_kv::{BackupError, BackupReader, Header};
use object_store::{MultipartUpload, WriteMultipart};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::backup::place::Place;
use crate::backup::s3::{Bucket, explain};

/// How long a part of an object is. Some stores want all parts but the last to be of one length.
const PART_BYTES: usize = 16 << 20;
/// More parts no store takes.
const PARTS_MAX: u64 = 10_000;
/// Parts on their way at once. With the one that is being filled they are all the memory an upload takes.
const PARTS_OPEN_MAX: usize = 2;

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

    /// Gives it its name. Returns what it says of itself, and its length.
    pub(super) async fn finish(self) -> Result<(Header, u64)> {
        match self {
            Self::File(file) => file.finish(),
            Self::Object(object) => object.finish().await,
        }
    }

    /// Takes away what came so far.
    pub(super) async fn discard(self) {
        match self {
            Self::File(file) => drop(file),
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
    file: File,
    force: bool,
}

impl ToFile {
    fn create(path: &Path, force: bool) -> Result<Self> {
        let mut part: OsString = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        refuse_existing(path, force)?;
        // It holds every key: others have no business with it. What an earlier attempt left may be open to them.
        fs::remove_file(&part).ok();
        let file = File::options().write(true).create_new(true).mode(0o600).open(&part);
        let file = file.with_context(|| format!("{} cannot be written", part.display()))?;
        Ok(Self { path: path.to_owned(), part, file, force })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).with_context(|| format!("{} cannot be written", self.part.display()))
    }

    /// Reads it back: what was checked is what lies on the disk.
    fn finish(self) -> Result<(Header, u64)> {
        self.file.sync_all().with_context(|| format!("{} cannot be written", self.part.display()))?;
        let checked = Place::File(self.part.clone()).check().context("what came is not whole; take another backup")?;
        refuse_existing(&self.path, self.force)?;
        fs::rename(&self.part, &self.path)
            .with_context(|| format!("{} cannot be put in place", self.path.display()))?;
        let folder = self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .with_context(|| format!("{} cannot be made durable", folder.display()))?;
        Ok(checked)
    }
}

impl Drop for ToFile {
    fn drop(&mut self) {
        // Err: it has its name by now.
        fs::remove_file(&self.part).ok();
    }
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
    upload: WriteMultipart,
    name: String,
    part_bytes: usize,
    bytes: u64,
    to_check: mpsc::Sender<Bytes>,
    check: JoinHandle<Result<Header, BackupError>>,
}

impl ToObject {
    fn new(upload: Box<dyn MultipartUpload>, name: String, part_bytes: usize) -> Self {
        let (to_check, passing) = mpsc::channel(1);
        let check =
            tokio::task::spawn_blocking(move || BackupReader::open(Passing { passing, rest: Bytes::new() })?.check());
        let upload = WriteMultipart::new_with_chunk_size(upload, part_bytes);
        Self { upload, name, part_bytes, bytes: 0, to_check, check }
    }

    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.bytes += bytes.len() as u64;
        let bytes_max = PARTS_MAX * self.part_bytes as u64;
        if self.bytes > bytes_max {
            bail!(
                "the backup is over {bytes_max} bytes, which is what a store takes in {PARTS_MAX} parts of {} bytes; take \
                 it to a file",
                self.part_bytes
            );
        }
        self.upload.wait_for_capacity(PARTS_OPEN_MAX).await.map_err(|error| explain(&self.name, &error))?;
        // Err: it is known not to be whole already, which finish() tells.
        self.to_check.send(bytes.clone()).await.ok();
        self.upload.write(&bytes);
        Ok(())
    }

    async fn finish(self) -> Result<(Header, u64)> {
        let Self { upload, name, bytes, to_check, check, .. } = self;
        drop(to_check);
        let checked = check.await.context("the check of what came was broken off");
        let header = match checked.and_then(|header| header.context("what came is not whole; take another backup")) {
            Ok(header) => header,
            Err(error) => {
                abort(upload, &name).await;
                return Err(error);
            }
        };
        upload.finish().await.map_err(|error| explain(&name, &error))?;
        Ok((header, bytes))
    }

    async fn discard(self) {
        drop(self.to_check);
        abort(self.upload, &self.name).await;
    }
}

async fn abort(upload: WriteMultipart, name: &str) {
    if let Err(error) = upload.abort().await {
        let error = explain(name, &error);
        tracing::warn!("parts of an upload are left, which no name leads to and the store may charge for: {error:#}");
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
