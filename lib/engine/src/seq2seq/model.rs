//! The encoder-decoder that all architectures are. To generation it is a decoder like any other, whose
//! caches hold what the encoder made of their sources.

use std::sync::Arc;

use candle_core::{DType, Result, Tensor, bail};
use wire::model::ModuleInfo;

use super::{embed::Embed, encoder::Encoder, plan::NormPlace};
use crate::{
    families::{CausalLm, ModelSizes, Part, SourceReader, check_room},
    layers::{
        Attention, AttentionShape, CrossAttention, FeedForward, KvCache, LayerCache, Linear,
        Memory, Norm, RelativeBias, Size, Step, join, sum,
    },
};

/// A loaded encoder-decoder.
#[derive(Debug)]
pub struct Seq2Seq {
    pub(super) architecture: &'static str,
    pub(super) sizes: ModelSizes,
    pub(super) encoder: Encoder,
    /// Tokens that the encoder knows.
    pub(super) source_vocabulary: usize,
    /// Tokens that either half reads at most.
    pub(super) longest: Option<usize>,
    pub(super) embed: Embed,
    pub(super) bias: Option<RelativeBias>,
    pub(super) layers: Vec<DecoderLayer>,
    pub(super) norm: Option<Norm>,
    pub(super) norms: NormPlace,
    pub(super) shape: AttentionShape,
    /// Multiplies the last states.
    pub(super) head_scale: Option<f64>,
    pub(super) lm_head: Linear,
    /// `(vocabulary)`.
    pub(super) logits_bias: Option<Tensor>,
    pub(super) bytes: u64,
    /// Whether what becomes of a token depends on which others are in its pass.
    pub(super) mixes_tokens: bool,
    /// Of the keys and values in the decoder's caches.
    pub(super) cache_dtype: DType,
    /// What `print(model)` shows.
    pub(super) modules: Option<ModuleInfo>,
}

/// One layer of the decoder.
#[derive(Debug)]
pub struct DecoderLayer {
    pub attention: Attention,
    pub attention_norm: Norm,
    pub cross: CrossAttention,
    pub cross_norm: Norm,
    pub feed_forward: FeedForward,
    pub norm: Norm,
}

impl CausalLm for Seq2Seq {
    fn architecture(&self) -> &'static str {
        self.architecture
    }

    fn sizes(&self) -> &ModelSizes {
        &self.sizes
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn modules(&self) -> Option<&ModuleInfo> {
        self.modules.as_ref()
    }

    fn source_reader(&self) -> Option<&dyn SourceReader> {
        Some(self)
    }

    fn is_on_card(&self) -> bool {
        self.embed.device.is_cuda()
    }

    fn position_limit(&self) -> Option<usize> {
        self.longest
    }

    fn new_batch_cache(&self, padding: &[usize]) -> KvCache {
        let AttentionShape {
            kv_heads, head_dim, ..
        } = self.shape;
        KvCache::new(self.layers.len(), kv_heads, head_dim, padding)
            .stored_as(self.cache_dtype)
            .expect("the loader takes f32, f16 and bf16 alone, and the cache is empty")
    }

    fn read(&self, parts: &mut [Part]) -> Result<(Tensor, Vec<Size>)> {
        self.pass(parts, &mut |_| {})
    }

    fn layer_states(&self, ids: &[u32], cache: &mut KvCache) -> Result<Vec<Tensor>> {
        let mut states = Vec::with_capacity(self.layers.len() + 1);
        let last = self.pass(&mut [Part { ids, cache }], &mut |state| {
            states.push(state.clone());
        })?;
        states.push(last.0);
        Ok(states)
    }

    fn logits(&self, hidden_states: &Tensor) -> Result<Tensor> {
        let logits = match self.head_scale {
            Some(scale) => self.lm_head.forward(&(hidden_states * scale)?)?,
            None => self.lm_head.forward(hidden_states)?,
        };
        match &self.logits_bias {
            Some(bias) => logits.broadcast_add(bias),
            None => Ok(logits),
        }
    }
}

impl SourceReader for Seq2Seq {
    fn vocab_size(&self) -> usize {
        self.source_vocabulary
    }

    fn longest(&self) -> Option<usize> {
        self.longest
    }

    fn states(&self, sources: &[&[u32]]) -> Result<Tensor> {
        self.encoder.forward(sources)
    }

