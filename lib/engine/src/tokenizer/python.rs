//! The tokenizers that transformers has in Python only, over `SentencePiece` itself: Marian's pair of
//! models with one dictionary of both, M2M100's model with a dictionary and languages behind it, and
//! `SpeechT5`'s characters. Added tokens are cut out of the
//! text as it is, each stretch between them is a text of its own to `SentencePiece`, and decoding joins
//! stretches as `PreTrainedTokenizer._decode` does.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use serde_json::{Map, Value as Json, json};
use tokenizers::{Encoding as Raw, Model as _, Token};
use wire::Failure;

use super::{
    Tokenizer,
    charsmap::Charsmap,
    class::Class,
    dictionary::{Dictionary, Pieces},
    language_codes,
    merging::Merger,
    sentence_model::{Kind, Model, Piece, PieceKind},
    word_files::{Part, template},
};
use crate::failures;

/// What such a class adds to a converted model.
#[derive(Clone)]
pub(super) struct Python {
    class: Class,
    charsmap: Charsmap,
    /// The model that decodes: Marian's of the target language, `SpeechT5`'s only one.
    decoding: Pieces,
    /// Marian's model of the target language, for `text_target`.
    target: Option<Box<(tokenizers::Tokenizer, Charsmap)>>,
    /// `SpeechT5`'s model as it cuts, where the pieces that no text is cut into have other names.
    cutting: Option<Box<tokenizers::Tokenizer>>,
    /// Ids of a dictionary beside the models.
    dictionary: Option<Dictionary>,
    /// M2M100's languages, whose ids follow the dictionary's. They are no part of the vocabulary until they
    /// are listed as special tokens.
    languages: &'static [&'static str],
    source_json: Json,
    /// How M2M100's model cuts, where it merges characters; by the converted model where it does not.
    merger: Option<Merger>,
    size: usize,
}

impl Python {
    /// Reads a folder that has the class's files.
    pub fn read(folder: &Path, class: Class, config: &Json) -> Result<Self, Failure> {
        match class {
            Class::Marian => Self::marian(folder),
            Class::M2M100 => Self::m2m100(folder, config),
            _ => Self::characters(folder),
        }
    }

    fn characters(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join("spm_char.model");
        let model = Model::read(&path)?;
        Ok(Self {
            class: Class::SpeechT5,
            charsmap: charsmap(&model, &path)?,
            decoding: Pieces::of(&model),
            target: None,
            cutting: Some(Box::new(tokenizer(&masked(&model, None, &path)?, &path)?)),
            dictionary: None,
            languages: &[],
            merger: None,
            size: model.pieces.len(),
            source_json: converted(&model, None, &path)?,
        })
    }

    fn m2m100(folder: &Path, config: &Json) -> Result<Self, Failure> {
        let path = folder.join("sentencepiece.bpe.model");
        let model = Model::read(&path)?;
        let own = |piece: &Piece| piece.kind == PieceKind::UserDefined;
        if let Some(piece) = model.pieces.iter().find(|piece| own(piece)) {
            return Err(failures::unsupported(format!(
                "`{}` defines a piece of its own, `{}`, which no model of M2M100 does",
                path.display(),
                piece.text
            ))
            .hint("save the tokenizer with a `tokenizer.json`"));
        }
        let dictionary = Dictionary::read(&folder.join("vocab.json"))?;
        let languages: &[&str] = match config["language_codes"].as_str() {
            None | Some("m2m100") => Class::M2M100.language_codes(),
            Some("wmt21") => &language_codes::WMT21,
            Some(other) => {
                return Err(failures::unsupported(format!(
                    "the tokenizer has the `language_codes` of `{other}`"
                ))
                .hint("transformers knows `m2m100` and `wmt21`"));
            }
        };
        Ok(Self {
            class: Class::M2M100,
            charsmap: charsmap(&model, &path)?,
            decoding: Pieces::of(&model),
            target: None,
            cutting: None,
            languages,
            merger: (model.kind == Kind::BytePairs).then(|| Merger::of(&model)),
            size: dictionary.ids.len(),
            source_json: masked(&model, Some(&dictionary), &path)?,
            dictionary: Some(dictionary),
        })
    }

