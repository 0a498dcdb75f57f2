//! Headers of GGUF files (version 2 and 3, little-endian; the specification is ggml's `docs/gguf.md`).
//! The reader trusts nothing: every count is held against the bytes that are left and against what
//! any real model has, so that a damaged or hostile file, also a sparse one that claims to be huge,
//! ends in an error and not in an allocation of its choosing.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{BufReader, Read, Seek},
    path::Path,
};

use wire::{Failure, FailureKind};

use super::{Description, Format, TensorEntry, Tensors, Untaken, Weights, check_places, open_file};
use crate::{failures, hub::parts_of};

/// Longest text, in bytes: a tokenizer as JSON, which some files carry, has about 20 MB.
const LONGEST_TEXT: u64 = 64 << 20;
/// Longest name of a key or tensor; the specification says 65,535 and 64 bytes.
const LONGEST_NAME: u64 = 65_535;
/// Most bytes that all texts take together.
const MOST_TEXT: u64 = 256 << 20;
/// Most values of all lists together; a vocabulary of 262,144 with scores, types and merges has a
/// little over a million.
const MOST_VALUES: u64 = 8 << 20;
/// Most keys and most tensors; the largest models have thousands.
const MOST_ENTRIES: u64 = 1 << 17;

/// A value of the key-value section.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Any integer type.
    Integer(i64),
    /// Any float type.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Value>),
}

/// The key-value section.
#[derive(Clone, Debug, Default)]
pub struct Metadata(HashMap<String, Value>);

impl Metadata {
    /// A text.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.0.get(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A number that is not negative.
    pub fn count(&self, key: &str) -> Option<usize> {
        match self.0.get(key)? {
            Value::Integer(number) => usize::try_from(*number).ok(),
            _ => None,
        }
    }

    /// A number.
    pub fn float(&self, key: &str) -> Option<f64> {
        match self.0.get(key)? {
            Value::Float(number) => Some(*number),
            Value::Integer(number) => Some(*number as f64),
            _ => None,
        }
    }

    /// A truth value.
    pub fn flag(&self, key: &str) -> Option<bool> {
        match self.0.get(key)? {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        }
    }

    /// A list.
    pub fn list(&self, key: &str) -> Option<&[Value]> {
        match self.0.get(key)? {
            Value::List(values) => Some(values),
            _ => None,
        }
    }
}

/// The hint where a format is not known.
const KNOWN_FORMATS: &str = "formats that load: F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, \
    Q6_K";

/// Reads the header of a file, and those of its siblings when it is one part of several.
pub fn open(path: &Path) -> Result<Weights, Failure> {
    let parts = path.file_name().and_then(|name| parts_of(name.to_str()?));
    let Some(parts) = parts else {
        return open_one(path);
    };
    let first = path.with_file_name(&parts[0]);
    check_part(&first, parts.len())?;
    let mut weights = open_one(&first)?;
    for part in &parts[1..] {
        let path = path.with_file_name(part);
        check_part(&path, parts.len())?;
        let more = open_one(&path)?;
        for (name, mut entry) in more.tensors {
            entry.file = weights.files.len();
            if weights.tensors.insert(name.clone(), entry).is_some() {
                let what = format!("tensor `{name}` is in another part too");
                return Err(failures::corrupt(&path, what));
            }
        }
        weights.files.extend(more.files);
    }
    Ok(weights)
}

fn check_part(path: &Path, parts: usize) -> Result<(), Failure> {
    if path.exists() {
        return Ok(());
    }
    let what = format!(
        "`{}` is missing: the model is in {parts} parts",
        path.display()
    );
    Err(Failure::new(FailureKind::NotFound, what).hint("put all parts into one folder"))
}

fn open_one(path: &Path) -> Result<Weights, Failure> {
    let (file, length) = open_file(path)?;
    let mut reader = Reader {
        source: BufReader::with_capacity(1 << 18, file),
        left: length,
        text_left: MOST_TEXT,
        values_left: MOST_VALUES,
    };
    let (metadata, tensors) = read_header(&mut reader, length).map_err(|error| match error {
        Fault::Io(error) => failures::io(path, &error),
        Fault::Bad(what) => failures::corrupt(path, what),
        Fault::Unknown(what, hint) => {
            failures::unsupported(format!("cannot load `{}`: {what}", path.display())).hint(hint)
        }
    })?;
    Ok(Weights {
        description: Description::Gguf(metadata),
        tensors,
        untaken: Untaken::new(),
        files: vec![(path.to_owned(), reader.source.into_inner())],
    })
}

