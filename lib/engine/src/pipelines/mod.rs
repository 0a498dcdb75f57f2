//! Pipelines: text in, a task's results out, one file a task, with transformers' pre- and
//! post-processing (`pipelines/` of 4.57.6). What all share is here: which head a task needs, and
//! sequences read in batches.

mod embeddings;
mod feature_extraction;
mod fill_mask;
mod limits;
mod question_answering;
mod scores;
mod task_params;
mod text2text;
mod text_classification;
mod text_generation;
mod token_classification;
mod writer;
mod zero_shot_classification;

use std::sync::Arc;

use candle_core::Tensor;
use tokenizers::Encoding as Sequence;
use wire::{
    Failure,
    host::Event,
    pipeline::{EncoderTask, PipelineAnswer, PipelineCall, PipelineTask},
    tokenize::{EncodeOptions, TextInput, Truncation},
};

use limits::too_long;
pub use task_params::TaskParams;
pub use writer::Writer;

use crate::{
    Cancel,
    encoders::{HeadKind, Row, TextEncoder, lengths},
    failures,
    sentences::{Pooling, Sentences},
    tokenizer::Tokenizer,
};

/// Tokens and sequences that are computed at once when no `batch_size` is given: from there on, larger
/// batches bring nothing on a processor.
const BATCH_TOKENS: usize = 2048;
const BATCH_SEQUENCES: usize = 64;

/// Runs a pipeline of an encoder, whose texts become vectors by `sentences`.
pub fn run(
    call: &PipelineCall,
    sentences: Result<&Sentences, &Failure>,
    reader: &mut Reader,
) -> Result<PipelineAnswer, Failure> {
    if let PipelineTask::Encoder(task) = call.task() {
        check_head(task, reader.encoder, reader.name)?;
    }
    Ok(match call {
        PipelineCall::TextClassification { inputs, options } => {
            PipelineAnswer::Labels(text_classification::run(reader, inputs, *options)?)
        }
        PipelineCall::TokenClassification { inputs, options } => {
            PipelineAnswer::Entities(token_classification::run(reader, inputs, options)?)
        }
        PipelineCall::QuestionAnswering { inputs, options } => {
            PipelineAnswer::Answers(question_answering::run(reader, inputs, options)?)
        }
        PipelineCall::ZeroShotClassification { inputs, options } => {
            PipelineAnswer::Rankings(zero_shot_classification::run(reader, inputs, options)?)
        }
        PipelineCall::FillMask { inputs, options } => {
            PipelineAnswer::Masks(fill_mask::run(reader, inputs, options)?)
        }
        // Other kinds of models write: `Writer`.
        PipelineCall::Text2Text { .. } => PipelineAnswer::Texts(Vec::new()),
        PipelineCall::TextGeneration { .. } => PipelineAnswer::Generations(Vec::new()),
        PipelineCall::FeatureExtraction { inputs, options } => {
            PipelineAnswer::Features(feature_extraction::run(reader, inputs, *options)?)
        }
        PipelineCall::Embeddings {
            inputs,
            normalize,
            prompt,
        } => {
            let sentences = sentences.map_err(Failure::clone)?;
            let vectors = embeddings::run(reader, sentences, (inputs, prompt))?;
            PipelineAnswer::Embeddings(embeddings::array(vectors, *normalize)?)
        }
    })
}

/// Fails when the encoder's head is not the task's. transformers would go on with a head of random
/// weights, and warn.
pub fn check_head(task: EncoderTask, encoder: &dyn TextEncoder, name: &str) -> Result<(), Failure> {
    let Some(needed) = head_of(task).filter(|needed| !encoder.has_head(*needed)) else {
        return Ok(());
    };
    let has = encoder.head().map_or_else(
        || "no head".to_owned(),
        |head| format!("the head of a model `{}`", head.class()),
    );
    Err(failures::invalid(format!(
        "`{name}` cannot run `{}`: it has {has}, the task needs that of a model `{}`",
        task.name(),
        needed.class()
    ))
    .hint("choose a model that was trained for the task"))
}

/// The head that a task needs.
fn head_of(task: EncoderTask) -> Option<HeadKind> {
    match task {
        EncoderTask::TextClassification | EncoderTask::ZeroShotClassification => {
            Some(HeadKind::Sequence)
        }
        EncoderTask::TokenClassification => Some(HeadKind::Token),
        EncoderTask::QuestionAnswering => Some(HeadKind::Question),
        EncoderTask::FillMask => Some(HeadKind::Masked),
        EncoderTask::FeatureExtraction => None,
    }
}

/// A model and its tokenizer at work.
pub struct Reader<'a> {
    /// What it is done for.
    pub task: PipelineTask,
    /// What a user calls the model.
    pub name: &'a str,
    /// The model.
    pub encoder: &'a dyn TextEncoder,
    /// The tokenizer.
    pub tokenizer: &'a Arc<Tokenizer>,
    /// Sequences to compute at once.
    pub batch_size: Option<usize>,
    /// Ends the work.
    pub cancel: &'a Cancel,
    /// Gets notices.
    pub sink: &'a mut dyn FnMut(Event),
}

/// Which tokens' outputs are wanted.
#[derive(Clone, Copy, Debug)]
enum At<'a> {
    /// The head's, of the sequence.
    Whole,
    /// The head's, of each token.
    Each,
    /// The head's, of each token that is this one.
    Token(u32),
    /// The hidden states of each token.
    States,
    /// What becomes of the hidden states, those of the first so many tokens left out.
    Pooled(&'a Pooling, usize),
}

