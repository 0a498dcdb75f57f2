//! What a model can read of a sequence: how long it may be, which tokens and types of tokens its tables have. What
//! goes beyond is refused before it is computed, or told where the tokenizer alone says so.

use tokenizers::Encoding as Sequence;
use wire::{
    Failure,
    pipeline::{EncoderTask, PipelineTask},
};

use super::Reader;
use crate::failures;

impl Reader<'_> {
    /// Fails on a sequence that the model cannot read.
    pub(super) fn check(&self, sequence: &Sequence) -> Result<(), Failure> {
        self.check_length(sequence)?;
        self.check_tokens(sequence)?;
        if self.tokenizer.has_token_types() {
            self.check_types(sequence)?;
        }
        Ok(())
    }

    /// What is told of texts that are longer than the tokenizer says, by a model that reads them all the
    /// same: transformers' tokenizers warn of one.
    pub(super) fn tell_length(&mut self, sequences: &[Sequence]) {
        let most = self.tokenizer.info().model_max_length;
        let lengths = sequences.iter().map(Sequence::len);
        let longest = lengths.max().unwrap_or(0);
        if let Some(notice) = most.and_then(|most| too_long(longest, most)) {
            self.notice(notice);
        }
    }

    fn check_length(&self, sequence: &Sequence) -> Result<(), Failure> {
        let length = sequence.len();
        if let Some(longest) = self.encoder.limit().filter(|limit| length > *limit) {
            return Err(failures::invalid(format!(
                "the text has {length} tokens, `{}` reads {longest} at most",
                self.name
            ))
            .hint(self.shorter()));
        }
        if length == 0 {
            return Err(
                failures::invalid("the text has no tokens").hint("give a text that is not empty")
            );
        }
        Ok(())
    }

    /// Tokens that were added to the tokenizer alone have no vector in the model.
    fn check_tokens(&self, sequence: &Sequence) -> Result<(), Failure> {
        let known = self.encoder.sizes().vocab_size;
        let mut ids = sequence.get_ids().iter().zip(sequence.get_tokens());
        let Some((id, token)) = ids.find(|(id, _)| **id as usize >= known) else {
            return Ok(());
        };
        Err(failures::invalid(format!(
            "the token `{token}` has the id {id}, which `{}` has no vector of: its `vocab_size` is {known}",
            self.name
        ))
        .hint(
            "its tokenizer may be another model's, or tokens were added to it and not to the model: \
             `model.resize_token_embeddings(len(tokenizer))` in transformers, then save both",
        ))
    }

    fn check_types(&self, sequence: &Sequence) -> Result<(), Failure> {
        let types = sequence.get_type_ids().iter().copied().max().unwrap_or(0);
        let Some(known) = self.encoder.token_types() else {
            return Ok(());
        };
        if (types as usize) < known {
            return Ok(());
        }
        Err(failures::invalid(format!(
            "the text has tokens of type {types}, which `{}` has no vector of: its `type_vocab_size` is {known}",
            self.name
        ))
        .hint(
            "choose a model that was trained on pairs of texts, or give no pair",
        ))
    }

    /// What makes a text shorter, in the task's own arguments.
    fn shorter(&self) -> &'static str {
        let PipelineTask::Encoder(task) = self.task else {
            return "shorten it";
        };
        match task {
            EncoderTask::TextClassification
            | EncoderTask::FillMask
            | EncoderTask::FeatureExtraction => "shorten it, or let it be cut: `truncation(true)`",
            EncoderTask::QuestionAnswering => "lower `max_seq_len`",
            EncoderTask::ZeroShotClassification => "shorten the label or the hypothesis template",
            EncoderTask::TokenClassification => "shorten it",
        }
    }
}

/// What transformers' tokenizers say of a sequence that is longer than they say the model reads.
pub(super) fn too_long(length: usize, most: u32) -> Option<String> {
    (length > most as usize).then(|| {
        format!(
            "Token indices sequence length is longer than the specified maximum sequence length for this model \
             ({length} > {most}). The model may make less of it than of shorter texts."
        )
    })
}
