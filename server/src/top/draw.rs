//! A view as text, and on a terminal.

use std::fmt::Write as _;

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Row as Cells, Table};

use crate::top::model::{Figures, Group, Rates, Row, Sort, State, View};

/// What people chose, and what is wrong.
#[derive(Clone, Debug, Default)]
pub(super) struct Screen {
    pub(super) sort: Sort,
    pub(super) paused: bool,
    pub(super) help: bool,
    /// How often it is renewed, in words.
    pub(super) interval: String,
}

const COLUMNS: [&str; 17] = [
    "NODE",
    "ROLE",
    "TERM",
    "LAST",
    "COMMITTED",
    "APPLIED",
    "CONTACT",
    "WRITES/s",
    "READS/s",
    "W P50",
    "W P99",
    "SYNC P50",
    "SYNC P99",
    "IN/s",
    "OUT/s",
    "LOG",
    "ACTIVITY",
];
/// Texts are set to the left, numbers to the right.
const LEFT: [usize; 3] = [0, 1, 16];

const HELP: &str = "\
W P50, W P99    how long half, and 99 of 100, of the writes served there took
SYNC P50, P99   how long syncs of the log took
IN/s, OUT/s     bytes from and to other nodes
LOG             entries the log holds
CONTACT         since the leader, or on the leader a majority, was heard
CTRL-C or q ends   s sorts   p pauses   ? this";

/// The same for programs and files: all columns, whatever their width.
pub(super) fn text(view: &View) -> String {
    let mut text = heading(view);
    for group in &view.groups {
        writeln!(text, "\n{}", group_line(group)).expect("writing to a String does not fail");
    }
    text.push('\n');
    let rows = table(view);
    let widths = widths(&rows);
    for row in &rows {
        let cells: Vec<String> = (0..COLUMNS.len()).map(|column| set(&row[column], widths[column], column)).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Draws it; columns that do not fit are left away from the right, which is said.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View, screen: &Screen) {
    let rows = table(view);
    let widths = widths(&rows);
    let shown = fitting(&widths, usize::from(frame.area().width));
    let groups = u16::try_from(view.groups.len()).unwrap_or(u16::MAX);
    let [top, of_groups, of_nodes, bottom] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(groups.saturating_add(1)),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(heading(view)), top);
    let lines: Vec<Line<'_>> = view.groups.iter().map(|group| Line::from(group_line(group))).collect();
    frame.render_widget(Paragraph::new(lines), of_groups);
    if screen.help {
        frame.render_widget(Paragraph::new(HELP), of_nodes);
    } else {
        let cells = |row: &[String; COLUMNS.len()]| -> Vec<String> {
            (0..shown).map(|column| set(&row[column], widths[column], column)).collect()
        };
        let header = Cells::new(cells(&rows[0])).style(Style::new().add_modifier(Modifier::REVERSED));
        let styled = view.nodes.iter().zip(&rows[1..]).map(|(row, texts)| Cells::new(cells(texts)).style(style(row)));
        let constraints =
            widths[..shown].iter().map(|width| Constraint::Length(u16::try_from(*width).unwrap_or(u16::MAX)));
        frame.render_widget(Table::new(styled, constraints).header(header).column_spacing(2), of_nodes);
    }
    let notes = [
        screen.paused.then(|| "PAUSED".to_owned()),
        (shown < COLUMNS.len()).then(|| format!("{} more columns in a wider terminal", COLUMNS.len() - shown)),
    ];
    let notes = notes.into_iter().flatten().collect::<Vec<_>>().join("  ");
    frame.render_widget(Paragraph::new(notes).alignment(Alignment::Right), top);
    let keys = format!("q quit  s sort: {}  p pause  ? help  every {}", screen.sort.name(), screen.interval);
    frame.render_widget(Paragraph::new(keys), bottom);
}

fn style(row: &Row) -> Style {
    match &row.state {
        State::Silent { .. } => Style::new().fg(Color::Red),
        State::Answers(figures) if figures.role == "leader" => Style::new().add_modifier(Modifier::BOLD),
        State::Answers(_) => Style::new(),
    }
}

