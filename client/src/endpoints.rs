//! What is known of the cluster: who there is, whom to ask first, and who has fallen silent.
//!
//! A node that is stopped, or cut off, still has its connections made for it by the system, and followers go on sending
//! clients to it until they miss it too. Only waiting finds that out, so what one attempt found out by waiting is kept:
//! for a while, a silent endpoint is neither asked while another is left nor followed to.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::http::uri::Authority;
use tokio::time::Instant;

/// For how long a silent endpoint is passed over unless it answers: as long as an election takes, if its vote is not split.
const PASSED_OVER: Duration = Duration::from_secs(2);

/// For how long a redirect to it is not followed. A follower that has not heard its leader for half an election time-out
/// sends nobody there, so one that still does knows more than we do.
const NOT_FOLLOWED: Duration = Duration::from_secs(1);

/// All endpoints heard of, never none.
#[derive(Debug)]
pub(crate) struct Endpoints(Mutex<Known>);

#[derive(Debug)]
struct Known {
    all: Vec<Endpoint>,
    /// Where requests go first: where the last one succeeded. Always an index into `all`.
    favourite: usize,
}

#[derive(Debug)]
struct Endpoint {
    authority: Authority,
    /// When an attempt was last given up on it; `None` once it has answered since.
    silent_at: Option<Instant>,
}

impl Endpoint {
    fn fell_silent_within(&self, span: Duration) -> bool {
        self.silent_at.is_some_and(|at| at.elapsed() < span)
    }
}

impl Known {
    fn position(&self, authority: &Authority) -> Option<usize> {
        self.all.iter().position(|endpoint| endpoint.authority == *authority)
    }

    /// The first that is not silent, from this place on and round; if all are, the one at this place.
    fn from(&self, at: usize) -> Authority {
        let at = at % self.all.len();
        let (before, after) = self.all.split_at(at);
        let found = after.iter().chain(before).find(|endpoint| !endpoint.fell_silent_within(PASSED_OVER));
        found.unwrap_or(&self.all[at]).authority.clone()
    }
}

impl Endpoints {
    /// These, the first of them the favourite; `None` when there are none.
    pub(crate) fn new(all: impl IntoIterator<Item = Authority>) -> Option<Self> {
        let endpoints = Self(Mutex::new(Known { all: Vec::new(), favourite: 0 }));
        endpoints.add(all);
        (endpoints.len() > 0).then_some(endpoints)
    }

    /// Takes note of others.
    pub(crate) fn add(&self, others: impl IntoIterator<Item = Authority>) {
        let mut known = self.known();
        for authority in others {
            if known.position(&authority).is_none() {
                known.all.push(Endpoint { authority, silent_at: None });
            }
        }
    }

    /// Requests go here first from now on.
    pub(crate) fn prefer(&self, authority: &Authority) {
        let mut known = self.known();
        if known.all[known.favourite].authority != *authority
            && let Some(at) = known.position(authority)
        {
            known.favourite = at;
        }
    }

    /// It answered, whatever it said.
    pub(crate) fn answered(&self, authority: &Authority) {
        self.set_silent(authority, None);
    }

    /// It let an attempt wait in vain.
    pub(crate) fn fell_silent(&self, authority: &Authority) {
        self.set_silent(authority, Some(Instant::now()));
    }

    fn set_silent(&self, authority: &Authority, at: Option<Instant>) {
        let mut known = self.known();
        if let Some(place) = known.position(authority) {
            known.all[place].silent_at = at;
        }
    }

    /// Whether a redirect to it may be followed: it has not fallen silent a moment ago.
    pub(crate) fn trusts(&self, authority: &Authority) -> bool {
        let known = self.known();
        !known.position(authority).is_some_and(|at| known.all[at].fell_silent_within(NOT_FOLLOWED))
    }

    /// Whom to ask first.
    pub(crate) fn first(&self) -> Authority {
        let known = self.known();
        known.from(known.favourite)
    }

    /// Whom to ask after this one.
    pub(crate) fn next_after(&self, authority: &Authority) -> Authority {
        let known = self.known();
        known.from(known.position(authority).map_or(0, |at| at + 1))
    }

    /// All of them: the favourite first, those that are silent last.
    pub(crate) fn list(&self) -> Vec<Authority> {
        let known = self.known();
        let (before, after) = known.all.split_at(known.favourite);
        let favourite_first = after.iter().take(1).chain(before).chain(after.iter().skip(1));
        let (silent, others): (Vec<_>, Vec<_>) =
            favourite_first.partition(|endpoint| endpoint.fell_silent_within(PASSED_OVER));
        others.into_iter().chain(silent).map(|endpoint| endpoint.authority.clone()).collect()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.known().all.len()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
