//! Candle's devices of cards, one a card: tensors of two devices do not mix, though they be of one card. Unsafe for
//! a promise to candle about its streams.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use candle_core::{Device, Result};

/// The device of a card that is there.
pub(super) fn open(number: u32) -> Result<Device> {
    static DEVICES: Mutex<BTreeMap<u32, Device>> = Mutex::new(BTreeMap::new());
    let mut devices = DEVICES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(device) = devices.get(&number) {
        return Ok(device.clone());
    }
    // One stream for all threads: that of `new_cuda` is another in each, and requests take turns at running a
    // model whichever thread they are on.
    let device = Device::new_cuda_with_stream(number as usize)?;
    #[cfg(feature = "cuda")]
    // SAFETY: events order the work of several streams. All tensors of the card are of this device, which has one.
    unsafe {
        device.as_cuda_device()?.disable_event_tracking();
    }
    devices.insert(number, device.clone());
    Ok(device)
}
