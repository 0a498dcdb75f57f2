//! `SentencePiece`'s own merging of characters (`bpe_model.cc`), for the classes that transformers runs on
//! `SentencePiece` itself: of all neighbours whose join is a piece those of the highest score are joined, the
//! leftmost of equals. What stays and is no piece comes as one with its unknown neighbours.

use std::{
    cmp::Ordering,
    collections::{BinaryHeap, HashMap},
};

use super::sentence_model::{Model, PieceKind};

/// Pieces with their scores.
#[derive(Clone, Debug)]
pub(super) struct Merger {
    scores: HashMap<String, f64>,
}

/// A stretch of the text that is one so far: empty where it was joined to the one before.
#[derive(Clone, Copy)]
struct Symbol {
    start: usize,
    end: usize,
    before: Option<usize>,
    after: Option<usize>,
}

/// Two neighbours that may be joined.
#[derive(PartialEq)]
struct Pair {
    score: f64,
    left: usize,
    right: usize,
    /// Bytes of both, by which a pair that has changed since is known.
    size: usize,
}

impl Eq for Pair {}

impl Ord for Pair {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_score = self.score.total_cmp(&other.score);
        by_score.then_with(|| other.left.cmp(&self.left))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Merger {
    pub fn of(model: &Model) -> Self {
        let pieces = model.pieces.iter();
        let normal = pieces.filter(|piece| piece.kind == PieceKind::Normal);
        Self {
            scores: normal
                .map(|piece| (piece.text.clone(), piece.score))
                .collect(),
        }
    }

    /// Where the pieces of a normalised text begin and end.
    pub fn cut(&self, text: &str) -> Vec<(usize, usize)> {
        let mut symbols = symbols(text);
        let mut agenda = BinaryHeap::new();
        for left in 0..symbols.len().saturating_sub(1) {
            agenda.extend(self.pair(text, &symbols, left));
        }
        while let Some(pair) = agenda.pop() {
            let [left, right] = [symbols[pair.left], symbols[pair.right]];
            let is_stale = left.start == left.end
                || right.start == right.end
                || right.end - left.start != pair.size;
            if is_stale {
                continue;
            }
            symbols[pair.left].end = right.end;
            symbols[pair.left].after = right.after;
            symbols[pair.right].end = right.start;
            if let Some(after) = right.after {
                symbols[after].before = Some(pair.left);
            }
            let around = left.before.into_iter().chain([pair.left]);
            for left in around {
                agenda.extend(self.pair(text, &symbols, left));
            }
        }
        self.fused(text, &symbols)
    }

    /// A symbol with its neighbour to the right, when both make a piece.
    fn pair(&self, text: &str, symbols: &[Symbol], left: usize) -> Option<Pair> {
        let right = symbols[left].after?;
        let (start, end) = (symbols[left].start, symbols[right].end);
        Some(Pair {
            score: *self.scores.get(&text[start..end])?,
            left,
            right,
            size: end - start,
        })
    }

    /// `PopulateSentencePieceText`: unknown neighbours become one.
    fn fused(&self, text: &str, symbols: &[Symbol]) -> Vec<(usize, usize)> {
        let mut spans: Vec<(usize, usize)> = Vec::new();
        let mut after_unknown = false;
        for symbol in symbols.iter().filter(|symbol| symbol.start < symbol.end) {
            let is_unknown = !self.scores.contains_key(&text[symbol.start..symbol.end]);
            match spans.last_mut() {
                Some(last) if is_unknown && after_unknown => last.1 = symbol.end,
                _ => spans.push((symbol.start, symbol.end)),
            }
            after_unknown = is_unknown;
        }
        spans
    }
}

/// The characters of a text.
fn symbols(text: &str) -> Vec<Symbol> {
    let count = text.chars().count();
    let characters = text.char_indices().enumerate();
    let symbols = characters.map(|(index, (start, character))| Symbol {
        start,
        end: start + character.len_utf8(),
        before: index.checked_sub(1),
        after: Some(index + 1).filter(|after| *after < count),
    });
    symbols.collect()
}
