//! Memory of cards: what is used, what is free, and what goes back to the system. Tensors take it from a pool, which keeps
//! what they give back for the next.

use std::sync::atomic::{AtomicUsize, Ordering};

#[cfg(feature = "cuda")]
use super::unsafe_device;

/// Bytes of temporary tensors that a card's pool keeps while no request needs them: they would be asked for again by the
/// next.
#[cfg(feature = "cuda")]
const SCRATCH_BYTES: u64 = 256 << 20;

/// Gives what was freed on cards back to their system, once it is free.
pub(crate) fn return_memory() {
    #[cfg(feature = "cuda")]
    for (number, device) in unsafe_device::opened() {
        // A card that fails says so to who computes on it.
        let _ = device.synchronize();
        unsafe_device::trim_pool(number, 0);
    }
}

/// How many requests compute on cards.
static AT_WORK: AtomicUsize = AtomicUsize::new(0);

/// A request that computes on cards. With the last of them goes what their pools keep, but for what the next is likely to
/// need.
#[derive(Debug)]
pub(crate) struct Work(());

impl Work {
    pub(crate) fn begin() -> Self {
        AT_WORK.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let is_last = AT_WORK.fetch_sub(1, Ordering::Relaxed) == 1;
        #[cfg(feature = "cuda")]
        if is_last {
            for (number, _) in unsafe_device::opened() {
                unsafe_device::trim_pool(number, SCRATCH_BYTES);
            }
        }
        let _ = is_last;
    }
}

/// Bytes of a card that tensors of this process take, once all that was given to it is done: its driver's count, without
/// what others have there, and code of kernels. `None` where it does not say.
pub(crate) fn used_bytes(number: u32) -> Option<u64> {
    #[cfg(feature = "cuda")]
    {
        super::device(number).ok()?.synchronize().ok()?;
        unsafe_device::used_bytes(number)
    }
    #[cfg(not(feature = "cuda"))]
    {
        let _ = number;
        None
    }
}

/// Bytes that a card can give at once, in pieces maybe: a glance, for which nobody waits. `None` where it does not say.
pub(crate) fn unused_bytes(number: u32) -> Option<u64> {
    #[cfg(feature = "cuda")]
    {
        let device = super::device(number).ok()?;
        let (free, _) = device
            .as_cuda_device()
            .ok()?
            .cuda_stream()
            .context()
            .mem_get_info()
            .ok()?;
        Some(free as u64 + unsafe_device::kept_bytes(number)?)
    }
    #[cfg(not(feature = "cuda"))]
    {
        let _ = number;
        None
    }
}

/// Bytes that are free on a card once all that was given to it is done; `None` where it does not say.
pub fn free_bytes(number: u32) -> Option<u64> {
    #[cfg(feature = "cuda")]
    {
        let device = super::device(number).ok()?;
        let stream = device.as_cuda_device().ok()?.cuda_stream();
        // What was freed is the stream's until the stream has been waited for, and then the pool's.
        stream.synchronize().ok()?;
        unsafe_device::trim_pool(number, 0);
        let (free, _) = stream.context().mem_get_info().ok()?;
        Some(free as u64)
    }
    #[cfg(not(feature = "cuda"))]
    {
        let _ = number;
        None
    }
}