    fn marian(folder: &Path) -> Result<Self, Failure> {
        let (source, target) = (folder.join("source.spm"), folder.join("target.spm"));
        let (source_model, target_model) = (Model::read(&source)?, Model::read(&target)?);
        let path = folder.join("vocab.json");
        let dictionary = Dictionary::read(&path)?;
        let target_json = masked(&target_model, Some(&dictionary), &target)?;
        let target_tokenizer = tokenizer(&target_json, &target)?;
        let target_charsmap = charsmap(&target_model, &target)?;
        Ok(Self {
            class: Class::Marian,
            charsmap: charsmap(&source_model, &source)?,
            decoding: Pieces::of(&target_model),
            target: Some(Box::new((target_tokenizer, target_charsmap))),
            cutting: None,
            languages: &[],
            merger: None,
            size: dictionary.ids.len(),
            source_json: masked(&source_model, Some(&dictionary), &source)?,
            dictionary: Some(dictionary),
        })
    }

    /// The `tokenizer.json` of the source model.
    pub fn source_json(&self) -> &Json {
        &self.source_json
    }

    /// Number of tokens without added ones.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Id of a token.
    pub fn token_to_id(&self, token: &str, inner: &tokenizers::Tokenizer) -> Option<u32> {
        let Some(dictionary) = &self.dictionary else {
            return inner.token_to_id(token);
        };
        let listed = dictionary.ids.get(token).copied();
        let added = || {
            let place = dictionary.beyond(inner).position(|other| other == token)?;
            Some((self.size + place) as u32)
        };
        listed.or_else(added).or_else(|| self.language_id(token))
    }

    /// Id of a token before any is added.
    pub fn known_id(&self, token: &str) -> Option<u64> {
        let listed = self.dictionary.as_ref()?.ids.get(token).copied();
        listed.or_else(|| self.language_id(token)).map(u64::from)
    }

    fn language_id(&self, token: &str) -> Option<u32> {
        let code = token.strip_prefix("__")?.strip_suffix("__")?;
        let place = self.languages.iter().position(|known| *known == code)?;
        Some((self.size + place) as u32)
    }

    /// The token of an id.
    pub fn id_to_token(&self, id: u32, inner: &tokenizers::Tokenizer) -> Option<String> {
        let Some(dictionary) = &self.dictionary else {
            return inner.id_to_token(id);
        };
        let listed = dictionary.tokens.get(&id).cloned();
        listed.or_else(|| {
            let place = (id as usize).checked_sub(self.size)?;
            let language = || Some(format!("__{}__", self.languages.get(place)?));
            dictionary.beyond(inner).nth(place).or_else(language)
        })
    }

    /// All tokens with their ids.
    pub fn vocabulary(&self, inner: &tokenizers::Tokenizer) -> HashMap<String, u32> {
        let Some(dictionary) = &self.dictionary else {
            return inner.get_vocab(true);
        };
        let beyond = dictionary.beyond(inner).zip(self.size as u32..);
        dictionary.ids.clone().into_iter().chain(beyond).collect()
    }

    /// Cuts a text at the added tokens, and what is between them by the model.
    pub fn cut(
        &self,
        text: &str,
        inner: &tokenizers::Tokenizer,
        as_target: bool,
        splits: bool,
    ) -> Result<Raw, Failure> {
        let added = if splits {
            Vec::new()
        } else {
            let mut added: Vec<_> = inner.get_added_tokens_decoder().into_iter().collect();
            added.retain(|(_, token)| !token.content.is_empty());
            added
        };
        let model = match self.target.as_deref().filter(|_| as_target) {
            Some((model, charsmap)) => (model, charsmap),
            None => (self.cutting.as_deref().unwrap_or(inner), &self.charsmap),
        };
        let mut tokens = Tokens::default();
        let (mut start, mut at) = (0, 0);
        while at < text.len() {
            let rest = &text[at..];
            let found = added
                .iter()
                .filter(|(_, token)| rest.starts_with(&token.content));
            let Some((id, token)) = found.max_by_key(|(_, token)| token.content.len()) else {
                at += rest.chars().next().map_or(1, char::len_utf8);
                continue;
            };
            let mut before = &text[start..at];
            if token.lstrip {
                before = before.trim_end();
            }
            self.cut_stretch(before, start, model, &mut tokens)?;
            let end = at + token.content.len();
            let id = self.token_to_id(&token.content, inner).unwrap_or(*id);
            tokens.push(id, token.content.clone(), (at, end));
            let after = &text[end..];
            start = if token.rstrip {
                text.len() - after.trim_start().len()
            } else {
                end
            };
            at = start;
        }
        self.cut_stretch(&text[start..], start, model, &mut tokens)?;
        // Marian's mask tells special tokens in the text too, except for the unknown one.
        let special = added.iter().filter(|(_, token)| {
            self.class == Class::Marian && token.special && token.content != "<unk>"
        });
        let special = special.filter_map(|(_, token)| self.token_to_id(&token.content, inner));
        Ok(tokens.into_raw(&special.collect()))
    }

