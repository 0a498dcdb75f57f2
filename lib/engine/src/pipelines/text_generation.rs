//! `text-generation`: `text_generation.py` of transformers. Prompt and result are decoded together and cut
//! after the prompt, so that a blank between them stays where a tokenizer leaves it out at the beginning of a
//! text.

use serde_json::Value;
use wire::{
    Failure,
    generate::{Generated, GenerationConfig},
    text::{ChatMessage, TemplateOptions},
    text_generation::{GeneratedText, GenerationInput, TextGenerationOptions},
    tokenize::{DecodeOptions, EncodeOptions, Truncation},
};

use super::{
    Writer,
    task_params::{self, MAX_LENGTH},
    too_long,
    writer::Wishes,
};
use crate::{failures, generate, tokenizer::Tokenizer};

/// `_default_generation_config` of the pipeline.
const MAX_NEW_TOKENS: u32 = 256;
const TEMPERATURE: f64 = 0.7;

/// What is continued.
struct Start {
    ids: Vec<u32>,
    /// How many of them stand for what was given; none where there was nothing to give.
    given: usize,
}

impl Writer<'_> {
    /// What is written after each text and in each conversation, the best first. One by one where no
    /// `batch_size` is set, as in transformers: `max_length` counts the padding of a batch.
    pub fn continue_all(
        &mut self,
        inputs: &[GenerationInput],
        options: &TextGenerationOptions,
    ) -> Result<Vec<Vec<GeneratedText>>, Failure> {
        if self.generator.model().source_reader().is_some() {
            return Err(failures::unsupported(format!(
                "`{}` writes a text about another, `text-generation` continues one",
                self.name
            ))
            .hint("use it by `text2text-generation`"));
        }
        self.check_stream(inputs.len())?;
        let own = self.task_params.of("text-generation");
        let prefix = options.prefix.as_deref();
        let prefix = prefix.or_else(|| own.and_then(|own| own["prefix"].as_str()));
        let prefix = prefix.or(self.task_params.prefix.as_deref());
        let prefix = prefix.unwrap_or_default().to_owned();
        let mut wishes = self.wishes(options, own, &prefix)?;
        let starts = inputs
            .iter()
            .map(|input| self.start(input, &prefix, (options, &wishes)));
        let starts: Vec<Start> = starts.collect::<Result<_, _>>()?;
        let mut told = Vec::new();
        self.tell(self.lengths(inputs, &starts, options), &mut told);
        for (input, start) in inputs.iter().zip(&starts) {
            if let GenerationInput::Text(_) = input {
                let notice = generate::bare_prompt(self.generator.tokenizer, &start.ids);
                self.tell(notice.into_iter().map(str::to_owned).collect(), &mut told);
            }
        }
        let all = wishes.all();
        let pads = all.pad_token_id;
        let pads = pads.or_else(|| self.generator.tokenizer.named_id("pad_token"));
        let end = all.eos_token_id.and_then(|ids| ids.first().copied());
        let ends = Ends {
            tokenizer: self.generator.tokenizer,
            pad: pads.or(end).unwrap_or(0),
            options,
        };
        let each = all.num_return_sequences.unwrap_or(1) as usize;
        let size = self.batch_size.unwrap_or(1).max(1);
        let mut found = Vec::with_capacity(inputs.len());
        for (starts, inputs) in starts.chunks(size).zip(inputs.chunks(size)) {
            self.cancel.check()?;
            let prompts: Vec<Vec<u32>> = starts.iter().map(|start| start.ids.clone()).collect();
            let generated = self.generate(&prompts, &wishes, &mut told)?;
            let parts = inputs.iter().zip(starts).zip(generated.chunks(each));
            for ((input, start), generated) in parts {
                let mut texts = ends.texts(input, start.given, generated)?;
                for (text, one) in texts.iter_mut().zip(generated) {
                    text.streamed = self.streamed(one);
                }
                found.push(texts);
            }
            // The draws of the next go on from here: two equal texts are not continued equally.
            let seed = &mut wishes.request.seed;
            *seed = seed.map(|seed| seed.wrapping_add(size as u64));
        }
        Ok(found)
    }

    fn wishes(
        &self,
        options: &TextGenerationOptions,
        own: Option<&Value>,
        prefix: &str,
    ) -> Result<Wishes, Failure> {
        let tokenizer = self.generator.tokenizer;
        let mut request = options.generation.clone();
        if let Some(text) = &options.stop_sequence {
            let tokens = tokenizer.encode(text, false)?.tokens;
            if tokens.is_empty() {
                return Err(failures::invalid("`stop_sequence` has no tokens"));
            }
            request.eos_token_id = Some(tokens.iter().map(|token| token.id).collect());
        }
        let draws = request.do_sample != Some(false);
        let pipeline = GenerationConfig {
            max_new_tokens: Some(MAX_NEW_TOKENS),
            do_sample: Some(true),
            temperature: draws.then_some(TEMPERATURE),
            ..GenerationConfig::default()
        };
        let files = self.generator.defaults;
        let usual = task_params::defaults(pipeline, &files.config, own);
        let user = options.generation_config.as_ref();
        let states_new = request.max_new_tokens.is_some()
            || user.is_some_and(|user| user.max_new_tokens.is_some());
        if !prefix.is_empty() {
            let more = tokenizer.encode(prefix, false)?.tokens.len() as u32;
            if !states_new {
                let length = request.max_length.or(usual.max_length);
                request.max_length = Some(length.unwrap_or(MAX_LENGTH) + more);
            }
            if let (None, Some(length)) = (request.min_new_tokens, &mut request.min_length) {
                *length += more;
            }
        }
        let defaults = match user {
            Some(_) => files.under(user),
            None => usual.into(),
        };
        Ok(Wishes { request, defaults })
    }

    /// The tokens of an input.
    fn start(
        &self,
        input: &GenerationInput,
        prefix: &str,
        (options, wishes): (&TextGenerationOptions, &Wishes),
    ) -> Result<Start, Failure> {
        self.cancel.check()?;
        let tokenizer = self.generator.tokenizer;
        let max_length = options.generation.max_length;
        let ids = match input {
            GenerationInput::Text(text) => {
                let mut how = EncodeOptions {
                    add_special_tokens: options.add_special_tokens,
                    ..EncodeOptions::default()
                };
                // A length alone cuts there too, as the tokenizer gets it as its own argument.
                if options.truncation || max_length.is_some() {
                    how.truncation = Truncation::LongestFirst;
                    how.max_length = max_length;
                }
                let text = format!("{prefix}{text}");
                let encoding = tokenizer.windows(&text.into(), &how)?.swap_remove(0);
                encoding.get_ids().to_vec()
            }
            GenerationInput::Chat(messages) => {
                let continues = continues(messages, options);
                let how = TemplateOptions {
                    add_generation_prompt: !continues,
                    continue_final_message: continues,
                    truncation: if options.truncation {
                        Truncation::LongestFirst
                    } else {
                        Truncation::default()
                    },
                    max_length,
                    ..TemplateOptions::default()
                };
                tokenizer
                    .apply_chat_template(messages, &how)?
                    .inputs
                    .input_ids
            }
        };
        let ids = if options.cuts_beginning {
            self.with_room(ids, wishes)?
        } else {
            ids
        };
        if !ids.is_empty() {
            let given = ids.len();
            return Ok(Start { ids, given });
        }
        let Some(begin) = wishes.all().bos_token_id else {
            return Err(failures::invalid(
                "the text is empty, and the model has no token to begin one with",
            )
            .hint(
                "give some text, or the token: `GenerationConfig { bos_token_id: Some(…), .. }`",
            ));
        };
        Ok(Start {
            ids: vec![begin],
            given: 0,
        })
    }
}

