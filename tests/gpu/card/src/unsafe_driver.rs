//! The driver's calls, by the signatures of `cuda.h`. Unsafe for what such a library is: callers give addresses of
//! what they own. Handles are numbers: of contexts and streams they begin with the card's, from one on.

use std::{
    cell::Cell,
    ffi::{CStr, c_char, c_int, c_uint, c_void},
    slice,
    sync::atomic::{AtomicUsize, Ordering},
};

use crate::{
    image,
    machine::{
        DEVICE_UNAVAILABLE, INVALID_CONTEXT, INVALID_DEVICE, INVALID_HANDLE, INVALID_PTX,
        INVALID_VALUE, OUT_OF_MEMORY, SUCCESS, Shape, Status, complain, machine,
    },
};

thread_local! {
    /// The card whose context is current, from one on.
    static CURRENT: Cell<usize> = const { Cell::new(0) };
}

/// Streams and events have numbers above these bits.
const HANDLE: u32 = 32;
/// The number of the next.
static NEXT: AtomicUsize = AtomicUsize::new(1);
/// `CU_STREAM_LEGACY` and `CU_STREAM_PER_THREAD`, and none.
const SHARED_STREAMS: [usize; 3] = [0, 1, 2];
/// What the card is called.
const NAME: &CStr = c"Stand-in card";
/// CUDA 13.0.
const VERSION: c_int = 13_000;

pub(crate) fn status(result: Result<(), Status>) -> Status {
    result.err().unwrap_or(SUCCESS)
}

pub(crate) fn current() -> Result<usize, Status> {
    match CURRENT.get() {
        0 => Err(INVALID_CONTEXT),
        number => Ok(number - 1),
    }
}

/// The card on which a stream's work is done.
pub(crate) fn card_of_stream(stream: usize) -> Result<usize, Status> {
    let current = current()?;
    if SHARED_STREAMS.contains(&stream) || stream >> HANDLE == current + 1 {
        return Ok(current);
    }
    Err(complain(
        INVALID_HANDLE,
        "the stream is another card's than the current one",
    ))
}

