//! Keys and values of the tokens a model has read, for one sequence or several side by side. They are
//! written in place and the buffers grow by blocks, so that a token costs its own bytes and not those
//! of all before it.

use std::sync::Arc;

use candle_core::{DType, Device, DeviceLocation, Result, Tensor};

use super::Memory;

/// Positions by which buffers grow at least.
const BLOCK: usize = 256;

/// The cache of one sequence, or of a batch of them padded on the left to one length: one
/// [`LayerCache`] a decoder layer, and the ids that were read.
#[derive(Debug)]
pub struct KvCache {
    /// One a layer, in order.
    pub layers: Vec<LayerCache>,
    /// Tokens read, one list a row; padding included.
    rows: Vec<Vec<u32>>,
    padding: Arc<[usize]>,
    /// Tokens of a row, padding included, once all that is being read is in.
    planned: usize,
    /// Its keys are turned by the frequencies of long sequences, where a model has such.
    pub(crate) is_long: bool,
    /// What the sequences are about, of a decoder that has an encoder.
    memory: Option<Memory>,
}

impl KvCache {
    /// An empty cache for keys and values of shape `(batch, kv_heads, tokens, head_dim)`; `padding`
    /// has, for each row of the batch, the number of its first ids that are padding.
    pub fn new(layers: usize, kv_heads: usize, head_dim: usize, padding: &[usize]) -> Self {
        let layer = || LayerCache {
            buffers: None,
            dtype: DType::F32,
            batch: padding.len(),
            kv_heads,
            head_dim,
            length: 0,
            planned: 0,
        };
        Self {
            layers: (0..layers).map(|_| layer()).collect(),
            rows: vec![Vec::new(); padding.len()],
            padding: padding.into(),
            planned: 0,
            is_long: false,
            memory: None,
        }
    }

    /// This cache, for sequences about sources: one row a source. Fails where rows and sources are not as
    /// many.
    pub fn about(mut self, memory: Memory) -> Result<Self> {
        if memory.batch() != self.batch() {
            candle_core::bail!("{} sources for {} rows", memory.batch(), self.batch());
        }
        self.memory = Some(memory);
        Ok(self)
    }

    /// What its sequences are about.
    pub fn memory(&self) -> Option<&Memory> {
        self.memory.as_ref()
    }

    /// A cache of no sequence at all, to stand where another was taken from.
    pub(crate) fn nothing() -> Self {
        Self::new(0, 0, 0, &[])
    }

    /// This cache, keeping keys and values as f32, f16 or bf16; 16 bits take half the memory and round what
    /// attention reads. For an empty cache. Fails on other types.
    pub fn stored_as(mut self, dtype: DType) -> Result<Self> {
        if !matches!(dtype, DType::F32 | DType::F16 | DType::BF16) || !self.is_empty() {
            candle_core::bail!(
                "a cache of {} tokens cannot be kept as {dtype:?}",
                self.len()
            );
        }
        for layer in &mut self.layers {
            layer.dtype = dtype;
        }
        Ok(self)
    }

    /// Whether it has something on a device, or on any card.
    pub(crate) fn is_on(&self, device: Option<wire::model::Device>) -> bool {
        use wire::model::Device::{Auto, Cpu, Cuda};
        let mut buffers = self
            .layers
            .iter()
            .filter_map(|layer| layer.buffers.as_ref());
        buffers.any(|(keys, _)| match (keys.device().location(), device) {
            (DeviceLocation::Cuda { gpu_id }, Some(Cuda(number))) => gpu_id == number as usize,
            (DeviceLocation::Cuda { .. }, None) | (DeviceLocation::Cpu, Some(Cpu | Auto)) => true,
            _ => false,
        })
    }

    /// Bytes that its buffers take.
    pub fn bytes(&self) -> usize {
        let buffers = self
            .layers
            .iter()
            .filter_map(|layer| layer.buffers.as_ref());
        buffers
            .map(|(keys, _)| 2 * keys.elem_count() * keys.dtype().size_in_bytes())
            .sum()
    }

