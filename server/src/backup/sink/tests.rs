//! Against a store in memory, and an upload that fails where it is told to.

use std::sync::{Arc, Mutex};

use hezong_kv::BackupWriter;
use object_store::memory::InMemory;
use object_store::path::Path as Key;
use object_store::{ObjectStoreExt as _, PutPayload, PutResult, UploadPart};

use super::*;

/// A backup without keys, of some length, in pieces.
fn backup(chunks: usize) -> Vec<Bytes> {
    let header = Header { cluster: "c".to_owned(), term: 1, index: 1, used: 1, ..Header::default() };
    let (mut writer, first) = BackupWriter::begin(&header);
    let mut pieces = vec![first];
    for _ in 0..chunks {
        pieces.push(writer.chunk(&[]));
    }
    pieces.push(writer.finish());
    pieces
}

async fn write_all(to: &mut ToObject, pieces: &[Bytes]) {
    for piece in pieces {
        to.write(piece.clone()).await.unwrap();
    }
}

#[tokio::test]
async fn object_is_there_once_all_of_it_is() {
    let (store, key) = (InMemory::new(), Key::from("monday"));
    let mut to = ToObject::new(store.put_multipart(&key).await.unwrap(), "s3://b/monday".to_owned(), 100);
    let pieces = backup(50);
    write_all(&mut to, &pieces).await;
    assert!(store.head(&key).await.is_err(), "not before its end");
    let (header, bytes) = to.finish().await.unwrap();
    assert_eq!(header.index, 1);
    let whole = store.get(&key).await.unwrap().bytes().await.unwrap();
    assert_eq!(whole.len() as u64, bytes);
    assert_eq!(whole, pieces.concat());
}

#[tokio::test]
async fn object_of_what_is_not_whole_is_never_there() {
    let (store, key) = (InMemory::new(), Key::from("monday"));
    let pieces = backup(50);
    let mut flipped = pieces.clone();
    let mut bytes = flipped[20].to_vec();
    bytes[5] ^= 1;
    flipped[20] = bytes.into();
    for (broken, word) in
        [(&flipped[..], "damaged"), (&pieces[..pieces.len() - 1], "cut short"), (&[][..], "cut short")]
    {
        let mut to = ToObject::new(store.put_multipart(&key).await.unwrap(), "s3://b/monday".to_owned(), 100);
        // The check may find it on the way.
        let mut written = Ok(());
        for piece in broken {
            written = written.and(to.write(piece.clone()).await);
            if written.is_err() {
                break;
            }
        }
        let error = match written {
            Ok(()) => to.finish().await.unwrap_err(),
            Err(error) => error,
        };
        let error = format!("{error:#}");
        assert_eq!(to.discard().await, None);
        assert!(error.contains("not whole") && error.contains(word), "{error}");
        assert!(store.head(&key).await.is_err());
    }
    let mut to = ToObject::new(store.put_multipart(&key).await.unwrap(), "s3://b/monday".to_owned(), 100);
    write_all(&mut to, &pieces).await;
    assert_eq!(to.discard().await, None);
    assert!(store.head(&key).await.is_err());
}

/// An upload that remembers what was asked of it.
#[derive(Debug, Default)]
struct Told {
    /// Parts under way, and the most there ever were.
    open: (usize, usize),
    parts: usize,
    aborted: bool,
    completed: bool,
}

#[derive(Debug)]
struct Watched {
    told: Arc<Mutex<Told>>,
    parts: usize,
    /// The part that fails.
    fails_at: usize,
    /// Whether it puts nothing together, and refuses to take anything away.
    sulks: bool,
}

#[async_trait::async_trait]
impl MultipartUpload for Watched {
    fn put_part(&mut self, _: PutPayload) -> UploadPart {
        self.parts += 1;
        self.told.lock().unwrap().parts = self.parts;
        let fails = self.parts == self.fails_at;
        let told = Arc::clone(&self.told);
        Box::pin(async move {
            {
                let (open, most) = &mut told.lock().unwrap().open;
                *open += 1;
                *most = (*most).max(*open);
            }
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            told.lock().unwrap().open.0 -= 1;
            let broken = || object_store::Error::Generic { store: "S3", source: io::Error::other("no route").into() };
            if fails { Err(broken()) } else { Ok(()) }
        })
    }

    async fn complete(&mut self) -> object_store::Result<PutResult> {
        if self.sulks {
            std::future::pending::<()>().await;
        }
        self.told.lock().unwrap().completed = true;
        Ok(PutResult { e_tag: None, version: None, extensions: Default::default() })
    }

    async fn abort(&mut self) -> object_store::Result<()> {
        self.told.lock().unwrap().aborted = true;
        let refused = || object_store::Error::Generic { store: "S3", source: io::Error::other("403 Forbidden").into() };
        if self.sulks { Err(refused()) } else { Ok(()) }
    }
}

