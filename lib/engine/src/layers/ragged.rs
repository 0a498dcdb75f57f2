//! Attention in which every token of a row sees every other, for rows of different lengths that lie one behind the
//! other, wherever their tensors are.

use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::composed;
use crate::kernels::RaggedAttention;

/// Heads of such attention.
pub(crate) struct RaggedHeads<'a> {
    /// Tokens of each row.
    pub lengths: &'a Arc<[usize]>,
    /// Heads.
    pub heads: usize,
    /// Multiplies the scores.
    pub scale: f32,
    /// For each row what distances add to its scores, by the key's place less the query's, the smallest first:
    /// `(heads, 2 * tokens - 1)`; those of shorter rows are the middle of longer ones'. Empty where they add nothing.
    pub biases: &'a [Arc<[f32]>],
}

impl RaggedHeads<'_> {
    /// Of `q`, `k` and `v` `(1, tokens, heads * head_dim)`, however far apart tokens lie; to the same shape.
    pub fn forward(&self, [q, k, v]: &[Tensor; 3]) -> Result<Tensor> {
        if composed::serves(q) {
            let longest = self.biases.iter().max_by_key(|bias| bias.len());
            let places = match longest {
                Some(bias) => composed::Places::Bias(bias),
                None => composed::Places::Unknown,
            };
            let rows = composed::Rows::new(self.lengths, (self.heads, self.scale));
            return rows.attend([q, k, v], &places);
        }
        let attention = RaggedAttention {
            lengths: Arc::clone(self.lengths),
            heads: self.heads,
            scale: self.scale,
            biases: self.biases.to_vec(),
        };
        q.apply_op3_no_bwd(k, v, &attention)
    }
}
