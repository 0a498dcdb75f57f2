//! Launches of `four_bit.cu`. Unsafe for what a launch is: a card reads and writes whatever its kernels' arguments say.

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
    Text, bytes, floats, grid, kind, storage,
    unsafe_product::{MOST_TOKENS, Packed, product},
};
use crate::layers::{FourBitOnDevice, Scales};

const TEXT: Text = Text {
    name: "four_bit",
    ptx: include_str!(concat!(env!("OUT_DIR"), "/four_bit.ptx")),
};

/// Codes that the product takes at once: rows and blocks of scales hold whole ones.
const CODES: usize = 32;
/// Threads of a block that makes values, two codes each.
const VALUE_THREADS: usize = 256;

/// `x · Wᵀ`: from f32 `(tokens, in_features)` to f32 `(tokens, out_features)`; `None` of more tokens, or another
/// shape, than the kernel takes.
pub(crate) fn four_bit_product(matrix: &FourBitOnDevice, x: &Tensor) -> Result<Option<Tensor>> {
    let tokens = x.dim(0)?;
    let is_whole = matrix.shape.1.is_multiple_of(CODES) && matrix.block.is_multiple_of(CODES);
    if tokens == 0 || tokens > MOST_TOKENS || !is_whole {
        return Ok(None);
    }
    x.contiguous()?.apply_op1_no_bwd(&Product(matrix)).map(Some)
}

/// All values, `(out_features, in_features)`, in the type that they are computed in.
pub(crate) fn four_bit_values(matrix: &FourBitOnDevice) -> Result<Tensor> {
    matrix.packed.apply_op1_no_bwd(&Values(matrix))
}

struct Product<'a>(&'a FourBitOnDevice);

impl CustomOp1 for Product<'_> {
    fn name(&self) -> &'static str {
        "four-bit-product"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        bail!("this product is a card's")
    }

    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let name = match self.0.dtype {
            DType::F32 => "multiply_four_bit",
            _ => "multiply_rounded_four_bit",
        };
        let parts = parts(self.0);
        // SAFETY: the kernel reads the codes, scales and tables of the matrix, which has them for its shape.
        unsafe {
            product(
                (x, layout),
                (&parts, self.0.shape, self.0.dtype),
                (&TEXT, name),
            )
        }
    }
}

struct Values<'a>(&'a FourBitOnDevice);

impl CustomOp1 for Values<'_> {
    fn name(&self) -> &'static str {
        "four-bit-values"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        bail!("these values are a card's")
    }

    fn cuda_fwd(&self, packed: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        let device = &packed.device;
        let slice = match self.0.dtype {
            DType::F32 => CudaStorageSlice::F32(self.made(device)?),
            DType::F16 => CudaStorageSlice::F16(self.made::<f16>(device)?),
            _ => CudaStorageSlice::BF16(self.made::<bf16>(device)?),
        };
        let storage = CudaStorage {
            slice,
            device: device.clone(),
        };
        Ok((storage, Shape::from(self.0.shape)))
    }
}

impl Values<'_> {
    fn made<T: DeviceRepr>(&self, device: &CudaDevice) -> Result<CudaSlice<T>> {
        let (rows, columns) = self.0.shape;
        let count = rows * columns;
        // SAFETY: the kernel writes all of it before anyone reads.
        let out = unsafe { device.alloc::<T>(count)? };
        let parts = parts(self.0);
        let function = device.get_or_load_custom_func("values_of_four_bit", TEXT.name, TEXT.ptx)?;
        let (count_arg, kind) = (count as u64, kind(self.0.dtype)?);
        let mut arguments = function.builder();
        parts.put(&mut arguments)?;
        arguments.arg(&count_arg).arg(&kind).arg(&out);
        let launch = grid(count.div_ceil(2), VALUE_THREADS);
        // SAFETY: the kernel reads the codes, scales and tables of the matrix, which has them for its shape, and
        // writes `count` values of the type that `kind` names, as many as there are.
        unsafe { arguments.launch(launch) }.w()?;
        Ok(out)
    }
}

/// What kernels take of a matrix, held while they are launched.
struct Parts<S> {
    packed: S,
    book: S,
    scales: Held<S>,
    block: u32,
}

/// Scales, likewise.
enum Held<S> {
    Plain(S),
    Nested {
        codes: S,
        outer: S,
        map: S,
        offset: f32,
    },
}

/// In the place of a table that a matrix lacks.
const NOTHING: u64 = 0;
const NO_OFFSET: f32 = 0.0;

/// What kernels take of a matrix.
fn parts(matrix: &FourBitOnDevice) -> Parts<impl Deref<Target = Storage>> {
    Parts {
        packed: storage(&matrix.packed),
        book: storage(&matrix.book),
        scales: match &matrix.scales {
            Scales::Plain(scales) => Held::Plain(storage(scales)),
            Scales::Nested {
                codes,
                outer,
                map,
                offset,
            } => Held::Nested {
                codes: storage(codes),
                outer: storage(outer),
                map: storage(map),
                offset: *offset,
            },
        },
        block: matrix.block as u32,
    }
}

impl<S: Deref<Target = Storage>> Packed for Parts<S> {
    /// Puts them where kernels have them: codes, their values, plain scales, codes of scales, their outer scales,
    /// their values, their offset, codes of a block.
    fn put<'a>(&'a self, arguments: &mut LaunchArgs<'a>) -> Result<()> {
        arguments.arg(bytes(&self.packed)?).arg(floats(&self.book)?);
        match &self.scales {
            Held::Plain(scales) => {
                arguments.arg(floats(scales)?);
                arguments.arg(&NOTHING).arg(&NOTHING).arg(&NOTHING);
                arguments.arg(&NO_OFFSET);
            }
            Held::Nested {
                codes,
                outer,
                map,
                offset,
            } => {
                arguments.arg(&NOTHING).arg(bytes(codes)?);
                arguments.arg(floats(outer)?).arg(floats(map)?).arg(offset);
            }
        }
        arguments.arg(&self.block);
        Ok(())
    }
}
