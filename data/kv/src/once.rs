//! Once only: idempotency keys and sessions (DESIGN §3), and how both are forgotten by log time alone.

use bytes::Bytes;
use hezong_base::sometimes;
use hezong_store::View;
use prost::Message;

use crate::record::{self, LastRecord, OnceRecord, SessionRecord, order, order_parts};
use crate::turn::{Outcome, Turn};
use crate::{Command, Done, KvError, Once, Refusal, Reply, Request, RequestDigest, SessionId};

impl<V: View> Turn<'_, V> {
    /// Carries a request out unless it was before; its encoded reply.
    pub(crate) fn request(&mut self, Request { once, command }: Request) -> Result<Bytes, KvError> {
        match once {
            None => {
                let result = self.execute(command)?;
                Ok(self.reply(result))
            }
            Some(Once::Idempotency { key, digest }) => self.keyed(key, digest, command),
            Some(Once::Session { session, sequence, digest }) => self.numbered(session, sequence, digest, command),
        }
    }

    /// A request under an idempotency key.
    fn keyed(&mut self, key: Bytes, digest: RequestDigest, command: Command) -> Result<Bytes, KvError> {
        if let Some(stored) = self.get(self.maps.once, &key)? {
            let known: OnceRecord = record::decode(&stored, "an idempotency key")?;
            if self.remembered(known.first) {
                return if known.digest[..] == digest {
                    sometimes!("kv: a write with a key comes again");
                    repeated(&known.reply)
                } else {
                    Ok(self.reply(Err(Refusal::KeyReused)))
                };
            }
            // Its time is over and the sweep has not come to it yet: the same as forgotten.
            self.forget(key.clone(), &known);
        }
        let needed = self.state.once_bytes.saturating_add(bytes_of(&key, &[]));
        if self.state.once >= self.rules.once_max || needed > self.rules.once_bytes_max {
            return Ok(self.reply(Err(Refusal::TooManyKeys { live: self.state.once })));
        }
        let result = self.execute(command)?;
        let reply = self.reply(result);
        let (first, index) = (self.now(), self.state.index);
        self.state.once += 1;
        self.state.once_bytes += bytes_of(&key, &reply);
        self.state.once_first.get_or_insert(first);
        self.put(self.maps.once_order, order(first, index).to_vec(), key.clone());
        let digest = Bytes::copy_from_slice(&digest);
        let known = OnceRecord { digest, reply: reply.clone(), first, index };
        self.put(self.maps.once, key, known.encode_to_vec());
        Ok(reply)
    }

    /// Whether what was first used then is still remembered.
    fn remembered(&self, first: u64) -> bool {
        self.now() - first.min(self.now()) <= record::log_time(self.rules.once_window)
    }

    fn forget(&mut self, key: Bytes, known: &OnceRecord) {
        self.state.once -= 1;
        self.state.once_bytes -= bytes_of(&key, &known.reply);
        self.delete(self.maps.once_order, order(known.first, known.index).to_vec());
        self.delete(self.maps.once, key);
    }

    /// A numbered request of a session.
    fn numbered(
        &mut self,
        session: SessionId,
        sequence: u64,
        digest: RequestDigest,
        command: Command,
    ) -> Result<Bytes, KvError> {
        if command.manages_sessions() {
            return Ok(self.reply(Err(Refusal::SessionInSession)));
        }
        let Some(mut record) = self.session_use(session)? else {
            sometimes!("kv: a numbered write comes when its session is gone");
            return Ok(self.reply(Err(Refusal::SessionGone { session })));
        };
        let last = record.last.as_ref().map_or(0, |last| last.sequence);
        let reply = match &record.last {
            Some(known) if sequence == last && known.digest[..] == digest => {
                sometimes!("kv: a numbered write comes again");
                repeated(&known.reply)?
            }
            Some(_) if sequence == last => self.reply(Err(Refusal::SequenceReused)),
            // Zero lies below the first number, so it is old even before anything was done.
            _ if sequence <= last => self.reply(Err(Refusal::SequenceOld { last })),
            _ if sequence > last + 1 => self.reply(Err(Refusal::SequenceGap { expected: last + 1 })),
            _ => {
                let result = self.execute(command)?;
                let reply = self.reply(result);
                let digest = Bytes::copy_from_slice(&digest);
                record.last = Some(LastRecord { sequence, digest, reply: reply.clone() });
                reply
            }
        };
        self.session_put(session, &record);
        Ok(reply)
    }

    pub(crate) fn session_open(&mut self, ttl: u64) -> Result<Outcome, KvError> {
        // The sweep may have spent its steps on sessions that live on. Nobody is refused for the sake of one that does
        // not; each further step is paid for once in a session's time to live.
        while self.state.sessions >= self.rules.sessions_max
            && self.state.sessions_first.is_some_and(|at| at < self.now())
        {
            self.sweep_sessions()?;
        }
        if self.state.sessions >= self.rules.sessions_max {
            return Ok(Err(Refusal::TooManySessions { open: self.state.sessions }));
        }
        let session = SessionId(self.state.index);
        let used = self.now();
        let record = SessionRecord { ttl, used, due: used.saturating_add(ttl), last: None };
        self.state.sessions += 1;
        self.session_order(session, record.due);
        self.session_put(session, &record);
        Ok(Ok(Done::SessionOpened(session)))
    }

    pub(crate) fn session_keep_alive(&mut self, session: SessionId) -> Result<Outcome, KvError> {
        let Some(record) = self.session_use(session)? else { return Ok(Err(Refusal::SessionGone { session })) };
        self.session_put(session, &record);
        Ok(Ok(Done::SessionKept))
    }

    pub(crate) fn session_close(&mut self, session: SessionId) -> Result<Outcome, KvError> {
        let Some(record) = self.session_use(session)? else { return Ok(Err(Refusal::SessionGone { session })) };
        self.session_end(session, &record);
        Ok(Ok(Done::SessionClosed))
    }

    /// The session as used now, not written yet; `None` when it is gone. One whose time is over goes here, whether or
    /// not the sweep has come to it.
    fn session_use(&mut self, session: SessionId) -> Result<Option<SessionRecord>, KvError> {
        let Some(mut record) = self.session(session)? else { return Ok(None) };
        if self.now() > record.expires() {
            sometimes!("kv: a session is used after its time");
            self.session_end(session, &record);
            return Ok(None);
        }
        record.used = self.now();
        Ok(Some(record))
    }

    fn session(&self, session: SessionId) -> Result<Option<SessionRecord>, KvError> {
        let stored = self.get(self.maps.sessions, &Bytes::from(session))?;
        stored.map(|stored| record::decode(&stored, "a session")).transpose()
    }

    fn session_put(&mut self, session: SessionId, record: &SessionRecord) {
        self.put(self.maps.sessions, session, record.encode_to_vec());
    }

    fn session_end(&mut self, session: SessionId, record: &SessionRecord) {
        self.state.sessions -= 1;
        self.delete(self.maps.sessions, session);
        self.delete(self.maps.sessions_order, order(record.due, session.0).to_vec());
    }

    fn session_order(&mut self, session: SessionId, due: u64) {
        self.state.sessions_first = Some(self.state.sessions_first.map_or(due, |first| first.min(due)));
        self.put(self.maps.sessions_order, order(due, session.0).to_vec(), Bytes::new());
    }

    /// Forgets what log time has passed over, a bounded number at a time. What it has not come to yet is treated as
    /// forgotten by everybody else, so only memory depends on how fast it is; and it is the entry that sweeps, not the
    /// call, so that all replicas forget at the same entry.
    pub(crate) fn sweep(&mut self) -> Result<(), KvError> {
        self.sweep_once()?;
        self.sweep_sessions()
    }

    fn sweep_once(&mut self) -> Result<(), KvError> {
        for _ in 0..self.rules.sweep_max {
            if self.state.once_first.is_none_or(|first| self.remembered(first)) {
                return Ok(());
            }
            let Some((due, key)) = self.first(self.maps.once_order, &order(self.state.once_first.unwrap_or(0), 0))?
            else {
                self.state.once_first = None;
                return Ok(());
            };
            let (first, _) = order_parts(&due)?;
            self.state.once_first = Some(first);
            if self.remembered(first) {
                return Ok(());
            }
            let stored = self.get(self.maps.once, &key)?.ok_or(KvError::Corrupt { what: "an idempotency key" })?;
            self.forget(key, &record::decode(&stored, "an idempotency key")?);
        }
        Ok(())
    }

    fn sweep_sessions(&mut self) -> Result<(), KvError> {
        for _ in 0..self.rules.sweep_max {
            let Some(first) = self.state.sessions_first.filter(|first| *first < self.now()) else { return Ok(()) };
            let Some((due, _)) = self.first(self.maps.sessions_order, &order(first, 0))? else {
                self.state.sessions_first = None;
                return Ok(());
            };
            let (first, session) = order_parts(&due)?;
            let session = SessionId(session);
            self.state.sessions_first = Some(first);
            if first >= self.now() {
                return Ok(());
            }
            let mut record = self.session(session)?.ok_or(KvError::Corrupt { what: "a session" })?;
            if self.now() > record.expires() {
                sometimes!("kv: a session is swept");
                self.session_end(session, &record);
            } else {
                sometimes!("kv: a session was used since it was put in order");
                // Used since it was put in order: to be looked at again when it would now expire.
                self.delete(self.maps.sessions_order, due);
                record.due = record.expires();
                self.session_order(session, record.due);
                self.session_put(session, &record);
            }
        }
        Ok(())
    }
}

/// What an idempotency key counts for.
fn bytes_of(key: &[u8], reply: &[u8]) -> u64 {
    (key.len() + reply.len() + 64) as u64
}

/// A recorded reply, marked as one.
fn repeated(recorded: &[u8]) -> Result<Bytes, KvError> {
    let reply = Reply::decode(recorded).map_err(|_| KvError::Corrupt { what: "a recorded reply" })?;
    Ok(Reply { repeated: true, ..reply }.encode())
}
