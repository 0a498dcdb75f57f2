//! Launches of `attention.cu`. Unsafe for what a launch is: a card reads and writes whatever its kernels' arguments say.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use candle_core::{
    DType, Device, Result, Tensor,
    cuda_backend::{DeviceId, cudarc::driver::DeviceRepr},
};

use super::{
    address, address_of, card, kind, start, text,
    unsafe_launch::{Part, Parts, empty, grid, launch_with},
    unsafe_prompt::prompt,
};
use crate::{kernels::CausalAttention, layers::View};

/// Warps of a block; each takes 32 keys at a time.
const WARPS: usize = 4;
/// Tokens up to which it pays to read keys by the lane; more are `prompt`'s.
const MOST_TOKENS: usize = 8;
/// The widest head.
const MOST_DIMS: usize = 256;
/// Keys of a split at least: a tile of each warp.
const SPLIT_KEYS: usize = 128;
/// Numbers of all parts at most: what a launch takes for a moment.
const MOST_PARTS: usize = 4 << 20;
/// Counters that are taken at first.
const LEAST_COUNTERS: usize = 4096;
/// Blocks that keep a card busy.
const BLOCKS: usize = 512;

/// `Attention` of the kernels.
#[repr(C)]
pub(super) struct Attention {
    queries: u64,
    padding: u64,
    out: u64,
    parts: u64,
    scales: u64,
    done: u64,
    scale: f32,
    cap: f32,
    batch: u32,
    heads: u32,
    kv_heads: u32,
    tokens: u32,
    head_dim: u32,
    window: u32,
    splits: u32,
    split_keys: u32,
    kind: i32,
    unused: u32,
    caches: Parts,
}

const _: () = assert!(
    size_of::<Attention>() == 96 + size_of::<Parts>(),
    "as in attention.cuh"
);

// SAFETY: the kernel's struct has the same fields in the same order, by C's rules.
unsafe impl DeviceRepr for Attention {}

/// Softmax(q·kᵀ·scale)·v, as [`CausalAttention`] has it: from f32 `(batch, heads, tokens, head_dim)` and keys and values
/// `(batch, kv_heads, keys, head_dim)` of a cache, or of one cache a row, to f32 `(batch, tokens, heads * head_dim)`. `None`
/// of shapes that no kernel takes, and of more than a few tokens that may not be rounded.
pub(crate) fn attention(
    q: &Tensor,
    views: &[View],
    attention: &CausalAttention,
) -> Result<Option<Tensor>> {
    let Some(caches) = Caches::of(q, views, attention)? else {
        return Ok(None);
    };
    if q.dim(2)? > MOST_TOKENS {
        return prompt(q, (views, &caches), attention);
    }
    few(q, (views, &caches), attention).map(Some)
}

/// The same of a few tokens.
fn few(
    q: &Tensor,
    (views, caches): (&[View], &Caches),
    attention: &CausalAttention,
) -> Result<Tensor> {
    let (batch, heads, tokens, head_dim) = q.dims4()?;
    let kv_heads = caches.kv_heads;
    let shared = heads / kv_heads * tokens;
    // Queries that a block takes together.
    let together = match shared {
        1 => 1,
        2..=4 => 4,
        _ => 8,
    };
    // Of dimensions in whole warps, of which there are kernels for one to four, and for eight.
    let dims = match head_dim.div_ceil(32) {
        dims @ 1..=4 => dims,
        _ => 8,
    };
    let (text, name) = match caches.dtype {
        DType::F16 => (text!("attention_f16"), "f16"),
        DType::BF16 => (text!("attention_bf16"), "bf16"),
        _ => (text!("attention_f32"), "f32"),
    };
    let name = format!("attend_{name}_{dims}_{together}");
    let groups = shared.div_ceil(together);
    let count = batch * heads * tokens;
    let most_splits = MOST_PARTS / (count * head_dim).max(1);
    let (splits, split_keys) = caches.split((batch, kv_heads * groups), most_splits);
    let (q, device) = (q.contiguous()?, q.device());
    let room = count * splits;
    // SAFETY: the kernel writes all of these before it reads them.
    let (out, parts) = unsafe {
        let parts = (splits > 1).then(|| empty(room * (head_dim + 2), DType::F32, device));
        let shape = (batch, tokens, heads * head_dim);
        (empty(shape, DType::F32, device)?, parts.transpose()?)
    };
    let done = parts
        .as_ref()
        .map(|_| counters(device, batch * kv_heads * groups));
    let done = done.transpose()?;
    let padding = placed(&attention.padding, &q)?;
    let parts_at = address_of(parts.as_ref())?;
    let argument = Attention {
        parts: parts_at,
        scales: parts_at + (room * head_dim * size_of::<f32>()) as u64,
        done: done.as_ref().map_or(Ok(0), start)?,
        splits: splits as u32,
        split_keys: split_keys as u32,
        ..Attention::of((&q, padding.as_ref(), &out), (views, caches), attention)?
    };
    let blocks = grid((splits, batch * kv_heads, groups), 32 * WARPS);
    // SAFETY: what the kernel reads of queries, keys and values was seen to be there, and what it writes is as large
    // as it takes it; none of it is changed before it is done.
    unsafe { launch_with(card(&q)?, (&text, &name), blocks, &argument)? };
    Ok(out)
}

