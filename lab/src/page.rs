//! A recording as a page of its own: nothing is loaded, it scrolls, and it can be stepped through.

use crate::chart::data;
use crate::play::Recording;

/// The page.
#[must_use]
pub fn page(recording: &Recording) -> String {
    // What stands inside a script element must not end it.
    let recorded = data(recording).to_string().replace("</", "<\\/");
    include_str!("page.html").replace("{{title}}", recording.scenario.id).replace("{{recording}}", &recorded)
}