    /// Number of tokens of a row, padding included.
    pub fn len(&self) -> usize {
        self.rows.first().map_or(0, Vec::len)
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of sequences.
    pub fn batch(&self) -> usize {
        self.rows.len()
    }

    /// Padding before each row's tokens.
    pub fn padding(&self) -> &Arc<[usize]> {
        &self.padding
    }

    /// The tokens of each row.
    pub fn rows(&self) -> &[Vec<u32>] {
        &self.rows
    }

    /// Says how many tokens a row will have, padding included, when more is read in several parts: the
    /// positions of some models depend on it.
    pub fn plan(&mut self, length: usize) {
        self.planned = length;
        for layer in &mut self.layers {
            layer.planned = length;
        }
    }

    /// Bytes that each layer's buffers take more when so many tokens come, and for a while beside them.
    pub(crate) fn growth(&self, tokens: usize) -> impl Iterator<Item = [usize; 2]> {
        self.layers.iter().map(move |layer| layer.growth(tokens))
    }

    pub(crate) fn planned(&self) -> usize {
        self.planned
    }

    /// Number of first ids of a single sequence that are the same in `ids`: what a new prompt need
    /// not read again after a [`Self::truncate`] to it.
    pub fn shared_prefix(&self, ids: &[u32]) -> usize {
        let [row] = self.rows.as_slice() else {
            return 0;
        };
        row.iter().zip(ids).take_while(|(a, b)| a == b).count()
    }

    /// Forgets all after the first `length` tokens. The buffers stay.
    pub fn truncate(&mut self, length: usize) {
        for row in &mut self.rows {
            row.truncate(length);
        }
        for layer in &mut self.layers {
            layer.length = layer.length.min(length);
        }
    }

    /// A copy of the first `length` tokens, which grows by itself.
    pub fn prefix(&self, length: usize) -> Result<Self> {
        let length = length.min(self.len());
        let layers = self.layers.iter().map(|layer| layer.prefix(length));
        let rows = self.rows.iter().map(|row| row[..length].to_vec());
        Ok(Self {
            layers: layers.collect::<Result<_>>()?,
            rows: rows.collect(),
            padding: Arc::clone(&self.padding),
            planned: 0,
            is_long: self.is_long,
            memory: self.memory.clone(),
        })
    }

    /// Makes row `i` what row `order[i]` was, as beams need it; the batch becomes as long as `order`.
    /// Fails on a row that is not there.
    pub fn reorder(&mut self, order: &[usize]) -> Result<()> {
        if let Some(row) = order.iter().find(|&&row| row >= self.batch()) {
            candle_core::bail!("row {row} of a cache with {} rows", self.batch());
        }
        if order.iter().enumerate().all(|(i, &row)| i == row) && order.len() == self.batch() {
            return Ok(());
        }
        if let Some(memory) = &mut self.memory {
            memory.reorder(order)?;
        }
        for layer in &mut self.layers {
            layer.reorder(order)?;
        }
        self.rows = order.iter().map(|&row| self.rows[row].clone()).collect();
        self.padding = order.iter().map(|&row| self.padding[row]).collect();
        Ok(())
    }

    /// Notes the ids `(batch, tokens)` of a step, once its keys and values are in.
    pub(crate) fn note(&mut self, ids: &[u32]) {
        let tokens = ids.len() / self.batch().max(1);
        for (row, ids) in self.rows.iter_mut().zip(ids.chunks_exact(tokens.max(1))) {
            row.extend_from_slice(ids);
        }
    }
}

/// Keys and values of one layer.
#[derive(Debug)]
pub struct LayerCache {
    /// Each `(batch, kv_heads, capacity, head_dim)`.
    buffers: Option<(Tensor, Tensor)>,
    dtype: DType,
    batch: usize,
    kv_heads: usize,
    head_dim: usize,
    length: usize,
    /// Positions that will be taken once all that is being read is in.
    planned: usize,
}

/// Buffers of a layer, and where the next token goes.
pub(crate) struct Room {
    /// `(batch, kv_heads, capacity, head_dim)`.
    pub(crate) keys: Tensor,
    /// As `keys`.
    pub(crate) values: Tensor,
    /// Of the first token that is not in yet.
    pub(crate) position: usize,
}

/// What a cache has: the first tokens of its buffers.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// `(batch, kv_heads, capacity, head_dim)`.
    pub(crate) keys: Tensor,
    /// As `keys`.
    pub(crate) values: Tensor,
    /// How many tokens there are.
    pub(crate) length: usize,
}

impl View {
    /// Of keys and values that are all there.
    pub(super) fn whole((keys, values): (Tensor, Tensor)) -> Result<Self> {
        Ok(Self {
            length: keys.dim(2)?,
            keys,
            values,
        })
    }

    /// The tokens alone, `(batch, kv_heads, length, head_dim)` each.
    pub(super) fn tokens(&self) -> Result<(Tensor, Tensor)> {
        let own = |buffer: &Tensor| buffer.narrow(2, 0, self.length);
        Ok((own(&self.keys)?, own(&self.values)?))
    }
}

impl LayerCache {
    /// Appends f32 keys and values `(batch, kv_heads, tokens, head_dim)`, contiguous, and gives all
    /// there are, of the type they are kept in.
    pub(crate) fn append(&mut self, keys: &Tensor, values: &Tensor) -> Result<View> {
        let dtype = self.dtype;
        self.extend(keys.dim(2)?, keys.device(), |(all_keys, all_values), at| {
            all_keys.slice_set(&keys.to_dtype(dtype)?, 2, at)?;
            all_values.slice_set(&values.to_dtype(dtype)?, 2, at)
        })
    }

