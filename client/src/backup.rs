//! Taking a backup: the one reply that is too long to be held in memory.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::{Client, Error, ReadAt, Request};

/// A backup on its way.
#[derive(Debug)]
pub struct Backup {
    body: Incoming,
    from: String,
    /// How long the next piece may take.
    patience: Duration,
}

impl Backup {
    /// The next bytes; `None` at the end. That all of it came is shown by its trailer alone.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it broke off, or nothing came for the time a call may take: begin anew.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let last = match tokio::time::timeout(self.patience, self.body.frame()).await {
                Ok(None) => return Ok(None),
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => return Ok(Some(data)),
                    // Trailers of HTTP tell nothing here.
                    Err(_) => continue,
                },
                Ok(Some(Err(error))) => format!("the backup broke off: {error}"),
                Err(_) => "nothing more of the backup came".to_owned(),
            };
            return Err(Error::Unavailable { seconds: self.patience.as_secs_f64(), tried: self.from.clone(), last });
        }
    }
}

impl Client {
    /// Takes a backup of the whole state as of one moment, in the format `docs/backup.md` describes.
    ///
    /// # Errors
    /// As [`Client::get`]; [`Error::Refused`] with status 401 without the right token.
    pub async fn backup(&self, at: ReadAt) -> Result<Backup, Error> {
        let mut target = "/backup?".to_owned();
        at.push_to(&mut target);
        let (body, from) = self.caller.open(&Request::read(target, at).guarded()).await?;
        Ok(Backup { body, from, patience: self.caller.patience() })
    }
}
