//! The class of transformers that a model's weights are of, by what it has that its files do not tell: which
//! layers stay as they are when others are quantised, which tensors are none of its parameters, what it
//! registers beside them. What a class is called and how its layers compute is the families' matter.

use std::collections::BTreeSet;

use crate::{encoders, families, seq2seq, weights::Weights};

/// What is known of a class.
#[derive(Clone, Debug, Default)]
pub struct Class {
    /// What the names of its layers begin with, where files may leave it out.
    pub base: &'static str,
    /// Layers that are not quantised when nothing else is asked for (`get_keys_to_not_convert` of 4.57):
    /// the output layer, what is tied, and the last layer of all.
    pub kept: Vec<String>,
    /// Last parts of the names of layers that stay in f32 (`_keep_in_fp32_modules`).
    pub in_f32: &'static [&'static str],
    /// Tensors of the files that are no parameters of it: other heads, and second names of one table.
    pub foreign: BTreeSet<String>,
    /// Values of the model's type that it has beside those of the files.
    pub computed: usize,
    /// Bytes of its buffers of other types: positions, frequencies.
    pub buffer_bytes: usize,
}

impl Class {
    /// Of some weights.
    pub fn of(weights: &Weights) -> Self {
        encoders::class(weights)
            .or_else(|| seq2seq::class(weights))
            .unwrap_or_else(|| families::class(weights))
    }

    /// Whether a tensor of the files is one of its parameters or buffers.
    pub fn has(&self, tensor: &str) -> bool {
        !self.foreign.contains(tensor)
    }

    /// Bytes of what it has beside the tensors of the files, where a float of the model has so many.
    pub fn bytes_beside(&self, float_bytes: usize) -> u64 {
        (self.computed * float_bytes + self.buffer_bytes) as u64
    }
}
