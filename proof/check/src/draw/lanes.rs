//! Rows of bars: who did what when.

use std::collections::BTreeSet;

use super::page::{escaped, shortened};

/// From a call to a return.
pub(crate) struct Bar {
    /// Which client's.
    pub(crate) row: u64,
    pub(crate) from: u64,
    /// `None` has no end that anybody knows.
    pub(crate) to: Option<u64>,
    pub(crate) label: String,
    /// All there is to say.
    pub(crate) tip: String,
    pub(crate) is_marked: bool,
}

const LEFT: usize = 90;
const ROW: usize = 40;
const BAR: usize = 26;
/// A character's width at most, of the page's font.
const CHARACTER: usize = 8;
/// From one instant at which something happens to the next: as far as the labels need, within reason. Times themselves are
/// of no use: a run may rest for an hour between two operations of a microsecond.
const STEP_MIN: usize = 48;
const STEP_MAX: usize = 140;

pub(crate) fn draw(bars: &[Bar]) -> String {
    let rows: BTreeSet<u64> = bars.iter().map(|bar| bar.row).collect();
    // A return comes after a call at the same instant: the two overlap.
    let mut instants: Vec<(u64, bool)> = bars.iter().map(|bar| (bar.from, false)).collect();
    instants.extend(bars.iter().filter_map(|bar| Some((bar.to?, true))));
    instants.sort_unstable();
    instants.dedup();
    let longest = bars.iter().map(|bar| bar.label.chars().count()).max().unwrap_or(0);
    let step = (longest * CHARACTER + 10).clamp(STEP_MIN, STEP_MAX);
    let place = |time: u64, is_end: bool| LEFT + step * instants.partition_point(|instant| *instant < (time, is_end));
    let width = LEFT + step * (instants.len() + 1);
    let height = ROW * rows.len() + 10;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         role=\"img\" aria-label=\"operations of each client in time\">\n"
    );
    for (row, client) in rows.iter().enumerate() {
        let middle = row * ROW + ROW / 2 + 5;
        svg += &format!(
            "<line class=\"lane\" x1=\"{LEFT}\" x2=\"{width}\" y1=\"{middle}\" y2=\"{middle}\"/>\
             <text class=\"faint\" x=\"8\" y=\"{}\">client {client}</text>\n",
            middle + 4
        );
    }
    for bar in bars {
        let row = rows.iter().position(|row| *row == bar.row).unwrap_or(0);
        let (x, y) = (place(bar.from, false), row * ROW + 5 + (ROW - BAR) / 2);
        let end = bar.to.map_or(width, |to| place(to, true));
        let long = end.saturating_sub(x).max(step / 2);
        let (open, mark) = (if bar.to.is_none() { " open" } else { "" }, if bar.is_marked { " mark" } else { "" });
        let on = if bar.is_marked { " class=\"on-mark\"" } else { "" };
        let label = shortened(&bar.label, long.saturating_sub(8) / CHARACTER);
        svg += &format!(
            "<g><title>{}</title><rect class=\"bar{mark}{open}\" x=\"{x}\" y=\"{y}\" width=\"{long}\" height=\"{BAR}\" rx=\"4\"/>\
             <text{on} x=\"{}\" y=\"{}\">{}</text></g>\n",
            escaped(&bar.tip),
            x + 5,
            y + 17,
            escaped(&label)
        );
    }
    svg + "</svg>\n"
}
