//! A node's own clock: it starts anywhere, runs a little fast or slow, and now and then changes its mind.

use hezong_base::Time;

/// Maps the simulation's time to a node's and back. Never runs backwards.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    /// When the rate was last set, in the simulation's time.
    since: u64,
    /// What the clock showed then.
    shown: u64,
    /// How much faster than the simulation's time it runs, in parts per million; negative is slower.
    ppm: i64,
}

impl Clock {
    /// A clock that shows `shown` at the very start.
    pub(crate) fn new(shown: u64, ppm: i64) -> Self {
        Self { since: 0, shown, ppm }
    }

    /// A clock that shows `shown` at `now`.
    pub(crate) fn started(now: u64, shown: u64, ppm: i64) -> Self {
        Self { since: now, shown, ppm }
    }

    /// How much faster than the simulation's time it runs.
    pub(crate) fn ppm(&self) -> i64 {
        self.ppm
    }

    /// Runs at another rate from now on.
    pub(crate) fn set_rate(&mut self, now: u64, ppm: i64) {
        *self = Self { since: now, shown: self.local(now).as_nanos(), ppm };
    }

    /// What it shows at `now`.
    pub(crate) fn local(&self, now: u64) -> Time {
        let span = now - self.since;
        Time::from_nanos(self.shown + scale(span, 1_000_000 + self.ppm, 1_000_000))
    }

    /// The first instant at which it shows `time` or more; `now` if it does already.
    pub(crate) fn reaches(&self, now: u64, time: Time) -> u64 {
        let span = time.as_nanos().saturating_sub(self.shown);
        // Far-away deadlines mean "never"; the simulation ends long before.
        let span = span.min(1 << 50);
        let mut at = self.since + scale(span, 1_000_000, 1_000_000 + self.ppm);
        while self.local(at) < time && at < self.since + (1 << 50) {
            at += 1;
        }
        at.max(now)
    }
}

fn scale(span: u64, numerator: i64, denominator: i64) -> u64 {
    let wide = u128::from(span) * u128::from(numerator.unsigned_abs()) / u128::from(denominator.unsigned_abs());
    u64::try_from(wide).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reaches_first_instant_at_any_rate() {
        for ppm in [-400_000, -4_900, 0, 1, 4_900, 300_000] {
            let mut clock = Clock::new(77, 0);
            clock.set_rate(1_000, ppm);
            for wanted in [1_077, 1_078, 5_000, 123_456_789, 98_765_432_100] {
                let at = clock.reaches(1_000, Time::from_nanos(wanted));
                assert!(clock.local(at) >= Time::from_nanos(wanted), "{ppm} {wanted}");
                assert!(at == 1_000 || clock.local(at - 1) < Time::from_nanos(wanted), "{ppm} {wanted}");
            }
        }
    }
}
