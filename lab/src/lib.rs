//! Protocols to watch and to break. A *scenario* is a story from the literature; it is played on the core that ships, shown as
//! a chart with a column a node, and judged: by what must hold of the protocol (`hezong-invariants`), after every step, and by
//! what the story itself expects. Played again with the *weakness* it names, the verdict must turn.
//!
//! | file | holds |
//! |---|---|
//! | `catalogue.rs` | the scenarios, what each teaches, and its weakness |
//! | `protocols.rs` | what a protocol adds: its invariants, and how its nodes stand in a few letters |
//! | `accounts.rs` | the state machine on top, where a story is about that |
//! | `play.rs` | a scenario played, recorded and judged |
//! | `chart.rs`, `page.rs` | a recording as text, as data, and as a page to scroll and to step through |
//! | `main.rs` | the command |
//! | `../scenarios/` | the stories, as commands of `hezong-script` |
//!
//! Left out: random faults. A scenario goes as it is written; the simulator has the rest.

#![forbid(unsafe_code)]

mod accounts;
mod catalogue;
mod chart;
mod page;
mod play;
mod protocols;

pub use catalogue::{Breaks, SCENARIOS, Scenario, Spoilt, find};
pub use chart::{data, text};
pub use page::page;
pub use play::{Kind, Recording, Row, Verdict, play};
