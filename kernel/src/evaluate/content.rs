//! Splits a cell's standard output into text and the rich contents that evcxr's own protocol prints
//! there (`EVCXR_BEGIN_CONTENT mime`, the content, `EVCXR_END_CONTENT`), so that libraries written
//! for evcxr show as before. Bytes in, pieces out; anything that is not such a block is text, and
//! bytes that are not UTF-8 become U+FFFD.

use wire::mime::Bundle;

const BEGIN: &[u8] = b"EVCXR_BEGIN_CONTENT ";
const END: &[u8] = b"EVCXR_END_CONTENT";

/// A content longer than this is taken for text, so that a forged beginning cannot hold back
/// everything that follows.
const MAX_CONTENT: usize = 64 << 20;
/// A line that begins a block is no longer than this.
const MAX_HEADER: usize = 1 << 10;

/// A part of a cell's output.
#[derive(Debug, PartialEq)]
pub enum Piece {
    /// Text to show as it is.
    Text(String),
    /// One rich content of a value.
    Content {
        /// Its MIME type.
        mime: String,
        /// The content.
        content: String,
    },
}

impl Piece {
    /// Contents of one value, gathered into one bundle as evcxr does: by the MIME type.
    pub fn gather(bundle: &mut Bundle, mime: &str, content: String) {
        let content = if mime == "application/json" || mime.ends_with("+json") {
            serde_json::from_str(&content).unwrap_or(serde_json::Value::String(content))
        } else {
            serde_json::Value::String(content)
        };
        bundle.data.insert(mime.to_owned(), content);
    }
}

/// Collects bytes as they are read and gives out what can be shown.
#[derive(Debug)]
pub struct Splitter {
    held: Vec<u8>,
    at_line_start: bool,
    /// How far the content of the block that `held` begins with has been searched for its end.
    searched: usize,
}

impl Default for Splitter {
    fn default() -> Self {
        Self {
            held: Vec::new(),
            at_line_start: true,
            searched: 0,
        }
    }
}

impl Splitter {
    /// Adds bytes and gives out all that is certain: text, and blocks that have ended.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Piece> {
        self.held.extend_from_slice(bytes);
        let mut pieces = Vec::new();
        let mut text_end = 0;
        loop {
            let rest = &self.held[text_end..];
            if rest.is_empty() {
                break;
            }
            if self.at_line_start {
                let searched = std::mem::take(&mut self.searched);
                match block(rest, searched) {
                    Block::Whole {
                        mime,
                        content,
                        length,
                    } => {
                        self.give_text(&mut pieces, text_end);
                        self.held.drain(..length);
                        text_end = 0;
                        pieces.push(Piece::Content { mime, content });
                        continue;
                    }
                    Block::Begun { searched } => {
                        self.searched = searched;
                        break;
                    }
                    Block::None => {}
                }
            }
            if let Some(newline) = rest.iter().position(|&byte| byte == b'\n') {
                text_end += newline + 1;
                self.at_line_start = true;
            } else {
                text_end = self.held.len();
                self.at_line_start = false;
            }
        }
        let certain = text_end - incomplete_suffix(&self.held[..text_end]);
        self.give_text(&mut pieces, certain);
        pieces
    }

    /// Gives out a held line's beginning that could yet have become a block: nothing followed it, so
    /// it is a prompt such as `E`, which must not wait for its line to end.
    pub fn flush_short(&mut self) -> Option<Piece> {
        if self.holds_short() {
            self.flush()
        } else {
            None
        }
    }

    /// Whether bytes are held that [`Self::flush_short`] would give out.
    pub fn holds_short(&self) -> bool {
        let held = self.held.len();
        // The bytes of a character that is not whole are none of them.
        held > 0 && held < BEGIN.len() && self.at_line_start && BEGIN.starts_with(&self.held)
    }

    /// Whether a block has begun and not ended.
    pub fn holds_block(&self) -> bool {
        self.held.starts_with(BEGIN)
    }

    /// Gives out what was held back, as text: the cell has ended, or something else is shown next.
    pub fn flush(&mut self) -> Option<Piece> {
        self.searched = 0;
        let rest = std::mem::take(&mut self.held);
        self.at_line_start = rest
            .last()
            .map_or(self.at_line_start, |&byte| byte == b'\n');
        (!rest.is_empty()).then(|| Piece::Text(String::from_utf8_lossy(&rest).into_owned()))
    }

    /// Starts over at the beginning of a line, as each cell does.
    pub fn start_cell(&mut self) {
        self.at_line_start = true;
    }

    fn give_text(&mut self, pieces: &mut Vec<Piece>, length: usize) {
        if length == 0 {
            return;
        }
        let text: Vec<u8> = self.held.drain(..length).collect();
        pieces.push(Piece::Text(String::from_utf8_lossy(&text).into_owned()));
    }
}

