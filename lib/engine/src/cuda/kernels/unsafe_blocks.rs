//! Launches of `blocks.cu`. Unsafe for what a launch is: a card reads and writes whatever its kernels' arguments say.

use std::ops::Deref;

use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, DType, Layout, Result, Shape, Storage, Tensor, bail,
    cuda_backend::{
        CudaDevice, CudaStorageSlice, WrapErr,
        cudarc::driver::{CudaSlice, DeviceRepr, LaunchArgs, PushKernelArg},
    },
};
use half::{bf16, f16};

use super::{
    Text, bytes, grid, kind, storage,
    unsafe_product::{Packed, product},
};
use crate::{layers::BlocksOnDevice, weights::Format};

const TEXT: Text = Text {
    name: "blocks",
    ptx: include_str!(concat!(env!("OUT_DIR"), "/blocks.ptx")),
};

/// Values of a thread that makes them, and threads of a block.
const VALUES: usize = 32;
const VALUE_THREADS: usize = 256;

/// `x · Wᵀ`: from f32 `(tokens, in_features)` to f32 `(tokens, out_features)`, with activations as they are. Fails of
/// more than eight tokens.
pub(crate) fn block_product(matrix: &BlocksOnDevice, x: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op1_no_bwd(&Product(matrix))
}

/// All values, `(out_features, in_features)`, in a type.
pub(crate) fn block_values(matrix: &BlocksOnDevice, dtype: DType) -> Result<Tensor> {
    matrix.packed.apply_op1_no_bwd(&Values(matrix, dtype))
}

struct Product<'a>(&'a BlocksOnDevice);

impl CustomOp1 for Product<'_> {
    fn name(&self) -> &'static str {
        "block-product"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        bail!("this product is a card's")
    }

    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let name = format!("multiply_{}", kernels_of(self.0.format)?);
        let packed = Blocks(storage(&self.0.packed));
        // SAFETY: the kernel reads the blocks of the matrix, which has as many as its shape says.
        unsafe {
            product(
                (x, layout),
                (&packed, self.0.shape, DType::F32),
                (&TEXT, &name),
            )
        }
    }
}

struct Blocks<S>(S);

impl<S: Deref<Target = Storage>> Packed for Blocks<S> {
    fn put<'a>(&'a self, arguments: &mut LaunchArgs<'a>) -> Result<()> {
        arguments.arg(bytes(&self.0)?);
        Ok(())
    }
}

struct Values<'a>(&'a BlocksOnDevice, DType);

impl CustomOp1 for Values<'_> {
    fn name(&self) -> &'static str {
        "block-values"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        bail!("these values are a card's")
    }

    fn cuda_fwd(&self, packed: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        let slice = match self.1 {
            DType::F32 => CudaStorageSlice::F32(self.made(packed)?),
            DType::F16 => CudaStorageSlice::F16(self.made::<f16>(packed)?),
            _ => CudaStorageSlice::BF16(self.made::<bf16>(packed)?),
        };
        let device = packed.device.clone();
        Ok((CudaStorage { slice, device }, Shape::from(self.0.shape)))
    }
}

impl Values<'_> {
    fn made<T: DeviceRepr>(&self, packed: &CudaStorage) -> Result<CudaSlice<T>> {
        let device: &CudaDevice = &packed.device;
        let (rows, columns) = self.0.shape;
        // SAFETY: the kernel writes all of it before anyone reads.
        let out = unsafe { device.alloc::<T>(rows * columns)? };
        let pieces = (rows * columns / VALUES) as u64;
        let name = format!("values_of_{}", kernels_of(self.0.format)?);
        let (function, kind) = (
            device.get_or_load_custom_func(&name, TEXT.name, TEXT.ptx)?,
            kind(self.1)?,
        );
        let mut arguments = function.builder();
        arguments.arg(packed.as_cuda_slice::<u8>()?);
        arguments.arg(&pieces).arg(&kind).arg(&out);
        // SAFETY: the kernel reads the blocks of the matrix, which has as many as its shape says, and writes a value of
        // the type that `kind` names for each of theirs.
        unsafe { arguments.launch(grid(rows * columns / VALUES, VALUE_THREADS)) }.w()?;
        Ok(out)
    }
}

/// What kernels of a format are called.
fn kernels_of(format: Format) -> Result<&'static str> {
    match format {
        Format::F16 => Ok("Half"),
        Format::BF16 => Ok("Brain"),
        Format::F32 | Format::Byte => bail!("no kernel reads {}", format.name()),
        format => Ok(format.name()),
    }
}
