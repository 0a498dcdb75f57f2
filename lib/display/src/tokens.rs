//! The token table: the text cut where the tokenizer cut it, and every token's id, spelling, bytes
//! and place. Tokens that share one written character stand in one segment, since their parts cannot
//! be shown.

use std::fmt::Write;

use unicode_segmentation::UnicodeSegmentation;
use wire::{
    mime::Bundle,
    text::{Encoding, Token},
};

use crate::{
    RichDisplay,
    html::{self, BLUE, ORANGE, PRE},
    rendered, units,
};

/// Tokens whose table is shown unfolded.
const OPEN_ROWS: usize = 40;
/// Rows of the table's first part; the others are folded once more.
const FIRST_ROWS: usize = 300;
/// Rows of the table at most; a notebook with more is slow to open.
const MOST_ROWS: usize = 900;
/// Characters of a token that stand on one line of the table, and bytes of one that are shown there.
const LONG_PIECE: usize = 16;
const MOST_BYTES: usize = 16;
/// Tokens drawn in the coloured text at most.
const MOST_SEGMENTS: usize = 4000;

impl RichDisplay for Encoding {
    fn bundle(&self) -> Bundle {
        rendered(text(self), html(self))
    }
}

/// A run of tokens that is shown as one, and the bytes of the text that it covers.
pub(crate) struct Segment<'a> {
    pub first: usize,
    pub tokens: &'a [Token],
    pub span: (usize, usize),
}

impl Segment<'_> {
    pub fn is_special(&self) -> bool {
        self.tokens.len() == 1 && self.tokens[0].special
    }
}

/// Cuts an encoding into segments that start and end between written characters.
pub(crate) fn segments(encoding: &Encoding) -> Vec<Segment<'_>> {
    let mut is_boundary = vec![false; encoding.text.len() + 1];
    for (start, _) in encoding.text.grapheme_indices(true) {
        is_boundary[start] = true;
    }
    is_boundary[encoding.text.len()] = true;
    let tokens = &encoding.tokens;
    let mut segments = Vec::new();
    let mut first = 0;
    while first < tokens.len() {
        let (start, mut end) = span(&tokens[first], encoding.text.len());
        let mut next = first + 1;
        if !tokens[first].special && end > start {
            while next < tokens.len() && !tokens[next].special {
                let (next_start, next_end) = span(&tokens[next], encoding.text.len());
                if next_start >= end && is_boundary[end] {
                    break;
                }
                end = end.max(next_end);
                next += 1;
            }
        }
        segments.push(Segment {
            first,
            tokens: &tokens[first..next],
            span: (start, end),
        });
        first = next;
    }
    segments
}

/// A token's byte range, kept inside the text whatever was sent.
fn span(token: &Token, length: usize) -> (usize, usize) {
    let end = (token.bytes.1 as usize).min(length);
    ((token.bytes.0 as usize).min(end), end)
}

/// The text of a range; a range that splits a character is widened by replacement characters.
pub(crate) fn slice(text: &str, (start, end): (usize, usize)) -> String {
    String::from_utf8_lossy(&text.as_bytes()[start..end]).into_owned()
}

pub(crate) fn summary(encoding: &Encoding) -> String {
    let tokens = encoding.tokens.len();
    // As Python counts them, and the table: an emoji with joiners is several.
    let characters = encoding.text.chars().count();
    let words = encoding.text.split_whitespace().count();
    let special = encoding.tokens.iter().filter(|token| token.special).count();
    let mut summary = format!(
        "{} · {} · {} · {}",
        units::plural(tokens, "token"),
        units::plural(characters, "character"),
        units::plural(words, "word"),
        units::plural(encoding.text.len(), "byte"),
    );
    if tokens > 0 {
        let _ = write!(
            summary,
            " · {:.1} characters a token",
            characters as f64 / tokens as f64
        );
    }
    if special > 0 {
        let _ = write!(summary, " · {special} special");
    }
    summary
}

/// What a row of the table says, before escaping.
struct Row {
    index: usize,
    id: u32,
    piece: String,
    bytes: String,
    span: String,
    kind: &'static str,
}

