//! Launches of `heads.cu`. Unsafe for what a launch is: a card reads and writes whatever its kernels' arguments say.

use candle_core::{DType, Result, Tensor, bail, cuda_backend::cudarc::driver::DeviceRepr};

use super::{
    Text, address, address_of, card, kind, start, text,
    unsafe_launch::{Part, Parts, empty, grid, launch_with},
};
use crate::layers::{Angles, AttentionShape, Room};

const TEXT: Text = text!("heads");
/// Warps of a block, each of which takes a head of a token.
const WARPS: usize = 4;

/// What heads go through, and where keys and values go.
pub(crate) struct HeadsInto<'a> {
    pub shape: AttentionShape,
    /// Weights `(head_dim)` of norms of queries and keys, and what is added under their roots.
    pub norms: [Option<(&'a Tensor, f32)>; 2],
    /// `(1 or batch, 1, tokens, pairs)` each.
    pub angles: Option<&'a Angles>,
    /// Of one cache for all rows, or of one each; of any type that caches keep.
    pub rooms: &'a [Room],
}

/// `Heads` of the kernel.
#[repr(C)]
struct Heads {
    qkv: u64,
    norms: [u64; 2],
    angles: [u64; 2],
    queries: u64,
    epsilon: f32,
    batch: u32,
    tokens: u32,
    /// Of queries, and of keys and values.
    counts: [u32; 2],
    head_dim: u32,
    pairs: u32,
    kind: i32,
    interleaved: i32,
    shared_angles: i32,
    parts: Parts,
}

const _: () = assert!(
    size_of::<Heads>() == 88 + size_of::<Parts>(),
    "as in heads.cu"
);

// SAFETY: the kernel's struct has the same fields in the same order, by C's rules.
unsafe impl DeviceRepr for Heads {}

/// From f32 `(batch, tokens, (heads + 2 * kv_heads) * head_dim)`: gives queries `(batch, heads, tokens, head_dim)`, and
/// writes keys and values into buffers from a position on.
pub(crate) fn put_heads(qkv: &Tensor, into: &HeadsInto) -> Result<Tensor> {
    let (batch, tokens, _) = qkv.dims3()?;
    let AttentionShape {
        heads,
        kv_heads,
        head_dim,
    } = into.shape;
    let all = heads + 2 * kv_heads;
    let angle_shape = into.angles.map(|angles| angles.cos.dims4()).transpose()?;
    let pairs = angle_shape.map_or(0, |(.., pairs)| pairs);
    let dtype = check(qkv, into)?;
    let qkv = qkv.contiguous()?;
    // SAFETY: the kernel writes all of it.
    let queries = unsafe { empty((batch, heads, tokens, head_dim), DType::F32, qkv.device())? };
    let [q_norm, k_norm] = into.norms.map(|norm| norm.map(|(weight, _)| weight));
    let cos = into.angles.map(|angles| &angles.cos);
    let sin = into.angles.map(|angles| &angles.sin);
    let argument = Heads {
        qkv: address(&qkv, DType::F32)?,
        norms: [address_of(q_norm)?, address_of(k_norm)?],
        angles: [address_of(cos)?, address_of(sin)?],
        queries: start(&queries)?,
        epsilon: into
            .norms
            .iter()
            .flatten()
            .next()
            .map_or(0.0, |norm| norm.1),
        batch: batch as u32,
        tokens: tokens as u32,
        counts: [heads as u32, kv_heads as u32],
        head_dim: head_dim as u32,
        pairs: pairs as u32,
        kind: kind(dtype)?,
        interleaved: i32::from(into.angles.is_some_and(|angles| angles.interleaved)),
        shared_angles: i32::from(angle_shape.is_none_or(|(rows, ..)| rows == 1)),
        parts: Parts::new(into.rooms.iter().map(|room| {
            Ok(Part {
                keys: address(&room.keys, dtype)?,
                values: address(&room.values, dtype)?,
                capacity: room.keys.dim(2)? as u32,
                count: room.position as u32,
            })
        }))?,
    };
    let blocks = (batch * tokens * all).div_ceil(WARPS);
    let grid = grid((blocks, 1, 1), 32 * WARPS);
    // SAFETY: all that the kernel reads and writes was seen to be as large as it takes it; the buffers are written
    // from their positions on, where nobody reads before this is done.
    unsafe { launch_with(card(&qkv)?, (&TEXT, "put_heads"), grid, &argument)? };
    Ok(queries)
}

/// Fails where something is not as large as the kernel takes it; gives the type of the buffers.
fn check(qkv: &Tensor, into: &HeadsInto) -> Result<DType> {
    let (batch, tokens, width) = qkv.dims3()?;
    let AttentionShape {
        heads,
        kv_heads,
        head_dim,
    } = into.shape;
    let dtype = into
        .rooms
        .first()
        .map_or(DType::F32, |room| room.keys.dtype());
    // Of a single room all rows, else one each.
    let rows = if into.rooms.len() == 1 { batch } else { 1 };
    let is_room = |room: &Room| {
        let (own, cache_heads, capacity, dim) = room.keys.dims4()?;
        Ok([own, cache_heads, dim] == [rows, kv_heads, head_dim]
            && room.values.dims() == room.keys.dims()
            && [room.keys.dtype(), room.values.dtype()] == [dtype; 2]
            && room.position + tokens <= capacity)
    };
    let rooms = into.rooms.iter().map(is_room).collect::<Result<Vec<_>>>()?;
    let angle_shape = into.angles.map(|angles| angles.cos.dims4()).transpose()?;
    let pairs = angle_shape.map_or(0, |(.., pairs)| pairs);
    let fits = width == (heads + 2 * kv_heads) * head_dim
        && (rooms.len() == 1 || rooms.len() == batch)
        && rooms.iter().all(|&fits| fits)
        && 2 * pairs <= head_dim
        && angle_shape.is_none_or(|(rows, one, own, _)| {
            (rows == 1 || rows == batch) && one == 1 && own == tokens
        })
        && into
            .angles
            .is_none_or(|angles| angles.sin.dims() == angles.cos.dims())
        && into
            .norms
            .iter()
            .flatten()
            .all(|(weight, _)| weight.dims() == [head_dim]);
    if !fits {
        let rooms = into.rooms.iter();
        let rooms: Vec<_> = rooms
            .map(|room| (&room.keys, &room.values, room.position))
            .collect();
        let shape = qkv.shape();
        bail!("heads of {:?} got {shape:?} for {rooms:?}", into.shape);
    }
    Ok(dtype)
}
