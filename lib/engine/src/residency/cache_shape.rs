//! What determines how much the keys and values of a conversation take, by the description of a model.

use wire::model::DType;

use crate::{families, weights::Description};

/// Tokens of conversation whose keys and values must fit beside the weights. A cache grows as it is
/// used; a model that leaves no room for its first answer is of no use.
pub(super) const EXPECTED_TOKENS: u64 = 2048;

/// What determines the size of a cache; zeros where a description does not say.
#[derive(Default)]
pub(super) struct CacheShape {
    layers: u64,
    kv_heads: u64,
    head_dim: u64,
    /// Tokens of the longest context.
    pub context: u64,
}

impl CacheShape {
    /// Bytes of the keys and values of a token.
    pub fn bytes_per_token(&self, dtype: DType) -> u64 {
        let bytes: u64 = match dtype {
            DType::F32 => 4,
            DType::F16 | DType::BF16 => 2,
        };
        [self.layers, self.kv_heads, self.head_dim]
            .iter()
            .fold(2 * bytes, |product, &size| product.saturating_mul(size))
    }

    /// By a description; `None` where it does not say.
    pub fn read(description: &Description) -> Option<Self> {
        match description {
            Description::Gguf(metadata) => {
                let family = metadata.text("general.architecture")?;
                let number = |key: &str| {
                    let count = metadata.count(&format!("{family}.{key}"))?;
                    Some(count as u64)
                };
                let heads = number("attention.head_count")?;
                Some(Self {
                    layers: number("block_count")?,
                    kv_heads: number("attention.head_count_kv").unwrap_or(heads),
                    head_dim: number("attention.key_length")
                        .or_else(|| number("embedding_length")?.checked_div(heads))?,
                    context: number("context_length")?,
                })
            }
            Description::Json(config) => {
                if let Some(shape) = families::cache_shape(description) {
                    let [layers, kv_heads, head_dim, context] = shape.map(|size| size as u64);
                    return Some(Self {
                        layers,
                        kv_heads,
                        head_dim,
                        context,
                    });
                }
                // Encoder-decoders, and what only has its heads.
                let number = |key: &str| config[key].as_u64();
                let heads = number("num_attention_heads")?;
                Some(Self {
                    layers: number("num_hidden_layers")?,
                    kv_heads: number("num_key_value_heads").unwrap_or(heads),
                    head_dim: number("head_dim")
                        .or_else(|| number("hidden_size")?.checked_div(heads))?,
                    context: number("max_position_embeddings").unwrap_or(EXPECTED_TOKENS),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_counts_layers_heads_and_tokens() {
        let config = serde_json::json!({
            "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
            "hidden_size": 576, "max_position_embeddings": 8192,
        });
        let shape = CacheShape::read(&Description::Json(config)).expect("says all");
        // 30 layers, keys and values, 3 heads of 64 values of 4 bytes.
        assert_eq!(
            (shape.bytes_per_token(DType::F32), shape.context),
            (46_080, 8192)
        );
        assert_eq!(shape.bytes_per_token(DType::BF16), 23_040);
        // Keys of their own, and a language model within a larger one.
        let gpt2 = serde_json::json!({
            "model_type": "gpt2", "n_layer": 12, "n_head": 12, "n_embd": 768, "n_positions": 1024,
            "vocab_size": 50_257,
        });
        let shape = CacheShape::read(&Description::Json(gpt2)).expect("says all");
        assert_eq!(
            (shape.bytes_per_token(DType::F32), shape.context),
            (73_728, 1024)
        );
        let gemma3 = serde_json::json!({
            "model_type": "gemma3",
            "text_config": {
                "model_type": "gemma3_text", "num_hidden_layers": 2, "num_attention_heads": 4,
                "num_key_value_heads": 1, "head_dim": 256, "hidden_size": 640,
                "intermediate_size": 2048, "vocab_size": 1000, "max_position_embeddings": 32_768,
                "sliding_window": 512,
            },
        });
        let shape = CacheShape::read(&Description::Json(gemma3)).expect("says all");
        assert_eq!(
            (shape.bytes_per_token(DType::F32), shape.context),
            (4096, 32_768)
        );
    }
}
