//! What a model computes of prompts without continuing them, for whoever wants to look inside.

use candle_core::{Result as TensorResult, Tensor};
use wire::{Failure, array::Array, generate::Forward};

use super::{batch::Batch, output::MOST_BYTES};
use crate::{Cancel, failures, families::CausalLm};

/// Tokens of a row that are read at once.
const CHUNK: usize = 256;

/// Logits of each token, and with `output_hidden_states` what each layer makes of it. Positions count from each
/// prompt's first token, as in `generate`; `model(**inputs)` of transformers counts padding, too, which changes what
/// GPT-2 computes of the shorter prompts, whose positions are learned.
pub fn run(
    model: &dyn CausalLm,
    batch: Batch,
    output_hidden_states: bool,
    cancel: &Cancel,
) -> Result<Forward, Failure> {
    check_size(model, &batch, output_hidden_states)?;
    let length = batch.length();
    let mut cache = model.new_batch_cache(&batch.padding);
    cache.plan(length);
    let mut logits = Vec::new();
    let mut states: Vec<Vec<Tensor>> = Vec::new();
    for start in (0..length).step_by(CHUNK) {
        cancel.check()?;
        let end = length.min(start + CHUNK);
        let rows = batch.rows.iter().flat_map(|row| &row[start..end]);
        let ids: Vec<u32> = rows.copied().collect();
        // Each (batch, tokens, hidden)
        let layers = model
            .layer_states(&ids, &mut cache)
            .map_err(failures::internal)?;
        if let Some(last) = layers.last() {
            logits.push(model.logits(last).map_err(failures::internal)?);
        }
        if output_hidden_states {
            states.push(layers);
        }
    }
    let layers = states.first().map_or(0, Vec::len);
    let hidden_states = (0..layers)
        .map(|layer| {
            let parts: Vec<Tensor> = states.iter().map(|part| part[layer].clone()).collect();
            array(&parts)
        })
        .collect::<TensorResult<_>>()
        .map_err(failures::internal)?;
    let mask = |padding: &usize| {
        let tokens = (0..length).map(|at| u32::from(at >= *padding));
        tokens.collect()
    };
    Ok(Forward {
        attention_mask: batch.padding.iter().map(mask).collect(),
        logits: array(&logits).map_err(failures::internal)?,
        hidden_states,
        input_ids: batch.rows,
    })
}

/// Parts along the tokens as one array.
fn array(parts: &[Tensor]) -> TensorResult<Array> {
    let whole = Tensor::cat(parts, 1)?;
    let values = whole.flatten_all()?.to_vec1::<f32>()?;
    Ok(Array::new(whole.dims().to_vec(), values).unwrap_or_default())
}

fn check_size(model: &dyn CausalLm, batch: &Batch, with_states: bool) -> Result<(), Failure> {
    let sizes = model.sizes();
    let tokens = batch.rows.len() * batch.length();
    if tokens == 0 {
        return Err(failures::invalid("the prompt has no tokens")
            .hint("a model reads at least one token; give it some text"));
    }
    if batch.length() > sizes.context_length {
        return Err(failures::invalid(format!(
            "the prompt has {} tokens, the model's context holds {}",
            batch.length(),
            sizes.context_length
        ))
        .hint("shorten the prompt, or take a model with a longer context"));
    }
    let states = if with_states {
        (sizes.layers + 1) * sizes.hidden_size
    } else {
        0
    };
    let bytes = 4 * tokens * (sizes.vocab_size + states);
    if bytes > MOST_BYTES {
        return Err(failures::invalid(format!(
            "the logits of {tokens} tokens take {} MiB, more than the {} MiB that an answer can carry",
            bytes >> 20,
            MOST_BYTES >> 20
        ))
        .hint("give fewer or shorter prompts"));
    }
    Ok(())
}
