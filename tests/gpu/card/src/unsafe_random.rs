//! The calls of cuRAND that candle makes when it opens a card, by the signatures of `curand.h`; numbers are never asked
//! for. Unsafe for what such a library is: callers give addresses of what they own.

use std::ffi::c_int;

#[unsafe(no_mangle)]
unsafe extern "C" fn curandCreateGenerator(generator: *mut usize, _kind: c_int) -> c_int {
    // SAFETY: the place is the caller's.
    unsafe { generator.write(1) };
    0
}

#[unsafe(no_mangle)]
extern "C" fn curandSetPseudoRandomGeneratorSeed(_generator: usize, _seed: u64) -> c_int {
    0
}

#[unsafe(no_mangle)]
extern "C" fn curandSetGeneratorOffset(_generator: usize, _offset: u64) -> c_int {
    0
}

#[unsafe(no_mangle)]
extern "C" fn curandSetStream(_generator: usize, _stream: usize) -> c_int {
    0
}

#[unsafe(no_mangle)]
extern "C" fn curandDestroyGenerator(_generator: usize) -> c_int {
    0
}