enum Fault {
    Io(std::io::Error),
    Bad(String),
    /// What it is, and what to do about it.
    Unknown(String, &'static str),
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::UnexpectedEof {
            Self::Bad("it ends inside its header".to_owned())
        } else {
            Self::Io(error)
        }
    }
}

fn bad<T>(what: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Bad(what.into()))
}

/// The version of a file whose numbers are big-endian reads the wrong way round.
fn unknown_version(version: u32) -> Fault {
    if (1..=3).contains(&version.swap_bytes()) {
        return Fault::Unknown(
            "its numbers are big-endian".to_owned(),
            "take the little-endian file, or convert it with `gguf_convert_endian.py` of llama.cpp",
        );
    }
    Fault::Unknown(
        format!("it is of GGUF version {version}"),
        "versions 2 and 3 load: convert the original model anew with llama.cpp",
    )
}

/// What ggml calls a type that is not read here (`ggml.h`).
fn ggml_name(number: u32) -> String {
    let name = match number {
        9 => "Q8_1",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        40 => "NVFP4",
        _ => return format!("of ggml type {number}"),
    };
    name.to_owned()
}

fn read_header(reader: &mut Reader, length: u64) -> Result<(Metadata, Tensors), Fault> {
    if &reader.bytes::<4>()? != b"GGUF" {
        return bad("it does not start with `GGUF`");
    }
    let version = reader.u32()?;
    if !(2..=3).contains(&version) {
        return Err(unknown_version(version));
    }
    let tensor_count = reader.count(24, MOST_ENTRIES)?;
    let pair_count = reader.count(13, MOST_ENTRIES)?;
    let mut metadata = HashMap::new();
    for _ in 0..pair_count {
        let key = reader.text(LONGEST_NAME)?;
        let kind = reader.u32()?;
        let value = reader.value(kind, 0)?;
        if metadata.insert(key.clone(), value).is_some() {
            return bad(format!("key `{key}` is there twice"));
        }
    }
    let metadata = Metadata(metadata);
    let mut tensors = BTreeMap::new();
    for _ in 0..tensor_count {
        let (name, entry) = read_tensor(reader)?;
        if tensors.insert(name.clone(), entry).is_some() {
            return bad(format!("tensor `{name}` is there twice"));
        }
    }
    let alignment = alignment(&metadata)?;
    let header = reader.source.stream_position()?;
    let start = header.next_multiple_of(alignment);
    for (name, entry) in &mut tensors {
        entry.offset = entry.offset.saturating_add(start);
        if !entry.offset.is_multiple_of(alignment) {
            return bad(format!("tensor `{name}` is not aligned"));
        }
    }
    check_places(&tensors, length).map_err(Fault::Bad)?;
    Ok((metadata, tensors))
}

/// Bytes that every tensor begins at a multiple of.
fn alignment(metadata: &Metadata) -> Result<u64, Fault> {
    match metadata.0.get("general.alignment") {
        None => Ok(32),
        Some(&Value::Integer(bytes @ 1..=0x10_0000)) if bytes.cast_unsigned().is_power_of_two() => {
            Ok(bytes.cast_unsigned())
        }
        Some(_) => bad("its alignment is no power of two below a megabyte"),
    }
}