impl Writer<'_> {
    /// What transformers' tokenizers say of prompts that are longer than the model reads, and of a length that
    /// cuts them unasked.
    fn lengths(
        &self,
        inputs: &[GenerationInput],
        starts: &[Start],
        options: &TextGenerationOptions,
    ) -> Vec<String> {
        let mut notices = Vec::new();
        let is_text = |input: &GenerationInput| matches!(input, GenerationInput::Text(_));
        let has_length = options.generation.max_length.is_some();
        if has_length && !options.truncation && inputs.iter().any(is_text) {
            notices.push(
                "Truncation was not explicitly activated but `max_length` is provided a specific value, please \
                 use `truncation(true)` to explicitly truncate examples to max length. Defaulting to \
                 'longest_first' truncation strategy."
                    .to_owned(),
            );
        }
        let longest = starts.iter().map(|start| start.ids.len()).max();
        let most = self.generator.tokenizer.info().model_max_length;
        if let (Some(longest), Some(most), false) = (longest, most, has_length) {
            notices.extend(too_long(longest, most));
        }
        notices
    }

    /// The last tokens, so many that those to add have room: `handle_long_generation="hole"`.
    fn with_room(&self, ids: Vec<u32>, wishes: &Wishes) -> Result<Vec<u32>, Failure> {
        let Some(longest) = self.generator.tokenizer.info().model_max_length else {
            return Ok(ids);
        };
        let (longest, length) = (longest as usize, ids.len());
        // As there, what the call says counts, and a length without one in the model's files.
        let added = if let Some(tokens) = wishes.request.max_new_tokens {
            tokens as usize
        } else {
            let all = wishes
                .request
                .max_length
                .or(wishes.defaults.config.max_length);
            let all = all.unwrap_or(MAX_LENGTH) as usize;
            all.checked_sub(length).ok_or_else(|| {
                failures::invalid("We cannot infer how many new tokens are expected")
                    .hint("say it: `.max_new_tokens(…)`")
            })?
        };
        if length + added <= longest {
            return Ok(ids);
        }
        if added >= longest {
            return Err(failures::invalid(format!(
                "We cannot use `hole` to handle this generation the number of desired tokens ({added}) \
                 exceeds the models max length ({longest})"
            ))
            .hint("lower `max_new_tokens`"));
        }
        Ok(ids[length - (longest - added)..].to_vec())
    }
}