    fn cut_stretch(
        &self,
        text: &str,
        start: usize,
        (model, charsmap): (&tokenizers::Tokenizer, &Charsmap),
        tokens: &mut Tokens,
    ) -> Result<(), Failure> {
        let mut skipped = 0;
        // Marian's `remove_language_code`.
        if self.class == Class::Marian
            && text.starts_with(">>")
            && let Some(end) = text.find("<<")
        {
            skipped = end + 2;
            let code = &text[..skipped];
            tokens.push(
                self.listed_id(code),
                code.to_owned(),
                (start, start + skipped),
            );
        }
        let normalized = charsmap.normalize(&text[skipped..]);
        if let Some(merger) = &self.merger {
            for span in merger.cut(&normalized.text) {
                let piece = &normalized.text[span.0..span.1];
                let (from, to) = normalized.origin(span);
                let id = self.listed_id(piece);
                tokens.push(id, piece.to_owned(), (start + from, start + to));
            }
            return Ok(());
        }
        // By the model alone, as what was added is no matter of `SentencePiece`.
        let pieces = model
            .get_model()
            .tokenize(&normalized.text)
            .map_err(|error| failures::invalid(format!("the text cannot be encoded: {error}")))?;
        for Token { id, value, offsets } in pieces {
            let (from, to) = normalized.origin(offsets);
            let id = if self.dictionary.is_some() {
                self.listed_id(&value)
            } else {
                id
            };
            let before = start + skipped;
            tokens.push(id, value, (before + from, before + to));
        }
        Ok(())
    }

    /// The dictionary's id of a piece.
    fn listed_id(&self, piece: &str) -> u32 {
        self.dictionary.as_ref().map_or(0, |dictionary| {
            dictionary
                .ids
                .get(piece)
                .copied()
                .unwrap_or(dictionary.unknown)
        })
    }

    /// `PreTrainedTokenizer._decode`, with a blank between stretches.
    pub fn decode(&self, tokenizer: &Tokenizer, ids: &[u32], skip_special_tokens: bool) -> String {
        let special: HashSet<&str> = tokenizer.parts.special.contents().collect();
        let added: HashSet<String> = tokenizer.added().map(|(_, token)| token.content).collect();
        let unknown = tokenizer.parts.special.get("unk_token").unwrap_or_default();
        // Those that were added behind the vocabulary stand alone, special as they are.
        let beyond = |token: &str| {
            let id = tokenizer.token_to_id(token);
            id.is_some_and(|id| id as usize >= self.size)
        };
        let additional = tokenizer.parts.special.additional();
        let additional: HashSet<&str> = additional.filter(|token| beyond(token)).collect();
        let mut texts = Vec::new();
        let mut stretch: Vec<String> = Vec::new();
        for &id in ids {
            if skip_special_tokens && tokenizer.special_ids.contains(&id) {
                continue;
            }
            let token = tokenizer
                .id_to_token(id)
                .unwrap_or_else(|| unknown.to_owned());
            let stands_alone = added.contains(&token) && !special.contains(token.as_str())
                || additional.contains(token.as_str());
            if !stands_alone {
                stretch.push(token);
                continue;
            }
            let text = self.joined(&std::mem::take(&mut stretch), &special);
            texts.extend(Some(text).filter(|text| !text.is_empty()));
            texts.push(token);
        }
        if !stretch.is_empty() {
            texts.push(self.joined(&stretch, &special));
        }
        texts.join(" ")
    }

