//! The driver's calls about memory, by the signatures of `cuda.h`. Unsafe for what such a library is: callers give
//! addresses of what they own.

use std::{
    ffi::{c_int, c_void},
    slice,
};

use crate::{
    machine::{INVALID_VALUE, SUCCESS, Status, complain, machine},
    unsafe_driver::{card_of_stream, current, put, status},
};

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetDefaultMemPool(pool: *mut usize, device: c_int) -> Status {
    // SAFETY: as `cuda.h` says.
    unsafe { put(pool, device as usize + 1) }
}

#[unsafe(no_mangle)]
extern "C" fn cuMemPoolSetAttribute(
    _pool: usize,
    _attribute: c_int,
    _value: *mut c_void,
) -> Status {
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemPoolGetAttribute(
    pool: usize,
    attribute: c_int,
    value: *mut c_void,
) -> Status {
    let card = match machine().card(pool.wrapping_sub(1)) {
        Ok(card) => card,
        Err(status) => return status,
    };
    let answer = match attribute {
        // RESERVED_MEM_CURRENT and USED_MEM_CURRENT.
        5 => card.memory.reserved_bytes(),
        7 => card.memory.used_bytes(),
        _ => {
            let why = format!("attribute {attribute} of a pool is not known");
            return complain(INVALID_VALUE, &why);
        }
    };
    // SAFETY: as `cuda.h` says, which has 64 bits for these.
    unsafe { put(value.cast::<u64>(), answer) }
}

#[unsafe(no_mangle)]
extern "C" fn cuMemPoolTrimTo(pool: usize, kept: usize) -> Status {
    machine().log(&format!("kept: {kept} bytes"));
    let card = machine().card(pool.wrapping_sub(1));
    status(card.map(|mut card| card.memory.trim(kept as u64)))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> Status {
    let card = match current().and_then(|card| machine().card(card)) {
        Ok(card) => card,
        Err(status) => return status,
    };
    // SAFETY: as `cuda.h` says.
    unsafe {
        put(free, card.memory.free_bytes() as usize);
        put(total, card.memory.total_bytes() as usize)
    }
}

/// # Safety
/// The place is the caller's.
unsafe fn take(address: *mut u64, bytes: usize, card: Result<usize, Status>) -> Status {
    machine().log(&format!("taken: {bytes} bytes"));
    let taken = card
        .and_then(|card| machine().card(card))
        .and_then(|mut card| card.take(bytes));
    match taken {
        // SAFETY: as the caller says.
        Ok(taken) => unsafe { put(address, taken) },
        Err(status) => status,
    }
}

fn give_back(address: u64) -> Status {
    let given = machine()
        .card_of(address)
        .and_then(|card| machine().card(card));
    status(given.and_then(|mut card| {
        let is_given = card.memory.give_back(address);
        is_given
            .then_some(())
            .ok_or_else(|| complain(INVALID_VALUE, "what is freed was not taken"))
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAllocAsync(address: *mut u64, bytes: usize, stream: usize) -> Status {
    // SAFETY: as `cuda.h` says.
    unsafe { take(address, bytes, card_of_stream(stream)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAlloc_v2(address: *mut u64, bytes: usize) -> Status {
    // SAFETY: as `cuda.h` says.
    unsafe { take(address, bytes, current()) }
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFreeAsync(address: u64, _stream: usize) -> Status {
    give_back(address)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFree_v2(address: u64) -> Status {
    give_back(address)
}

/// Bytes of a card that a copy reads or writes, or why there are none.
fn copy<R>(address: u64, bytes: usize, body: impl FnOnce(&mut [u8]) -> R) -> Result<R, Status> {
    let number = machine()
        .card_of(address)
        .map_err(|status| complain(status, "a copy of what is on no card"))?;
    let mut card = machine().card(number)?;
    if let Some(place) = card.memory.at_mut(address, bytes) {
        return Ok(body(place));
    }
    let place = card.memory.describe(address);
    let why = format!("a copy of {bytes} bytes from {place}");
    Err(complain(INVALID_VALUE, &why))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyHtoDAsync_v2(
    to: u64,
    from: *const c_void,
    bytes: usize,
    stream: usize,
) -> Status {
    if let Err(status) = card_of_stream(stream) {
        return status;
    }
    machine().log(&format!("to the card: {bytes} bytes"));
    // SAFETY: the caller's memory has so many bytes.
    let from = unsafe { slice::from_raw_parts(from.cast::<u8>(), bytes) };
    status(copy(to, bytes, |to| to.copy_from_slice(from)))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyDtoHAsync_v2(
    to: *mut c_void,
    from: u64,
    bytes: usize,
    stream: usize,
) -> Status {
    // Of memory that is not locked a copy is done when it returns.
    if let Err(status) = card_of_stream(stream).and_then(|card| machine().wait(card)) {
        return status;
    }
    machine().log(&format!("from the card: {bytes} bytes"));
    // SAFETY: the caller's memory has so many bytes.
    let to = unsafe { slice::from_raw_parts_mut(to.cast::<u8>(), bytes) };
    status(copy(from, bytes, |from| to.copy_from_slice(from)))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: usize) -> Status {
    let of_card = card_of_stream(stream).and_then(|card| {
        let is_its = [to, from]
            .iter()
            .all(|address| machine().card_of(*address) == Ok(card));
        is_its
            .then_some(())
            .ok_or_else(|| complain(INVALID_VALUE, "a copy of what is on another card"))
    });
    let taken = of_card.and_then(|()| copy(from, bytes, |from| from.to_vec()));
    status(taken.and_then(|taken| copy(to, bytes, |to| to.copy_from_slice(&taken))))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyPeerAsync(
    to: u64,
    to_context: usize,
    from: u64,
    from_context: usize,
    bytes: usize,
    _stream: usize,
) -> Status {
    let pairs = [(to, to_context), (from, from_context)];
    if pairs
        .iter()
        .any(|(address, context)| machine().card_of(*address).map(|card| card + 1) != Ok(*context))
    {
        return complain(INVALID_VALUE, "a copy between cards of what is on others");
    }
    let taken = copy(from, bytes, |from| from.to_vec());
    status(taken.and_then(|taken| copy(to, bytes, |to| to.copy_from_slice(&taken))))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD8Async(to: u64, value: u8, bytes: usize, _stream: usize) -> Status {
    status(copy(to, bytes, |to| to.fill(value)))
}
