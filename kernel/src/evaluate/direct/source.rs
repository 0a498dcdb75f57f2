//! A generated source, and where each part of it comes from: the compiler and a panic name places in
//! it, users know their cells alone.

use std::{ops::Range, sync::Arc};

use super::item::Source;

/// Where a part of a generated source comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// Nobody's code.
    Glue,
    /// The cell, from this byte on, letter by letter.
    Cell { start: usize },
    /// Rewritten from this part of the cell.
    CellPart(Range<usize>),
    /// A definition of an earlier cell, from this byte of it on.
    Earlier { source: Arc<Source>, start: usize },
    /// Taking this variable out of the store.
    Take(String),
    /// Putting it back.
    Put(String),
    /// Showing the cell's value, which is this part of the cell.
    Show(Range<usize>),
    /// Keeping that value.
    Keep,
}

/// A place in a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The earlier cell that it is in; `None` for the one that is compiled.
    pub cell: Option<u32>,
    pub range: Range<usize>,
}

#[derive(Debug)]
struct Piece {
    range: Range<usize>,
    origin: Origin,
}

/// A source for the compiler.
#[derive(Debug, Default)]
pub struct Generated {
    pub text: String,
    pieces: Vec<Piece>,
}

impl Generated {
    /// Adds a part on lines of its own.
    pub fn add(&mut self, origin: Origin, text: &str) {
        let start = self.text.len();
        self.text.push_str(text);
        let range = start..self.text.len();
        self.pieces.push(Piece { range, origin });
        self.text.push('\n');
    }

    /// Adds what no user wrote.
    pub fn glue(&mut self, text: &str) {
        self.add(Origin::Glue, text);
    }

    /// What the byte comes from.
    pub fn origin(&self, byte: usize) -> &Origin {
        let index = self.pieces.partition_point(|piece| piece.range.end < byte);
        self.pieces
            .get(index)
            .filter(|piece| piece.range.start <= byte)
            .map_or(&Origin::Glue, |piece| &piece.origin)
    }

    /// The place in a cell that a part of the generated source stands for.
    pub fn place(&self, range: &Range<usize>) -> Option<Place> {
        let index = self
            .pieces
            .partition_point(|piece| piece.range.end < range.start);
        let piece = self
            .pieces
            .get(index)
            .filter(|piece| piece.range.start <= range.start)?;
        let from = range.start - piece.range.start;
        let length = range.end.min(piece.range.end).saturating_sub(range.start);
        match &piece.origin {
            Origin::Cell { start } => Some(Place {
                cell: None,
                range: start + from..start + from + length,
            }),
            Origin::CellPart(part) | Origin::Show(part) => Some(Place {
                cell: None,
                range: part.clone(),
            }),
            Origin::Earlier { source, start } => {
                let start = (start + from).min(source.code.len());
                Some(Place {
                    cell: Some(source.count),
                    range: start..(start + length).min(source.code.len()),
                })
            }
            Origin::Glue | Origin::Take(_) | Origin::Put(_) | Origin::Keep => None,
        }
    }

    /// The place in the cell that is compiled, when all of a part is its text letter by letter.
    pub fn exact(&self, range: &Range<usize>) -> Option<Range<usize>> {
        let holds = |piece: &&Piece| {
            let is_cell = matches!(piece.origin, Origin::Cell { .. });
            is_cell && piece.range.start <= range.start && range.end <= piece.range.end
        };
        let piece = self.pieces.iter().find(holds)?;
        let Origin::Cell { start } = piece.origin else {
            return None;
        };
        let from = start + range.start - piece.range.start;
        Some(from..from + range.len())
    }

    /// The byte at a line and a character, both counted from 1 as the compiler does.
    pub fn byte_at(&self, line: u32, column: u32) -> Option<usize> {
        let line = usize::try_from(line).ok()?.checked_sub(1)?;
        let column = usize::try_from(column).ok()?.checked_sub(1)?;
        let start: usize = self
            .text
            .split_inclusive('\n')
            .take(line)
            .map(str::len)
            .sum();
        let rest = self.text.get(start..)?;
        let within = rest
            .char_indices()
            .nth(column)
            .map_or(rest.len(), |(byte, _)| byte);
        Some(start + within)
    }

    /// The cells whose definitions are in here, for showing errors in them.
    pub fn earlier(&self, count: u32) -> Option<&Arc<Source>> {
        self.pieces.iter().find_map(|piece| match &piece.origin {
            Origin::Earlier { source, .. } if source.count == count => Some(source),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_the_cell() {
        let mut generated = Generated::default();
        generated.glue("fn run() {");
        generated.add(Origin::Cell { start: 4 }, "값 + b");
        generated.add(Origin::Put("b".to_owned()), "put(b);");
        let byte = generated.text.find('b').expect("there");
        assert_eq!(
            generated.place(&(byte..byte + 1)),
            Some(Place {
                cell: None,
                range: 10..11
            })
        );
        assert_eq!(generated.byte_at(2, 5), Some(byte));
        let put = generated.text.find("put").expect("there");
        assert!(matches!(generated.origin(put), Origin::Put(name) if name == "b"));
        assert_eq!(generated.place(&(put..put + 3)), None);
    }
}
