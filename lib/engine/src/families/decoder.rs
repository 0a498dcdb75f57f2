//! The decoder that all families are: token vectors, layers of attention and feed-forward with norms
//! around them, a last norm, a head. What is absent in a family is `None` here.

use std::sync::Arc;

use candle_core::{DType, Device, DeviceLocation, Result, Tensor};
use wire::model::ModuleInfo;

use super::{CausalLm, ModelSizes, Part};
use crate::{
    cuda,
    layers::{
        Attention, AttentionShape, Embedding, FeedForward, KvCache, LayerCache, Linear, Norm,
        Normed, Rotary, Size, Span, Step, join, serves_on, sum,
    },
    memory,
    placement::Devices,
};

/// Tokens that are read at once when a sequence is read again.
const REREAD_CHUNK: usize = 256;

/// A loaded model.
pub struct Decoder {
    pub architecture: &'static str,
    pub sizes: ModelSizes,
    pub shape: AttentionShape,
    pub embed_tokens: Embedding,
    pub embedding_scale: Option<f64>,
    pub embed_positions: Option<Embedding>,
    pub layers: Vec<DecoderLayer>,
    pub norm: Norm,
    pub lm_head: Linear,
    pub logit_cap: Option<f64>,
    pub rotaries: Vec<Rotary>,
    pub bytes: u64,
    /// Of the keys and values in its caches.
    pub cache_dtype: DType,
    /// Of the layers and what follows them.
    pub devices: Devices,
    pub modules: Option<ModuleInfo>,
}

/// One layer.
pub struct DecoderLayer {
    pub input_norm: Norm,
    pub attention: Attention,
    pub post_attention_norm: Option<Norm>,
    pub feed_forward_norm: Norm,
    pub feed_forward: FeedForward,
    pub post_feed_forward_norm: Option<Norm>,
}

impl CausalLm for Decoder {
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

    fn position_limit(&self) -> Option<usize> {
        let table = self.embed_positions.as_ref();
        table.map(|_| self.sizes.context_length)
    }

    fn is_on_card(&self) -> bool {
        let mut devices = self.devices.layers.iter();
        devices.any(Device::is_cuda)
    }

    fn settled_length(&self) -> usize {
        let lengths = self.rotaries.iter().map(Rotary::settled_length);
        lengths.min().unwrap_or(usize::MAX)
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
        for part in &mut *parts {
            self.prepare(part.ids, part.cache)?;
        }
        check_room(parts, &self.devices.layers)?;
        self.pass(parts, &mut |_| {})
    }

    fn layer_states(&self, ids: &[u32], cache: &mut KvCache) -> Result<Vec<Tensor>> {
        self.prepare(ids, cache)?;
        let mut states = Vec::with_capacity(self.layers.len() + 1);
        let parts = &mut [Part { ids, cache }];
        check_room(parts, &self.devices.layers)?;
        let last = self.pass(parts, &mut |state| {
            states.push(state.clone());
        })?;
        states.push(last.0);
        Ok(states)
    }

    fn logits(&self, hidden_states: &Tensor) -> Result<Tensor> {
        let logits = self
            .lm_head
            .forward(&cuda::moved(hidden_states, &self.devices.head)?)?;
        match self.logit_cap {
            Some(cap) => (logits / cap)?.tanh()? * cap,
            None => Ok(logits),
        }
    }
}