enum Block {
    /// The bytes do not begin a block.
    None,
    /// They may, or do, and the block has not ended.
    Begun {
        /// Bytes of its content that hold no end.
        searched: usize,
    },
    /// A whole block of this many bytes.
    Whole {
        mime: String,
        content: String,
        length: usize,
    },
}

/// Looks for a block at the start of `bytes`, whose content was searched this far before.
fn block(bytes: &[u8], searched: usize) -> Block {
    if bytes.len() < BEGIN.len() {
        return if BEGIN.starts_with(bytes) {
            Block::Begun { searched: 0 }
        } else {
            Block::None
        };
    }
    let Some(rest) = bytes.strip_prefix(BEGIN) else {
        return Block::None;
    };
    let begun = |searched| {
        if bytes.len() > MAX_CONTENT {
            Block::None
        } else {
            Block::Begun { searched }
        }
    };
    let head = &rest[..rest.len().min(MAX_HEADER)];
    let Some(header) = head.iter().position(|&byte| byte == b'\n') else {
        return if head.len() < MAX_HEADER {
            begun(0)
        } else {
            Block::None
        };
    };
    let Ok(mime) = std::str::from_utf8(&rest[..header]) else {
        return Block::None;
    };
    if mime.is_empty() || mime.contains(char::is_whitespace) {
        return Block::None;
    }
    let content = &rest[header + 1..];
    let mut line_start = searched.min(content.len());
    loop {
        let line = &content[line_start..];
        let line_end = line.iter().position(|&byte| byte == b'\n');
        if line.strip_suffix(b"\n").unwrap_or(line) == END
            || line_end.is_some_and(|end| &line[..end] == END)
        {
            let Some(end) = line_end else {
                return begun(line_start);
            };
            let text = &content[..line_start.saturating_sub(1)];
            return Block::Whole {
                mime: mime.to_owned(),
                content: String::from_utf8_lossy(text).into_owned(),
                length: BEGIN.len() + header + 1 + line_start + end + 1,
            };
        }
        match line_end {
            Some(end) => line_start += end + 1,
            None => return begun(line_start),
        }
    }
}

