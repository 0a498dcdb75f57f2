//! What NVIDIA's compiler puts into one file for several cards (`--fatbin`): machine code, which only cards run, and text.
//! Nothing describes the form but files that have it: a head, then parts with heads of their own.

use crate::memory::number;

/// What such a file begins with.
pub const MAGIC: [u8; 4] = [0x50, 0xed, 0x55, 0xba];
/// Bytes of its head.
pub const HEAD: usize = 16;
/// The kind of a part that is text.
const TEXT: u64 = 1;
/// Bytes of a part's head that are read here.
const PART: usize = 48;
/// Of a part's flags, that it is compressed.
const COMPRESSED: u64 = 0xe000;

/// The bytes of all of it, by its head.
pub fn bytes(head: &[u8]) -> usize {
    (number(&head[6..8]) + number(&head[8..16])) as usize
}

/// Its text, where one is in it as it is.
pub fn text(mut parts: &[u8]) -> Option<&str> {
    parts = parts.get(number(parts.get(6..8)?) as usize..)?;
    loop {
        let head = parts.get(..PART)?;
        let (start, count) = (number(&head[4..8]) as usize, number(&head[8..16]) as usize);
        let own = parts.get(start..start.checked_add(count)?)?;
        if number(&head[..2]) == TEXT && number(&head[40..48]) & COMPRESSED == 0 {
            return std::str::from_utf8(own)
                .ok()
                .map(|text| text.trim_end_matches('\0'));
        }
        parts = &parts[start + count..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(kind: u16, flags: u64, own: &[u8]) -> Vec<u8> {
        let mut part = kind.to_le_bytes().to_vec();
        part.extend([1, 1]);
        part.extend(64_u32.to_le_bytes());
        part.extend((own.len() as u64).to_le_bytes());
        part.resize(40, 7);
        part.extend(flags.to_le_bytes());
        part.resize(64, 7);
        part.extend(own);
        part
    }

    fn image(parts: &[Vec<u8>]) -> Vec<u8> {
        let parts = parts.concat();
        let mut all = MAGIC.to_vec();
        all.extend([1, 0, 16, 0]);
        all.extend((parts.len() as u64).to_le_bytes());
        all.extend(parts);
        all
    }

    #[test]
    fn the_text_is_found_behind_machine_code() {
        let all = image(&[
            part(2, 0x11, b"\x7fELF"),
            part(1, 0x8011, b"compressed"),
            part(1, 0x11, b".version 9.0\0\0\0"),
        ]);
        assert_eq!(bytes(&all[..HEAD]), all.len());
        assert_eq!(text(&all), Some(".version 9.0"));
        assert_eq!(text(&image(&[part(2, 0x11, b"\x7fELF")])), None);
        assert_eq!(text(&all[..HEAD + 70]), None, "cut off");
    }
}
