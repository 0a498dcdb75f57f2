//! Many encoded texts: of each row its tokens where the tokenizer cut the text, and the numbers that a
//! model reads, with padding and attention mask. Of a single text in full see `tokens.rs`.

use std::{collections::BTreeMap, fmt::Write, ops::Range};

use wire::{
    mime::Bundle,
    text::{Encoding, Token},
    tokenize::{BatchEncoding, EncodedRow, TextInput},
};

use crate::{
    RichDisplay,
    html::{self, PRE},
    rendered, tokens, units,
};

/// Rows that are shown.
const MOST_ROWS: usize = 10;
/// Tokens of a row that are shown.
const MOST_TOKENS: usize = 64;

/// A batch beside the texts that it is of.
#[derive(Clone, Copy, Debug)]
pub struct EncodedBatch<'a> {
    /// The rows.
    pub encoded: &'a BatchEncoding,
    /// The texts, [`Self::MOST_INPUTS`] of them at least where there are so many.
    pub inputs: &'a [TextInput],
    /// The spellings of special tokens, as far as they are known.
    pub special: &'a BTreeMap<u32, String>,
}

impl RichDisplay for EncodedBatch<'_> {
    fn bundle(&self) -> Bundle {
        let shown = self.encoded.rows.iter().take(MOST_ROWS);
        let shown: Vec<Shown<'_>> = shown.map(|row| self.shown(row)).collect();
        let more = self.encoded.rows.len() - shown.len();
        let more = (more > 0).then(|| format!("… and {} more", units::plural(more, "row")));
        let summary = self.summary();
        let mut text = summary.clone();
        for (index, row) in shown.iter().enumerate() {
            let _ = write!(text, "\n{index}  {}", row.text());
        }
        if let Some(more) = &more {
            let _ = write!(text, "\n{more}");
        }
        let cells: Vec<Vec<String>> = shown.iter().enumerate().map(Shown::cells).collect();
        let table = html::table(
            &summary,
            &["#", "tokens", "input_ids", "attention_mask"],
            &cells,
        );
        let more = more
            .map(|more| format!("<p>{more}</p>"))
            .unwrap_or_default();
        rendered(text, format!("<div>{table}{more}</div>"))
    }
}

impl EncodedBatch<'_> {
    /// How many inputs the shown rows can be of.
    pub const MOST_INPUTS: usize = MOST_ROWS;

    /// `3 rows of 9 tokens · 7 of padding`, or how long the shortest and the longest are.
    fn summary(&self) -> String {
        let rows = &self.encoded.rows;
        let lengths = || rows.iter().map(|row| row.input_ids.len());
        let (shortest, longest) = (
            lengths().min().unwrap_or_default(),
            lengths().max().unwrap_or_default(),
        );
        let mut summary = units::plural(rows.len(), "row");
        let _ = match (rows.len(), shortest == longest) {
            (0, _) => Ok(()),
            (_, true) => write!(summary, " of {}", units::plural(longest, "token")),
            (_, false) => write!(summary, " of {shortest} to {longest} tokens"),
        };
        let masks = rows.iter().flat_map(|row| &row.attention_mask);
        let padding = masks.filter(|mask| **mask == 0).count();
        if padding > 0 {
            let _ = write!(summary, " · {padding} of padding");
        }
        summary
    }

    fn shown<'a>(&self, row: &'a EncodedRow) -> Shown<'a> {
        // Padding stands on one side alone, and what is between is read.
        let is_read = |mask: &u32| *mask != 0;
        let length = row.input_ids.len();
        let first = row.attention_mask.iter().position(is_read);
        let last = row.attention_mask.iter().rposition(is_read);
        let read = match (first, last) {
            (Some(first), Some(last)) => first.min(length)..(last + 1).min(length),
            _ => 0..0,
        };
        let end = read.end.min(read.start + MOST_TOKENS);
        let padding = |range: Range<usize>| {
            let id = row
                .input_ids
                .get(range.start)
                .filter(|_| !range.is_empty())?;
            Some((self.spelling(*id), range.len()))
        };
        Shown {
            row,
            before: padding(0..read.start),
            encoding: self.encoding(row, read.start..end),
            left_out: read.end - end,
            after: padding(read.end..length),
        }
    }

    /// Tokens of a row with the part of its texts that they are of.
    fn encoding(&self, row: &EncodedRow, range: Range<usize>) -> Encoding {
        let input = self.inputs.get(row.sample as usize);
        let pair = input.and_then(|input| input.pair.as_deref());
        let places = places(row, range.clone(), pair.is_some());
        let first = Part::of(input.map_or("", |input| &input.text), false, &places);
        let second = Part::of(pair.unwrap_or_default(), true, &places);
        let mut behind = 0;
        let tokens = range.zip(&places).map(|(index, place)| {
            let id = row.input_ids[index];
            let bytes = match place {
                None => (behind, behind),
                Some(place) if place.in_second => second.rebased(place, first.text.len()),
                Some(place) => first.rebased(place, 0),
            };
            behind = bytes.1;
            Token {
                id,
                piece: self.spelling(id),
                bytes,
                special: place.is_none(),
            }
        });
        let tokens = tokens.collect();
        Encoding {
            text: format!("{}{}", first.text, second.text),
            tokens,
            fingerprint: String::new(),
        }
    }

    fn spelling(&self, id: u32) -> String {
        let known = self.special.get(&id).cloned();
        known.unwrap_or_else(|| format!("id {id}"))
    }
}

