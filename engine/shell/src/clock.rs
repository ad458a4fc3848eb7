//! The node's clock: time since boot, sleep included.
//!
//! A clock that stood still while the machine slept would let a leader wake with a lease the others have long seen
//! expire; so `CLOCK_BOOTTIME` it is, wherever the system has it.

use hezong_base::Time;
use rustix::time::{ClockId, clock_gettime};

#[cfg(any(target_os = "linux", target_os = "android"))]
const CLOCK: ClockId = ClockId::Boottime;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const CLOCK: ClockId = ClockId::Monotonic;

/// This instant. Never smaller than an earlier reading on any thread.
pub(crate) fn now() -> Time {
    let now = clock_gettime(CLOCK);
    // Both parts are never negative: boot is where this clock starts.
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    Time::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}
