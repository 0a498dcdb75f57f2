//! Kernels of our own, whose text `build.rs` has NVIDIA's compiler make. Unsafe for their launch: a card reads and
//! writes whatever its kernels' arguments say.

use std::ops::Deref;

use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, DType, Layout, Result, Shape, Storage, Tensor, bail,
    cuda_backend::{
        CudaDevice, CudaStorageSlice, WrapErr,
        cudarc::driver::{CudaSlice, DeviceRepr, LaunchArgs, LaunchConfig, PushKernelArg},
    },
};
use half::{bf16, f16};

use crate::layers::{FourBitOnDevice, Scales};

/// The kernels of `kernels/four_bit.cu`.
const FOUR_BIT: &str = include_str!(concat!(env!("OUT_DIR"), "/four_bit.ptx"));

/// Threads of a block of the product, and rows that a block makes: those of the kernel.
const PRODUCT_THREADS: u32 = 256;
const PRODUCT_ROWS: usize = 32;
/// Codes that the product takes at once: rows and blocks of scales hold whole ones.
const CODES: usize = 32;
/// Tokens up to which codes are multiplied as they lie; of more, values are made for a product of tensor cores.
const MOST_TOKENS: usize = 8;
/// Threads of a block that makes values, two codes each.
const VALUE_THREADS: u32 = 256;

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
        let (rows, columns) = self.0.shape;
        let (tokens, width) = layout.shape().dims2()?;
        let (start, end) = match layout.contiguous_offsets() {
            Some(places) if width == columns && tokens <= MOST_TOKENS => places,
            _ => bail!("a ({rows}, {columns}) matrix got {:?}", layout.shape()),
        };
        let device = &x.device;
        let x = x.as_cuda_slice::<f32>()?.slice(start..end);
        // Of as many tokens as a kernel takes; those past the last are zero.
        let together = tokens.next_power_of_two();
        let padded;
        let x = if together == tokens {
            x
        } else {
            let mut wide = device.alloc_zeros::<f32>(together * columns)?;
            device.memcpy_dtod(&x, &mut wide.slice_mut(..tokens * columns))?;
            padded = wide;
            padded.slice(..)
        };
        // SAFETY: the kernel writes all of it before anyone reads.
        let y = unsafe { device.alloc::<f32>(together * rows)? };
        let parts = parts(self.0);
        let name = match self.0.dtype {
            DType::F32 => format!("multiply_four_bit_{together}"),
            _ => format!("multiply_rounded_four_bit_{together}"),
        };
        let function = device.get_or_load_custom_func(&name, "four_bit", FOUR_BIT)?;
        let (rows_arg, columns_arg, kind) = (rows as u32, columns as u32, kind(self.0.dtype)?);
        let mut arguments = function.builder();
        parts.put(&mut arguments)?;
        arguments.arg(&rows_arg).arg(&columns_arg).arg(&kind);
        arguments.arg(&x).arg(&y);
        let launch = LaunchConfig {
            grid_dim: (rows.div_ceil(PRODUCT_ROWS) as u32, 1, 1),
            block_dim: (PRODUCT_THREADS, 1, 1),
            shared_mem_bytes: 0,
        };
        // SAFETY: the kernel reads the codes, scales and tables of the matrix, which has them for its shape, and
        // `together` tokens of `columns` values, and writes `together` of `rows`: as many as there are.
        unsafe { arguments.launch(launch) }.w()?;
        let y = if together == tokens {
            y
        } else {
            let mut fewer = device.alloc_zeros::<f32>(tokens * rows)?;
            device.memcpy_dtod(&y.slice(..tokens * rows), &mut fewer)?;
            fewer
        };
        Ok((
            CudaStorage::wrap_cuda_slice(y, device.clone()),
            Shape::from((tokens, rows)),
        ))
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
        let function =
            device.get_or_load_custom_func("values_of_four_bit", "four_bit", FOUR_BIT)?;
        let (count_arg, kind) = (count as u64, kind(self.0.dtype)?);
        let mut arguments = function.builder();
        parts.put(&mut arguments)?;
        arguments.arg(&count_arg).arg(&kind).arg(&out);
        let blocks = count.div_ceil(2).div_ceil(VALUE_THREADS as usize);
        let launch = LaunchConfig {
            grid_dim: (blocks as u32, 1, 1),
            block_dim: (VALUE_THREADS, 1, 1),
            shared_mem_bytes: 0,
        };
        // SAFETY: the kernel reads the codes, scales and tables of the matrix, which has them for its shape, and
        // writes `count` values of the type that `kind` names, as many as there are.
        unsafe { arguments.launch(launch) }.w()?;
        Ok(out)
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

/// The storage of a tensor, as candle hands it out.
fn storage(tensor: &Tensor) -> impl Deref<Target = Storage> {
    tensor.storage_and_layout().0
}

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

impl<S: Deref<Target = Storage>> Parts<S> {
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
