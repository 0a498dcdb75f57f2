//! Whether a load fits in main memory, decided before its first byte is read. Loads that are under
//! way count with what they have still to take, so that two that fit one by one are not both let in.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use wire::{
    Failure, FailureKind,
    model::{DType, Resident},
};

use crate::{
    bitsandbytes::{Plan, memory as planned},
    families, memory,
    weights::{Description, Weights},
};

/// Main memory that a load must leave free for the rest of the machine.
pub(super) const HEADROOM: u64 = 64 << 20;
/// Tokens of conversation whose keys and values must fit beside the weights. A cache grows as it is
/// used; a model that leaves no room for its first answer is of no use.
const EXPECTED_TOKENS: u64 = 2048;

/// What a model will take.
#[derive(Clone, Debug)]
pub struct Need {
    /// What a user calls it.
    pub name: String,
    /// Bytes of its weights.
    pub weights: u64,
    /// Bytes of the keys and values of [`Self::tokens`] tokens.
    pub cache: u64,
    /// Tokens that are planned for.
    pub tokens: u64,
}

impl Need {
    /// What these weights will take, from their sizes and their description, and from how they are to
    /// be quantised; keys and values in `cache_dtype`.
    pub fn of(name: &str, weights: &Weights, plan: Option<&Plan>, cache_dtype: DType) -> Self {
        let bytes = plan.map_or_else(|| weights.bytes(), |plan| planned(weights, plan));
        let shape = CacheShape::read(&weights.description).unwrap_or_default();
        let tokens = shape.context.min(EXPECTED_TOKENS);
        Self {
            name: name.to_owned(),
            weights: bytes,
            cache: shape.bytes_per_token(cache_dtype).saturating_mul(tokens),
            tokens,
        }
    }

    /// Bytes in all.
    pub fn bytes(&self) -> u64 {
        self.weights.saturating_add(self.cache)
    }
}

/// What determines the size of a cache; zeros where a description does not say.
#[derive(Default)]
struct CacheShape {
    layers: u64,
    kv_heads: u64,
    head_dim: u64,
    context: u64,
}

impl CacheShape {
    /// Keys and values.
    fn bytes_per_token(&self, dtype: DType) -> u64 {
        let bytes: u64 = match dtype {
            DType::F32 => 4,
            DType::F16 | DType::BF16 => 2,
        };
        [self.layers, self.kv_heads, self.head_dim]
            .iter()
            .fold(2 * bytes, |product, &size| product.saturating_mul(size))
    }

    fn read(description: &Description) -> Option<Self> {
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

/// The memory that is promised to loads.
pub struct Room {
    promised: Mutex<Vec<Arc<AtomicU64>>>,
    /// Bytes that are available; `None` where the system does not say, and all is let in.
    available: Box<dyn Fn() -> Option<u64> + Send + Sync>,
}

impl Default for Room {
    fn default() -> Self {
        Self::with_memory(memory::available_bytes)
    }
}

/// Why a load is not let in.
#[derive(Debug)]
pub struct Refused {
    /// What a user is told.
    pub failure: Failure,
    /// Bytes that would have to be freed.
    pub missing: u64,
}

/// Memory for one load, given back when this is dropped. What the load has taken already shows in
/// the system's own figures and is promised no longer.
pub struct Promise<'a> {
    room: &'a Room,
    need: Need,
    left: Arc<AtomicU64>,
}

impl Room {
    /// Room by what a function says is available.
    pub fn with_memory(available: impl Fn() -> Option<u64> + Send + Sync + 'static) -> Self {
        Self {
            promised: Mutex::default(),
            available: Box::new(available),
        }
    }

    /// Promises a load its memory, or says what is in the way.
    pub fn promise(
        &self,
        need: Need,
        residents: impl Fn() -> Vec<Resident>,
    ) -> Result<Promise<'_>, Refused> {
        let mut promised = self.promised.lock().unwrap_or_else(PoisonError::into_inner);
        let others = promised
            .iter()
            .map(|left| left.load(Ordering::Acquire))
            .sum();
        if let Some(available) = (self.available)() {
            let wanted = need.bytes().saturating_add(HEADROOM).saturating_add(others);
            if wanted > available {
                return Err(Refused {
                    failure: refusal(&need, available, others, &residents()),
                    missing: wanted - available,
                });
            }
        }
        let left = Arc::new(AtomicU64::new(need.bytes()));
        promised.push(Arc::clone(&left));
        Ok(Promise {
            room: self,
            need,
            left,
        })
    }
}

impl Promise<'_> {
    /// Tells how many bytes of the weights have been read.
    pub fn taken(&self, bytes: u64) {
        let left = self.need.bytes().saturating_sub(bytes);
        self.left.store(left, Ordering::Release);
    }
}

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        let promised = self.room.promised.lock();
        promised
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|left| !Arc::ptr_eq(left, &self.left));
    }
}

fn refusal(need: &Need, available: u64, others: u64, residents: &[Resident]) -> Failure {
    let mut message = format!(
        "cannot load `{}`: it takes {}",
        need.name,
        megabytes(need.weights)
    );
    if need.cache > 0 {
        message = format!(
            "{message}, and {} for a conversation of {} tokens",
            megabytes(need.cache),
            need.tokens
        );
    }
    message = format!(
        "{message}; {} of memory are available",
        megabytes(available)
    );
    if others > 0 {
        let others = megabytes(others);
        message = format!("{message}, of which loads under way will take {others}");
    }
    let resident: Vec<String> = residents
        .iter()
        .map(|model| format!("`{}` ({})", model.info.name, megabytes(model.info.bytes)))
        .collect();
    let (resident, hint) = if resident.is_empty() {
        (
            "nothing".to_owned(),
            "take a smaller model or a stronger quantisation",
        )
    } else {
        (
            resident.join(", "),
            "unload a model that is not needed, or take a stronger quantisation",
        )
    };
    Failure::new(
        FailureKind::OutOfMemory,
        format!("{message}; resident: {resident}"),
    )
    .hint(hint)
}

/// For a sentence.
pub(super) fn megabytes(bytes: u64) -> String {
    format!("{:.0} MB", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1_000_000;

    fn need(weights: u64) -> Need {
        Need {
            name: "m".to_owned(),
            weights,
            cache: 100 * MB,
            tokens: 2048,
        }
    }

    #[test]
    fn a_load_under_way_counts_with_what_it_has_still_to_take() {
        let figure = Arc::new(AtomicU64::new(0));
        let told = Arc::clone(&figure);
        let room = Room::with_memory(move || Some(told.load(Ordering::Acquire)));
        let promise = |weights, available| {
            figure.store(available, Ordering::Release);
            let promised = room.promise(need(weights), Vec::new);
            promised.map_err(|refused| refused.failure)
        };
        let first = promise(500 * MB, 1_000 * MB).unwrap_or_else(|refused| panic!("{refused:?}"));
        let refused = promise(500 * MB, 1_000 * MB).err().expect("not both");
        assert_eq!(refused.kind, FailureKind::OutOfMemory);
        assert_eq!(
            refused.message,
            "cannot load `m`: it takes 500 MB, and 100 MB for a conversation of 2048 tokens; \
             1000 MB of memory are available, of which loads under way will take 600 MB; \
             resident: nothing"
        );
        // Its weights are read now, and gone from what is available.
        first.taken(500 * MB);
        assert!(promise(500 * MB, 700 * MB).is_err(), "its cache is to come");
        assert!(promise(500 * MB, 900 * MB).is_ok());
        drop(first);
        assert!(promise(500 * MB, 700 * MB).is_ok(), "nothing is promised");
    }

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