/// Length of a character at the end of which bytes are still to come.
fn incomplete_suffix(bytes: &[u8]) -> usize {
    let tail = &bytes[bytes.len().saturating_sub(3)..];
    for (index, &byte) in tail.iter().enumerate().rev() {
        let needed = match byte {
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            0x80..=0xBF => continue,
            _ => return 0,
        };
        let present = tail.len() - index;
        return if present < needed { present } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn split(chunks: &[&[u8]]) -> Vec<Piece> {
        let mut splitter = Splitter::default();
        let mut pieces: Vec<Piece> = chunks
            .iter()
            .flat_map(|chunk| splitter.push(chunk))
            .collect();
        pieces.extend(splitter.flush());
        // Neighbouring texts are one text to the reader.
        pieces.into_iter().fold(Vec::new(), |mut merged, piece| {
            match (merged.last_mut(), piece) {
                (Some(Piece::Text(before)), Piece::Text(text)) => before.push_str(&text),
                (_, piece) => merged.push(piece),
            }
            merged
        })
    }

    fn text(text: &str) -> Piece {
        Piece::Text(text.to_owned())
    }

    fn content(mime: &str, content: &str) -> Piece {
        Piece::Content {
            mime: mime.to_owned(),
            content: content.to_owned(),
        }
    }

    #[test]
    fn text_without_a_newline_is_given_at_once() {
        let mut splitter = Splitter::default();
        assert_eq!(splitter.push(b"50 %"), [text("50 %")]);
        assert_eq!(splitter.push(b"\rdone"), [text("\rdone")]);
    }

    #[test]
    fn a_prompt_that_could_begin_a_block_is_given_when_nothing_follows() {
        let mut splitter = Splitter::default();
        assert_eq!(splitter.push(b"E"), []);
        assert!(splitter.holds_short());
        assert_eq!(splitter.flush_short(), Some(text("E")));
        assert_eq!(splitter.push(b"nter: "), [text("nter: ")]);
        splitter.push(b"\nEVCXR_BEGIN_CONTENT text/plain\n");
        assert_eq!(splitter.flush_short(), None, "a block that has begun");
    }

    #[test]
    fn blocks_are_found_however_the_bytes_are_cut() {
        let stream = "a\nEVCXR_BEGIN_CONTENT text/html\n<b>1</b>\n<i>2</i>\nEVCXR_END_CONTENT\nEVCXR_BEGIN_CONTENT text/plain\n\nEVCXR_END_CONTENT\n끝".as_bytes();
        let expected = [
            text("a\n"),
            content("text/html", "<b>1</b>\n<i>2</i>"),
            content("text/plain", ""),
            text("끝"),
        ];
        for size in 1..stream.len() {
            let chunks: Vec<&[u8]> = stream.chunks(size).collect();
            assert_eq!(split(&chunks), expected, "cut every {size} bytes");
        }
    }

    #[test]
    fn what_only_looks_like_a_block_is_text() {
        for look_alike in [
            "EVCXR_EXECUTION_COMPLETE\n",
            "EVCXR_PANIC_NOTIFICATION\n",
            "EVCXR_BEGIN_CONTENT text/plain\nnever ended\n",
            "EVCXR_BEGIN_CONTENT \nx\nEVCXR_END_CONTENT\n",
            "EVCXR_BEGIN_CONTENT",
            "x EVCXR_BEGIN_CONTENT text/plain\nx\nEVCXR_END_CONTENT\n",
            "EVCXR_END_CONTENT\n",
        ] {
            assert_eq!(split(&[look_alike.as_bytes()]), [text(look_alike)]);
        }
    }

    /// Each read once searched all that was held for the block's end again.
    #[test]
    fn a_long_block_is_searched_once() {
        let mut splitter = Splitter::default();
        splitter.push(b"EVCXR_BEGIN_CONTENT text/plain\n");
        let lines = b"a line of a content without end\n".repeat(128);
        let started = std::time::Instant::now();
        for _ in 0..6000 {
            assert_eq!(splitter.push(&lines), []);
        }
        // 25 MB; once over takes some milliseconds, each time over took a minute.
        assert!(started.elapsed() < std::time::Duration::from_secs(5));
        assert!(splitter.holds_block());
        let pieces = splitter.push(b"EVCXR_END_CONTENT\n");
        let expected = lines.len() * 6000 - "\n".len();
        assert!(
            matches!(&pieces[..], [Piece::Content { content, .. }] if content.len() == expected)
        );
    }

    /// Bytes of which some belong to blocks, some only look so, and some are no text.
    fn streams() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            Just(b"EVCXR_BEGIN_CONTENT text/html\n".to_vec()),
            Just(b"EVCXR_BEGIN_CONTENT ".to_vec()),
            Just(b"EVCXR_END_CONTENT\n".to_vec()),
            Just(b"\nEVCXR_END_CONTENT".to_vec()),
            Just(b"\n".to_vec()),
            Just("한\u{1f600}".as_bytes().to_vec()),
            vec(any::<u8>(), 0..6),
        ];
        vec(part, 0..12).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn pieces_do_not_depend_on_how_the_bytes_are_cut(
            stream in streams(), size in 1..40_usize
        ) {
            let chunks: Vec<&[u8]> = stream.chunks(size).collect();
            prop_assert_eq!(split(&chunks), split(&[&stream]));
        }

        #[test]
        fn nothing_is_lost_outside_blocks(stream in streams()) {
            let pieces = split(&[&stream]);
            if let [Piece::Text(text)] = &pieces[..] {
                prop_assert_eq!(text, &String::from_utf8_lossy(&stream).into_owned());
            }
        }
    }

    #[test]
    fn invalid_utf8_is_replaced_and_a_cut_character_is_not() {
        assert_eq!(split(&[b"a\xFFb\n"]), [text("a\u{FFFD}b\n")]);
        let heart = "❤".as_bytes();
        assert_eq!(
            split(&[&heart[..1], &heart[1..2], &heart[2..]]),
            [text("❤")]
        );
        let mut splitter = Splitter::default();
        assert_eq!(splitter.push(&heart[..2]), []);
        assert_eq!(splitter.flush(), Some(text("\u{FFFD}")));
    }
}
