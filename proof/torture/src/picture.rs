//! The run as a page to look at: who led, what was done to whom, and what clients had of it, over time.

use std::fmt::Write as _;

use crate::report::{Event, Report, Seen, Stands};
use crate::work::End;

/// Pixels a second, at most; a long run is drawn closer, down to a width that still scrolls well.
const SECOND: f64 = 12.0;
const WIDTH_MAX: f64 = 12_000.0;
const LEFT: f64 = 90.0;
const LANE: f64 = 34.0;
const RATES: f64 = 90.0;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:1.5em;color:#222;background:#fff}\
.chart{overflow-x:auto;border:1px solid #bbb;border-radius:6px}text{font:12px system-ui,sans-serif;fill:currentColor}\
svg{display:block}.leads{fill:#2a7f4f}.follows{fill:#a9cdb8}.silent{fill:#ddd}.fault{fill:#c0392b;fill-opacity:.55}\
.done{fill:#2a7f4f}.refused{fill:#d9a441}.unknown{fill:#7d3cb5}td,th{padding:.1em .8em .1em 0;text-align:left}\
.violation{color:#c0392b}.grid{stroke:#8884;stroke-width:1}\
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}.silent{fill:#444}.follows{fill:#3f6b52}}";

/// The whole page, without anything from elsewhere.
pub(crate) fn page(
    report: &Report,
    labels: &[String],
    events: &[Event],
    seen: &Seen,
    ends: &[(u64, u64, End)],
) -> String {
    let mut page = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>hezong torture, seed {seed}</title><style>{STYLE}</style>\
         <h1>Torture, seed {seed}: <span class={verdict}>{verdict}</span></h1>",
        seed = report.seed,
        verdict = report.verdict
    );
    let put = &mut page;
    if let Some(why) = &report.why {
        write(put, format_args!("<pre class=violation>{}</pre>", escaped(why)));
    }
    write(
        put,
        format_args!(
            "<p>{:.0} s: {} operations done, {} refused, {} of unknown outcome. The longest time without any done was {} \
             ms; {} leaders. Green: leads; light green: follows; grey: silent; red: what was done to it (point at it).</p>",
            report.seconds, report.done, report.refused, report.unknown, report.longest_gap_ms, report.leaders
        ),
    );
    chart(put, report, labels, events, seen, ends);
    put.push_str("<h2>Faults</h2><table><tr><th>when<th>how long<th>what");
    for event in events {
        let (from, span) = (seconds(event.from), seconds(event.until - event.from));
        write(put, format_args!("<tr><td>{from:.1} s<td>{span:.1} s<td>{}", escaped(&event.what)));
    }
    put.push_str("</table>");
    page
}

fn chart(
    page: &mut String,
    report: &Report,
    labels: &[String],
    events: &[Event],
    seen: &Seen,
    ends: &[(u64, u64, End)],
) {
    let scale = SECOND.min(WIDTH_MAX / report.seconds.max(1.0));
    let (width, height) = (LEFT + report.seconds * scale + 20.0, LANE * lanes(labels) + RATES + 60.0);
    write(page, format_args!("<div class=chart><svg width={width:.0} height={height:.0}>"));
    let x = |at: u64| LEFT + seconds(at) * scale;
    let step = if scale > 6.0 { 10.0 } else { 60.0 };
    let mut tick = 0.0;
    while tick <= report.seconds {
        let at = LEFT + tick * scale;
        write(page, format_args!("<line class=grid x1={at:.1} x2={at:.1} y1=0 y2={:.0} />", height - 20.0));
        write(page, format_args!("<text x={at:.1} y={:.0}>{tick:.0} s</text>", height - 6.0));
        tick += step;
    }
    for (place, label) in labels.iter().enumerate() {
        let top = LANE * lanes(&labels[..place]) + 8.0;
        write(page, format_args!("<text x=6 y={:.0}>{}</text>", top + 14.0, escaped(label)));
        let states = &seen[place];
        for (at, (from, stands)) in states.iter().enumerate() {
            let until = states.get(at + 1).map_or(LEFT + report.seconds * scale, |(next, _)| x(*next));
            let class = match stands {
                Stands::Silent => "silent",
                Stands::Follows => "follows",
                Stands::Leads => "leads",
            };
            let (from, wide) = (x(*from), (until - x(*from)).max(0.5));
            write(page, format_args!("<rect class={class} x={from:.1} y={top:.0} width={wide:.1} height=12 />"));
        }
        for event in events.iter().filter(|event| event.places.contains(&place)) {
            let (from, wide) = (x(event.from), (x(event.until) - x(event.from)).max(2.0));
            write(
                page,
                format_args!(
                    "<rect class=fault x={from:.1} y={:.0} width={wide:.1} height=10><title>{:.1} s: {}</title></rect>",
                    top + 13.0,
                    seconds(event.from),
                    escaped(&event.what)
                ),
            );
        }
    }
    rates(page, LANE * lanes(labels) + 16.0, scale, ends);
    page.push_str("</svg></div>");
}

/// What was done in each second, and what was not.
fn rates(page: &mut String, top: f64, scale: f64, ends: &[(u64, u64, End)]) {
    let mut each: Vec<[u32; 3]> = Vec::new();
    for (at, _, end) in ends {
        let second = usize::try_from(at / 1_000_000_000).unwrap_or(usize::MAX);
        if each.len() <= second {
            each.resize(second + 1, [0; 3]);
        }
        each[second][*end as usize] += 1;
    }
    let most = f64::from(each.iter().map(|counts| counts.iter().sum::<u32>()).max().unwrap_or(1).max(1));
    write(page, format_args!("<text x=6 y={:.0}>a second,</text>", top + 12.0));
    write(page, format_args!("<text x=6 y={:.0}>up to {most:.0}</text>", top + 26.0));
    for (second, counts) in (0_u32..).zip(&each) {
        let mut bottom = top + RATES;
        for (class, count) in ["done", "refused", "unknown"].into_iter().zip(counts) {
            let high = f64::from(*count) / most * RATES;
            if high > 0.0 {
                bottom -= high;
                let at = LEFT + f64::from(second) * scale;
                write(
                    page,
                    format_args!(
                        "<rect class={class} x={at:.1} y={bottom:.1} width={scale:.1} height={high:.1}>\
                         <title>second {second}: {} done, {} refused, {} unknown</title></rect>",
                        counts[0], counts[1], counts[2]
                    ),
                );
            }
        }
    }
}

fn write(page: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    page.write_fmt(what).ok();
}

fn lanes(labels: &[String]) -> f64 {
    f64::from(u32::try_from(labels.len()).unwrap_or(u32::MAX))
}

#[expect(clippy::cast_precision_loss, reason = "a place on a page")]
fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
