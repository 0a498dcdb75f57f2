//! Candle's devices of cards, one a card: tensors of two devices do not mix, though they be of one card. Unsafe for
//! a promise to candle about its streams, and for what is asked of the driver about a card's pool of memory.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

#[cfg(feature = "cuda")]
use candle_core::cuda_backend::cudarc::driver::sys;
use candle_core::{Device, Result};

static DEVICES: Mutex<BTreeMap<u32, Device>> = Mutex::new(BTreeMap::new());

/// The devices that are open, by the numbers of their cards.
pub(super) fn opened() -> Vec<(u32, Device)> {
    let devices = DEVICES.lock().unwrap_or_else(PoisonError::into_inner);
    let pairs = devices.iter();
    pairs
        .map(|(number, device)| (*number, device.clone()))
        .collect()
}

/// The device of a card that is there.
pub(super) fn open(number: u32) -> Result<Device> {
    let mut devices = DEVICES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(device) = devices.get(&number) {
        return Ok(device.clone());
    }
    // One stream for all threads: that of `new_cuda` is another in each, and requests take turns at running a
    // model whichever thread they are on.
    let device = Device::new_cuda_with_stream(number as usize)?;
    #[cfg(feature = "cuda")]
    // SAFETY: events order the work of several streams. All tensors of the card are of this device, which has one;
    // where those of two cards meet, `moved` orders them.
    unsafe {
        device.as_cuda_device()?.disable_event_tracking();
    }
    #[cfg(feature = "cuda")]
    keep_pool(number);
    devices.insert(number, device.clone());
    Ok(device)
}

/// Lets a card's pool keep what was freed: each token waits for the card, and what is unused then would go back to the
/// system and come again for the next. Fails silently, for it changes nothing but time.
#[cfg(feature = "cuda")]
fn keep_pool(number: u32) {
    let Some(pool) = pool(number) else {
        return;
    };
    let mut threshold = u64::MAX;
    // SAFETY: the pool is a card's own, and the attribute takes a number of 64 bits, which lives until this is done.
    unsafe {
        let _ = sys::cuMemPoolSetAttribute(
            pool,
            sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD,
            (&raw mut threshold).cast(),
        );
    }
}

/// Gives back what a card's pool keeps and nobody uses, but so many bytes, so that it counts as free.
#[cfg(feature = "cuda")]
pub(super) fn trim_pool(number: u32, kept: u64) {
    if let Some(pool) = pool(number) {
        let used = attribute(
            pool,
            sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT,
        );
        let least = used.unwrap_or(0).saturating_add(kept);
        // SAFETY: the pool is a card's own.
        let _ = unsafe { sys::cuMemPoolTrimTo(pool, least as usize) };
    }
}

/// Bytes that a card's pool keeps and nobody uses.
#[cfg(feature = "cuda")]
pub(super) fn kept_bytes(number: u32) -> Option<u64> {
    let pool = pool(number)?;
    let reserved = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT;
    let used = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT;
    attribute(pool, reserved)?.checked_sub(attribute(pool, used)?)
}

/// What a pool says of its memory.
#[cfg(feature = "cuda")]
fn attribute(pool: sys::CUmemoryPool, which: sys::CUmemPool_attribute) -> Option<u64> {
    let mut bytes = 0_u64;
    // SAFETY: the pool is a card's own, and those that are asked for are of 64 bits, which live until this is done.
    let status = unsafe { sys::cuMemPoolGetAttribute(pool, which, (&raw mut bytes).cast()) };
    (status == sys::CUresult::CUDA_SUCCESS).then_some(bytes)
}

/// The pool that a card gives memory from.
#[cfg(feature = "cuda")]
fn pool(number: u32) -> Option<sys::CUmemoryPool> {
    let number = i32::try_from(number).ok()?;
    let (mut card, mut pool) = (0, std::ptr::null_mut());
    // SAFETY: both are written where they live until this is done; the driver is initialised by the device.
    let is_there = unsafe {
        sys::cuDeviceGet(&raw mut card, number) == sys::CUresult::CUDA_SUCCESS
            && sys::cuDeviceGetDefaultMemPool(&raw mut pool, card) == sys::CUresult::CUDA_SUCCESS
    };
    is_there.then_some(pool)
}