fn handle(card: usize) -> usize {
    (card + 1) << HANDLE | NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Writes a result.
///
/// # Safety
/// The place is the caller's.
pub(crate) unsafe fn put<T>(place: *mut T, value: T) -> Status {
    if place.is_null() {
        return INVALID_VALUE;
    }
    // SAFETY: as the caller says.
    unsafe { place.write(value) };
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuInit(_flags: c_uint) -> Status {
    if machine().count() == 0 { 100 } else { SUCCESS }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDriverGetVersion(version: *mut c_int) -> Status {
    // SAFETY: as `cuda.h` says.
    unsafe { put(version, VERSION) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetCount(count: *mut c_int) -> Status {
    // SAFETY: as `cuda.h` says.
    unsafe {
        put(
            count,
            c_int::try_from(machine().count()).unwrap_or(c_int::MAX),
        )
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGet(device: *mut c_int, number: c_int) -> Status {
    if number < 0 || number as usize >= machine().count() {
        return INVALID_DEVICE;
    }
    // SAFETY: as `cuda.h` says.
    unsafe { put(device, number) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetName(name: *mut c_char, bytes: c_int, _device: c_int) -> Status {
    let all = NAME.to_bytes_with_nul();
    let count = all.len().min(bytes as usize);
    // SAFETY: there is room for so many bytes.
    unsafe { slice::from_raw_parts_mut(name.cast::<u8>(), count) }.copy_from_slice(&all[..count]);
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetUuid_v2(uuid: *mut [u8; 16], device: c_int) -> Status {
    // SAFETY: as `cuda.h` says.
    unsafe { put(uuid, [device as u8; 16]) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceTotalMem_v2(bytes: *mut usize, device: c_int) -> Status {
    match machine().card(device as usize) {
        // SAFETY: as `cuda.h` says.
        Ok(card) => unsafe { put(bytes, card.memory.total_bytes() as usize) },
        Err(status) => status,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetAttribute(
    value: *mut c_int,
    attribute: c_int,
    _device: c_int,
) -> Status {
    let answer = match attribute {
        // MAX_THREADS_PER_BLOCK, WARP_SIZE and MULTIPROCESSOR_COUNT.
        1 => 1024,
        10 => 32,
        16 => 4,
        // COMPUTE_CAPABILITY_MAJOR and _MINOR.
        75 => machine().capability[0],
        76 => machine().capability[1],
        // MEMORY_POOLS_SUPPORTED.
        115 => 1,
        _ => {
            return complain(
                INVALID_VALUE,
                &format!("attribute {attribute} is not known"),
            );
        }
    };
    // SAFETY: as `cuda.h` says.
    unsafe { put(value, answer) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDevicePrimaryCtxRetain(context: *mut usize, device: c_int) -> Status {
    if machine().is_taken {
        return DEVICE_UNAVAILABLE;
    }
    match machine().card(device as usize) {
        // SAFETY: as `cuda.h` says.
        Ok(_) => unsafe { put(context, device as usize + 1) },
        Err(status) => status,
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxRelease_v2(_device: c_int) -> Status {
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSetCurrent(context: usize) -> Status {
    CURRENT.set(context);
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxGetCurrent(context: *mut usize) -> Status {
    // SAFETY: as `cuda.h` says.
    unsafe { put(context, CURRENT.get()) }
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSynchronize() -> Status {
    status(current().and_then(|card| machine().wait(card)))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamCreate(stream: *mut usize, _flags: c_uint) -> Status {
    match current() {
        // SAFETY: as `cuda.h` says.
        Ok(card) => unsafe { put(stream, handle(card)) },
        Err(status) => status,
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamDestroy_v2(_stream: usize) -> Status {
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamSynchronize(stream: usize) -> Status {
    machine().log("waited for");
    status(card_of_stream(stream).and_then(|card| machine().wait(card)))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamWaitEvent(stream: usize, _event: usize, _flags: c_uint) -> Status {
    status(card_of_stream(stream).map(|_| ()))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamIsCapturing(_stream: usize, is: *mut c_int) -> Status {
    // SAFETY: as `cuda.h` says.
    unsafe { put(is, 0) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventCreate(event: *mut usize, _flags: c_uint) -> Status {
    match current() {
        // SAFETY: as `cuda.h` says.
        Ok(card) => unsafe { put(event, handle(card)) },
        Err(status) => status,
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuEventDestroy_v2(_event: usize) -> Status {
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuEventRecord(event: usize, stream: usize) -> Status {
    let matches = card_of_stream(stream).map(|card| event >> HANDLE == card + 1);
    match matches {
        Ok(true) => SUCCESS,
        Ok(false) => complain(
            INVALID_HANDLE,
            "the event is another card's than the stream",
        ),
        Err(status) => status,
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuEventSynchronize(_event: usize) -> Status {
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleLoadData(module: *mut usize, image: *const c_void) -> Status {
    // SAFETY: of what is loaded the image has a head that says how long it is, and a text ends with a zero.
    let text = unsafe {
        let head = slice::from_raw_parts(image.cast::<u8>(), 4);
        if head == image::MAGIC {
            let head = slice::from_raw_parts(image.cast::<u8>(), image::HEAD);
            let all = slice::from_raw_parts(image.cast::<u8>(), image::bytes(head));
            image::text(all)
        } else {
            CStr::from_ptr(image.cast()).to_str().ok()
        }
    };
    let Some(text) = text else {
        return complain(INVALID_PTX, "there is no text of kernels in it");
    };
    match current().and_then(|card| machine().load(card, text)) {
        // SAFETY: as `cuda.h` says.
        Ok(number) => unsafe { put(module, number + 1) },
        Err(status) => status,
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleUnload(module: usize) -> Status {
    status(machine().unload(module.wrapping_sub(1)))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleGetFunction(
    function: *mut usize,
    module: usize,
    name: *const c_char,
) -> Status {
    // SAFETY: a name ends with a zero.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
    match machine().function(module.wrapping_sub(1), &name) {
        // SAFETY: as `cuda.h` says.
        Ok(number) => unsafe { put(function, number + 1) },
        Err(status) => status,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuLaunchKernel(
    function: usize,
    blocks_x: c_uint,
    blocks_y: c_uint,
    blocks_z: c_uint,
    threads_x: c_uint,
    threads_y: c_uint,
    threads_z: c_uint,
    shared_bytes: c_uint,
    stream: usize,
    arguments: *mut *mut c_void,
    _extra: *mut *mut c_void,
) -> Status {
    let function = function.wrapping_sub(1);
    let run = || {
        let card = card_of_stream(stream)?;
        let parameters = machine().parameters(function)?;
        let bytes = parameters.last().map_or(0, |(at, bytes)| at + bytes);
        let mut all = vec![0; bytes];
        for (number, (at, bytes)) in parameters.iter().enumerate() {
            // SAFETY: there is an address for each parameter, of as many bytes as the kernel takes.
            let argument =
                unsafe { slice::from_raw_parts((*arguments.add(number)).cast::<u8>(), *bytes) };
            all[*at..][..*bytes].copy_from_slice(argument);
        }
        let shape = Shape {
            blocks: [blocks_x, blocks_y, blocks_z],
            threads: [threads_x, threads_y, threads_z],
            shared_bytes,
        };
        machine().launch(card, function, shape, &all)
    };
    status(run())
}

/// What calls of this library give, and no others.
fn described(status: Status) -> &'static CStr {
    match status {
        SUCCESS => c"CUDA_SUCCESS",
        INVALID_VALUE => c"CUDA_ERROR_INVALID_VALUE",
        OUT_OF_MEMORY => c"CUDA_ERROR_OUT_OF_MEMORY",
        DEVICE_UNAVAILABLE => c"CUDA_ERROR_DEVICE_UNAVAILABLE",
        100 => c"CUDA_ERROR_NO_DEVICE",
        INVALID_DEVICE => c"CUDA_ERROR_INVALID_DEVICE",
        INVALID_CONTEXT => c"CUDA_ERROR_INVALID_CONTEXT",
        214 => c"CUDA_ERROR_ECC_UNCORRECTABLE",
        INVALID_PTX => c"CUDA_ERROR_INVALID_PTX",
        INVALID_HANDLE => c"CUDA_ERROR_INVALID_HANDLE",
        500 => c"CUDA_ERROR_NOT_FOUND",
        700 => c"CUDA_ERROR_ILLEGAL_ADDRESS",
        701 => c"CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES",
        710 => c"CUDA_ERROR_ASSERT",
        716 => c"CUDA_ERROR_MISALIGNED_ADDRESS",
        719 => c"CUDA_ERROR_LAUNCH_FAILED",
        _ => c"CUDA_ERROR_UNKNOWN",
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorName(status: Status, text: *mut *const c_char) -> Status {
    // SAFETY: as `cuda.h` says.
    unsafe { put(text, described(status).as_ptr()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorString(status: Status, text: *mut *const c_char) -> Status {
    // SAFETY: as `cuda.h` says.
    unsafe { put(text, described(status).as_ptr()) }
}
