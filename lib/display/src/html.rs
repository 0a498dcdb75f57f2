//! The few HTML pieces that every rendering uses. All text of the user goes through [`escape`];
//! styles are inline, with `rgba()` in commas, which is what sanitisers let through.

use std::fmt::Write;

/// Background of every first segment.
pub(crate) const BLUE: &str = "rgba(66, 133, 244, 0.22)";
/// Background of every second segment; apart from [`BLUE`] for colour-blind readers too.
pub(crate) const ORANGE: &str = "rgba(244, 160, 0, 0.25)";
/// Background of what an assistant wrote.
pub(crate) const GREEN: &str = "rgba(52, 168, 83, 0.22)";
/// Background of what a system message says.
pub(crate) const VIOLET: &str = "rgba(156, 90, 220, 0.22)";
/// Background of what a template or a tokenizer added.
pub(crate) const GREY: &str = "rgba(128, 128, 128, 0.18)";
/// Text that keeps its spaces and line breaks.
pub(crate) const PRE: &str =
    "white-space: pre-wrap; overflow-wrap: anywhere; font-family: monospace; line-height: 1.7;";
const FRAME: &str = "border: 1px solid rgba(128, 128, 128, 0.8); border-radius: 3px; padding: 0 3px; font-size: 90%; white-space: nowrap;";
/// Bytes of a word that fits beside the other columns of a table.
const LONG_WORD: usize = 24;
const CELL: &str = "text-align: left; vertical-align: top; padding: 2px 8px;";

/// Makes text safe inside elements and inside double- or single-quoted attributes. Control
/// characters that HTML cannot hold become U+FFFD.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len() + text.len() / 8);
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\n' | '\t' => safe.push(character),
            '\r' => safe.push_str("&#13;"),
            control if control.is_control() => safe.push('\u{fffd}'),
            other => safe.push(other),
        }
    }
    safe
}

/// What [`escape`] was given; but for control characters, which it does not keep.
pub fn unescape(html: &str) -> String {
    let entities = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&#13;", "\r"),
        // Last: what it gives is no beginning of another.
        ("&amp;", "&"),
    ];
    let replace = |text: String, (entity, letter): &(&str, &str)| text.replace(entity, letter);
    entities.iter().fold(html.to_owned(), replace)
}

/// As [`escape`], and where a word is so long that it would push a table off the paper, a path mostly, it
/// may be broken behind its separators, and somewhere where it has none.
pub(crate) fn breakable(text: &str) -> String {
    let mut broken = String::with_capacity(text.len() * 2);
    for word in text.split_inclusive(char::is_whitespace) {
        if word.len() <= LONG_WORD {
            broken.push_str(&escape(word));
            continue;
        }
        let mut since_break = 0;
        for character in word.chars() {
            broken.push_str(&escape(character.encode_utf8(&mut [0; 4])));
            // Behind a hyphen a line may end anyway.
            since_break = if character == '-' { 0 } else { since_break + 1 };
            let separates = "/._,:({[".contains(character);
            // Other characters may belong to the one before them.
            if separates || (since_break >= LONG_WORD && character.is_ascii_alphanumeric()) {
                broken.push_str("<wbr>");
                since_break = 0;
            }
        }
    }
    broken
}

/// Spaces, tabs and line breaks with a mark one can see. A line break keeps its effect.
pub fn visible(text: &str) -> String {
    let mut marked = String::with_capacity(text.len() * 2);
    for character in text.chars() {
        match character {
            ' ' => marked.push('·'),
            '\n' => marked.push_str("↵\n"),
            '\t' => marked.push('→'),
            '\r' => marked.push('␍'),
            other => marked.push(other),
        }
    }
    marked
}

/// A special token, framed. `name` is not yet escaped.
pub(crate) fn special(name: &str, title: &str) -> String {
    format!(
        "<kbd style=\"{FRAME}\" title=\"{}\">{}</kbd>",
        escape(title),
        escape(&visible_inline(name))
    )
}

/// As [`visible`], without the line break itself, for what must stay on one line.
pub(crate) fn visible_inline(text: &str) -> String {
    visible(text).replace("↵\n", "↵")
}

/// A table. Cells are HTML already; the caption is not.
pub(crate) fn table(caption: &str, header: &[&str], rows: &[Vec<String>]) -> String {
    let mut html = String::from("<table>");
    if !caption.is_empty() {
        let _ = write!(
            html,
            "<caption style=\"text-align: left;\">{}</caption>",
            escape(caption)
        );
    }
    if !header.is_empty() {
        html.push_str("<thead><tr>");
        for name in header {
            let _ = write!(
                html,
                "<th scope=\"col\" style=\"{CELL}\">{}</th>",
                escape(name)
            );
        }
        html.push_str("</tr></thead>");
    }
    html.push_str("<tbody>");
    for row in rows {
        html.push_str("<tr>");
        for cell in row {
            let _ = write!(html, "<td style=\"{CELL}\">{cell}</td>");
        }
        html.push_str("</tr>");
    }
    html.push_str("</tbody></table>");
    html
}

/// A table of names and values, neither escaped yet.
pub(crate) fn facts(caption: &str, facts: &[(&str, String)]) -> String {
    let escaped: Vec<(&str, String)> = facts
        .iter()
        .map(|(name, value)| (*name, breakable(value)))
        .collect();
    facts_of_html(caption, &escaped)
}

/// As [`facts`], of values that are HTML already.
pub(crate) fn facts_of_html(caption: &str, facts: &[(&str, String)]) -> String {
    let mut html = format!(
        "<table><caption style=\"text-align: left;\">{}</caption><tbody>",
        escape(caption)
    );
    for (name, value) in facts {
        let _ = write!(
            html,
            "<tr><th scope=\"row\" style=\"{CELL}\">{}</th><td style=\"{CELL}\">{}</td></tr>",
            escape(name),
            value
        );
    }
    html.push_str("</tbody></table>");
    html
}

/// The same facts for a terminal: names padded to one column.
pub(crate) fn facts_text(caption: &str, facts: &[(&str, String)]) -> String {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = caption.to_owned();
    for (name, value) in facts {
        let _ = write!(text, "\n  {name:width$}  {value}");
    }
    text
}

/// Something folded away under a line.
pub(crate) fn details(summary: &str, open: bool, inner: &str) -> String {
    let open = if open { " open" } else { "" };
    format!(
        "<details{open}><summary>{}</summary>{inner}</details>",
        escape(summary)
    )
}

#[cfg(test)]
mod tests {
    use super::breakable;

    #[test]
    fn only_long_words_may_be_broken_and_never_within_an_entity() {
        assert_eq!(breakable("a/b.c & d"), "a/b.c &amp; d");
        let long = breakable("/home/me/models/a&b/weights.gguf");
        assert!(long.starts_with("/<wbr>home/<wbr>me/<wbr>"), "{long}");
        assert!(long.ends_with("a&amp;b/<wbr>weights.<wbr>gguf"), "{long}");
        assert_eq!(breakable(&"a".repeat(60)).matches("<wbr>").count(), 2);
    }
}
