//! How threads here talk: inboxes bounded in bytes, of which the owner takes everything that waits at once.
//!
//! Taking everything is what makes batches: one clock reading, one frame a peer, one fdatasync for all that came
//! while the last ones were under way. There are three ways in, because there are three kinds of sender: a client can
//! be told "full" ([`Inbox::offer`]); a peer's reader can wait, and TCP makes the peer wait in turn
//! ([`Inbox::push_when_room`]); and what a thread of ours reports back was bounded by whoever asked for it
//! ([`Inbox::push`]), and must not wait, or two threads could wait for each other.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A queue with one taker and any number of senders.
pub(crate) struct Inbox<T> {
    state: Mutex<State<T>>,
    /// The taker sleeps here.
    arrived: Condvar,
    /// Senders that wait for room sleep here.
    room: Condvar,
    /// Above this, [`Inbox::offer`] refuses and [`Inbox::push_when_room`] waits.
    bytes_max: usize,
    /// Whether putting something in does not wake the taker: whoever does it then calls [`Inbox::wake`].
    quiet: bool,
    /// How long the oldest of what was taken last had waited, in nanoseconds.
    waited: AtomicU64,
}

struct State<T> {
    waiting: Vec<T>,
    /// The sum of what the senders said their items weigh.
    bytes: usize,
    /// When the oldest of what waits came.
    since: Option<Instant>,
    /// Whether the taker sleeps: waking one that does not would be a system call for nothing.
    asleep: bool,
    /// Whether the taker is to wake up although nothing may be there.
    poked: bool,
    /// How many senders wait for room.
    blocked: usize,
    closed: bool,
}

/// Why an item was not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// Too many bytes wait already.
    Bytes,
    /// Nobody takes anything out any more.
    Closed,
}

impl<T> Inbox<T> {
    pub(crate) fn new(bytes_max: usize) -> Self {
        let state = State {
            waiting: Vec::new(),
            bytes: 0,
            since: None,
            asleep: false,
            poked: false,
            blocked: 0,
            closed: false,
        };
        Self {
            state: Mutex::new(state),
            arrived: Condvar::new(),
            room: Condvar::new(),
            bytes_max,
            quiet: false,
            waited: AtomicU64::new(0),
        }
    }

    /// One whose taker is woken by [`Inbox::wake`] only.
    pub(crate) fn quiet(bytes_max: usize) -> Self {
        Self { quiet: true, ..Self::new(bytes_max) }
    }

    /// Takes an item in if there is room; hands it back if not.
    pub(crate) fn offer(&self, item: T, bytes: usize) -> Result<(), (Full, T)> {
        let state = self.lock();
        if state.closed {
            return Err((Full::Closed, item));
        }
        if state.bytes.saturating_add(bytes) > self.bytes_max {
            return Err((Full::Bytes, item));
        }
        self.add(state, item, bytes);
        Ok(())
    }

    /// Takes an item in as soon as there is room. An item larger than all room goes in when nothing else waits.
    pub(crate) fn push_when_room(&self, item: T, bytes: usize) -> Result<(), Full> {
        let mut state = self.lock();
        while !state.closed && state.bytes > 0 && state.bytes.saturating_add(bytes) > self.bytes_max {
            // What fills it may not have been told of yet.
            if std::mem::take(&mut state.asleep) {
                self.arrived.notify_one();
            }
            state.blocked += 1;
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.blocked -= 1;
        }
        if state.closed {
            return Err(Full::Closed);
        }
        self.add(state, item, bytes);
        Ok(())
    }

    /// Takes an item in, room or not; drops it when closed, since nobody is left to care.
    pub(crate) fn push(&self, item: T, bytes: usize) {
        let state = self.lock();
        if !state.closed {
            self.add(state, item, bytes);
        }
    }

    /// Waits until something is there, at most for `patience` (for ever if `None`), and takes all of it into `into`,
    /// which must be empty. False once the inbox is closed and everything in it was taken.
    pub(crate) fn take(&self, into: &mut Vec<T>, patience: Option<Duration>) -> bool {
        self.wait(patience);
        self.take_now(into)
    }