fn read_tensor(reader: &mut Reader) -> Result<(String, TensorEntry), Fault> {
    let name = reader.text(LONGEST_NAME)?;
    let dimensions = reader.u32()?;
    if !(1..=4).contains(&dimensions) {
        return bad(format!("tensor `{name}` has {dimensions} dimensions"));
    }
    let mut shape = Vec::with_capacity(dimensions as usize);
    let mut values = 1_u64;
    for _ in 0..dimensions {
        let size = reader.u64()?;
        let Some(product) = values.checked_mul(size).filter(|_| size > 0) else {
            return bad(format!("tensor `{name}` has an impossible shape"));
        };
        values = product;
        shape.push(size as usize);
    }
    shape.reverse();
    let number = reader.u32()?;
    let Some(format) = Format::from_ggml(number) else {
        let what = format!("tensor `{name}` is {}", ggml_name(number));
        return Err(Fault::Unknown(what, KNOWN_FORMATS));
    };
    let row = shape.last().map_or(0, |&size| size as u64);
    let (Some(_), Some(bytes)) = (format.bytes_of(row), format.bytes_of(values)) else {
        return bad(format!(
            "rows of tensor `{name}` are no whole blocks of {}",
            format.name()
        ));
    };
    let offset = reader.u64()?;
    let entry = TensorEntry {
        file: 0,
        offset,
        bytes,
        format,
        doubles: false,
        shape,
        strides: None,
    };
    Ok((name, entry))
}

/// Reads numbers and texts, and knows how many bytes are left.
struct Reader {
    source: BufReader<File>,
    left: u64,
    /// Bytes that texts may still take.
    text_left: u64,
    /// Values that lists may still have.
    values_left: u64,
}

impl Reader {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut bytes = [0; N];
        self.source.read_exact(&mut bytes)?;
        self.left = self.left.saturating_sub(N as u64);
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, Fault> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    fn u64(&mut self) -> Result<u64, Fault> {
        Ok(u64::from_le_bytes(self.bytes()?))
    }

    /// A count of items that take at least `smallest` bytes each, and of which no more than `most`
    /// are believed.
    fn count(&mut self, smallest: u64, most: u64) -> Result<usize, Fault> {
        let count = self.u64()?;
        if count > self.left / smallest {
            return bad(format!("it announces {count} items where they cannot fit"));
        }
        if count > most {
            return bad(format!(
                "it announces {count} items, over the limit of {most}"
            ));
        }
        Ok(count as usize)
    }

    fn text(&mut self, longest: u64) -> Result<String, Fault> {
        let length = self.count(1, longest.min(self.text_left))? as u64;
        self.text_left -= length;
        let mut bytes = Vec::new();
        // Grows with what is there: a length that lies costs nothing.
        let read = self.source.by_ref().take(length).read_to_end(&mut bytes)?;
        if (read as u64) < length {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        self.left = self.left.saturating_sub(length);
        // Vocabularies hold pieces that are no UTF-8 by themselves only in damaged files; replacing
        // keeps the count of tokens right.
        Ok(String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    fn value(&mut self, kind: u32, depth: u32) -> Result<Value, Fault> {
        Ok(match kind {
            0 => Value::Integer(self.bytes::<1>()?[0].into()),
            1 => Value::Integer(self.bytes::<1>()?[0].cast_signed().into()),
            2 => Value::Integer(u16::from_le_bytes(self.bytes()?).into()),
            3 => Value::Integer(i16::from_le_bytes(self.bytes()?).into()),
            4 => Value::Integer(self.u32()?.into()),
            5 => Value::Integer(i32::from_le_bytes(self.bytes()?).into()),
            6 => Value::Float(f32::from_le_bytes(self.bytes()?).into()),
            7 => Value::Bool(self.bytes::<1>()?[0] != 0),
            8 => Value::Text(self.text(LONGEST_TEXT)?),
            9 if depth < 4 => self.list(depth)?,
            10 => Value::Integer(self.u64()?.try_into().unwrap_or(i64::MAX)),
            11 => Value::Integer(i64::from_le_bytes(self.bytes()?)),
            12 => Value::Float(f64::from_le_bytes(self.bytes()?)),
            9 => return bad("its lists are nested too deeply"),
            other => return bad(format!("metadata type {other} does not exist")),
        })
    }

    fn list(&mut self, depth: u32) -> Result<Value, Fault> {
        let kind = self.u32()?;
        let smallest = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            8 | 10..=12 => 8,
            9 => 12,
            _ => 4,
        };
        let count = self.count(smallest, self.values_left)?;
        self.values_left -= count as u64;
        let mut values = Vec::new();
        for _ in 0..count {
            values.push(self.value(kind, depth + 1)?);
        }
        Ok(Value::List(values))
    }
}
