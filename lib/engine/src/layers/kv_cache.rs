//! Keys and values of the tokens a model has read. They are written in place and the buffers grow by
//! blocks, so that a token costs its own bytes and not those of all before it.

use candle_core::{DType, Device, Result, Tensor};

/// Positions by which buffers grow at least.
const BLOCK: usize = 256;

/// The cache of one sequence: one [`LayerCache`] a decoder layer.
#[derive(Debug)]
pub struct KvCache {
    /// One a layer, in order.
    pub layers: Vec<LayerCache>,
}

impl KvCache {
    /// An empty cache for keys and values of shape `(1, kv_heads, tokens, head_dim)`.
    pub fn new(layers: usize, kv_heads: usize, head_dim: usize) -> Self {
        let layer = || LayerCache {
            buffers: None,
            kv_heads,
            head_dim,
            length: 0,
        };
        Self {
            layers: (0..layers).map(|_| layer()).collect(),
        }
    }

    /// Number of tokens it holds.
    pub fn len(&self) -> usize {
        self.layers.first().map_or(0, |layer| layer.length)
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Keys and values of one layer.
#[derive(Debug)]
pub struct LayerCache {
    /// Each `(1, kv_heads, capacity, head_dim)`.
    buffers: Option<(Tensor, Tensor)>,
    kv_heads: usize,
    head_dim: usize,
    length: usize,
}

impl LayerCache {
    /// Appends keys and values `(1, kv_heads, tokens, head_dim)`, contiguous, and gives all there are
    /// as views `(1, kv_heads, length, head_dim)`.
    pub fn append(&mut self, keys: &Tensor, values: &Tensor) -> Result<(Tensor, Tensor)> {
        let tokens = keys.dim(2)?;
        let needed = self.length + tokens;
        let (all_keys, all_values) = self.reserve(needed)?;
        all_keys.slice_set(keys, 2, self.length)?;
        all_values.slice_set(values, 2, self.length)?;
        self.length = needed;
        let views = (
            all_keys.narrow(2, 0, needed)?,
            all_values.narrow(2, 0, needed)?,
        );
        self.buffers = Some((all_keys, all_values));
        Ok(views)
    }

    /// The buffers, with room for `needed` positions. Growing copies what is there, and takes half as
    /// much again so that a long generation copies each position a few times at most.
    fn reserve(&mut self, needed: usize) -> Result<(Tensor, Tensor)> {
        let old = self.buffers.take();
        let capacity = match &old {
            Some((keys, _)) => keys.dim(2)?,
            None => 0,
        };
        if let Some(buffers) = old.clone().filter(|_| needed <= capacity) {
            return Ok(buffers);
        }
        let capacity = needed.max(capacity + capacity / 2).next_multiple_of(BLOCK);
        let shape = (1, self.kv_heads, capacity, self.head_dim);
        let keys = Tensor::zeros(shape, DType::F32, &Device::Cpu)?;
        let values = Tensor::zeros(shape, DType::F32, &Device::Cpu)?;
        if let Some((old_keys, old_values)) = old {
            keys.slice_set(&old_keys, 2, 0)?;
            values.slice_set(&old_values, 2, 0)?;
        }
        Ok((keys, values))
    }
}
