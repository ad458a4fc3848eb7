//! Who waits for what, until when, and where in the node the request is.

use std::collections::{BTreeMap, VecDeque};

use hezong_base::{GroupId, Index, LogId, RequestId, Time};

use crate::{NodeConfig, ReadLevel};

/// What a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// Its command to be applied.
    Done,
    /// Its membership step to be applied.
    Changed,
    /// Another to lead.
    Transferred,
    /// The first members to be on disk.
    Bootstrapped,
    /// To read.
    Readable {
        /// How fresh.
        level: ReadLevel,
        /// Not before this is applied.
        min_index: Option<Index>,
    },
    /// The leader to be confirmed.
    Verified,
}

impl Want {
    /// Whether it changes anything.
    fn writes(self) -> bool {
        match self {
            Self::Done | Self::Changed | Self::Transferred | Self::Bootstrapped => true,
            Self::Readable { .. } | Self::Verified => false,
        }
    }
}

/// Where a request is. Whoever removes a client removes what stands under its name there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the group's inbox; the protocol has not seen it.
    Queued,
    /// With the protocol, which has not decided.
    Handed,
    /// In the log, as this entry; or lost, if another takes its place.
    Accepted(LogId),
    /// A read that may be served once this is applied.
    Applying(Index),
}

/// One client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    pub(crate) group: GroupId,
    pub(crate) want: Want,
    pub(crate) place: Place,
}

impl Client {
    /// Whether what it asked for may still happen once nobody watches over it any more.
    pub(crate) fn may_happen(&self) -> bool {
        self.want.writes() && self.place != Place::Queued
    }
}

/// All clients that wait, of all groups.
#[derive(Debug)]
pub(crate) struct Clients {
    waiting: BTreeMap<RequestId, Client>,
    /// When each gives up, oldest first: all have the same patience, so the order of arrival is the order of expiry.
    /// Those answered meanwhile stay until they reach the front, or until they outnumber the living.
    expiry: VecDeque<(Time, RequestId)>,
}

/// How many answered clients `expiry` may hold before it is swept, whatever the number of living ones.
const SWEEP_MIN: usize = 1_024;

impl Clients {
    pub(crate) fn new() -> Self {
        Self { waiting: BTreeMap::new(), expiry: VecDeque::new() }
    }

    /// Takes a client in.
    ///
    /// # Panics
    /// When its id is in use: two clients would share one reply.
    pub(crate) fn insert(&mut self, now: Time, config: &NodeConfig, id: RequestId, client: Client) {
        let taken = self.waiting.insert(id, client);
        assert!(taken.is_none(), "request {id} is waiting already; request ids are unique within one run");
        if self.expiry.len() >= SWEEP_MIN + 2 * self.waiting.len() {
            self.expiry.retain(|(_, id)| self.waiting.contains_key(id));
        }
        self.expiry.push_back((now + config.request_timeout, id));
    }

    /// Lets a client go; `None` if it has gone already.
    pub(crate) fn remove(&mut self, id: RequestId) -> Option<Client> {
        let client = self.waiting.remove(&id);
        self.drop_answered();
        client
    }

    /// The next one whose patience is over. It stays until removed.
    pub(crate) fn expired(&self, now: Time) -> Option<RequestId> {
        self.expiry.front().filter(|(at, _)| *at <= now).map(|(_, id)| *id)
    }

    /// Notes where a request is now; nothing if the client has gone. Returns whether it is still there.
    pub(crate) fn place(&mut self, id: RequestId, place: Place) -> bool {
        self.waiting.get_mut(&id).map(|client| client.place = place).is_some()
    }

    pub(crate) fn get(&self, id: RequestId) -> Option<Client> {
        self.waiting.get(&id).copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// When the next one gives up.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.expiry.front().map(|(at, _)| *at)
    }

    /// Keeps the front of `expiry` alive, so that nobody is woken for a client that was answered long ago.
    fn drop_answered(&mut self) {
        while self.expiry.front().is_some_and(|(_, id)| !self.waiting.contains_key(id)) {
            self.expiry.pop_front();
        }
    }
}
