//! Folders of stores: made whole or not at all, marked when found damaged, and set aside when they cannot be read.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::StoreError;

/// In a store that was condemned while it was open, this file says why. It moves away with the folder.
const MARK: &str = "damaged";

/// An open store was found damaged. Opening it again finds no more than a part of that, so this is believed instead.
#[derive(Debug, Error)]
#[error("{0}")]
struct Marked(String);

/// Makes a store in `folder` unless one is there. Both disk stores leave a folder that they refuse to open when they are
/// killed while they make it; so it is made beside its place, synced, and moved there in one step. One that was
/// condemned when it was last open is refused as [`StoreError::Damaged`].
///
/// Whoever calls this holds the lock of the data folder around it: two at a time would make it in the same place.
pub(crate) fn make_whole(folder: &Path, make: impl FnOnce(&Path) -> Result<(), StoreError>) -> Result<(), StoreError> {
    let failed = |source: io::Error| StoreError::Open { path: folder.to_owned(), source: Box::new(source) };
    if holds_something(folder).map_err(failed)? {
        return match fs::read_to_string(folder.join(MARK)) {
            Ok(why) => Err(StoreError::Damaged { path: folder.to_owned(), source: Box::new(Marked(why)) }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed(error)),
        };
    }
    let beside = named(folder, ".new");
    if beside.exists() {
        fs::remove_dir_all(&beside).map_err(failed)?;
    }
    fs::create_dir_all(&beside).map_err(failed)?;
    make(&beside)?;
    // An empty folder in the place is replaced.
    fs::rename(&beside, folder).and_then(|()| sync(parent(folder))).map_err(failed)
}

/// Has opening the store refused from now on, after a crash too: what was found damaged is not what is read at the start,
/// and may be needed by the next thing that is applied.
#[cfg(feature = "fjall")]
pub(crate) fn mark(folder: &Path, why: &str) -> io::Result<()> {
    let mut file = File::create(folder.join(MARK))?;
    file.write_all(why.as_bytes())?;
    file.sync_all()?;
    sync(folder)
}

/// Moves a store that cannot be read out of the way, and tells where it is now: `state.damaged`, or with a number if
/// there is one already. Nothing is deleted: a person may still want to look at it.
///
/// # Errors
/// What the operating system said; the folder is where it was.
pub fn set_aside(folder: impl AsRef<Path>) -> io::Result<PathBuf> {
    let folder = folder.as_ref();
    let aside = (1_u32..)
        .map(|number| if number == 1 { ".damaged".to_owned() } else { format!(".damaged-{number}") })
        .map(|suffix| named(folder, &suffix))
        .find(|path| !path.exists())
        .expect("not 2^32 damaged stores fit beside one");
    fs::rename(folder, &aside)?;
    sync(parent(folder))?;
    Ok(aside)
}

fn holds_something(folder: &Path) -> io::Result<bool> {
    match fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().transpose()?.is_some()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// A folder's neighbour of the same name with something appended.
fn named(folder: &Path, suffix: &str) -> PathBuf {
    let mut name = folder.file_name().map_or_else(|| OsString::from("state"), OsString::from);
    name.push(suffix);
    folder.with_file_name(name)
}

fn parent(folder: &Path) -> &Path {
    folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A name in a folder survives a crash once the folder is synced.
fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
