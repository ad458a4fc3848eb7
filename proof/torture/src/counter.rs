//! What a counter's answers must keep: ones are added to it, and every addition tells the sum.
//!
//! As all additions are of one, each must be told another sum, and the sums give their order: an addition that began after
//! another had returned tells a larger sum, and a read between them one that is not smaller than the first and smaller than
//! the second. Additions of unknown outcome may have taken any sum that nobody was told. That is what makes it linearizable
//! (Gibbons and Korach, 1997, for counters: unique values make the check easy).

use std::collections::BTreeMap;

/// One addition, or one read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) called: u64,
    /// When it was answered, and with what; `None` when nobody knows.
    pub(crate) outcome: Option<(u64, i64)>,
    pub(crate) adds: bool,
}

/// Why the answers of one counter cannot be explained; `None` when they can.
pub(crate) fn contradiction(counts: &[Count]) -> Option<String> {
    let mut told: BTreeMap<i64, Count> = BTreeMap::new();
    for count in counts.iter().filter(|count| count.adds) {
        if let Some((_, sum)) = count.outcome
            && let Some(other) = told.insert(sum, *count)
        {
            return Some(format!(
                "two additions, called at {} and {}, were both told {sum}",
                other.called, count.called
            ));
        }
    }
    let mut added: Vec<u64> = counts.iter().filter(|count| count.adds).map(|count| count.called).collect();
    added.sort_unstable();
    let mut answered: Vec<(u64, u64, i64, bool)> =
        counts.iter().filter_map(|count| count.outcome.map(|(at, sum)| (at, count.called, sum, count.adds))).collect();
    for (at, _, sum, _) in &answered {
        let tried = added.partition_point(|called| called <= at);
        if usize::try_from(*sum).map_or(true, |sum| sum > tried) {
            return Some(format!("{sum} was told at {at}, and {tried} additions had been tried by then"));
        }
    }
    // By when they were called; beside it, the largest sum that had been told by then.
    let mut called = answered.clone();
    called.sort_unstable_by_key(|&(_, called, ..)| called);
    answered.sort_unstable();
    let (mut next, mut most) = (answered.iter().peekable(), 0);
    for (_, called, sum, adds) in called {
        while let Some(&&(at, _, told, _)) = next.peek()
            && at < called
        {
            most = most.max(told);
            next.next();
        }
        if sum < most || (adds && sum == most) {
            return Some(format!("{sum} was told to what was called at {called}, after {most} had been told before"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(called: u64, outcome: Option<(u64, i64)>) -> Count {
        Count { called, outcome, adds: true }
    }

    fn read(called: u64, at: u64, sum: i64) -> Count {
        Count { called, outcome: Some((at, sum)), adds: false }
    }

    #[test]
    fn counter_answers_in_order_are_explained() {
        let counts = [add(0, Some((5, 2))), add(1, Some((9, 1))), read(2, 8, 1), add(10, None), read(11, 12, 3)];
        assert_eq!(contradiction(&counts), None);
    }

    #[test]
    fn counter_same_sum_twice_is_found() {
        assert!(contradiction(&[add(0, Some((5, 1))), add(1, Some((9, 1)))]).is_some());
    }

    #[test]
    fn counter_lost_addition_is_found() {
        assert!(contradiction(&[add(0, Some((5, 1))), read(6, 7, 0)]).is_some(), "a read that is too old");
        assert!(contradiction(&[add(0, Some((5, 1))), read(6, 7, 3)]).is_some(), "more than anybody added");
        assert!(contradiction(&[read(0, 1, 1), add(2, None)]).is_some(), "before anybody added");
        assert!(contradiction(&[add(0, Some((5, 2))), add(1, None), add(6, Some((9, 1)))]).is_some(), "back in time");
        assert!(contradiction(&[read(0, 1, 0), add(2, None), add(3, Some((4, 2))), read(5, 6, 1)]).is_some());
    }

    #[test]
    fn counter_read_between_is_found() {
        let counts = [add(0, None), read(1, 2, 1), add(3, Some((4, 1)))];
        assert!(contradiction(&counts).is_some(), "the sum was there before its addition began");
    }
}
