//! One input judged; many drawn; one that fails made smaller.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hezong_base::Rng;

use crate::Target;
use crate::spoil::{noise, spoil};

/// Longer than any input of these sizes takes, on a machine that is busy with something else.
const TIME_MAX: Duration = Duration::from_secs(2);

/// How many smaller inputs are tried at most, and for how long: one that fails by its time takes as long each time.
const SHRINKS_MAX: usize = 4_000;
const SHRINK_TIME_MAX: Duration = Duration::from_secs(60);

/// What tells how much memory is in use, and how much was at most since it was last asked to forget.
pub trait Meter {
    /// Bytes in use now.
    fn current(&self) -> usize;
    /// The most there were since [`Meter::forget`].
    fn peak(&self) -> usize;
    /// Counts the most from now on.
    fn forget(&self);
    /// Is told what runs next, to have it at hand should it never end.
    fn begin(&self, _target: &Target, _input: &[u8]) {}
}

/// Where memory is not measured: in tests, several of which run at a time.
impl Meter for () {
    fn current(&self) -> usize {
        0
    }

    fn peak(&self) -> usize {
        0
    }

    fn forget(&self) {}
}

/// What an input did that none may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It made the target panic, or what it made was wrong.
    Panic(String),
    /// It made the target take so much memory, where so much was allowed.
    Memory {
        /// Bytes in use at most.
        taken: usize,
        /// Bytes that its size warrants.
        allowed: usize,
    },
    /// It took too long, twice.
    Time(Duration),
}

impl Failure {
    /// Whether they are of one kind: an input is not made smaller by exchanging what is wrong with it.
    fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panic(what) => write!(f, "panicked: {what}"),
            Self::Memory { taken, allowed } => write!(f, "took {taken} bytes of memory, where {allowed} are allowed"),
            Self::Time(time) => write!(f, "took {time:?}, where {TIME_MAX:?} are allowed"),
        }
    }
}

/// What came of many inputs.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// How many were run.
    pub inputs: u64,
    /// Those that the target took for valid, or that got anywhere: were it none, or all, little would be shown.
    pub accepted: u64,
    /// The first that failed, and how.
    pub failed: Option<(Vec<u8>, Failure)>,
}

thread_local! {
    /// What the last panic of this thread said, and where.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
    /// Whether this thread runs a target.
    static DRIVES: Cell<bool> = const { Cell::new(false) };
}

/// The same of another thread, which a target had work for. Who waits for such a thread may take its end for something else.
static ELSEWHERE: Mutex<Option<String>> = Mutex::new(None);

/// From now on what panics say is kept, and not printed; `keep` is told as well.
pub fn keep_panics(keep: impl Fn(&str) + Send + Sync + 'static) {
    panic::set_hook(Box::new(move |info| {
        let place = info.location().map(|at| format!(" at {}:{}", at.file(), at.line())).unwrap_or_default();
        let said = info.payload().downcast_ref::<&str>().map(|text| (*text).to_owned());
        let said = said.or_else(|| info.payload().downcast_ref::<String>().cloned()).unwrap_or_default();
        let said = format!("{said}{place}");
        keep(&said);
        match DRIVES.get() {
            true => PANIC.with_borrow_mut(|last| *last = said),
            false => *ELSEWHERE.lock().unwrap_or_else(PoisonError::into_inner) = Some(said),
        }
    }));
}

/// Runs one input. Whether the target took it for valid.
///
/// # Errors
/// What it did that it must not.
pub fn judge(target: &Target, input: &[u8], meter: &dyn Meter) -> Result<bool, Failure> {
    meter.begin(target, input);
    let before = meter.current();
    meter.forget();
    let started = Instant::now();
    DRIVES.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    DRIVES.set(false);
    let time = started.elapsed();
    let taken = meter.peak().saturating_sub(before);
    let Ok(accepted) = outcome else {
        return Err(Failure::Panic(PANIC.with_borrow_mut(std::mem::take)));
    };
    if let Some(said) = ELSEWHERE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(Failure::Panic(said));
    }
    let allowed = input.len() * target.bytes_a_byte + target.bytes_beside;
    if taken > allowed {
        return Err(Failure::Memory { taken, allowed });
    }
    if time > TIME_MAX {
        // The machine may have stood still.
        let started = Instant::now();
        (target.run)(input);
        if started.elapsed() > TIME_MAX {
            return Err(Failure::Time(time));
        }
    }
    Ok(accepted)
}

/// Draws inputs until the time is over or one fails.
pub fn drive(target: &Target, seed: u64, time: Duration, meter: &dyn Meter) -> Tally {
    let mut rng = Rng::new(seed);
    let mut tally = Tally::default();
    let mut before = Vec::new();
    let started = Instant::now();
    while started.elapsed() < time {
        let input = if rng.chance(30) { noise(&mut rng, 200) } else { (target.sample)(&mut rng) };
        let mut spoilt = input.clone();
        if rng.chance(900) {
            spoil(&mut rng, &mut spoilt, &before);
        }
        before = input;
        tally.inputs += 1;
        match judge(target, &spoilt, meter) {
            Ok(accepted) => tally.accepted += u64::from(accepted),
            Err(failure) => {
                tally.failed = Some((spoilt, failure));
                break;
            }
        }
    }
    tally
}

/// Makes an input that fails smaller, as long as it fails in the same way: pieces are left out, then what is left is made
/// zeros.
pub fn shrink(target: &Target, input: Vec<u8>, failure: Failure, meter: &dyn Meter) -> (Vec<u8>, Failure) {
    let (mut best, mut why) = (input, failure);
    let (mut tries, started) = (0, Instant::now());
    let mut try_it = |candidate: Vec<u8>, best: &mut Vec<u8>, why: &mut Failure| {
        tries += 1;
        match judge(target, &candidate, meter) {
            Err(failure) if failure.is_like(why) => {
                (*best, *why) = (candidate, failure);
                Some(true)
            }
            _ => (tries < SHRINKS_MAX && started.elapsed() < SHRINK_TIME_MAX).then_some(false),
        }
    };
    let mut piece = best.len().next_power_of_two();
    while piece > 0 {
        let mut at = 0;
        while at < best.len() {
            let mut candidate = best.clone();
            candidate.drain(at..best.len().min(at + piece));
            match try_it(candidate, &mut best, &mut why) {
                Some(true) => {}
                Some(false) => at += piece,
                None => return (best, why),
            }
        }
        piece /= 2;
    }
    for at in 0..best.len() {
        if best[at] != 0 {
            let mut candidate = best.clone();
            candidate[at] = 0;
            if try_it(candidate, &mut best, &mut why).is_none() {
                break;
            }
        }
    }
    (best, why)
}
