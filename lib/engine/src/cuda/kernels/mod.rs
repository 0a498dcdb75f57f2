//! Kernels of our own: `build.rs` has NVIDIA's compiler make machine code and text of the files beside this one. The driver
//! of a card that the code is not for compiles the text when one is first used. What is launched is a matter of the files
//! that are named for it; tensors are told by their addresses: all work of a card is on one stream, on which memory is
//! taken and freed, too; for what goes to another card `cuda::moved` has its stream wait.

mod known;
mod unsafe_attention;
mod unsafe_candidates;
mod unsafe_gate;
mod unsafe_heads;
mod unsafe_int8;
mod unsafe_launch;
mod unsafe_norm;
mod unsafe_pack;
mod unsafe_product;
mod unsafe_prompt;
mod unsafe_round;
mod unsafe_softmax;
mod unsafe_values;

use std::fmt;

use candle_core::{
    CudaDevice, CudaStorage, DType, Result, Storage, Tensor, bail,
    cuda_backend::{CudaStorageSlice, cudarc::driver::DevicePtr},
};

pub(crate) use unsafe_attention::attention;
pub(crate) use unsafe_candidates::candidates;
pub(crate) use unsafe_gate::gate;
pub(crate) use unsafe_heads::{HeadsInto, put_heads};
pub(crate) use unsafe_int8::int8_product;
pub(crate) use unsafe_norm::{layer_norm, root_mean_square};
pub(crate) use unsafe_pack::pack_four_bit;
pub(crate) use unsafe_product::{Around, put_all};
pub(crate) use unsafe_round::rounded;
pub(crate) use unsafe_softmax::softmax;
pub(crate) use unsafe_values::{block_values, four_bit_values};

/// Kernels of one file, loaded once a device.
struct Text {
    name: &'static str,
    /// Machine code and text.
    image: &'static [u8],
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The text of a file of kernels.
macro_rules! text {
    ($name:literal) => {
        $crate::cuda::kernels::Text {
            name: $name,
            image: include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".fatbin")),
        }
    };
}
use text;

/// The number by which kernels know a type.
fn kind(dtype: DType) -> Result<i32> {
    Ok(match dtype {
        DType::F32 => 0,
        DType::F16 => 1,
        DType::BF16 => 2,
        _ => bail!("no kernel computes in {dtype:?}"),
    })
}

/// The card of a tensor.
fn card(tensor: &Tensor) -> Result<&CudaDevice> {
    tensor.device().as_cuda_device()
}

/// Where the first value of a tensor lies on its card; its others follow as its strides say.
fn start(tensor: &Tensor) -> Result<u64> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cuda(CudaStorage { slice, device }) = &*storage else {
        bail!("a kernel takes what is on its card");
    };
    let stream = device.cuda_stream();
    let first = match slice {
        CudaStorageSlice::U8(slice) => slice.device_ptr(&stream).0,
        CudaStorageSlice::U32(slice) => slice.device_ptr(&stream).0,
        CudaStorageSlice::F16(slice) => slice.device_ptr(&stream).0,
        CudaStorageSlice::BF16(slice) => slice.device_ptr(&stream).0,
        CudaStorageSlice::F32(slice) => slice.device_ptr(&stream).0,
        _ => bail!("no kernel takes {:?}", tensor.dtype()),
    };
    Ok(first + (layout.start_offset() * tensor.dtype().size_in_bytes()) as u64)
}

/// Where a tensor of a type lies on its card, its values one after the other. Fails of another type.
fn address(tensor: &Tensor, dtype: DType) -> Result<u64> {
    if tensor.dtype() != dtype || !tensor.is_contiguous() {
        bail!("a kernel takes contiguous {dtype:?}, not {tensor:?}");
    }
    start(tensor)
}

/// The same of f32, or nowhere.
fn address_of(tensor: Option<&Tensor>) -> Result<u64> {
    tensor.map_or(Ok(0), |tensor| address(tensor, DType::F32))
}
