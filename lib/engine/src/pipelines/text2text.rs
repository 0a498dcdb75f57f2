//! `summarization`, `translation` and `text2text-generation`: `text2text_generation.py` of transformers, on
//! what `writer` and `task_params` bring.

use wire::{
    Failure,
    generate::{Generated, GenerationConfig},
    text2text::{Text2TextOptions, Text2TextTask, WrittenText},
    tokenize::{DecodeOptions, EncodeOptions, Truncation},
};

use super::{
    TaskParams, Writer,
    task_params::{self, MAX_LENGTH},
    writer::Wishes,
};
use crate::{failures, families::SourceReader, tokenizer::Tokenizer};

/// `_default_generation_config` of these pipelines.
const MAX_NEW_TOKENS: u32 = 256;
const NUM_BEAMS: u32 = 4;
/// Inputs that are written about at once when no `batch_size` is given.
const BATCH: usize = 8;

/// What a call comes down to.
struct Plan {
    prefix: String,
    /// How to generate.
    wishes: Wishes,
    /// Source language, of models that speak several.
    from: Option<String>,
}

impl Writer<'_> {
    /// Of each text what is written about it, the best first.
    pub fn write_about(
        &mut self,
        inputs: &[String],
        options: &Text2TextOptions,
    ) -> Result<Vec<Vec<WrittenText>>, Failure> {
        self.check_stream(inputs.len())?;
        let mut notices = Vec::new();
        let mut plan = self.plan(options, &mut notices)?;
        let sources = inputs
            .iter()
            .map(|input| self.source(input, &plan, options));
        let sources: Vec<Vec<u32>> = sources.collect::<Result<_, _>>()?;
        for source in &sources {
            self.check_length(source.len(), options, &mut notices)?;
            notices.extend(advice(options.task, source.len(), &plan));
        }
        let mut told = Vec::new();
        self.tell(notices, &mut told);
        let mut written = Vec::with_capacity(inputs.len());
        let size = self.batch_size.unwrap_or(BATCH).max(1);
        for batch in sources.chunks(size) {
            self.cancel.check()?;
            written.extend(self.batch(batch, &plan, (options, &mut told))?);
            // The draws of the next go on from here, as in `text-generation`.
            let seed = &mut plan.wishes.request.seed;
            *seed = seed.map(|seed| seed.wrapping_add(size as u64));
        }
        Ok(written)
    }

    fn plan(&self, options: &Text2TextOptions, notices: &mut Vec<String>) -> Result<Plan, Failure> {
        let tokenizer = self.generator.tokenizer;
        let name = name(self.task_params, options, notices);
        let own = self.task_params.of(&name);
        let prefix = own.and_then(|own| own["prefix"].as_str());
        let mut request = options.generation.clone();
        if let Some(text) = &options.stop_sequence {
            request.eos_token_id = Some(vec![stop_token(tokenizer, text, notices)?]);
        }
        let (mut from, to) = languages(options, &name);
        if let (Some(languages), Text2TextTask::Translation) = (tokenizer.languages(), options.task)
        {
            let named = (from.as_deref(), to.as_deref());
            let (source, target) = tokenizer.both_languages(languages, named)?;
            tokenizer.language_id(source)?;
            request.forced_bos_token_id = Some(tokenizer.language_id(target)?);
        } else {
            from = None;
            if options.src_lang.is_some() || options.tgt_lang.is_some() {
                notices.push(format!(
                    "`src_lang` and `tgt_lang` have no effect: the tokenizer of `{}` knows no languages.",
                    self.name
                ));
            }
        }
        let files = self.generator.defaults;
        let defaults = match &options.generation_config {
            Some(_) => files.under(options.generation_config.as_ref()),
            None => task_params::defaults(pipeline_defaults(), &files.config, own).into(),
        };
        Ok(Plan {
            prefix: prefix
                .or(self.task_params.prefix.as_deref())
                .unwrap_or_default()
                .to_owned(),
            wishes: Wishes { request, defaults },
            from,
        })
    }

    /// The tokens that the encoder reads of a text.
    fn source(
        &self,
        input: &str,
        plan: &Plan,
        options: &Text2TextOptions,
    ) -> Result<Vec<u32>, Failure> {
        self.cancel.check()?;
        let tokenizer = self.generator.tokenizer;
        if let Some(language) = &plan.from {
            let longest = options.truncation.then(|| self.longest_source()).flatten();
            return tokenizer.encode_in(input, language, longest);
        }
        let mut how = EncodeOptions::default();
        if options.truncation {
            how.truncation = Truncation::LongestFirst;
            how.max_length = self.longest_source();
        }
        let text = format!("{}{input}", plan.prefix);
        let encoding = tokenizer.windows(&text.into(), &how)?.swap_remove(0);
        Ok(encoding.get_ids().to_vec())
    }

    /// Tokens of a source at most, by the model's table of positions.
    fn positions(&self) -> Option<usize> {
        let reader = self.generator.model().source_reader();
        reader.and_then(SourceReader::longest)
    }

    /// Tokens that a source is cut to: what the tokenizer says. Where it does not say, transformers cuts
    /// nothing, and a model with a table of positions fails; here the model is asked.
    fn longest_source(&self) -> Option<u32> {
        let own = self.generator.tokenizer.info().model_max_length;
        own.or_else(|| self.positions().map(|limit| limit as u32))
    }

    fn check_length(
        &self,
        length: usize,
        options: &Text2TextOptions,
        notices: &mut Vec<String>,
    ) -> Result<(), Failure> {
        if length == 0 {
            return Err(
                failures::invalid("the text has no tokens").hint("give a text that is not empty")
            );
        }
        let limit = self.positions();
        if let Some(limit) = limit.filter(|&limit| length > limit) {
            return Err(failures::invalid(format!(
                "the text has {length} tokens, `{}` reads {limit} at most",
                self.name
            ))
            .hint("shorten it, or let it be cut: `truncation(true)`"));
        }
        let longest = self.generator.tokenizer.info().model_max_length;
        if let Some(longest) =
            longest.filter(|&longest| length > longest as usize && !options.truncation)
        {
            notices.push(format!(
                "Token indices sequence length is longer than the specified maximum sequence length for this \
                 model ({length} > {longest}). The model may make less of it than of shorter texts; \
                 `truncation(true)` cuts it."
            ));
        }
        Ok(())
    }

    fn batch(
        &mut self,
        sources: &[Vec<u32>],
        plan: &Plan,
        (options, told): (&Text2TextOptions, &mut Vec<String>),
    ) -> Result<Vec<Vec<WrittenText>>, Failure> {
        let generated = self.generate(sources, &plan.wishes, told)?;
        let config = plan.wishes.all();
        let each = config.num_return_sequences.unwrap_or(1) as usize;
        let ends = Ends {
            tokenizer: self.generator.tokenizer,
            start: config.decoder_start_token_id.or(config.bos_token_id),
            pad: config
                .pad_token_id
                .or_else(|| self.generator.tokenizer.named_id("pad_token"))
                .unwrap_or(0),
            clean_up: options.clean_up_tokenization_spaces,
        };
        let mut texts: Vec<Vec<WrittenText>> = generated
            .chunks(each)
            .map(|own| ends.texts(own))
            .collect::<Result<_, _>>()?;
        for (text, one) in texts.iter_mut().flatten().zip(&generated) {
            text.streamed = self.streamed(one);
        }
        Ok(texts)
    }
}