    fn memory(&self, sources: &[&[u32]]) -> Result<Memory> {
        let lengths: Vec<usize> = sources.iter().map(|ids| ids.len()).collect();
        let states = self.states(sources)?;
        let layers = self.layers.iter();
        let layers = layers.map(|layer| layer.cross.memory(&states, &lengths));
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let padding = lengths.iter().map(|length| longest - length).collect();
        Ok(Memory::new(layers.collect::<Result<_>>()?, padding))
    }
}

impl Seq2Seq {
    /// Reads parts and shows what goes into each layer; a failure leaves the caches as they were.
    fn pass(
        &self,
        parts: &mut [Part],
        look: &mut dyn FnMut(&Tensor),
    ) -> Result<(Tensor, Vec<Size>)> {
        let before: Vec<usize> = parts.iter().map(|part| part.cache.len()).collect();
        let states = self.try_pass(parts, look);
        for (part, before) in parts.iter_mut().zip(before) {
            match states {
                Ok(_) => part.cache.note(part.ids),
                Err(_) => part.cache.truncate(before),
            }
        }
        states
    }

    fn try_pass(
        &self,
        parts: &mut [Part],
        look: &mut dyn FnMut(&Tensor),
    ) -> Result<(Tensor, Vec<Size>)> {
        let devices = vec![self.embed.device.clone(); self.layers.len()];
        check_room(parts, &devices)?;
        let vectors = parts.iter().map(|part| self.vectors(part));
        let (mut x, sizes) = join(vectors.collect::<Result<_>>()?)?;
        let steps: Vec<Step> = parts
            .iter()
            .zip(&sizes)
            .map(|(part, &size)| self.step(part.cache, size))
            .collect();
        let memories = parts.iter().map(|part| part.cache.memory().cloned());
        let Some(memories) = memories.collect::<Option<Vec<Memory>>>() else {
            bail!("a decoder was given no source to read");
        };
        let memories: Vec<&Memory> = memories.iter().collect();
        for (index, layer) in self.layers.iter().enumerate() {
            look(&x);
            let caches = parts.iter_mut();
            let mut caches: Vec<&mut LayerCache> =
                caches.map(|part| &mut part.cache.layers[index]).collect();
            let mut attend =
                |x: &Tensor, added_to| layer.attention.forward(x, &steps, &mut caches, added_to);
            let recall = |x: &Tensor| layer.cross.forward(x, &sizes, (&memories, index));
            x = if self.norms == NormPlace::Before {
                let x = attend(&layer.attention_norm.forward(&x)?, Some(&x))?;
                let y = recall(&layer.cross_norm.forward(&x)?)?;
                let x = sum(&x, &y)?;
                let normed = layer.norm.forward(&x)?;
                layer.feed_forward.forward(&normed, Some(&x))?
            } else {
                let y = attend(&x, None)?;
                let x = layer.attention_norm.forward_sum(&x, &y)?;
                let x = layer.cross_norm.forward_sum(&x, &recall(&x)?)?;
                layer
                    .norm
                    .forward_sum(&x, &layer.feed_forward.forward(&x, None)?)?
            };
        }
        let x = match &self.norm {
            Some(norm) => norm.forward(&x)?,
            None => x,
        };
        Ok((x, sizes))
    }

    /// What goes into the first layer, `(batch, tokens, hidden)`.
    fn vectors(&self, part: &Part) -> Result<Tensor> {
        let (batch, before) = (part.cache.batch(), part.cache.len());
        let tokens = part.ids.len() / batch.max(1);
        if tokens == 0 || tokens * batch != part.ids.len() {
            bail!("{} ids for {batch} rows", part.ids.len());
        }
        let rows = part.ids.chunks_exact(tokens);
        let rows = rows.map(|ids| self.embed.forward(ids, before));
        Tensor::cat(&rows.collect::<Result<Vec<_>>>()?, 0)
    }

    fn step(&self, cache: &KvCache, size: Size) -> Step<'static> {
        let bias = self.bias.as_ref();
        Step {
            size,
            caches: 1,
            rotaries: Vec::new(),
            padding: Arc::clone(cache.padding()),
            bias: bias.map(|bias| bias.by_distance(cache.len() + size.1)),
        }
    }
}