fn rows(encoding: &Encoding) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut characters = Characters::default();
    for segment in segments(encoding) {
        let own_bytes = piece_bytes(encoding, &segment);
        for (offset, token) in segment.tokens.iter().enumerate() {
            let range = span(token, encoding.text.len());
            let bytes = match &own_bytes {
                Some(pieces) => pieces[offset].clone(),
                None => encoding.text.as_bytes()[range.0..range.1].to_vec(),
            };
            rows.push(Row {
                index: segment.first + offset,
                id: token.id,
                piece: token.piece.clone(),
                bytes: hex(&bytes),
                span: if range.0 == range.1 {
                    "–".to_owned()
                } else {
                    let start = characters.before(&encoding.text, range.0);
                    format!("{start}–{}", characters.before(&encoding.text, range.1))
                },
                kind: kind(&encoding.text, token, &segment),
            });
            if rows.len() == MOST_ROWS {
                return rows;
            }
        }
    }
    rows
}

/// Counts characters, as Python does, up to byte offsets that mostly grow.
#[derive(Default)]
struct Characters {
    byte: usize,
    count: usize,
}

impl Characters {
    fn before(&mut self, text: &str, byte: usize) -> usize {
        let starts = |range: &[u8]| range.iter().filter(|&&byte| byte & 0xC0 != 0x80).count();
        let bytes = text.as_bytes();
        if byte >= self.byte {
            self.count += starts(&bytes[self.byte..byte]);
        } else {
            self.count -= starts(&bytes[byte..self.byte]);
        }
        self.byte = byte;
        self.count
    }
}

fn kind(text: &str, token: &Token, segment: &Segment<'_>) -> &'static str {
    let is_byte =
        token.piece.len() == 6 && token.piece.starts_with("<0x") && token.piece.ends_with('>');
    match () {
        () if token.special => "special",
        () if is_byte => "byte fallback",
        () if segment.tokens.len() > 1 => "part of a character",
        () if token.bytes.0 == token.bytes.1 => "added",
        () if starts_word(text, span(token, text.len())) => "word start",
        () => "",
    }
}

/// Whether a word of the text begins in a range, at its start or after its blanks.
fn starts_word(text: &str, (start, end): (usize, usize)) -> bool {
    let Some(own) = text.get(start..end) else {
        return false;
    };
    let has_blank = own.starts_with(char::is_whitespace);
    let begins = own.trim_start().starts_with(char::is_alphanumeric);
    let follows_word = text[..start].ends_with(char::is_alphanumeric);
    begins && (has_blank || !follows_word)
}

/// The bytes that each token of a segment stands for, when its vocabulary spells bytes as GPT-2's
/// does. Offsets cannot tell: they are of whole characters. Kept only if together they are the text.
fn piece_bytes(encoding: &Encoding, segment: &Segment<'_>) -> Option<Vec<Vec<u8>>> {
    if segment.tokens.len() < 2 {
        return None;
    }
    let pieces: Option<Vec<Vec<u8>>> = segment
        .tokens
        .iter()
        .map(|token| token.piece.chars().map(byte_of).collect())
        .collect();
    let pieces = pieces?;
    let covered = &encoding.text.as_bytes()[segment.span.0..segment.span.1];
    (pieces.concat() == covered).then_some(pieces)
}

/// GPT-2's `bytes_to_unicode`, backwards: printable bytes stand for themselves, the others for the
/// characters from U+0100 on, in order.
fn byte_of(character: char) -> Option<u8> {
    let is_printable = |byte: u32| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let code = character as u32;
    if code < 0x100 {
        return is_printable(code).then_some(code as u8);
    }
    (0..0x100u32)
        .filter(|&byte| !is_printable(byte))
        .nth((code - 0x100) as usize)
        .map(|byte| byte as u8)
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(MOST_BYTES * 3);
    for (index, byte) in bytes.iter().take(MOST_BYTES).enumerate() {
        let separator = if index == 0 { "" } else { " " };
        let _ = write!(text, "{separator}{byte:02x}");
    }
    if bytes.len() > MOST_BYTES {
        let _ = write!(text, " … {} more", bytes.len() - MOST_BYTES);
    }
    text
}

fn text(encoding: &Encoding) -> String {
    let mut text = summary(encoding);
    if encoding.tokens.is_empty() {
        return text;
    }
    let _ = write!(text, "\n{}", cut(encoding).join("│"));
    let ids: Vec<String> = encoding
        .tokens
        .iter()
        .take(MOST_SEGMENTS)
        .map(|token| token.id.to_string())
        .collect();
    let _ = write!(text, "\n[{}]", ids.join(", "));
    if encoding.tokens.len() > MOST_SEGMENTS {
        let _ = write!(
            text,
            "\n… and {} more",
            encoding.tokens.len() - MOST_SEGMENTS
        );
    }
    text
}

/// The text of each segment, special tokens in brackets.
pub(crate) fn cut(encoding: &Encoding) -> Vec<String> {
    let shown = segments(encoding).into_iter().take(MOST_SEGMENTS);
    let shown = shown.map(|segment| {
        if segment.is_special() || segment.span.0 == segment.span.1 {
            format!("[{}]", segment.tokens[0].piece)
        } else {
            html::visible_inline(&slice(&encoding.text, segment.span))
        }
    });
    shown.collect()
}

fn html(encoding: &Encoding) -> String {
    let mut html = format!("<div><p><b>{}</b></p>", html::escape(&summary(encoding)));
    if encoding.tokens.is_empty() {
        html.push_str("</div>");
        return html;
    }
    let _ = write!(
        html,
        "<div dir=\"auto\" style=\"{PRE}\">{}</div>",
        coloured(encoding)
    );
    let rows = rows(encoding);
    let (first, rest) = rows.split_at(rows.len().min(FIRST_ROWS));
    let mut tables = table(first);
    if !rest.is_empty() {
        let name = format!("Tokens {} to {}", first.len(), rows.len() - 1);
        tables.push_str(&html::details(&name, false, &table(rest)));
    }
    if rows.len() < encoding.tokens.len() {
        let more = encoding.tokens.len() - rows.len();
        let _ = write!(tables, "<p>… and {more} more</p>");
    }
    let ids: Vec<String> = encoding
        .tokens
        .iter()
        .take(MOST_SEGMENTS)
        .map(|token| token.id.to_string())
        .collect();
    let ids = html::pre(&format!("[{}]", ids.join(", ")));
    let is_short = encoding.tokens.len() <= OPEN_ROWS;
    html.push_str(&html::details("Ids", is_short, &ids));
    html.push_str(&html::details("Tokens", is_short, &tables));
    html.push_str("</div>");
    html
}

fn table(rows: &[Row]) -> String {
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                row.index.to_string(),
                row.id.to_string(),
                piece(&row.piece),
                format!("<code>{}</code>", row.bytes),
                row.span.clone(),
                row.kind.to_owned(),
            ]
        })
        .collect();
    html::table(
        "",
        &["#", "id", "piece", "bytes", "characters", "kind"],
        &cells,
    )
}

