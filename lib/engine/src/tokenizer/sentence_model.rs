//! A `SentencePiece` model file: the few fields of `sentencepiece_model.proto` that decide how a text
//! is cut. Only the file's form is known here; what transformers makes of it is in `pieces.rs`.

use std::path::Path;

use wire::Failure;

use crate::failures;

/// How the model cuts: `TrainerSpec.ModelType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Unigram,
    BytePairs,
    Characters,
}

/// What a piece is: `ModelProto.SentencePiece.Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PieceKind {
    /// Also unused and byte pieces, which play no part of their own here.
    Normal,
    Unknown,
    Control,
    UserDefined,
}

/// A piece of the vocabulary.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub text: String,
    /// Logarithm of its probability, or minus its rank.
    pub score: f64,
    pub kind: PieceKind,
}

/// A model.
#[derive(Clone, Debug)]
pub(super) struct Model {
    /// The pieces, by id.
    pub pieces: Vec<Piece>,
    pub kind: Kind,
    pub unknown_id: usize,
    pub unknown_piece: String,
    /// How characters are replaced before cutting; empty for not at all.
    pub charsmap: Vec<u8>,
    pub adds_dummy_prefix: bool,
    pub removes_extra_whitespace: bool,
}

impl Model {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let bytes = std::fs::read(path).map_err(|error| failures::io(path, &error))?;
        let model = Self::parse(&bytes);
        model.ok_or_else(|| failures::corrupt(path, "it is no SentencePiece model"))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut model = Self {
            pieces: Vec::new(),
            kind: Kind::Unigram,
            unknown_id: 0,
            unknown_piece: "<unk>".to_owned(),
            charsmap: Vec::new(),
            adds_dummy_prefix: true,
            removes_extra_whitespace: true,
        };
        for field in Fields(bytes) {
            match field? {
                (1, Field::Bytes(piece)) => model.pieces.push(self::piece(piece)?),
                (2, Field::Bytes(trainer)) => model.trainer(trainer)?,
                (3, Field::Bytes(normalizer)) => model.normalizer(normalizer)?,
                _ => {}
            }
        }
        (!model.pieces.is_empty() && model.unknown_id < model.pieces.len()).then_some(model)
    }

    /// `TrainerSpec`.
    fn trainer(&mut self, bytes: &[u8]) -> Option<()> {
        for field in Fields(bytes) {
            match field? {
                (3, Field::Number(1)) => self.kind = Kind::Unigram,
                (3, Field::Number(2)) => self.kind = Kind::BytePairs,
                (3, Field::Number(4)) => self.kind = Kind::Characters,
                // Words, which no model on the hub uses.
                (3, Field::Number(_)) => return None,
                (40, Field::Number(id)) => self.unknown_id = usize::try_from(id).ok()?,
                (45, Field::Bytes(piece)) => {
                    self.unknown_piece = String::from_utf8(piece.to_vec()).ok()?;
                }
                _ => {}
            }
        }
        Some(())
    }

    /// `NormalizerSpec`.
    fn normalizer(&mut self, bytes: &[u8]) -> Option<()> {
        for field in Fields(bytes) {
            match field? {
                (2, Field::Bytes(charsmap)) => self.charsmap = charsmap.to_vec(),
                (3, Field::Number(flag)) => self.adds_dummy_prefix = flag != 0,
                (4, Field::Number(flag)) => self.removes_extra_whitespace = flag != 0,
                _ => {}
            }
        }
        Some(())
    }
}

fn piece(bytes: &[u8]) -> Option<Piece> {
    let mut piece = Piece {
        text: String::new(),
        score: 0.0,
        kind: PieceKind::Normal,
    };
    for field in Fields(bytes) {
        match field? {
            (1, Field::Bytes(text)) => piece.text = String::from_utf8(text.to_vec()).ok()?,
            (2, Field::Float(score)) => piece.score = f64::from(score),
            (3, Field::Number(2)) => piece.kind = PieceKind::Unknown,
            (3, Field::Number(3)) => piece.kind = PieceKind::Control,
            (3, Field::Number(4)) => piece.kind = PieceKind::UserDefined,
            _ => {}
        }
    }
    Some(piece)
}

/// A field of a protocol buffer.
enum Field<'a> {
    Number(u64),
    Float(f32),
    Bytes(&'a [u8]),
    /// Eight bytes, which no field that is read here has.
    Other,
}

/// The fields of a message, with their numbers; ends after a `None`, which is a broken message.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u64, Field<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Field<'a>)> {
        let key = self.number()?;
        let field = match key & 7 {
            0 => Field::Number(self.number()?),
            1 => {
                self.take(8)?;
                Field::Other
            }
            2 => {
                let length = usize::try_from(self.number()?).ok()?;
                Field::Bytes(self.take(length)?)
            }
            5 => Field::Float(f32::from_le_bytes(self.take(4)?.try_into().ok()?)),
            _ => return None,
        };
        Some((key >> 3, field))
    }

    /// A number of seven bits a byte.
    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            number |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}
