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
        write_all(&mut to, broken).await;
        let error = format!("{:#}", to.finish().await.unwrap_err());
        assert!(error.contains("not whole") && error.contains(word), "{error}");
        assert!(store.head(&key).await.is_err());
    }
    let mut to = ToObject::new(store.put_multipart(&key).await.unwrap(), "s3://b/monday".to_owned(), 100);
    write_all(&mut to, &pieces).await;
    to.discard().await;
    assert!(store.head(&key).await.is_err());
}

/// An upload that remembers what was asked of it.
#[derive(Debug, Default)]
struct Told {
    /// Parts under way, and the most there ever were.
    open: (usize, usize),
    aborted: bool,
    completed: bool,
}

#[derive(Debug)]
struct Watched {
    told: Arc<Mutex<Told>>,
    parts: usize,
    /// The part that fails.
    fails_at: usize,
}

#[async_trait::async_trait]
impl MultipartUpload for Watched {
    fn put_part(&mut self, _: PutPayload) -> UploadPart {
        self.parts += 1;
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
        self.told.lock().unwrap().completed = true;
        Ok(PutResult { e_tag: None, version: None, extensions: Default::default() })
    }

    async fn abort(&mut self) -> object_store::Result<()> {
        self.told.lock().unwrap().aborted = true;
        Ok(())
    }
}

#[tokio::test]
async fn upload_is_bounded_and_a_part_that_fails_aborts_it() {
    let pieces = backup(500);
    for fails_at in [0, 1, 7, 41] {
        let told = Arc::new(Mutex::new(Told::default()));
        let upload = Watched { told: Arc::clone(&told), parts: 0, fails_at };
        let mut to = ToObject::new(Box::new(upload), "s3://b/monday".to_owned(), 100);
        let mut failed = None;
        for piece in &pieces {
            if let Err(error) = to.write(piece.clone()).await {
                failed = Some(error);
                break;
            }
        }
        match failed {
            Some(error) => {
                assert!(format!("{error:#}").contains("no route"), "{error:#}");
                to.discard().await;
            }
            None => assert_eq!(to.finish().await.is_ok(), fails_at == 0),
        }
        let told = told.lock().unwrap();
        assert_eq!((told.completed, told.aborted), (fails_at == 0, fails_at != 0), "{fails_at}");
        assert!(told.open.1 <= PARTS_OPEN_MAX, "{} parts at once", told.open.1);
    }
}

#[tokio::test]
async fn upload_beyond_what_a_store_takes_is_refused() {
    let upload = Watched { told: Arc::default(), parts: 0, fails_at: 0 };
    let mut to = ToObject::new(Box::new(upload), "s3://b/monday".to_owned(), 1);
    let error = to.write(Bytes::from(vec![0; 10_001])).await.unwrap_err();
    assert!(error.to_string().contains("10000 parts"), "{error}");
}

#[test]
fn file_that_is_there_stays_without_force() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("monday");
    let write = |force: bool, pieces: &[Bytes]| {
        let mut to = ToFile::create(&path, force)?;
        pieces.iter().try_for_each(|piece| to.write(piece))?;
        to.finish()
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
