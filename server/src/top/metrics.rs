//! `/metrics` read back: numbers by name, and what changed between two readings.

use std::collections::BTreeMap;

/// The numbers of one reading, by name and labels as they were printed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Reads the text format of Prometheus; lines that are none are passed over, since a newer node may print them.
    pub(crate) fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let series = lines.filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        });
        Self(series.collect())
    }

    /// A number without labels; 0 if it is not there.
    pub(crate) fn number(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or(0.0)
    }

    /// The series of a name and what stands between their braces.
    fn of<'a>(&'a self, name: &str) -> impl Iterator<Item = (&'a str, f64)> {
        let opening = format!("{name}{{");
        self.0
            .iter()
            .filter_map(move |(series, value)| Some((series.strip_prefix(&opening)?.strip_suffix('}')?, *value)))
    }
}

/// Two readings of one node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Between<'a> {
    pub(crate) earlier: &'a Metrics,
    pub(crate) later: &'a Metrics,
}

impl Between<'_> {
    /// By how much a counter grew.
    pub(crate) fn grew(&self, name: &str) -> f64 {
        growth(self.earlier.number(name), self.later.number(name))
    }

    /// By how much the series of a counter grew whose labels fit.
    pub(crate) fn grew_where(&self, name: &str, fits: impl Fn(&str) -> bool) -> f64 {
        self.later
            .of(name)
            .filter(|(labels, _)| fits(labels))
            .fold(0.0, |sum, (labels, now)| sum + growth(self.earlier.number(&format!("{name}{{{labels}}}")), now))
    }

    /// What so great a share of the observations between the two stayed below, by straight lines within each bucket;
    /// `None` when there were none. What lies in the last bucket counts as its lower bound.
    pub(crate) fn quantile(&self, name: &str, share: f64, fits: impl Fn(&str) -> bool) -> Option<f64> {
        let name = format!("{name}_bucket");
        // Counts up to each bound; the bits of positive floats are in the order of their values.
        let mut buckets: BTreeMap<u64, (f64, f64)> = BTreeMap::new();
        for (labels, now) in self.later.of(&name).filter(|(labels, _)| fits(labels)) {
            let Some(bound) = bound_of(labels) else { continue };
            let before = self.earlier.number(&format!("{name}{{{labels}}}"));
            buckets.entry(bound.to_bits()).or_insert((bound, 0.0)).1 += growth(before, now);
        }
        let all = buckets.values().next_back()?.1;
        if all <= 0.0 {
            return None;
        }
        let (wanted, mut lower, mut below) = (share * all, 0.0, 0.0);
        for (bound, count) in buckets.into_values() {
            if count >= wanted {
                let part = (wanted - below) / (count - below);
                return Some(if bound.is_finite() { lower + (bound - lower) * part } else { lower });
            }
            (lower, below) = (bound, count);
        }
        Some(lower)
    }
}

/// A counter that is lower than before began anew: its node was started again.
fn growth(before: f64, now: f64) -> f64 {
    if now < before { now } else { now - before }
}

fn bound_of(labels: &str) -> Option<f64> {
    labels.split(',').find_map(|label| label.strip_prefix("le=\"")?.strip_suffix('"')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(buckets: [u64; 3], requests: u64) -> Metrics {
        let [one, two, all] = buckets;
        Metrics::parse(&format!(
            "# HELP s seconds\n# TYPE s histogram\ns_bucket{{operation=\"put\",le=\"0.001\"}} {one}\n\
             s_bucket{{operation=\"put\",le=\"0.01\"}} {two}\ns_bucket{{operation=\"put\",le=\"+Inf\"}} {all}\n\
             n_total{{operation=\"put\",status=\"2xx\"}} {requests}\nn_total{{operation=\"get\",status=\"2xx\"}} 7\n\
             no number\nbytes 12\n"
        ))
    }

    fn is_put(labels: &str) -> bool {
        labels.contains("operation=\"put\"")
    }

    #[test]
    fn counters_differ_by_name_and_labels_and_begin_anew_after_a_restart() {
        let (earlier, later) = (reading([0, 0, 0], 5), reading([0, 0, 0], 9));
        let between = Between { earlier: &earlier, later: &later };
        assert_eq!(between.grew_where("n_total", is_put), 4.0);
        assert_eq!(between.grew_where("n_total", |_| true), 4.0);
        assert_eq!(between.grew("bytes"), 0.0);
        let restarted = Between { earlier: &later, later: &earlier };
        assert_eq!(restarted.grew_where("n_total", is_put), 5.0);
    }

    #[test]
    fn quantiles_are_of_what_came_between_alone() {
        // Before: all slow. Since then: 90 within a millisecond, 10 within ten.
        let (earlier, later) = (reading([0, 0, 50], 0), reading([90, 100, 150], 0));
        let between = Between { earlier: &earlier, later: &later };
        let half = between.quantile("s", 0.5, is_put).unwrap();
        assert!((half - 0.001 * 50.0 / 90.0).abs() < 1e-9, "{half}");
        let most = between.quantile("s", 0.99, is_put).unwrap();
        assert!((most - (0.001 + 0.009 * 0.9)).abs() < 1e-9, "{most}");
        assert_eq!(between.quantile("s", 0.5, |labels| labels.contains("get")), None);
        assert_eq!(Between { earlier: &later, later: &later }.quantile("s", 0.5, is_put), None);
    }

    #[test]
    fn quantile_beyond_the_last_bound_is_that_bound() {
        let (earlier, later) = (reading([0, 0, 0], 0), reading([0, 0, 8], 0));
        assert_eq!(Between { earlier: &earlier, later: &later }.quantile("s", 0.5, is_put), Some(0.01));
    }
}