/// A token's spelling in a table; a long one may be broken, or its column takes the room of the others.
fn piece(spelling: &str) -> String {
    let style = if spelling.chars().count() > LONG_PIECE {
        " style=\"overflow-wrap: anywhere;\""
    } else {
        ""
    };
    let shown = html::escape(&html::visible_inline(spelling));
    format!("<code{style}>{shown}</code>")
}

/// The text with its segments on alternating backgrounds and a bar between them, which is what is
/// left of the cuts where styles are stripped.
pub(crate) fn coloured(encoding: &Encoding) -> String {
    let mut html = String::new();
    let mut covered = 0;
    for (index, segment) in segments(encoding).iter().take(MOST_SEGMENTS).enumerate() {
        if index > 0 {
            // A line may end here, and not within a token.
            html.push_str("<span style=\"opacity: 0.7;\">│</span><wbr>");
        }
        // Text that no token stands for: a normaliser dropped it.
        if segment.span.0 > covered {
            html.push_str(&html::escape(&html::visible(&slice(
                &encoding.text,
                (covered, segment.span.0),
            ))));
        }
        covered = covered.max(segment.span.1);
        let ids: Vec<String> = segment
            .tokens
            .iter()
            .map(|token| token.id.to_string())
            .collect();
        let title = format!(
            "{}: {}",
            if ids.len() == 1 { "id" } else { "ids" },
            ids.join(", ")
        );
        if segment.is_special() || segment.span.0 == segment.span.1 {
            html.push_str(&html::special(&segment.tokens[0].piece, &title));
            continue;
        }
        let background = if index % 2 == 0 { BLUE } else { ORANGE };
        let shown = html::escape(&html::visible(&slice(&encoding.text, segment.span)));
        let _ = write!(
            html,
            "<span style=\"background: {background};\" title=\"{title}\">{shown}</span>"
        );
    }
    if encoding.tokens.len() > MOST_SEGMENTS {
        html.push_str("<span> …</span>");
    } else if covered < encoding.text.len() {
        html.push_str(&html::escape(&html::visible(&slice(
            &encoding.text,
            (covered, encoding.text.len()),
        ))));
    }
    html
}