/// Where a token is in its text, in bytes.
struct Place {
    in_second: bool,
    start: usize,
    end: usize,
}

/// The places of tokens; `None` of what the tokenizer added. Of two texts the second begins behind what
/// was added between them, or where places begin anew.
fn places(row: &EncodedRow, range: Range<usize>, is_pair: bool) -> Vec<Option<Place>> {
    let at = |column: &[u32], index: usize| column.get(index).copied().unwrap_or_default();
    let (mut in_second, mut was_added) = (false, false);
    let mut before: Option<(u32, u32)> = None;
    let place = |index| {
        let start = at(&row.byte_starts, index);
        let end = at(&row.byte_ends, index);
        if start >= end || at(&row.special_tokens_mask, index) == 1 {
            was_added = true;
            return None;
        }
        // Parts of one character have the same place.
        let is_anew = |(first, last): (u32, u32)| start < first || (start == first && end != last);
        let is_behind = before.is_some_and(|before| was_added || is_anew(before));
        in_second |= is_pair && (is_behind || at(&row.token_type_ids, index) == 1);
        (before, was_added) = (Some((start, end)), false);
        Some(Place {
            in_second,
            start: start as usize,
            end: end as usize,
        })
    };
    range.map(place).collect()
}

/// The part of a text that tokens are of: what truncation has left out is not shown.
struct Part<'a> {
    text: &'a str,
    start: usize,
}

impl<'a> Part<'a> {
    fn of(text: &'a str, is_second: bool, places: &[Option<Place>]) -> Self {
        let own = || {
            places
                .iter()
                .flatten()
                .filter(|one| one.in_second == is_second)
        };
        let start = own().map(|place| place.start).min().unwrap_or_default();
        let end = own().map(|place| place.end).max().unwrap_or_default();
        let start = text.floor_char_boundary(start);
        let end = text.ceil_char_boundary(end).max(start);
        Self {
            text: &text[start..end],
            start,
        }
    }

    fn rebased(&self, place: &Place, before: usize) -> (u32, u32) {
        let at = |place: usize| {
            let within = place.saturating_sub(self.start).min(self.text.len());
            (before + within) as u32
        };
        (at(place.start), at(place.end))
    }
}

/// A row as it is shown: padding by its token and how often it is there.
struct Shown<'a> {
    row: &'a EncodedRow,
    before: Option<(String, usize)>,
    encoding: Encoding,
    left_out: usize,
    after: Option<(String, usize)>,
}

impl Shown<'_> {
    fn text(&self) -> String {
        let padding = |padding: &Option<(String, usize)>| {
            let (token, count) = padding.as_ref()?;
            Some(format!("[{token}] × {count}"))
        };
        let mut parts: Vec<String> = padding(&self.before).into_iter().collect();
        parts.extend(tokens::cut(&self.encoding));
        if self.left_out > 0 {
            parts.push(format!("… {} more", self.left_out));
        }
        parts.extend(padding(&self.after));
        format!(
            "{}\n   input_ids       {}\n   attention_mask  {}",
            parts.join("│"),
            numbers(&self.row.input_ids),
            numbers(&self.row.attention_mask)
        )
    }

    fn cells((index, row): (usize, &Self)) -> Vec<String> {
        let padding = |padding: &Option<(String, usize)>| {
            let (token, count) = padding.as_ref()?;
            let title = format!("padding: {}", units::plural(*count, "token"));
            Some(format!("{} × {count}", html::special(token, &title)))
        };
        let mut parts: Vec<String> = padding(&row.before).into_iter().collect();
        parts.push(tokens::coloured(&row.encoding));
        if row.left_out > 0 {
            parts.push(format!("… {} more", row.left_out));
        }
        parts.extend(padding(&row.after));
        let numbers = |column: &[u32]| format!("<code>{}</code>", numbers(column));
        vec![
            index.to_string(),
            format!(
                "<div dir=\"auto\" style=\"{PRE}\">{}</div>",
                parts.join(" ")
            ),
            numbers(&row.row.input_ids),
            numbers(&row.row.attention_mask),
        ]
    }
}

/// Numbers as a list, which says how many it leaves out.
fn numbers(column: &[u32]) -> String {
    let shown: Vec<String> = column
        .iter()
        .take(MOST_TOKENS)
        .map(u32::to_string)
        .collect();
    let more = match column.len() - shown.len() {
        0 => String::new(),
        more => format!(", … {more} more"),
    };
    format!("[{}{more}]", shown.join(", "))
}