fn continues(messages: &[ChatMessage], options: &TextGenerationOptions) -> bool {
    let last = messages.last();
    let is_assistants = last.is_some_and(|message| message.role == "assistant");
    options.continue_final_message.unwrap_or(is_assistants)
}

/// Makes texts of what was generated.
struct Ends<'a> {
    tokenizer: &'a Tokenizer,
    pad: u32,
    options: &'a TextGenerationOptions,
}

impl Ends<'_> {
    /// Of the sequences of one input, of whose prompt so many tokens were given.
    fn texts(
        &self,
        input: &GenerationInput,
        given: usize,
        generated: &[Generated],
    ) -> Result<Vec<GeneratedText>, Failure> {
        let longest = generated.iter().map(|one| one.ids.len()).max().unwrap_or(0);
        let texts = generated.iter().map(|one| {
            let mut ids = [one.prompt_ids.as_slice(), &one.ids].concat();
            let before = self.decode(&one.prompt_ids[..given])?.chars().count();
            let added: String = self.decode(&ids)?.chars().skip(before).collect();
            ids.extend(std::iter::repeat_n(self.pad, longest - one.ids.len()));
            let (text, messages) = self.joined(input, added);
            Ok(GeneratedText {
                text,
                messages,
                token_ids: ids,
                tokens: one.ids.len() as u32,
                prompt_tokens: one.prompt_ids.len() as u32,
                streamed: None,
            })
        });
        texts.collect()
    }

    fn decode(&self, ids: &[u32]) -> Result<String, Failure> {
        let how = DecodeOptions {
            skip_special_tokens: self.options.skip_special_tokens,
            clean_up_tokenization_spaces: Some(self.options.clean_up_tokenization_spaces),
        };
        self.tokenizer.decode_with(ids, how)
    }

    /// What was added, with what it was added to where that was asked for.
    fn joined(&self, input: &GenerationInput, added: String) -> (String, Option<Vec<ChatMessage>>) {
        match input {
            _ if !self.options.return_full_text => (added, None),
            GenerationInput::Text(text) => (format!("{text}{added}"), None),
            GenerationInput::Chat(messages) => {
                let mut messages = messages.clone();
                match messages.last_mut() {
                    Some(last) if continues(std::slice::from_ref(last), self.options) => {
                        if let Some(content) = &mut last.content {
                            append(content, &added);
                        }
                    }
                    _ => messages.push(ChatMessage::new("assistant", added.as_str())),
                }
                (added, Some(messages))
            }
        }
    }
}

/// Adds to a content: to its last text, where it has several parts, of which transformers fails.
fn append(content: &mut Value, added: &str) {
    let text = match content {
        Value::Array(parts) => parts.iter_mut().rev().find_map(|part| part.get_mut("text")),
        other => Some(other),
    };
    if let Some(Value::String(text)) = text {
        text.push_str(added);
    }
}
