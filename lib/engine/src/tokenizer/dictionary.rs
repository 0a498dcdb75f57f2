//! What the Python classes look up beside their models: the ids of Marian's and M2M100's dictionaries, and how
//! `SentencePiece` puts pieces together again.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use wire::Failure;

use super::{
    files::optional_json,
    sentence_model::{Model, PieceKind},
};
use crate::failures;

/// `vocab.json` of Marian and M2M100.
#[derive(Clone)]
pub(super) struct Dictionary {
    pub ids: HashMap<String, u32>,
    pub tokens: HashMap<u32, String>,
    pub unknown: u32,
}

/// What decoding asks of a model.
#[derive(Clone)]
pub(super) struct Pieces {
    control: HashSet<String>,
    known: HashSet<String>,
    unknown: String,
    strips_first_blank: bool,
    removes_extra_whitespace: bool,
}

impl Dictionary {
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let json = optional_json(path)?;
        let entries = json.as_object().into_iter().flatten();
        let ids: HashMap<String, u32> = entries
            .filter_map(|(token, id)| Some((token.clone(), u32::try_from(id.as_u64()?).ok()?)))
            .collect();
        let Some(&unknown) = ids.get("<unk>") else {
            return Err(failures::corrupt(path, "it has no `<unk>`"));
        };
        let tokens = ids.iter().map(|(token, &id)| (id, token.clone())).collect();
        Ok(Self {
            ids,
            tokens,
            unknown,
        })
    }

    /// Added tokens that it does not list, in the order they were added. Their ids follow its own;
    /// those that `inner` has for them are never seen.
    pub fn beyond(&self, inner: &tokenizers::Tokenizer) -> impl Iterator<Item = String> {
        let mut added: Vec<_> = inner.get_added_tokens_decoder().into_iter().collect();
        added.retain(|(_, token)| !self.ids.contains_key(&token.content));
        added.sort_unstable_by_key(|(id, _)| *id);
        added.into_iter().map(|(_, token)| token.content)
    }
}

impl Pieces {
    pub fn of(model: &Model) -> Self {
        let of_kind = |wanted: &dyn Fn(PieceKind) -> bool| {
            let pieces = model.pieces.iter().filter(|piece| wanted(piece.kind));
            pieces.map(|piece| piece.text.clone()).collect()
        };
        Self {
            control: of_kind(&|kind| kind == PieceKind::Control),
            known: of_kind(&|kind| kind != PieceKind::Unknown),
            unknown: model.unknown_piece.clone(),
            strips_first_blank: model.adds_dummy_prefix || model.removes_extra_whitespace,
            removes_extra_whitespace: model.removes_extra_whitespace,
        }
    }

    /// `SentencePieceProcessor::Decode` of pieces.
    pub fn decode(&self, pieces: &[&str]) -> String {
        let mut text = String::new();
        let mut at_start = true;
        for &piece in pieces {
            if self.control.contains(piece) {
                continue;
            }
            if !self.known.contains(piece) {
                text += if piece == self.unknown {
                    " ⁇ "
                } else {
                    piece
                };
                at_start = false;
                continue;
            }
            let mut shown = piece;
            let mut took_blank = false;
            if at_start
                && self.strips_first_blank
                && let Some(rest) = piece.strip_prefix('▁')
            {
                shown = rest;
                took_blank = !self.removes_extra_whitespace;
            }
            text += &shown.replace('▁', " ");
            if took_blank || !shown.is_empty() {
                at_start = false;
            }
        }
        text
    }
}