#[tokio::test]
async fn upload_is_bounded_and_a_part_that_fails_aborts_it() {
    let pieces = backup(500);
    for fails_at in [0, 1, 7, 41] {
        let told = Arc::new(Mutex::new(Told::default()));
        let upload = Watched { told: Arc::clone(&told), parts: 0, fails_at, sulks: false };
        let mut to = ToObject::new(Box::new(upload), "s3://b/monday".to_owned(), 100);
        let mut failed = None;
        for piece in &pieces {
            if let Err(error) = to.write(piece.clone()).await {
                failed = Some(error);
                break;
            }
        }
        match failed {
            Some(error) => assert!(format!("{error:#}").contains("no route"), "{error:#}"),
            None => assert_eq!(to.finish().await.is_ok(), fails_at == 0),
        }
        if fails_at != 0 {
            assert_eq!(to.discard().await, None);
        }
        let told = told.lock().unwrap();
        assert_eq!((told.completed, told.aborted), (fails_at == 0, fails_at != 0), "{fails_at}");
        assert!(told.open.1 <= PARTS_OPEN_MAX, "{} parts at once", told.open.1);
    }
}

#[tokio::test]
async fn parts_that_cannot_be_taken_away_are_told() {
    let upload = || Box::new(Watched { told: Arc::default(), parts: 0, fails_at: 0, sulks: true });
    let mut to = ToObject::new(upload(), "s3://b/monday".to_owned(), 100);
    write_all(&mut to, &backup(20)[..10]).await;
    let left = to.discard().await.unwrap();
    assert!(left.contains("parts of it are left") && left.contains("403 Forbidden"), "{left}");

    let mut to = ToObject::new(upload(), "s3://b/monday".to_owned(), 100);
    write_all(&mut to, &backup(20)).await;
    let patience = std::time::Duration::from_millis(200);
    assert!(tokio::time::timeout(patience, to.finish()).await.is_err(), "it puts nothing together");
    let left = to.discard().await.unwrap();
    assert!(left.contains("s3://b/monday may be there"), "{left}");
}

#[tokio::test]
async fn upload_of_what_is_not_whole_ends_soon() {
    let told = Arc::new(Mutex::new(Told::default()));
    let upload = Watched { told: Arc::clone(&told), parts: 0, fails_at: 0, sulks: false };
    let mut to = ToObject::new(Box::new(upload), "s3://b/monday".to_owned(), 100);
    to.write(Bytes::from_static(&[7; 100])).await.unwrap();
    while !to.check.is_finished() {
        tokio::task::yield_now().await;
    }
    let error = to.write(Bytes::from_static(&[7; 10_000])).await.unwrap_err();
    assert!(format!("{error:#}").contains("not whole"), "{error:#}");
    assert_eq!(told.lock().unwrap().parts, 1);
}

#[tokio::test]
async fn upload_beyond_what_a_store_takes_is_refused() {
    let upload = Watched { told: Arc::default(), parts: 0, fails_at: 0, sulks: false };
    let mut to = ToObject::new(Box::new(upload), "s3://b/monday".to_owned(), 1);
    let error = to.write(Bytes::from(vec![0; 10_001])).await.unwrap_err();
    assert!(error.to_string().contains("10000 parts"), "{error}");
}

#[test]
fn file_that_another_backup_writes_is_left_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("monday");
    let part = folder.path().join("monday.part");
    fs::write(&part, "left behind").unwrap();
    let first = ToFile::create(&path, false).unwrap();
    let error = ToFile::create(&path, true).err().unwrap().to_string();
    assert!(error.contains("another backup writes") && error.contains("monday.part"), "{error}");
    assert_eq!(fs::read(&part).unwrap(), b"");
    drop(first);
    assert!(!part.exists() && ToFile::create(&path, false).is_ok());
}

#[test]
fn file_that_is_there_stays_without_force() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("monday");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let write = |force: bool, pieces: &[Bytes]| {
        let mut to = ToFile::create(&path, force)?;
        pieces.iter().try_for_each(|piece| to.write(piece))?;
        runtime.block_on(to.finish())
    };
    write(false, &backup(1)).unwrap();
    let error = format!("{:#}", write(false, &backup(2)).unwrap_err());
    assert!(error.contains("monday is there already") && error.contains("--force"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), backup(1).concat());
    assert!(write(true, &backup(2)[..1]).is_err());
    assert_eq!(fs::read(&path).unwrap(), backup(1).concat());
    write(true, &backup(2)).unwrap();
    assert_eq!(fs::read(&path).unwrap(), backup(2).concat());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no part is left");
}
