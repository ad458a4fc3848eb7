//! The page around a drawing.

/// Colours for both schemes, and nothing that needs a network.
const STYLE: &str = "\
:root{color-scheme:light dark;--ground:#fff;--ink:#1c2430;--faint:#6b7686;--line:#d5dbe3;--bar:#dfe5ec;--mark:#c92a3a;--on-mark:#fff}
@media(prefers-color-scheme:dark){:root{--ground:#12161c;--ink:#e4e9f0;--faint:#98a4b4;--line:#333c48;--bar:#2b3440;--mark:#ff7b86;--on-mark:#1a0507}}
body{background:var(--ground);color:var(--ink);font:16px/1.5 system-ui,sans-serif;margin:0 auto;padding:1rem;max-width:60rem}
h1{font-size:1.3rem;overflow-wrap:anywhere}
figure{margin:1rem 0}
.scroll{overflow-x:auto;border:1px solid var(--line);border-radius:6px}
figcaption{color:var(--faint);font-size:.85rem;margin-top:.3rem}
ol{padding-left:1.6rem}
li{overflow-wrap:anywhere;margin:.2rem 0}
li.mark{color:var(--mark);font-weight:600}
svg{display:block;font:13px system-ui,sans-serif}
svg text{fill:var(--ink)}
svg .faint{fill:var(--faint)}
svg .lane{stroke:var(--line)}
svg .bar{fill:var(--bar);stroke:var(--faint)}
svg .bar.mark{fill:var(--mark);stroke:var(--mark)}
svg .bar.open{stroke-dasharray:4 3}
svg text.on-mark{fill:var(--on-mark)}
svg .arrow{fill:none;stroke:var(--mark);stroke-width:1.6}
svg .head{fill:var(--mark)}
";

/// A page that is being written.
pub(crate) struct Page {
    html: String,
}

impl Page {
    pub(crate) fn new(title: &str) -> Self {
        let title = escaped(title);
        Self {
            html: format!(
                "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
                 <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
                 <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
            ),
        }
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.html += &format!("<p>{}</p>\n", escaped(text));
    }

    /// A drawing as SVG, which may be wider than the screen.
    pub(crate) fn figure(&mut self, svg: &str, caption: &str) {
        let caption = escaped(caption);
        self.html += &format!(
            "<figure>\n<div class=\"scroll\" tabindex=\"0\">\n{svg}</div>\n<figcaption>{caption}</figcaption>\n</figure>\n"
        );
    }

    /// Sentences, some of them marked.
    pub(crate) fn list(&mut self, items: impl Iterator<Item = (bool, String)>) {
        self.html += "<ol>\n";
        for (is_marked, text) in items {
            let class = if is_marked { " class=\"mark\"" } else { "" };
            self.html += &format!("<li{class}>{}</li>\n", escaped(&text));
        }
        self.html += "</ol>\n";
    }

    pub(crate) fn finish(self) -> String {
        self.html + "</body>\n</html>\n"
    }
}

/// Text that means nothing but itself, in text and in attributes. What no XML may hold is left out.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')) {
        match character {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            '\'' => safe += "&#39;",
            other => safe.push(other),
        }
    }
    safe
}

/// At most so many characters.
pub(crate) fn shortened(text: &str, characters: usize) -> String {
    if text.chars().count() <= characters {
        return text.to_owned();
    }
    text.chars().take(characters.saturating_sub(1)).chain(['…']).collect()
}
