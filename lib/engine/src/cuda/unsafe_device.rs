//! Candle's devices of cards, one a card: tensors of two devices do not mix, though they be of one card. Unsafe for
//! a promise to candle about its streams, and for what is asked of the driver about a card's pool of memory.

#[cfg(feature = "cuda")]
use std::thread;
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError, RwLock},
};

#[cfg(feature = "cuda")]
use candle_core::cuda_backend::{CudaDevice, cudarc::driver::sys, kernels};
use candle_core::{Device, Result};

static DEVICES: RwLock<BTreeMap<u32, Device>> = RwLock::new(BTreeMap::new());

/// The devices that are open, by the numbers of their cards.
#[cfg(feature = "cuda")]
pub(super) fn opened() -> Vec<(u32, Device)> {
    let devices = DEVICES.read().unwrap_or_else(PoisonError::into_inner);
    let pairs = devices.iter();
    pairs
        .map(|(number, device)| (*number, device.clone()))
        .collect()
}

fn known(number: u32) -> Option<Device> {
    let devices = DEVICES.read().unwrap_or_else(PoisonError::into_inner);
    devices.get(&number).cloned()
}

/// The device of a card that is there.
pub(super) fn open(number: u32) -> Result<Device> {
    // Seconds for a card's first. Who looks at those that are open does not wait for it.
    static OPENING: Mutex<()> = Mutex::new(());
    if let Some(device) = known(number) {
        return Ok(device);
    }
    let _turn = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(device) = known(number) {
        return Ok(device);
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
    {
        keep_pool(number);
        compile_ahead(device.as_cuda_device()?.clone());
    }
    let mut devices = DEVICES.write().unwrap_or_else(PoisonError::into_inner);
    devices.insert(number, device.clone());
    Ok(device)
}

/// Has the driver compile what prompts take of candle's kernels, which are text alone, while weights are read. One that
/// fails says so where it is used.
#[cfg(feature = "cuda")]
fn compile_ahead(device: CudaDevice) {
    let compile = move || {
        for (kernel, module) in [
            ("cast_f32_bf16", &kernels::CAST),
            ("copy2d_f32", &kernels::FILL),
            ("is_u32_f32", &kernels::INDEXING),
            ("badd_f32", &kernels::BINARY),
        ] {
            let _ = device.get_or_load_func(kernel, module);
        }
    };
    // Without a thread they are compiled when they are first used.
    let _ = thread::Builder::new()
        .name("kernels".to_owned())
        .spawn(compile);
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
        // What is in use stays by itself.
        let least = match kept {
            0 => 0,
            kept => used_bytes(number).unwrap_or(0).saturating_add(kept),
        };
        // SAFETY: the pool is a card's own.
        let _ = unsafe { sys::cuMemPoolTrimTo(pool, least as usize) };
    }
}

/// Bytes that a card's pool keeps and nobody uses.
#[cfg(feature = "cuda")]
pub(super) fn kept_bytes(number: u32) -> Option<u64> {
    let reserved = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT;
    attribute(pool(number)?, reserved)?.checked_sub(used_bytes(number)?)
}

/// Bytes that a card's pool has given and not got back.
#[cfg(feature = "cuda")]
pub(super) fn used_bytes(number: u32) -> Option<u64> {
    let used = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT;
    attribute(pool(number)?, used)
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