/// The task's name: of a translation with the languages, or where none are given the first pair
/// that the configuration has.
fn name(params: &TaskParams, options: &Text2TextOptions, notices: &mut Vec<String>) -> String {
    let name = options.task.name();
    if options.task != Text2TextTask::Translation {
        return name.to_owned();
    }
    if let Some((from, to)) = &options.pair {
        return format!("translation_{from}_to_{to}");
    }
    let mut names = params.tasks.iter().map(|(name, _)| name);
    match names.find(|known| known.starts_with("translation")) {
        Some(first) => {
            notices.push(format!(
                "\"translation\" task was used, instead of \"translation_XX_to_YY\", defaulting to \"{first}\""
            ));
            first.clone()
        }
        None => name.to_owned(),
    }
}

fn pipeline_defaults() -> GenerationConfig {
    GenerationConfig {
        max_new_tokens: Some(MAX_NEW_TOKENS),
        num_beams: Some(NUM_BEAMS),
        ..GenerationConfig::default()
    }
}

/// Source and target: as they were named, or by the task's name.
fn languages(options: &Text2TextOptions, name: &str) -> (Option<String>, Option<String>) {
    if options.src_lang.is_some() || options.tgt_lang.is_some() {
        return (options.src_lang.clone(), options.tgt_lang.clone());
    }
    let parts: Vec<&str> = name.split('_').collect();
    match parts.as_slice() {
        [_, from, _, to] => (Some((*from).to_owned()), Some((*to).to_owned())),
        _ => (None, None),
    }
}