    /// Waits until something is there, or the taker was poked, at most for `patience`. False once the inbox is closed and
    /// everything in it was taken.
    pub(crate) fn wait(&self, patience: Option<Duration>) -> bool {
        let until = patience.and_then(|patience| Instant::now().checked_add(patience));
        let mut state = self.lock();
        while state.waiting.is_empty() && !state.poked && !state.closed {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                break;
            }
            // Said anew each time: what woke us may have been taken by another before we got here, and whoever wakes
            // us next must know that we sleep again.
            state.asleep = true;
            state = match left {
                None => self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) => self.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
            };
            state.asleep = false;
        }
        state.poked = false;
        !state.closed || !state.waiting.is_empty()
    }

    /// Takes all there is into `into`, which must be empty. False once the inbox is closed and everything was taken.
    pub(crate) fn take_now(&self, into: &mut Vec<T>) -> bool {
        let state = self.lock();
        let open = !state.closed || !state.waiting.is_empty();
        self.hand_over(state, into);
        open
    }

    /// Takes all there is into `into`, which must be empty, if all of it is of this kind; else nothing.
    pub(crate) fn take_if_all(&self, into: &mut Vec<T>, of_kind: impl Fn(&T) -> bool) {
        let state = self.lock();
        if state.waiting.iter().all(of_kind) {
            self.hand_over(state, into);
        }
    }

    /// Wakes the taker if it sleeps although something is there.
    pub(crate) fn wake(&self) {
        let mut state = self.lock();
        if !state.waiting.is_empty() && std::mem::take(&mut state.asleep) {
            drop(state);
            self.arrived.notify_one();
        }
    }

    /// Wakes the taker, or keeps it from falling asleep, whether or not something is there.
    pub(crate) fn poke(&self) {
        self.lock().poked = true;
        self.arrived.notify_one();
    }

    /// Lets nothing more in. What waits can still be taken.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_all();
        self.room.notify_all();
    }

    /// How long the oldest of what was taken last had waited. For the taker.
    pub(crate) fn waited(&self) -> Duration {
        Duration::from_nanos(self.waited.load(Ordering::Relaxed))
    }

    /// How many items and bytes wait.
    pub(crate) fn depth(&self) -> (usize, usize) {
        let state = self.lock();
        (state.waiting.len(), state.bytes)
    }

    fn hand_over(&self, mut state: MutexGuard<'_, State<T>>, into: &mut Vec<T>) {
        debug_assert!(into.is_empty());
        std::mem::swap(&mut state.waiting, into);
        state.bytes = 0;
        let waited = state.since.take().map_or(Duration::ZERO, |since| since.elapsed());
        self.waited.store(u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        if state.blocked > 0 {
            self.room.notify_all();
        }
    }

    fn add(&self, mut state: MutexGuard<'_, State<T>>, item: T, bytes: usize) {
        if state.waiting.is_empty() {
            state.since = Some(Instant::now());
        }
        state.waiting.push(item);
        state.bytes = state.bytes.saturating_add(bytes);
        // One sender wakes the taker, and after letting go of the lock, or it would wake only to wait for that.
        let wake = !self.quiet && std::mem::take(&mut state.asleep);
        drop(state);
        if wake {
            self.arrived.notify_one();
        }
    }

    /// A sender that panicked aborts the process; until it has, its items are as good as any.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    #[test]
    fn offer_full_refused() {
        let inbox = Inbox::new(10);
        assert_eq!(inbox.offer("a", 6), Ok(()));
        assert_eq!(inbox.offer("b", 5), Err((Full::Bytes, "b")));
        inbox.push("c", 100);
        let mut taken = Vec::new();
        assert!(inbox.take(&mut taken, None));
        assert_eq!(taken, ["a", "c"]);
        assert_eq!(inbox.offer("b", 5), Ok(()));
    }

    #[test]
    fn waited_is_of_the_oldest_of_what_was_taken_last() {
        let inbox = Inbox::new(10);
        let before = Instant::now();
        inbox.push(1, 1);
        while before.elapsed() < Duration::from_millis(5) {
            thread::yield_now();
        }
        inbox.push(2, 1);
        let pushed = before.elapsed();
        assert!(inbox.take_now(&mut Vec::new()));
        assert!(inbox.waited() >= Duration::from_millis(4) && inbox.waited() <= before.elapsed(), "{pushed:?}");
        assert!(inbox.take_now(&mut Vec::new()));
        assert_eq!(inbox.waited(), Duration::ZERO, "nothing was taken");
    }

    #[test]
    fn push_when_room_waits_for_the_taker() {
        let inbox = Arc::new(Inbox::new(10));
        inbox.push(0, 10);
        let sender = {
            let inbox = Arc::clone(&inbox);
            thread::spawn(move || (1..=100).try_for_each(|n| inbox.push_when_room(n, 4)))
        };
        let mut seen = Vec::new();
        while seen.len() < 101 {
            let mut taken = Vec::new();
            assert!(inbox.take(&mut taken, None));
            assert!(taken.len() <= 2, "more than 10 bytes were let in: {taken:?}");
            seen.extend(taken);
        }
        assert_eq!(seen, (0..=100).collect::<Vec<_>>());
        assert_eq!(sender.join().unwrap(), Ok(()));
    }

    #[test]
    fn close_lets_the_taker_finish() {
        let inbox = Inbox::new(10);
        inbox.push(1, 1);
        inbox.close();
        assert_eq!(inbox.offer(2, 1), Err((Full::Closed, 2)));
        assert_eq!(inbox.push_when_room(2, 1), Err(Full::Closed));
        let mut taken = Vec::new();
        assert!(inbox.take(&mut taken, None));
        assert_eq!(taken, [1]);
        taken.clear();
        assert!(!inbox.take(&mut taken, None));
    }

    #[test]
    fn quiet_taker_sleeps_until_woken() {
        let inbox = Inbox::quiet(10);
        inbox.poke();
        inbox.wait(None);
        inbox.push(1, 10);
        inbox.wake();
        inbox.wait(None);
        let mut taken = Vec::new();
        assert!(inbox.take_now(&mut taken));
        assert_eq!(taken, [1]);
        // A sender that waits for room wakes the taker itself, or both would wait for ever.
        inbox.push(2, 10);
        thread::scope(|scope| {
            let taker = scope.spawn(|| {
                let mut all = Vec::new();
                while all.len() < 2 {
                    let mut taken = Vec::new();
                    inbox.wait(Some(Duration::from_secs(10)));
                    assert!(inbox.take_now(&mut taken));
                    all.extend(taken);
                    inbox.wait(Some(Duration::from_millis(1)));
                }
                all
            });
            assert_eq!(inbox.push_when_room(3, 10), Ok(()));
            inbox.wake();
            assert_eq!(taker.join().unwrap(), [2, 3]);
        });
    }

    #[test]
    fn quiet_taker_that_found_nothing_is_woken_again() {
        // Somebody else takes what the taker was woken for; then something comes again.
        let inbox = Inbox::quiet(usize::MAX);
        thread::scope(|scope| {
            let taker = scope.spawn(|| {
                let mut seen = 0;
                while seen < 1_000 {
                    let before = Instant::now();
                    inbox.wait(Some(Duration::from_secs(5)));
                    assert!(before.elapsed() < Duration::from_secs(5), "nobody woke the taker");
                    let mut taken = Vec::new();
                    inbox.take_now(&mut taken);
                    seen += taken.iter().filter(|kept| **kept).count();
                }
            });
            for _ in 0..1_000 {
                inbox.push(false, 0);
                inbox.wake();
                inbox.take_now(&mut Vec::new());
                inbox.push(true, 0);
                inbox.wake();
                while inbox.depth().0 > 0 && !taker.is_finished() {
                    thread::yield_now();
                }
            }
            taker.join().unwrap();
        });
    }

    #[test]
    fn take_gives_up_when_its_time_is_over() {
        let inbox = Inbox::<u8>::new(10);
        assert!(inbox.take(&mut Vec::new(), Some(Duration::from_millis(1))));
    }
}
