//! Requests to a tokenizer, and their answers.

use std::path::Path;

use wire::{
    Failure,
    generate::StreamOptions,
    tokenize::{TokenizerAnswer, TokenizerCall},
};

use super::{TextStreamer, Tokenizer};
use crate::Cancel;

impl Tokenizer {
    /// Does what a request asks.
    pub fn answer(&self, call: TokenizerCall, cancel: &Cancel) -> Result<TokenizerAnswer, Failure> {
        Ok(match call {
            TokenizerCall::Info => TokenizerAnswer::Info(Box::new(self.info.clone())),
            TokenizerCall::Encode { inputs, options } => {
                TokenizerAnswer::Batch(self.encode_batch(&inputs, &options, cancel)?)
            }
            TokenizerCall::Tokens { inputs, options } => {
                let encode = |input| {
                    cancel.check()?;
                    self.encode_input(input, &options)
                };
                let encodings = inputs.iter().map(encode);
                TokenizerAnswer::Encodings(encodings.collect::<Result<_, Failure>>()?)
            }
            TokenizerCall::Decode { sequences, options } => {
                let texts = sequences
                    .iter()
                    .map(|ids| self.decode_with(&ids.0, options));
                TokenizerAnswer::Texts(texts.collect::<Result<_, _>>()?)
            }
            TokenizerCall::DecodeStream { ids, options } => {
                TokenizerAnswer::Texts(self.decode_stream(&ids.0, options)?)
            }
            TokenizerCall::Stream {
                state,
                ids,
                options,
            } => {
                let options = StreamOptions {
                    skip_prompt: false,
                    skip_special_tokens: options.skip_special_tokens,
                    clean_up_tokenization_spaces: options.clean_up_tokenization_spaces,
                };
                let mut streamer = TextStreamer::resume(self, options, state);
                let text = match ids {
                    Some(ids) => streamer.put(&ids.0)?,
                    None => streamer.end()?,
                };
                TokenizerAnswer::Streamed {
                    text,
                    state: streamer.into_state(),
                }
            }
            TokenizerCall::IdsToTokens {
                ids,
                skip_special_tokens,
            } => TokenizerAnswer::Pieces(self.convert_ids_to_tokens(&ids.0, skip_special_tokens)),
            TokenizerCall::TokensToIds(tokens) => {
                TokenizerAnswer::Ids(self.convert_tokens_to_ids(&tokens))
            }
            TokenizerCall::Vocabulary { added_only } => {
                TokenizerAnswer::Vocabulary(self.vocabulary(added_only))
            }
            TokenizerCall::Save { folder } => {
                TokenizerAnswer::Saved(self.save(Path::new(&folder))?)
            }
        })
    }
}