fn stop_token(
    tokenizer: &Tokenizer,
    text: &str,
    notices: &mut Vec<String>,
) -> Result<u32, Failure> {
    let encoding = tokenizer.encode(text, false)?;
    if encoding.tokens.len() > 1 {
        notices.push(
            "Stopping on a multiple token sequence is not yet supported on transformers. The first token of the \
             stop sequence will be used as the stop sequence string in the interim."
                .to_owned(),
        );
    }
    let first = encoding.tokens.first().map(|token| token.id);
    first.ok_or_else(|| failures::invalid("`stop_sequence` has no tokens"))
}

/// `check_inputs`: what looks odd about an input and the lengths asked for.
fn advice(task: Text2TextTask, length: usize, plan: &Plan) -> Vec<String> {
    let config = plan.wishes.all();
    let max_length = config.max_length.unwrap_or(MAX_LENGTH);
    let min_length = config.min_length.unwrap_or(0);
    let mut notices = Vec::new();
    match task {
        Text2TextTask::Summarization => {
            if max_length < min_length {
                notices.push(format!(
                    "Your min_length={min_length} must be inferior than your max_length={max_length}."
                ));
            }
            if length < max_length as usize {
                notices.push(format!(
                    "Your max_length is set to {max_length}, but your input_length is only {length}. Since this \
                     is a summarization task, where outputs shorter than the input are typically wanted, you \
                     might consider decreasing max_length manually, e.g. `.max_length({})`",
                    length / 2
                ));
            }
        }
        Text2TextTask::Translation if length as f64 > 0.9 * f64::from(max_length) => {
            notices.push(format!(
                "Your input_length: {length} is bigger than 0.9 * max_length: {max_length}. You might consider \
                 increasing your max_length manually, e.g. `.max_length(400)`"
            ));
        }
        Text2TextTask::Translation | Text2TextTask::Text2TextGeneration => {}
    }
    notices
}

/// Makes texts of what was generated.
struct Ends<'a> {
    tokenizer: &'a Tokenizer,
    start: Option<u32>,
    pad: u32,
    clean_up: bool,
}

impl Ends<'_> {
    /// Of the sequences of one input.
    fn texts(&self, generated: &[Generated]) -> Result<Vec<WrittenText>, Failure> {
        let longest = generated.iter().map(|one| one.ids.len()).max().unwrap_or(0);
        let texts = generated.iter().map(|one| {
            let mut ids: Vec<u32> = self
                .start
                .into_iter()
                .chain(one.ids.iter().copied())
                .collect();
            ids.extend(std::iter::repeat_n(self.pad, longest - one.ids.len()));
            let how = DecodeOptions {
                skip_special_tokens: true,
                clean_up_tokenization_spaces: Some(self.clean_up),
            };
            Ok(WrittenText {
                text: self.tokenizer.decode_with(&ids, how)?,
                token_ids: ids,
                tokens: one.ids.len() as u32,
                source_tokens: one.prompt_ids.len() as u32,
                streamed: None,
            })
        });
        texts.collect()
    }
}
