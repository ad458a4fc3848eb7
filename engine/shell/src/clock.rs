//! The node's clock: time since boot, sleep included.
//!
//! A clock that stood still while the machine slept would let a leader wake with a lease the others have long seen
//! expire; so `CLOCK_BOOTTIME` it is, wherever the system has it.
//!
//! For proofs on real processes a file may say that it runs faster or slower than it does. Programs that bend clocks from
//! outside put themselves before the C library, and this clock is read without it.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::{fs, io};

use hezong_base::Time;
use rustix::time::{ClockId, clock_gettime};

#[cfg(any(target_os = "linux", target_os = "android"))]
const CLOCK: ClockId = ClockId::Boottime;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const CLOCK: ClockId = ClockId::Monotonic;

const MILLION: i128 = 1_000_000;
/// How often the file is read again, in nanoseconds.
const LOOK: u64 = 50_000_000;

/// Tells the time.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    trial: Option<Trial>,
}

impl Clock {
    /// A clock whose rate `control` gives: one number, by how many millionths it runs faster than the system's; below
    /// zero, slower. The number is read again and again. Whenever it was another one, a file beside it, named `.told`,
    /// says which is in force and how many microseconds ahead of the system's this clock is by then.
    ///
    /// # Errors
    /// The control file cannot be read, or says something else, or nothing can be written beside it.
    pub(crate) fn trial(control: PathBuf) -> io::Result<Self> {
        let (ppm, now) = (read(&control)?, system());
        tell(&control, ppm, 0)?;
        Ok(Self { trial: Some(Trial { control, bent: Mutex::new(Bent { since: now, from: now, ppm, looked: now }) }) })
    }

    /// This instant. Never smaller than an earlier reading on any thread.
    pub(crate) fn now(&self) -> Time {
        Time::from_nanos(match &self.trial {
            None => system(),
            Some(trial) => trial.now(),
        })
    }
}

#[derive(Debug)]
struct Trial {
    control: PathBuf,
    bent: Mutex<Bent>,
}

/// A clock of a rate of its own.
#[derive(Debug)]
struct Bent {
    /// When the rate came into force, by the system's clock.
    since: u64,
    /// What this clock said then.
    from: u64,
    /// More than minus a million: it never stands still.
    ppm: i64,
    /// When the file was last read, by the system's clock.
    looked: u64,
}

impl Trial {
    fn now(&self) -> u64 {
        let mut bent = self.bent.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock: of two threads the one that read first would otherwise be answered last.
        let now = system();
        if now - bent.looked >= LOOK {
            bent.looked = now;
            // While the file cannot be read nothing changes; whoever waits for a word beside it notices.
            if let Ok(ppm) = read(&self.control)
                && ppm != bent.ppm
            {
                let from = bent.at(now);
                *bent = Bent { since: now, from, ppm, looked: now };
                if let Err(error) = tell(&self.control, ppm, i128::from(from) - i128::from(now)) {
                    tracing::warn!("nothing can be written beside {}: {error}", self.control.display());
                }
            }
        }
        bent.at(now)
    }
}

impl Bent {
    fn at(&self, now: u64) -> u64 {
        let span = i128::from(now - self.since) * (MILLION + i128::from(self.ppm)) / MILLION;
        self.from + u64::try_from(span).unwrap_or(0)
    }
}

/// What the system says, in nanoseconds since boot.
fn system() -> u64 {
    let now = clock_gettime(CLOCK);
    // Both parts are never negative: boot is where this clock starts.
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

fn read(control: &Path) -> io::Result<i64> {
    let text = fs::read_to_string(control)?;
    let ppm = text.trim().parse().ok().filter(|ppm| (-900_000..=9_000_000).contains(ppm));
    ppm.ok_or_else(|| {
        let said = format!("{} says {text:?}; write millionths, as -90000, above -900001", control.display());
        io::Error::new(io::ErrorKind::InvalidInput, said)
    })
}

fn tell(control: &Path, ppm: i64, ahead_nanos: i128) -> io::Result<()> {
    // Renamed, so that nobody reads half of it.
    let new = control.with_extension("telling");
    fs::write(&new, format!("{ppm} {}\n", ahead_nanos / 1_000))?;
    fs::rename(new, control.with_extension("told"))
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;
    use std::time::Duration;

    use super::*;

    const LONG: Duration = Duration::from_millis(200);

    fn spans(clock: &Clock) -> (Duration, Duration) {
        let (before, real) = (clock.now(), system());
        sleep(LONG);
        let (after, later) = (clock.now(), system());
        (after.since(before), Duration::from_nanos(later - real))
    }

    #[test]
    fn trial_clock_runs_as_its_file_says_and_never_back() {
        let folder = tempfile::TempDir::new().unwrap();
        let control = folder.path().join("clock");
        fs::write(&control, "1000000").unwrap();
        let clock = Clock::trial(control.clone()).unwrap();
        let (bent, real) = spans(&clock);
        assert!(bent > real * 19 / 10 && bent < real * 21 / 10, "{bent:?} for {real:?}");
        let before = clock.now();
        fs::write(&control, "-500000").unwrap();
        sleep(LONG / 2);
        assert!(clock.now() >= before);
        let told = fs::read_to_string(folder.path().join("clock.told")).unwrap();
        let (ppm, ahead) = told.trim().split_once(' ').unwrap();
        assert_eq!(ppm, "-500000");
        assert!(ahead.parse::<i64>().unwrap() >= 200_000, "{told}");
        let (bent, real) = spans(&clock);
        assert!(bent > real * 45 / 100 && bent < real * 55 / 100, "{bent:?} for {real:?}");
    }

    #[test]
    fn trial_clock_of_a_file_that_says_something_else_is_refused() {
        let folder = tempfile::TempDir::new().unwrap();
        let control = folder.path().join("clock");
        for text in ["", "fast", "-1000000"] {
            fs::write(&control, text).unwrap();
            assert_eq!(Clock::trial(control.clone()).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{text}");
        }
    }
}
