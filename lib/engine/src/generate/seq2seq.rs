//! Generation by a model with an encoder: the prompts are sources, which the encoder reads once; what is
//! continued is the one token that a decoder starts with. From there on all is as for any decoder.

use std::time::Instant;

use wire::{Failure, generate::GenerationConfig, host::Event};

use super::{About, Generator, Settings, Task, output::Outcome, sequences, settings::Situation};
use crate::{
    Cancel, failures,
    families::{ModelSizes, SourceReader},
};

/// Writes about sources.
pub(super) fn run(
    (generator, reader): (Generator, &dyn SourceReader),
    task: Task,
    (sources, negative): (&[Vec<u32>], Option<&[Vec<u32>]>),
    (cancel, started): (&Cancel, Instant),
    sink: &mut dyn FnMut(Event),
) -> Result<Outcome, Failure> {
    if task.assistant.is_some() {
        return Err(failures::unsupported(
            "assisted generation is for models without an encoder here",
        )
        .hint("leave `assistant_model` out"));
    }
    check_lengths(reader, sources)?;
    let start = start_token(task.config, &generator.defaults.config)?;
    let starts = vec![vec![start]; sources.len()];
    let sizes = ModelSizes {
        context_length: reader.longest().unwrap_or(usize::MAX),
        ..generator.model().sizes().clone()
    };
    if start as usize >= sizes.vocab_size {
        return Err(failures::invalid(format!(
            "`decoder_start_token_id` is {start}, the model knows {} tokens",
            sizes.vocab_size
        )));
    }
    let situation = Situation {
        prompt_length: 1,
        prompts: sources.len(),
        sizes: &sizes,
        has_assistant: false,
        streams: task.stream.is_some(),
        negative,
    };
    let (settings, notices) =
        Settings::resolve(task.config, &generator.defaults.config, situation)?;
    if settings.guidance.is_some() {
        return Err(failures::unsupported(
            "`guidance_scale` is for models without an encoder: without its prompt an encoder has nothing to \
             read",
        )
        .hint("leave `guidance_scale` out"));
    }
    for notice in notices {
        sink(Event::Notice(notice));
    }
    cancel.check()?;
    let ids: Vec<&[u32]> = sources.iter().map(Vec::as_slice).collect();
    let memory = reader.memory(&ids).map_err(failures::internal)?;
    let about = About {
        sources,
        memory: &memory,
    };
    let generator = Generator {
        about: Some(about),
        ..generator
    };
    sequences(
        (generator, task),
        &starts,
        &settings,
        (cancel, started),
        sink,
    )
}

fn check_lengths(reader: &dyn SourceReader, sources: &[Vec<u32>]) -> Result<(), Failure> {
    let longest = sources.iter().map(Vec::len).max().unwrap_or(0);
    match reader.longest() {
        Some(limit) if longest > limit => Err(failures::invalid(format!(
            "the text has {longest} tokens, the model reads {limit} at most"
        ))
        .hint("shorten it; a pipeline cuts it with `truncation(true)`")),
        _ => Ok(()),
    }
}

/// `_prepare_special_tokens`: what the decoder starts with.
fn start_token(request: &GenerationConfig, defaults: &GenerationConfig) -> Result<u32, Failure> {
    let config = request.clone().or(defaults);
    let start = config.decoder_start_token_id.or(config.bos_token_id);
    start.ok_or_else(|| {
        failures::invalid(
            "`decoder_start_token_id` or `bos_token_id` has to be defined for encoder-decoder generation",
        )
        .hint("set `decoder_start_token_id`")
    })
}