    /// The same of so many tokens whose keys and values `put` writes into the buffers, `(batch, kv_heads,
    /// capacity, head_dim)`, from a position on.
    pub(super) fn extend(
        &mut self,
        tokens: usize,
        device: &Device,
        put: impl FnOnce((&Tensor, &Tensor), usize) -> Result<()>,
    ) -> Result<View> {
        let room = self.room(tokens, device)?;
        put((&room.keys, &room.values), room.position)?;
        Ok(self.fill(room, tokens))
    }

    /// The buffers, with room for so many tokens more. Growing copies what is there, and takes half as
    /// much again so that a long generation copies each position a few times at most; for a prompt that is
    /// read in parts they grow once.
    pub(super) fn room(&mut self, tokens: usize, device: &Device) -> Result<Room> {
        let needed = self.length + tokens;
        let (keys, values) = match &self.buffers {
            Some(buffers) if needed <= self.capacity() => buffers.clone(),
            // At once, so that of several caches that grow only one has its old buffers beside the new.
            _ => self.buffers.insert(self.grow(needed, device)?).clone(),
        };
        Ok(Room {
            keys,
            values,
            position: self.length,
        })
    }

    /// Counts tokens whose keys and values were written, and gives all there are.
    pub(super) fn fill(&mut self, room: Room, tokens: usize) -> View {
        self.length += tokens;
        View {
            keys: room.keys,
            values: room.values,
            length: self.length,
        }
    }

    /// Larger buffers with what is there; the old ones stay until these are whole.
    fn grow(&self, needed: usize, device: &Device) -> Result<(Tensor, Tensor)> {
        let capacity = self.grown(needed);
        let shape = (self.batch, self.kv_heads, capacity, self.head_dim);
        let keys = Tensor::zeros(shape, self.dtype, device)?;
        let values = Tensor::zeros(shape, self.dtype, device)?;
        if let Some((old_keys, old_values)) = &self.buffers {
            keys.slice_set(old_keys, 2, 0)?;
            values.slice_set(old_values, 2, 0)?;
        }
        Ok((keys, values))
    }

    /// Positions that there is room for.
    fn capacity(&self) -> usize {
        let buffers = self.buffers.as_ref();
        buffers.map_or(0, |(keys, _)| keys.dims()[2])
    }

    /// Positions that buffers have room for which are to hold more than there is room for.
    fn grown(&self, needed: usize) -> usize {
        let capacity = self.capacity();
        needed
            .max(capacity + capacity / 2)
            .max(self.planned + BLOCK)
            .next_multiple_of(BLOCK)
    }

    /// Bytes that the buffers take more when so many tokens come, and those of the old ones, which stay until the new
    /// are whole.
    fn growth(&self, tokens: usize) -> [usize; 2] {
        let (needed, capacity) = (self.length + tokens, self.capacity());
        if needed <= capacity {
            return [0, 0];
        }
        let position = 2 * self.batch * self.kv_heads * self.head_dim * self.dtype.size_in_bytes();
        [
            (self.grown(needed) - capacity) * position,
            capacity * position,
        ]
    }

    fn prefix(&self, length: usize) -> Result<Self> {
        // Written in place later, so it must share nothing.
        let copy = |buffer: &Tensor| buffer.narrow(2, 0, length)?.force_contiguous();
        let buffers = match &self.buffers {
            Some((keys, values)) => Some((copy(keys)?, copy(values)?)),
            None => None,
        };
        Ok(Self {
            buffers,
            length,
            ..*self
        })
    }

    fn reorder(&mut self, rows: &[usize]) -> Result<()> {
        let Some((keys, values)) = &self.buffers else {
            self.batch = rows.len();
            return Ok(());
        };
        if rows.len() == self.batch {
            // Beams change places at every step: only what is there moves, within the buffers.
            for buffer in [keys, values] {
                let moved = rows.iter().map(|&row| {
                    let row = buffer.narrow(0, row, 1)?;
                    row.narrow(2, 0, self.length)
                });
                let moved = Tensor::cat(&moved.collect::<Result<Vec<_>>>()?, 0)?;
                buffer.slice_set(&moved, 2, 0)?;
            }
            return Ok(());
        }
        let index: Vec<u32> = rows.iter().map(|&row| row as u32).collect();
        let index = Tensor::from_vec(index, rows.len(), keys.device())?;
        let chosen = |buffer: &Tensor| buffer.index_select(&index, 0);
        self.buffers = Some((chosen(keys)?, chosen(values)?));
        self.batch = rows.len();
        Ok(())
    }
}