fn heading(view: &View) -> String {
    let silent = view.nodes.iter().filter(|row| matches!(row.state, State::Silent { .. })).count();
    let silent = if silent == 0 { String::new() } else { format!(", {silent} silent") };
    format!("cluster {}: {} nodes{silent}", view.cluster_id, view.nodes.len())
}

fn group_line(group: &Group) -> String {
    let leader = group.leader.as_deref().map_or_else(|| "no leader".to_owned(), |leader| format!("{leader} leads"));
    let joint = if group.joint { ", changing" } else { "" };
    format!(
        "group {}: {leader}, {} writes/s, {} reads/s, term {}, {} voters of {} members{joint}, committed {}, revision {}, {} keys",
        group.group,
        rate(group.writes_per_second),
        rate(group.reads_per_second),
        group.term,
        group.voters,
        group.members,
        group.commit_index,
        group.revision,
        group.keys
    )
}

/// The heads of the columns, then a row for each node.
fn table(view: &View) -> Vec<[String; COLUMNS.len()]> {
    let mut rows = vec![COLUMNS.map(str::to_owned)];
    rows.extend(view.nodes.iter().map(|row| match &row.state {
        State::Silent { silent_seconds, error } => {
            let mut cells = std::array::from_fn(|_| "-".to_owned());
            cells[0].clone_from(&row.id);
            cells[1] = format!("silent {silent_seconds} s");
            cells[16].clone_from(error);
            cells
        }
        State::Answers(figures) => cells(row, figures),
    }));
    rows
}

fn cells(row: &Row, figures: &Figures) -> [String; COLUMNS.len()] {
    let of =
        |value: fn(&Rates) -> Option<String>| figures.rates.as_ref().and_then(value).unwrap_or_else(|| "-".to_owned());
    let role = if row.suffrage == "voter" { figures.role.clone() } else { row.suffrage.clone() };
    [
        row.id.clone(),
        role,
        figures.term.to_string(),
        figures.last_index.to_string(),
        figures.commit_index.to_string(),
        figures.applied_index.to_string(),
        figures.last_contact_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms")),
        of(|rates| Some(rate(rates.writes_per_second))),
        of(|rates| Some(rate(rates.reads_per_second))),
        of(|rates| rates.write_p50_seconds.map(span)),
        of(|rates| rates.write_p99_seconds.map(span)),
        of(|rates| rates.sync_p50_seconds.map(span)),
        of(|rates| rates.sync_p99_seconds.map(span)),
        of(|rates| Some(bytes(rates.received_bytes_per_second))),
        of(|rates| Some(bytes(rates.sent_bytes_per_second))),
        figures.log_entries.to_string(),
        activity(figures),
    ]
}

/// What it does with snapshots.
fn activity(figures: &Figures) -> String {
    let rates = figures.rates.clone().unwrap_or_default();
    let mut told = Vec::new();
    if figures.restoring {
        told.push("restoring".to_owned());
    }
    if figures.fetching {
        told.push(format!("fetching a snapshot, {}/s", bytes(rates.snapshot_received_bytes_per_second)));
    }
    if figures.snapshots_held > 0 {
        let (held, sent) = (figures.snapshots_held, bytes(rates.snapshot_sent_bytes_per_second));
        told.push(format!("holding {held} snapshots, sending {sent}/s"));
    }
    if told.is_empty() { "-".to_owned() } else { told.join("; ") }
}

fn widths(rows: &[[String; COLUMNS.len()]]) -> [usize; COLUMNS.len()] {
    std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
}

/// How many columns fit. The last may be cut, since it is a sentence.
fn fitting(widths: &[usize; COLUMNS.len()], room: usize) -> usize {
    let mut used = 0;
    for (column, width) in widths.iter().enumerate() {
        let wanted = if column == COLUMNS.len() - 1 { COLUMNS[column].len() } else { *width };
        used += wanted + if column == 0 { 0 } else { 2 };
        if used > room {
            return column.max(1);
        }
    }
    COLUMNS.len()
}