    /// `convert_tokens_to_string` of the class.
    fn joined(&self, tokens: &[String], special: &HashSet<&str>) -> String {
        let mut text = String::new();
        let mut plain: Vec<&str> = Vec::new();
        let mut after_special = false;
        for token in tokens {
            if !special.contains(token.as_str()) {
                plain.push(token);
                after_special = false;
                continue;
            }
            if self.class == Class::SpeechT5 && !after_special {
                text.push(' ');
            }
            text += &self.decoding.decode(&std::mem::take(&mut plain));
            text += token;
            if self.class == Class::Marian {
                text.push(' ');
            }
            after_special = true;
        }
        text += &self.decoding.decode(&plain);
        if self.class == Class::Marian {
            text = text.replace('▁', " ");
        }
        text.trim().to_owned()
    }
}

/// Tokens as they are found.
#[derive(Default)]
struct Tokens {
    ids: Vec<u32>,
    pieces: Vec<String>,
    offsets: Vec<(usize, usize)>,
}

impl Tokens {
    fn push(&mut self, id: u32, piece: String, offsets: (usize, usize)) {
        self.ids.push(id);
        self.pieces.push(piece);
        self.offsets.push(offsets);
    }

    fn into_raw(self, special: &HashSet<u32>) -> Raw {
        let count = self.ids.len();
        let mask = self.ids.iter().map(|id| u32::from(special.contains(id)));
        let mask = mask.collect();
        Raw::new(
            self.ids,
            vec![0; count],
            self.pieces,
            vec![None; count],
            self.offsets,
            mask,
            vec![1; count],
            Vec::new(),
            [(0, 0..count)].into_iter().collect(),
        )
    }
}

fn charsmap(model: &Model, path: &Path) -> Result<Charsmap, Failure> {
    let charsmap = Charsmap::of(model);
    charsmap.ok_or_else(|| failures::corrupt(path, "its table of characters is broken"))
}

fn tokenizer(json: &Json, path: &Path) -> Result<tokenizers::Tokenizer, Failure> {
    let tokenizer = tokenizers::Tokenizer::from_bytes(json.to_string());
    tokenizer.map_err(|error| failures::corrupt(path, error))
}

/// As [`converted`], with other names for the pieces that no text is ever cut into.
fn masked(model: &Model, dictionary: Option<&Dictionary>, path: &Path) -> Result<Json, Failure> {
    let mut json = converted(model, dictionary, path)?;
    for (id, piece) in model.pieces.iter().enumerate() {
        if matches!(piece.kind, PieceKind::Control | PieceKind::Unknown) {
            json["model"]["vocab"][id][0] = format!("\u{10FFFF}{id}").into();
        }
    }
    Ok(json)
}

/// A `SentencePiece` model for `tokenizers`, without normalisation. Characters are a unigram model of
/// single characters. The ids do not matter beside a dictionary.
fn converted(model: &Model, dictionary: Option<&Dictionary>, path: &Path) -> Result<Json, Failure> {
    let pieces = model.pieces.iter();
    let vocab: Vec<Json> = pieces
        .map(|piece| json!([piece.text, piece.score]))
        .collect();
    let ids: Map<String, Json> = if let Some(dictionary) = dictionary {
        let ids = dictionary.ids.iter();
        ids.map(|(token, &id)| (token.clone(), id.into())).collect()
    } else {
        let pieces = model.pieces.iter().enumerate();
        pieces
            .map(|(id, piece)| (piece.text.clone(), id.into()))
            .collect()
    };
    let end = || Part::Token("</s>", 0);
    Ok(json!({
        "version": "1.0",
        "added_tokens": [],
        "normalizer": null,
        "pre_tokenizer": null,
        "post_processor": template(&ids, path, &[Part::First, end()], &[Part::First, Part::Second(0), end()])?,
        "decoder": null,
        "model": {"type": "Unigram", "unk_id": model.unknown_id, "vocab": vocab, "byte_fallback": false},
    }))
}
