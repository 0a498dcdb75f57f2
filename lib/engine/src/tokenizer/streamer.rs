//! What of a text may be printed while its tokens still come: transformers' `TextStreamer`
//! (`generation/streamers.py`), decision for decision. Printing, and the line break at the end, are
//! the reader's.

use wire::{
    Failure,
    generate::StreamOptions,
    tokenize::{DecodeOptions, StreamState},
};

use super::Tokenizer;

/// Cuts a growing sequence of tokens into printable pieces.
pub struct TextStreamer<'a> {
    tokenizer: &'a Tokenizer,
    options: StreamOptions,
    pending: Vec<u32>,
    /// Characters of the pending tokens' text that were given out.
    printed: usize,
}

impl<'a> TextStreamer<'a> {
    /// A streamer at the beginning of a sequence.
    pub fn new(tokenizer: &'a Tokenizer, options: StreamOptions) -> Self {
        Self::resume(tokenizer, options, StreamState::default())
    }

    /// A streamer where another one stopped.
    pub fn resume(tokenizer: &'a Tokenizer, options: StreamOptions, state: StreamState) -> Self {
        Self {
            tokenizer,
            options,
            pending: state.pending,
            printed: state.printed as usize,
        }
    }

    /// How far the text is.
    pub fn into_state(self) -> StreamState {
        StreamState {
            pending: self.pending,
            printed: self.printed as u32,
        }
    }

    /// Takes the prompt; gives the text to print, none when prompts are skipped.
    pub fn prompt(&mut self, ids: &[u32]) -> Result<String, Failure> {
        if self.options.skip_prompt {
            Ok(String::new())
        } else {
            self.put(ids)
        }
    }

    /// Takes new tokens; gives the text that became printable, which may be none. Words are held back
    /// until they are complete, CJK characters are not.
    pub fn put(&mut self, ids: &[u32]) -> Result<String, Failure> {
        self.pending.extend_from_slice(ids);
        let text = self.decode()?;
        let length = text.chars().count();
        let until = match text.chars().next_back() {
            Some('\n') => {
                let printable = text.chars().skip(self.printed).collect();
                self.pending.clear();
                self.printed = 0;
                return Ok(printable);
            }
            Some(last) if is_cjk(last) => length,
            _ => text
                .rfind(' ')
                .map_or(0, |at| text[..at].chars().count() + 1),
        };
        let printable: String = text
            .chars()
            .skip(self.printed)
            .take(until.saturating_sub(self.printed))
            .collect();
        self.printed += printable.chars().count();
        Ok(printable)
    }

    /// Ends the sequence; gives what was held back.
    pub fn end(&mut self) -> Result<String, Failure> {
        let text = self.decode()?;
        let rest = text.chars().skip(self.printed).collect();
        self.pending.clear();
        self.printed = 0;
        Ok(rest)
    }

    fn decode(&self) -> Result<String, Failure> {
        let options = DecodeOptions {
            skip_special_tokens: self.options.skip_special_tokens,
            clean_up_tokenization_spaces: self.options.clean_up_tokenization_spaces,
        };
        self.tokenizer.decode_with(&self.pending, options)
    }
}

/// `TextStreamer._is_chinese_char`: ideographs, but neither kana nor hangul.
fn is_cjk(character: char) -> bool {
    matches!(u32::from(character),
        0x4E00..=0x9FFF
        | 0x3400..=0x4DBF
        | 0x20000..=0x2A6DF
        | 0x2A700..=0x2B73F
        | 0x2B740..=0x2B81F
        | 0x2B820..=0x2CEAF
        | 0xF900..=0xFAFF
        | 0x2F800..=0x2FA1F)
}