/// Zeros on a card, at least so many, that each launch which counts by them leaves as it found them.
fn counters(device: &Device, count: usize) -> Result<Tensor> {
    static COUNTERS: Mutex<Option<HashMap<DeviceId, Tensor>>> = Mutex::new(None);
    let id = device.as_cuda_device()?.id();
    let mut all = COUNTERS.lock().unwrap_or_else(PoisonError::into_inner);
    let all = all.get_or_insert_default();
    if let Some(counters) = all.get(&id).filter(|own| own.elem_count() >= count) {
        return Ok(counters.clone());
    }
    let room = count.next_power_of_two().max(LEAST_COUNTERS);
    let counters = Tensor::zeros(room, DType::U32, device)?;
    // Launches that are still to be done with the old ones are before whoever gets their memory.
    all.insert(id, counters.clone());
    Ok(counters)
}

impl Attention {
    /// Of contiguous queries, padding and what is to hold what comes of them, in one part.
    pub(super) fn of(
        (q, padding, out): (&Tensor, Option<&Tensor>, &Tensor),
        (views, caches): (&[View], &Caches),
        attention: &CausalAttention,
    ) -> Result<Self> {
        let (batch, heads, tokens, head_dim) = q.dims4()?;
        Ok(Self {
            queries: address(q, DType::F32)?,
            padding: padding.map_or(Ok(0), start)?,
            out: start(out)?,
            parts: 0,
            scales: 0,
            done: 0,
            scale: attention.scale,
            cap: attention.cap.unwrap_or(0.0),
            batch: batch as u32,
            heads: heads as u32,
            kv_heads: caches.kv_heads as u32,
            tokens: tokens as u32,
            head_dim: head_dim as u32,
            window: attention.window.map_or(u32::MAX, |window| window as u32),
            splits: 1,
            split_keys: caches.most_keys as u32,
            kind: kind(caches.dtype)?,
            unused: 0,
            caches: Parts::new(views.iter().map(part))?,
        })
    }
}

fn part(view: &View) -> Result<Part> {
    Ok(Part {
        keys: start(&view.keys)?,
        values: start(&view.values)?,
        capacity: view.keys.dim(2)? as u32,
        count: view.length as u32,
    })
}

/// Keys and values that kernels take.
pub(super) struct Caches {
    dtype: DType,
    kv_heads: usize,
    /// How many there are.
    count: usize,
    /// Keys of the longest sequence.
    most_keys: usize,
    /// Of all caches.
    all_keys: usize,
}

impl Caches {
    /// `None` of others.
    fn of(q: &Tensor, views: &[View], attention: &CausalAttention) -> Result<Option<Self>> {
        let (batch, heads, tokens, head_dim) = q.dims4()?;
        let Some(first) = views.first() else {
            return Ok(None);
        };
        let (dtype, kv_heads) = (first.keys.dtype(), first.keys.dim(1)?);
        // Of a single cache all rows, else one each.
        let rows = if views.len() == 1 { batch } else { 1 };
        let (mut most_keys, mut all_keys) = (0, 0);
        for view in views {
            if view.length < tokens || !is_cache(view, dtype, (rows, kv_heads, head_dim))? {
                return Ok(None);
            }
            most_keys = most_keys.max(view.length);
            all_keys += view.length;
        }
        let fits = matches!(dtype, DType::F32 | DType::F16 | DType::BF16)
            && tokens > 0
            && (1..=MOST_DIMS).contains(&head_dim)
            && head_dim.is_multiple_of(4)
            && (views.len() == 1 || views.len() == batch)
            && kv_heads > 0
            && heads.is_multiple_of(kv_heads)
            && attention.padding.len() == batch;
        Ok(fits.then_some(Self {
            dtype,
            kv_heads,
            count: views.len(),
            most_keys,
            all_keys,
        }))
    }

    /// In how many parts the longest sequence's keys are taken, and keys of a part: so many that a card is busy with the
    /// parts of all rows, each of which is so many blocks, and not more than there is to be.
    fn split(&self, (batch, blocks): (usize, usize), most: usize) -> (usize, usize) {
        // Rows of one cache are equally long.
        let all_keys = self.all_keys * batch / self.count;
        let busy = all_keys.div_ceil((BLOCKS / blocks).max(1));
        let few = self.most_keys.div_ceil(most.max(1));
        let each = busy.max(few).next_multiple_of(SPLIT_KEYS);
        (self.most_keys.div_ceil(each), each)
    }
}

/// Whether these are buffers `(rows, kv_heads, capacity, head_dim)` of a type, each head by itself.
fn is_cache(
    view: &View,
    dtype: DType,
    (rows, kv_heads, head_dim): (usize, usize, usize),
) -> Result<bool> {
    let (own_rows, own_heads, capacity, dim) = view.keys.dims4()?;
    Ok([own_rows, own_heads, dim] == [rows, kv_heads, head_dim]
        && capacity >= view.length
        && view.values.dims() == view.keys.dims()
        && [&view.keys, &view.values]
            .iter()
            .all(|buffer| buffer.is_contiguous() && buffer.dtype() == dtype))
}

/// Padding on the card of queries; `None` where there is none.
pub(super) fn placed(padding: &[usize], q: &Tensor) -> Result<Option<Tensor>> {
    if padding.iter().all(|&count| count == 0) {
        return Ok(None);
    }
    let padding: Vec<u32> = padding.iter().map(|&count| count as u32).collect();
    Tensor::new(padding, q.device()).map(Some)
}
