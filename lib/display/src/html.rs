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
/// A line above a table. No `<caption>`: its lines end where the table does, however narrow that is.
const CAPTION: &str = "margin: 0 0 2px; text-align: left;";
/// Lines as they are, on pages too that give `<pre>` letters of any width or break its words anywhere.
const LINES: &str =
    "white-space: pre-wrap; overflow-wrap: anywhere; word-break: normal; font-family: monospace;";
/// A text in a cell of a table: narrower than this it would be read letter by letter.
const TEXT: &str = "white-space: pre-wrap; overflow-wrap: anywhere; min-width: 8em;";
/// What stands behind a number, and on its line.
const UNITS: [&str; 13] = [
    "%", "B", "GB", "MB", "TB", "h", "kB", "min", "ms", "ns", "s", "W", "µs",
];
/// Between a number and its unit, or a word and its mark: no line ends there.
pub(crate) const TOGETHER: char = '\u{a0}';

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

/// As [`escape`], with numbers and their units on one line.
pub fn figures(text: &str) -> String {
    escape(&together(text))
}

/// Puts a space where no line ends between numbers and units.
fn together(text: &str) -> String {
    let mut joined = String::with_capacity(text.len() + text.len() / 8);
    let mut words = text.split(' ').peekable();
    while let Some(word) = words.next() {
        joined.push_str(word);
        let Some(next) = words.peek() else {
            break;
        };
        let unit = next.trim_end_matches([',', '.', ';', ')', ':']);
        let is_number = word.ends_with(|character: char| character.is_ascii_digit());
        joined.push(if is_number && UNITS.contains(&unit) {
            TOGETHER
        } else {
            ' '
        });
    }
    joined
}

/// Lines as they are.
pub fn pre(text: &str) -> String {
    format!("<pre style=\"{LINES}\">{}</pre>", escape(text))
}

/// As [`escape`], of the program's own words: what stands in backticks is code.
pub fn prose(text: &str) -> String {
    let parts: Vec<&str> = text.split('`').collect();
    // A backtick without another is one.
    if parts.len().is_multiple_of(2) {
        return escape(text);
    }
    let parts = parts.iter().enumerate().map(|(index, part)| {
        if index % 2 == 0 {
            figures(part)
        } else {
            format!("<code>{}</code>", escape(part))
        }
    });
    parts.collect()
}

/// A text in a cell of a table, with its line breaks. Not yet escaped; nor is the background a user's.
pub(crate) fn text_block(text: &str, background: &str) -> String {
    text_block_of_html(&escape(text), background)
}

/// As [`text_block`], of what is HTML already.
pub(crate) fn text_block_of_html(html: &str, background: &str) -> String {
    let background = match background {
        "" => String::new(),
        colour => format!(" background: {colour};"),
    };
    format!("<div dir=\"auto\" style=\"{TEXT} padding: 2px 4px;{background}\">{html}</div>")
}

/// A remark on one line, below a text.
pub(crate) fn remark(text: &str) -> String {
    format!(
        "<small style=\"white-space: nowrap;\">{}</small>",
        escape(text)
    )
}

/// As [`escape`], with numbers and their units on one line; and where a word is so long that it would push a
/// table off the paper, a path mostly, it may be broken behind its separators, and somewhere where it has
/// none.
pub(crate) fn breakable(text: &str) -> String {
    let text = together(text);
    let mut broken = String::with_capacity(text.len() * 2);
    for word in
        text.split_inclusive(|character: char| character.is_whitespace() && character != TOGETHER)
    {
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

/// A line above a table, if there is one to say. It is HTML already.
fn above(caption: &str) -> String {
    if caption.is_empty() {
        return String::new();
    }
    format!("<p style=\"{CAPTION}\">{caption}</p>")
}

/// A table. Cells are HTML already; the caption is not.
pub(crate) fn table(caption: &str, header: &[&str], rows: &[Vec<String>]) -> String {
    table_of(CELL, (&figures(caption), header), rows)
}

/// As [`table`], all of it the program's own words: what stands in backticks is code.
pub(crate) fn table_of_prose(caption: &str, header: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| prose(cell)).collect())
        .collect();
    table_of(CELL, (&prose(caption), header), &rows)
}

/// As [`table`], of many narrow columns.
pub(crate) fn matrix(caption: &str, header: &[&str], rows: &[Vec<String>]) -> String {
    table_of(
        "text-align: center; padding: 1px;",
        (&figures(caption), header),
        rows,
    )
}

fn table_of(style: &str, (caption, header): (&str, &[&str]), rows: &[Vec<String>]) -> String {
    let mut html = above(caption);
    html.push_str("<table>");
    if !header.is_empty() {
        html.push_str("<thead><tr>");
        for name in header {
            let _ = write!(
                html,
                "<th scope=\"col\" style=\"{style}\">{}</th>",
                escape(name)
            );
        }
        html.push_str("</tr></thead>");
    }
    html.push_str("<tbody>");
    for row in rows {
        html.push_str("<tr>");
        for cell in row {
            let _ = write!(html, "<td style=\"{style}\">{cell}</td>");
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
    let mut html = format!("{}<table><tbody>", above(&figures(caption)));
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
    use super::*;

    #[test]
    fn only_long_words_may_be_broken_and_never_within_an_entity() {
        assert_eq!(breakable("a/b.c & d"), "a/b.c &amp; d");
        let long = breakable("/home/me/models/a&b/weights.gguf");
        assert!(long.starts_with("/<wbr>home/<wbr>me/<wbr>"), "{long}");
        assert!(long.ends_with("a&amp;b/<wbr>weights.<wbr>gguf"), "{long}");
        assert_eq!(breakable(&"a".repeat(60)).matches("<wbr>").count(), 2);
    }

    #[test]
    fn a_unit_stays_on_its_numbers_line() {
        let text = "94 MB on cpu, 91.9 % (24 B), 4 min 5 s, in 3 small parts; a s";
        let joined = "94\u{a0}MB on cpu, 91.9\u{a0}% (24\u{a0}B), 4\u{a0}min 5\u{a0}s, in 3 small parts; a s";
        assert_eq!(figures(text), joined);
        assert_eq!(breakable(text), joined);
    }

    #[test]
    fn what_stands_in_backticks_is_code() {
        assert_eq!(
            prose("say `a < b`, or `c`"),
            "say <code>a &lt; b</code>, or <code>c</code>"
        );
        assert_eq!(prose("a ` alone <b>"), "a ` alone &lt;b&gt;");
    }
}