impl Reader<'_> {
    /// Options that cut what is longer than the model reads, or not.
    fn options(&self, truncation: bool) -> EncodeOptions {
        let mut options = EncodeOptions::default();
        if truncation {
            options.truncation = Truncation::LongestFirst;
            options.max_length = self.longest();
        }
        options
    }

    /// Tokens of a sequence at most: what the tokenizer says. Where it does not say, transformers cuts
    /// nothing, and a model with a table of positions fails; here the model is asked.
    fn longest(&self) -> Option<u32> {
        let own = self.tokenizer.info().model_max_length;
        own.or_else(|| self.encoder.limit().map(|limit| limit as u32))
    }

    fn encode(&self, input: &TextInput, options: &EncodeOptions) -> Result<Sequence, Failure> {
        self.cancel.check()?;
        let mut windows = self.tokenizer.windows(input, options)?;
        Ok(windows.swap_remove(0))
    }

    fn encode_all(&self, texts: &[String], truncation: bool) -> Result<Vec<Sequence>, Failure> {
        let options = self.options(truncation);
        texts
            .iter()
            .map(|text| self.encode(&text.into(), &options))
            .collect()
    }

    fn notice(&mut self, notice: String) {
        (self.sink)(Event::Notice(notice));
    }

    /// What the model makes of sequences: for each the outputs of the tokens that are wanted.
    fn outputs(&mut self, sequences: &[Sequence], at: At) -> Result<Vec<Vec<Vec<f32>>>, Failure> {
        sequences.iter().try_for_each(|one| self.check(one))?;
        self.tell_length(sequences);
        let mut outputs = Vec::with_capacity(sequences.len());
        let mut rest = sequences;
        while !rest.is_empty() {
            self.cancel.check()?;
            let (batch, after) = rest.split_at(self.next_batch(rest));
            outputs.extend(self.batch(batch, at)?);
            rest = after;
        }
        Ok(outputs)
    }

    fn next_batch(&self, sequences: &[Sequence]) -> usize {
        if self.encoder.mixes_tokens() {
            return 1;
        }
        if let Some(size) = self.batch_size {
            return size.clamp(1, sequences.len());
        }
        let mut tokens = 0;
        let fits = sequences.iter().take(BATCH_SEQUENCES).take_while(|one| {
            tokens += one.len();
            tokens <= BATCH_TOKENS
        });
        fits.count().max(1)
    }

    fn batch(&self, sequences: &[Sequence], at: At) -> Result<Vec<Vec<Vec<f32>>>, Failure> {
        let zeros: Vec<Vec<u32>> = sequences.iter().map(|one| vec![0; one.len()]).collect();
        let has_types = self.tokenizer.has_token_types();
        let rows = sequences.iter().zip(&zeros).map(|(one, zeros)| Row {
            ids: one.get_ids(),
            token_types: if has_types { one.get_type_ids() } else { zeros },
        });
        let rows: Vec<Row> = rows.collect();
        let states = self
            .encoder
            .hidden_states(&rows)
            .map_err(failures::internal)?;
        // Which states are looked at, and how many of them each sequence has.
        let (mut wanted, mut counts, mut start) = (Vec::new(), Vec::new(), 0_u32);
        for row in &rows {
            let before = wanted.len();
            let own = (start..).zip(row.ids);
            let own = own.filter(|(_, id)| match at {
                At::Token(wanted) => **id == wanted,
                _ => true,
            });
            wanted.extend(own.map(|(at, _)| at));
            counts.push(match at {
                At::Whole | At::Pooled(..) => 1,
                _ => wanted.len() - before,
            });
            start += row.ids.len() as u32;
        }
        let outputs = self
            .select((&states, &rows), wanted, at)
            .map_err(failures::internal)?;
        let mut outputs = outputs.into_iter();
        Ok(counts
            .into_iter()
            .map(|count| outputs.by_ref().take(count).collect())
            .collect())
    }

    /// Outputs of the states at these places, or of each sequence.
    fn select(
        &self,
        (states, rows): (&Tensor, &[Row]),
        wanted: Vec<u32>,
        at: At,
    ) -> candle_core::Result<Vec<Vec<f32>>> {
        let outputs = match at {
            At::States => states.clone(),
            At::Pooled(pooling, skipped) => {
                return pooling.of_rows(states, &lengths(rows), skipped);
            }
            At::Whole => self.logits(&self.encoder.pooled(states, rows)?)?,
            At::Each => self.logits(states)?,
            At::Token(_) if wanted.is_empty() => return Ok(Vec::new()),
            At::Token(_) => {
                let wanted = Tensor::new(wanted, states.device())?;
                if self.encoder.mixes_tokens() {
                    self.logits(states)?.index_select(&wanted, 1)?
                } else {
                    self.logits(&states.index_select(&wanted, 1)?)?
                }
            }
        };
        outputs.squeeze(0)?.to_vec2::<f32>()
    }

    /// What the task's head makes of states.
    fn logits(&self, states: &Tensor) -> candle_core::Result<Tensor> {
        let kind = match self.task {
            PipelineTask::Encoder(task) => head_of(task),
            PipelineTask::Text2Text(_) | PipelineTask::TextGeneration => None,
        };
        match kind {
            Some(kind) => self.encoder.logits(kind, states),
            None => candle_core::bail!("`{}` looks at no head", self.task.name()),
        }
    }
}
