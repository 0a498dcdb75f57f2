//! The zip file that `torch.save` writes: where each entry's bytes lie. Entries are stored as they
//! are (`torch/csrc/jit/serialization`), so that nothing has to be unpacked and nothing can swell: a
//! compressed entry is refused. The format is PKWARE's APPNOTE.TXT, with its zip64 fields.

use std::{collections::HashMap, fs::File, io, os::unix::fs::FileExt};

/// Most entries; a checkpoint has one a tensor.
const MOST_ENTRIES: u64 = 1 << 17;
/// Longest directory, in bytes.
const LONGEST_DIRECTORY: u64 = 64 << 20;
/// Bytes of the last record without its comment.
const END: usize = 22;
/// The longest comment.
const COMMENT: usize = 0xffff;

/// Where an entry's bytes lie in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// First byte.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
}

/// Why an archive cannot be read.
pub enum Fault {
    /// The system's reason.
    Io(io::Error),
    /// What is wrong with the file.
    Bad(String),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            Self::Bad("it ends early".to_owned())
        } else {
            Self::Io(error)
        }
    }
}

fn bad<T>(what: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Bad(what.into()))
}

/// The entries of an archive by name.
pub fn entries(file: &File, length: u64) -> Result<HashMap<String, Place>, Fault> {
    let directory = directory(file, length)?;
    let mut entries = HashMap::new();
    let mut rest = directory.as_slice();
    while !rest.is_empty() {
        let (record, after) = Record::read(rest)?;
        rest = after;
        let place = record.place(file, length)?;
        let name = record.name.clone();
        if entries.insert(record.name, place).is_some() {
            return bad(format!("entry `{name}` is there twice"));
        }
        if entries.len() as u64 > MOST_ENTRIES {
            return bad(format!("it has more than {MOST_ENTRIES} entries"));
        }
    }
    Ok(entries)
}

/// The bytes of the central directory.
fn directory(file: &File, length: u64) -> Result<Vec<u8>, Fault> {
    let tail_length = length.min((END + COMMENT) as u64);
    let mut tail = vec![0; tail_length as usize];
    file.read_exact_at(&mut tail, length - tail_length)?;
    let ends = |at: &usize| {
        let record = &tail[*at..];
        record.starts_with(b"PK\x05\x06")
            && u16_at(record, 20).is_ok_and(|comment| END + comment as usize == record.len())
    };
    let last = tail.len().checked_sub(END).map(|most| (0..=most).rev());
    let Some(at) = last.and_then(|mut places| places.find(ends)) else {
        return bad("it is no zip file, or its end is missing");
    };
    let record = &tail[at..];
    let (mut bytes, mut offset) = (
        u64::from(u32_at(record, 12)?),
        u64::from(u32_at(record, 16)?),
    );
    if bytes == u64::from(u32::MAX) || offset == u64::from(u32::MAX) {
        let end = length - tail_length + at as u64;
        (bytes, offset) = wide_end(file, end)?;
    }
    if bytes > LONGEST_DIRECTORY || offset.checked_add(bytes).is_none_or(|end| end > length) {
        return bad("its directory is longer than the file");
    }
    let mut directory = vec![0; bytes as usize];
    file.read_exact_at(&mut directory, offset)?;
    Ok(directory)
}

/// Length and offset of the directory from the zip64 record, whose locator stands before `end`.
fn wide_end(file: &File, end: u64) -> Result<(u64, u64), Fault> {
    let mut locator = [0; 20];
    let Some(at) = end.checked_sub(20) else {
        return bad("its zip64 locator is missing");
    };
    file.read_exact_at(&mut locator, at)?;
    if !locator.starts_with(b"PK\x06\x07") {
        return bad("its zip64 locator is missing");
    }
    let mut record = [0; 56];
    file.read_exact_at(&mut record, u64_at(&locator, 8)?)?;
    if !record.starts_with(b"PK\x06\x06") {
        return bad("its zip64 record is missing");
    }
    Ok((u64_at(&record, 40)?, u64_at(&record, 48)?))
}

/// One entry of the directory.
struct Record {
    name: String,
    flags: u16,
    method: u16,
    packed: u64,
    bytes: u64,
    header: u64,
}

impl Record {
    fn read(bytes: &[u8]) -> Result<(Self, &[u8]), Fault> {
        if !bytes.starts_with(b"PK\x01\x02") {
            return bad("its directory is damaged");
        }
        let lengths = [28, 30, 32].map(|at| u16_at(bytes, at).unwrap_or(0) as usize);
        let [name, extra, comment] = lengths;
        let (Some(name_bytes), Some(extra_bytes), Some(rest)) = (
            bytes.get(46..46 + name),
            bytes.get(46 + name..46 + name + extra),
            bytes.get(46 + name + extra + comment..),
        ) else {
            return bad("its directory ends early");
        };
        let Ok(name) = std::str::from_utf8(name_bytes) else {
            return bad("the name of an entry is no text");
        };
        let mut wide = wide_fields(extra_bytes);
        let mut number = |at| -> Result<u64, Fault> {
            match u32_at(bytes, at)? {
                u32::MAX => wide
                    .next()
                    .ok_or_else(|| Fault::Bad("a zip64 field is missing".to_owned())),
                number => Ok(number.into()),
            }
        };
        // In the order in which zip64 lists those that do not fit.
        let (unpacked, packed, header) = (number(24)?, number(20)?, number(42)?);
        let record = Self {
            name: name.to_owned(),
            flags: u16_at(bytes, 8)?,
            method: u16_at(bytes, 10)?,
            packed,
            bytes: unpacked,
            header,
        };
        Ok((record, rest))
    }

    /// Where the entry's bytes lie: behind its own header.
    fn place(&self, file: &File, length: u64) -> Result<Place, Fault> {
        if self.method != 0 || self.flags & 1 != 0 || self.packed != self.bytes {
            return bad(format!(
                "entry `{}` is compressed or encrypted, which `torch.save` never does",
                self.name
            ));
        }
        let mut header = [0; 30];
        file.read_exact_at(&mut header, self.header)?;
        if !header.starts_with(b"PK\x03\x04") {
            return bad(format!("entry `{}` has no header", self.name));
        }
        let before = 30 + u64::from(u16_at(&header, 26)?) + u64::from(u16_at(&header, 28)?);
        let offset = self.header.saturating_add(before);
        if offset
            .checked_add(self.bytes)
            .is_none_or(|end| end > length)
        {
            return bad(format!(
                "entry `{}` reaches past the end of the file",
                self.name
            ));
        }
        Ok(Place {
            offset,
            bytes: self.bytes,
        })
    }
}

/// The numbers of the zip64 extra field.
fn wide_fields(mut extra: &[u8]) -> impl Iterator<Item = u64> {
    let mut numbers = Vec::new();
    while let (Ok(kind), Ok(length)) = (u16_at(extra, 0), u16_at(extra, 2)) {
        let Some(body) = extra.get(4..4 + length as usize) else {
            break;
        };
        if kind == 1 {
            let whole = body.chunks_exact(8);
            numbers.extend(whole.filter_map(|bytes| u64_at(bytes, 0).ok()));
        }
        extra = &extra[4 + length as usize..];
    }
    numbers.into_iter()
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, Fault> {
    array_at(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, Fault> {
    array_at(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Result<u64, Fault> {
    array_at(bytes, at).map(u64::from_le_bytes)
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Fault> {
    match bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        Some(array) => Ok(*array),
        None => bad("a record ends early"),
    }
}
