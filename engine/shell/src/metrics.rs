//! Counters every thread adds to and anybody may read.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of a histogram's buckets in microseconds; what is longer falls into one more.
pub const BUCKETS_MICROS: [u64; 16] =
    [25, 50, 100, 150, 200, 300, 500, 750, 1_000, 2_000, 5_000, 10_000, 25_000, 100_000, 500_000, 1_000_000];

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident),* $(,)?) => {
        /// What this node's threads count.
        #[derive(Debug, Default)]
        pub(crate) struct Metrics {
            $(pub(crate) $name: Counter,)*
            pub(crate) log_sync: Histogram,
        }

        /// What this node's threads have counted since it was opened, and how long its queues are now.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct MetricsSnapshot {
            $($(#[doc = $doc])* pub $name: u64,)*
            /// How long each fdatasync of the log took.
            pub log_sync: HistogramSnapshot,
            /// Bytes waiting for the node's thread.
            pub inbox_bytes: usize,
            /// Batches waiting for the log's thread.
            pub log_queue: usize,
            /// Batches of entries waiting for the state machines' thread.
            pub apply_queue: usize,
            /// Spans of traced requests that were exported, and that were not.
            pub spans: (u64, u64),
            /// How many steps of each kind took longer than [`Options::slow_step`](crate::Options::slow_step).
            pub slow: Vec<(&'static str, u64)>,
        }

        impl Metrics {
            pub(crate) fn snapshot(&self) -> MetricsSnapshot {
                MetricsSnapshot {
                    $($name: self.$name.0.load(Ordering::Relaxed),)*
                    log_sync: self.log_sync.snapshot(),
                    ..MetricsSnapshot::default()
                }
            }
        }
    };
}

counters! {
    /// Frames handed to connections.
    frames_sent,
    /// Bytes of these frames.
    bytes_sent,
    /// Frames received.
    frames_received,
    /// Bytes of these frames.
    bytes_received,
    /// Frames dropped because the peer was not connected.
    frames_unsent,
    /// Frames dropped, oldest first, because the queue to the peer was full.
    frames_dropped,
    /// Connections made, by either side.
    connections,
    /// Connections lost.
    disconnections,
    /// Attempts to connect that came to nothing.
    dials_failed,
    /// Handshakes refused, by either side: another cluster, another node, no common version.
    handshakes_refused,
    /// Connections closed because what came over them was no frame.
    garbage,
    /// Batches written to the log.
    log_batches,
    /// Writes in these batches, of all groups.
    log_writes,
    /// Times that entries were read back from the log.
    log_reads,
    /// Bytes of the log that were read again to find damage.
    log_scrubbed_bytes,
    /// Bytes of states that were read again to find damage.
    state_scrubbed_bytes,
    /// Whether the log was found damaged when it was opened, and repaired.
    log_repairs,
    /// Entries applied to state machines.
    applied,
    /// Times that state machines made themselves durable.
    persists,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: usize) {
        // Relaxed: nobody concludes anything from one counter about another.
        self.0.fetch_add(u64::try_from(n).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// How often something took how long.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BUCKETS_MICROS.len() + 1],
    sum_nanos: AtomicU64,
}

impl Histogram {
    pub(crate) fn record(&self, took: Duration) {
        let bucket = BUCKETS_MICROS.partition_point(|bound| u128::from(*bound) < took.as_micros());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.sum_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    fn snapshot(&self) -> HistogramSnapshot {
        HistogramSnapshot {
            buckets: array::from_fn(|i| self.buckets[i].load(Ordering::Relaxed)),
            sum: Duration::from_nanos(self.sum_nanos.load(Ordering::Relaxed)),
        }
    }
}

/// How often something took how long, as of now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramSnapshot {
    /// How often it took at most [`BUCKETS_MICROS`] of the same place, and more than of the place before; the last
    /// counts what took longer than all.
    pub buckets: [u64; BUCKETS_MICROS.len() + 1],
    /// How long it all took together.
    pub sum: Duration,
}

impl HistogramSnapshot {
    /// How often it happened.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histogram_counts_by_upper_bound() {
        let histogram = Histogram::default();
        for micros in [1, 25, 26, 1_000_000, 1_000_001] {
            histogram.record(Duration::from_micros(micros));
        }
        let snapshot = histogram.snapshot();
        assert_eq!((snapshot.buckets[0], snapshot.buckets[1]), (2, 1));
        assert_eq!((snapshot.buckets[15], snapshot.buckets[16]), (1, 1));
        assert_eq!(snapshot.count(), 5);
    }
}
