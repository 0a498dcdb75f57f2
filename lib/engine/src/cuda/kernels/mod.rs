//! Kernels of our own, whose text `build.rs` has NVIDIA's compiler make of the files beside this one. A card's driver
//! compiles it when one is first used. What is launched is a matter of the files that are named for it.

mod unsafe_blocks;
mod unsafe_four_bit;
mod unsafe_product;

use std::ops::Deref;

use candle_core::{
    DType, Result, Storage, Tensor, bail,
    cuda_backend::cudarc::driver::{CudaSlice, LaunchConfig},
};

pub(crate) use unsafe_blocks::{block_product, block_values};
pub(crate) use unsafe_four_bit::{four_bit_product, four_bit_values};

/// Kernels of one file; candle has each compiled once a device.
struct Text {
    name: &'static str,
    ptx: &'static str,
}

/// So many threads, in blocks of so many.
fn grid(threads: usize, block: usize) -> LaunchConfig {
    LaunchConfig {
        grid_dim: (threads.div_ceil(block) as u32, 1, 1),
        block_dim: (block as u32, 1, 1),
        shared_mem_bytes: 0,
    }
}

/// The number by which kernels know a type.
fn kind(dtype: DType) -> Result<i32> {
    Ok(match dtype {
        DType::F32 => 0,
        DType::F16 => 1,
        DType::BF16 => 2,
        _ => bail!("no kernel computes in {dtype:?}"),
    })
}

/// The storage of a tensor, as candle hands it out.
fn storage(tensor: &Tensor) -> impl Deref<Target = Storage> {
    tensor.storage_and_layout().0
}

fn bytes(storage: &Storage) -> Result<&CudaSlice<u8>> {
    match storage {
        Storage::Cuda(storage) => storage.as_cuda_slice(),
        _ => bail!("a kernel takes what is on its card"),
    }
}

fn floats(storage: &Storage) -> Result<&CudaSlice<f32>> {
    match storage {
        Storage::Cuda(storage) => storage.as_cuda_slice(),
        _ => bail!("a kernel takes what is on its card"),
    }
}
