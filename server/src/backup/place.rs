//! Where a backup lies: a file, or an object in a store that speaks S3.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use hezong_kv::{BackupReader, Header};
use object_store::path::Path as Key;

use crate::backup::s3::{Bucket, Object};

/// A name as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    File(PathBuf),
    Object { bucket: String, key: Key },
}

impl Place {
    /// Reads `s3://BUCKET/PATH`; whatever is no URL names a file.
    pub(crate) fn parse(typed: OsString) -> Result<Self> {
        let Some((scheme, rest)) = typed.to_str().and_then(|text| text.split_once("://")) else {
            return Ok(Self::File(typed.into()));
        };
        let bad = |reason: &str| format!("{} {reason}; write a file's name, or s3://BUCKET/PATH", typed.display());
        if scheme != "s3" {
            bail!(bad("is no place for backups"));
        }
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() || key.is_empty() || key.ends_with('/') {
            bail!(bad("names no object"));
        }
        let key = Key::parse(key).with_context(|| bad("names no object"))?;
        Ok(Self::Object { bucket: bucket.to_owned(), key })
    }

    /// Opens what lies there and reads what it says of itself. The number is its length in bytes.
    ///
    /// # Panics
    /// When it is an object and the thread is one that other tasks wait for.
    pub(crate) fn open(&self) -> Result<(BackupReader<Box<dyn Read>>, u64)> {
        let (source, bytes): (Box<dyn Read>, u64) = match self {
            Self::File(path) => {
                let file = File::open(path).with_context(|| format!("{self} cannot be opened"))?;
                let bytes = file.metadata().with_context(|| format!("{self} cannot be looked at"))?.len();
                (Box::new(BufReader::with_capacity(1 << 20, file)), bytes)
            }
            Self::Object { bucket, key } => {
                let object: Object = Bucket::connect(bucket, false)?.object(key.clone());
                let reader = object.read()?;
                let bytes = reader.size();
                (Box::new(reader), bytes)
            }
        };
        Ok((BackupReader::open(source).with_context(|| self.to_string())?, bytes))
    }

    /// Reads what lies there to its end; an error names what is wrong with it, and where.
    ///
    /// # Panics
    /// As [`Place::open`].
    pub(crate) fn check(&self) -> Result<(Header, u64)> {
        let (reader, bytes) = self.open()?;
        Ok((reader.check().with_context(|| self.to_string())?, bytes))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Object { bucket, key } => write!(f, "s3://{bucket}/{key}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_takes_files_and_objects() {
        let parse = |text: &str| Place::parse(text.into()).map(|place| (place.to_string(), place));
        for file in ["monday", "/backup/monday", "./s3:/x", "s3:bucket/key"] {
            let (shown, place) = parse(file).unwrap();
            assert!(shown == file && matches!(place, Place::File(_)), "{file}");
        }
        for object in ["s3://bucket/monday.hez", "s3://b/a/b/c d"] {
            let (shown, place) = parse(object).unwrap();
            assert!(shown == object && matches!(place, Place::Object { .. }), "{object}");
        }
        for bad in
            ["s3://", "s3://bucket", "s3://bucket/", "s3:///key", "s3://b/a//b", "s3://b/a/", "https://b/k", "gs://b/k"]
        {
            let error = format!("{:#}", parse(bad).unwrap_err());
            assert!(error.contains(bad) && error.contains("s3://BUCKET/PATH"), "{error}");
        }
    }
}