fn set(cell: &str, width: usize, column: usize) -> String {
    if LEFT.contains(&column) { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
}

fn rate(per_second: f64) -> String {
    if per_second > 0.0 && per_second < 10.0 { format!("{per_second:.1}") } else { format!("{per_second:.0}") }
}

fn span(seconds: f64) -> String {
    match seconds {
        s if s < 1e-3 => format!("{:.0} us", s * 1e6),
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s => format!("{s:.1} s"),
    }
}

/// Units are of 1,000.
fn bytes(number: f64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let (mut number, mut unit) = (number, 0);
    while number >= 1_000.0 && unit + 1 < UNITS.len() {
        (number, unit) = (number / 1_000.0, unit + 1);
    }
    if unit == 0 { format!("{number:.0} B") } else { format!("{number:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::top::model::tests::view;

    fn drawn(width: u16, screen: &Screen) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, 10)).unwrap();
        terminal.draw(|frame| draw(frame, &view(), screen)).unwrap();
        let buffer = terminal.backend().buffer();
        let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..10).map(|y| row(y).trim_end().to_owned()).collect()
    }

    fn screen() -> Screen {
        Screen { interval: "2 s".to_owned(), ..Screen::default() }
    }

    #[test]
    fn draw_shows_every_node_and_the_group() {
        let lines = drawn(220, &screen());
        assert_eq!(lines[0], "cluster c: 3 nodes, 1 silent");
        let group = "group 1: node01 leads, 25 writes/s, 50 reads/s, term 3, 3 voters of 3 members, committed 190";
        assert!(lines[1].starts_with(group), "{lines:#?}");
        let squeezed = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeezed(&lines[3]), COLUMNS.join(" "));
        assert_eq!(
            squeezed(&lines[4]),
            "node01 leader 3 191 190 190 - 25 50 500 us 990 us - - 0 B 2.5 kB 181 holding 2 snapshots, sending 0 B/s"
        );
        assert!(squeezed(&lines[5]).starts_with("node02 follower 3 181 180 180 - 0 0 - - - - 0 B"), "{lines:#?}");
        assert_eq!(squeezed(&lines[6]), "node03 silent 4 s - - - - - - - - - - - - - - refused");
        assert_eq!(lines[9], "q quit  s sort: label  p pause  ? help  every 2 s");
    }

    #[test]
    fn draw_leaves_away_what_does_not_fit_and_says_so() {
        let lines = drawn(80, &Screen { paused: true, ..screen() });
        assert!(lines[3].ends_with("READS/s"), "{lines:#?}");
        assert!(lines[6].starts_with("node03  silent 4 s"), "{lines:#?}");
        assert!(lines[0].ends_with("PAUSED  8 more columns in a wider terminal"), "{lines:#?}");
        assert!(drawn(1, &screen()).iter().all(|line| line.len() <= 1), "no width is too small");
    }

    #[test]
    fn draw_help_takes_the_place_of_the_nodes() {
        let lines = drawn(120, &Screen { help: true, ..screen() });
        assert!(lines[3].starts_with("W P50") && !lines.iter().any(|line| line.contains("node02")), "{lines:#?}");
    }

    #[test]
    fn text_has_all_columns() {
        let text = text(&view());
        assert!(text.lines().nth(3).unwrap().ends_with("ACTIVITY"), "{text}");
        assert_eq!(text.lines().count(), 7, "{text}");
    }

    #[test]
    fn units_are_of_a_size_to_read() {
        let told = [0.0, 999.0, 1_000.0, 12_345_678.0, 1e18].map(bytes);
        assert_eq!(told, ["0 B", "999 B", "1.0 kB", "12.3 MB", "1000000.0 TB"]);
        assert_eq!([0.000_12, 0.0123, 2.0].map(span), ["120 us", "12.3 ms", "2.0 s"]);
        assert_eq!([0.0, 0.25, 12.6].map(rate), ["0", "0.2", "13"]);
    }
}
