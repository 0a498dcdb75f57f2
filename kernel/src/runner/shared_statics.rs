//! Statics that cells share. The library of a cell has those of the definitions that it uses once more, under
//! symbols that begin with [`STATIC_PREFIX`]. Here these are marked as unique (`STB_GNU_UNIQUE`, as C++ has it
//! of what is inline): of such a symbol the loader takes the first in the process, for all libraries, while
//! they share nothing else. No compiler option makes Rust's symbols so.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

/// How the symbols of statics begin that cells share.
pub const STATIC_PREFIX: &str = "warmcell_static_";

// The ELF-64 format, <https://refspecs.linuxfoundation.org/elf/gabi4+/contents.html>.
const MAGIC: &[u8] = b"\x7fELF\x02\x01";
const DYNAMIC_SYMBOLS: [u8; 4] = [11, 0, 0, 0];
const SYMBOL_SIZE: usize = 24;
const UNIQUE: u8 = 10;

/// Marks the statics of a library that is about to be loaded.
///
/// # Errors
/// The file cannot be read or written.
pub fn mark(library: &Path) -> io::Result<()> {
    let elf = fs::read(library)?;
    // What is damaged is for the loader to say.
    let symbols = symbols(&elf).unwrap_or_default();
    if symbols.is_empty() {
        return Ok(());
    }
    let file = File::options().write(true).open(library)?;
    for (place, info) in symbols {
        file.write_all_at(&[UNIQUE << 4 | info & 0xF], place as u64)?;
    }
    Ok(())
}

/// Where each of the symbols says how it is bound, and what it says there, but for those marked already.
fn symbols(elf: &[u8]) -> Option<Vec<(usize, u8)>> {
    if !elf.starts_with(MAGIC) {
        return None;
    }
    let (table, size) = (number(elf, 0x28, 8)?, number(elf, 0x3A, 2)?);
    let offset_of = |section: usize| number(elf, section + 0x18, 8);
    let mut found = Vec::new();
    for index in 0..number(elf, 0x3C, 2)? {
        let section = table + index * size;
        if elf.get(section + 4..section + 8)? != DYNAMIC_SYMBOLS {
            continue;
        }
        let names = offset_of(table + number(elf, section + 0x28, 4)? * size)?;
        let start = offset_of(section)?;
        let end = start + number(elf, section + 0x20, 8)?;
        for symbol in (start..end).step_by(SYMBOL_SIZE) {
            let name = elf.get(names + number(elf, symbol, 4)?..)?;
            let info = *elf.get(symbol + 4)?;
            if name.starts_with(STATIC_PREFIX.as_bytes()) && info >> 4 != UNIQUE {
                found.push((symbol + 4, info));
            }
        }
    }
    Some(found)
}

/// A place or a count, of so many bytes, the lowest first; `None` where the file is too short for it.
fn number(elf: &[u8], at: usize, bytes: usize) -> Option<usize> {
    let bytes = elf.get(at..at + bytes)?;
    let value = bytes
        .iter()
        .rev()
        .fold(0_u64, |value, &byte| value << 8 | u64::from(byte));
    usize::try_from(value)
        .ok()
        .filter(|&value| value <= elf.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_library_is_left_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("damaged.so");
        for content in [&b""[..], b"text", &[MAGIC, &[0xFF; 200]].concat()] {
            fs::write(&path, content).expect("a file");
            mark(&path).expect("is read");
            assert_eq!(fs::read(&path).expect("is there"), content);
        }
    }
}