impl Decoder {
    /// Checks ids against a cache, whose keys are turned by what the sequence will be then.
    fn prepare(&self, ids: &[u32], cache: &mut KvCache) -> Result<()> {
        let tokens = ids.len() / cache.batch().max(1);
        if tokens == 0 || tokens * cache.batch() != ids.len() {
            candle_core::bail!("{} ids for {} rows", ids.len(), cache.batch());
        }
        let longest = Span::after(cache, tokens).longest();
        let long = self.rotaries.iter().any(|rotary| rotary.is_long(longest));
        if cache.is_long != long {
            cache.is_long = long;
            self.read_again(cache)?;
        }
        Ok(())
    }

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
        let vectors = parts.iter().map(|part| self.vectors(part));
        let (mut x, sizes) = join(vectors.collect::<Result<_>>()?)?;
        let steps = self.steps(parts, &sizes);
        let layers = self.layers.iter().zip(&self.devices.layers);
        for (index, (layer, device)) in layers.enumerate() {
            look(&x);
            // Nothing is copied where it is there already.
            x = cuda::moved(&x, device)?;
            let caches = parts.iter_mut();
            let mut caches: Vec<&mut LayerCache> =
                caches.map(|part| &mut part.cache.layers[index]).collect();
            x = layer.forward(&x, &steps, &mut caches)?;
        }
        let x = cuda::moved(&x, &self.devices.norm)?;
        Ok((self.norm.forward(&x)?, sizes))
    }

    /// What layers share, part by part; on cards single tokens of several sequences are one part.
    fn steps(&self, parts: &[Part], sizes: &[Size]) -> Vec<Step<'_>> {
        let joins = self.devices.layers.iter().all(serves_on);
        let mut steps: Vec<Step> = Vec::with_capacity(parts.len());
        for (part, &size) in parts.iter().zip(sizes) {
            let step = self.step(part.cache, size);
            let apart = match steps.last_mut() {
                Some(last) if joins => last.join(step),
                _ => Some(step),
            };
            steps.extend(apart);
        }
        steps
    }

    /// What goes into the first layer, `(batch, tokens, hidden)`.
    fn vectors(&self, part: &Part) -> Result<Tensor> {
        let batch = part.cache.batch();
        let span = Span::after(part.cache, part.ids.len() / batch);
        let mut x = self.embed_tokens.forward(part.ids)?;
        x = x.reshape((batch, span.tokens, self.sizes.hidden_size))?;
        if let Some(scale) = self.embedding_scale {
            x = (x * scale)?;
        }
        if let Some(table) = &self.embed_positions {
            let rows = span.rows().into_iter().map(|row| {
                let ids: Vec<u32> = row.into_iter().map(|position| position as u32).collect();
                table.forward(&ids)
            });
            x = x.broadcast_add(&Tensor::cat(&rows.collect::<Result<Vec<_>>>()?, 0)?)?;
        }
        Ok(x)
    }

    fn step(&self, cache: &KvCache, size: Size) -> Step<'_> {
        let span = Span::after(cache, size.1);
        let rotaries = self.rotaries.iter();
        let turned = |rotary| (rotary, Rotary::positions(rotary, span, cache.is_long));
        Step {
            size,
            caches: 1,
            rotaries: rotaries.map(turned).collect(),
            padding: Arc::clone(cache.padding()),
            bias: None,
        }
    }

    /// Reads what the cache holds anew, after the frequencies of its positions have changed: what
    /// `Phi3ForCausalLM.prepare_inputs_for_generation` does at the same place.
    fn read_again(&self, cache: &mut KvCache) -> Result<()> {
        let (rows, length) = (cache.rows().to_vec(), cache.len());
        cache.truncate(0);
        for start in (0..length).step_by(REREAD_CHUNK) {
            let end = length.min(start + REREAD_CHUNK);
            let ids: Vec<u32> = rows
                .iter()
                .flat_map(|row| &row[start..end])
                .copied()
                .collect();
            let part = Part {
                ids: &ids,
                cache: &mut *cache,
            };
            self.pass(&mut [part], &mut |_| {})?;
        }
        Ok(())
    }
}

/// Fails where a device has no room for what the caches of a pass take more: before any of it is taken.
pub(crate) fn check_room(parts: &[Part], devices: &[Device]) -> Result<()> {
    // Of each device what is wanted, and what the largest old buffers take while they are copied.
    let mut wanted: Vec<(DeviceLocation, usize, usize)> = Vec::new();
    let mut longest = 0;
    for part in parts {
        let tokens = part.ids.len() / part.cache.batch().max(1);
        longest = longest.max(part.cache.len() + tokens);
        for ([more, old], device) in part.cache.growth(tokens).zip(devices) {
            let place = device.location();
            match wanted.iter_mut().find(|(known, ..)| *known == place) {
                Some((_, sum, beside)) => (*sum, *beside) = (*sum + more, old.max(*beside)),
                None => wanted.push((place, more, old)),
            }
        }
    }
    for (place, more, beside) in wanted {
        if more == 0 {
            continue;
        }
        let device = match place {
            DeviceLocation::Cuda { gpu_id } => wire::model::Device::Cuda(gpu_id as u32),
            _ => wire::model::Device::Cpu,
        };
        let what = || match parts.len() {
            1 => format!("the cache of a conversation of {longest} tokens"),
            count => format!("the caches of {count} conversations of up to {longest} tokens"),
        };
        memory::check(device, (more + beside) as u64, what)?;
    }
    Ok(())
}

impl DecoderLayer {
    /// From `(batch, tokens, hidden)`, several parts joined, to the same shape.
    fn forward(
        &self,
        x: &Tensor,
        steps: &[Step],
        caches: &mut [&mut LayerCache],
    ) -> Result<Tensor> {
        let normed = Normed {
            x,
            norm: Some(&self.input_norm),
        };
        let x = match &self.post_attention_norm {
            None => self.attention.forward(normed, steps, caches, Some(x))?,
            Some(norm) => {
                let y = self.attention.forward(normed, steps, caches, None)?;
                sum(x, &norm.forward(&y)?)?
            }
        };
        let normed = Normed {
            x: &x,
            norm: Some(&self.feed_forward_norm),
        };
        match &self.post_feed_forward_norm {
            None => self.feed_forward.forward(normed, Some(&x)),
            Some(norm) => {
                let y = self.feed_forward.forward(normed, None)?;
                sum(&x, &norm.forward(&y)?)
            }
        }
    }
}
