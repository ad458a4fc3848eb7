//! A run on a page: what turned it, with a column a node, and what came just before the end.

use std::fmt::Write as _;

use crate::story::{Line, Weight};

/// Longer, and nobody reads it.
const LINES_MAX: usize = 70;
/// Of a run that is longer, so many lines of its beginning are shown, and the rest of its end.
const BEGINNING: usize = 12;
/// Inputs and effects shown before the end: the last thing that a node did is, as a rule, what was wrong.
const DETAILS: usize = 8;

/// What turned a run and what its clients were told, with a column a node: `-` is down, `zz` stands still, and what follows,
/// campaigns or leads is `f`, `c` or `L`, each with its term.
#[must_use]
pub fn timeline(lines: &[Line]) -> Vec<String> {
    page(lines.iter().filter(|line| line.weight > Weight::Detail).collect())
}

/// The same, short enough to be read: what turned the run; what clients were told, as far as there is room for it; and the
/// last that nodes were handed and did.
#[must_use]
pub fn short_story(lines: &[Line]) -> Vec<String> {
    let count = |weight| lines.iter().filter(|line| line.weight == weight).count();
    let room = LINES_MAX.saturating_sub(count(Weight::Turn)).max(LINES_MAX / 5);
    let mut left = [(Weight::Turn, usize::MAX), (Weight::Client, room), (Weight::Detail, DETAILS)];
    // From the end: that is what it comes to.
    let mut chosen: Vec<&Line> = Vec::new();
    for line in lines.iter().rev() {
        if let Some((_, left)) = left.iter_mut().find(|(weight, left)| *weight == line.weight && *left > 0) {
            *left -= 1;
            chosen.push(line);
        }
    }
    chosen.reverse();
    let mut story = page(chosen);
    if let Some(more) = story.len().checked_sub(LINES_MAX + DETAILS).filter(|more| *more > 1) {
        let from = BEGINNING;
        story.splice(from..from + more, [format!("{:>12}     … {more} lines", "")]);
    }
    story
}

/// With a heading, and as many columns everywhere as there are nodes in the end.
fn page(lines: Vec<&Line>) -> Vec<String> {
    let width = lines.iter().map(|line| line.columns.len()).max().unwrap_or(0);
    let mut heading = format!("{:>12}     ", "");
    for node in 1..=width / Line::COLUMN {
        let _ = write!(heading, "{:<1$}", format!("n{node}"), Line::COLUMN);
    }
    let lines = lines.into_iter().map(|line| {
        let (at, columns, text) = (line.at as f64 / 1e6, &line.columns, &line.text);
        format!("{at:>12.3} ms  {columns:<width$}{text}")
    });
    [heading].into_iter().chain(lines).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(weights: &[(Weight, usize)]) -> Vec<Line> {
        let all = weights.iter().flat_map(|(weight, count)| std::iter::repeat_n(*weight, *count));
        let line =
            |(at, weight)| Line { at: at as u64, weight, columns: "f1   L1   ".to_owned(), text: format!("{at}.") };
        all.enumerate().map(line).collect()
    }

    #[test]
    fn story_of_any_run_is_short_and_has_both_ends() {
        let run = lines(&[(Weight::Turn, 200), (Weight::Client, 300), (Weight::Detail, 4_000), (Weight::Turn, 300)]);
        let story = short_story(&run);
        assert!(story.len() <= LINES_MAX + DETAILS + 1, "{}", story.len());
        assert!(story[0].contains("n1   n2"));
        assert!(story[1].ends_with(" 0."));
        assert!(story.last().is_some_and(|line| line.ends_with("4799.")));
    }

    #[test]
    fn story_of_a_short_run_has_all_that_matters() {
        let run = lines(&[(Weight::Turn, 5), (Weight::Detail, 100), (Weight::Client, 7), (Weight::Turn, 1)]);
        assert_eq!(short_story(&run).len(), 1 + 5 + DETAILS + 7 + 1);
        assert_eq!(timeline(&run).len(), 1 + 5 + 7 + 1);
    }
}
