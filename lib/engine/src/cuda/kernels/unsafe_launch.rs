//! What all launches share. Unsafe for what a launch is: a card reads and writes whatever its kernels' arguments say.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, OnceLock, PoisonError, RwLock},
};

use candle_core::{
    CudaDevice, DType, Device, Result, Shape, Tensor, bail,
    cuda_backend::{
        DeviceId, WrapErr,
        cudarc::{
            driver::{CudaFunction, CudaModule, DeviceRepr, LaunchConfig, PushKernelArg},
            nvrtc::Ptx,
        },
    },
};

use super::Text;
use crate::layers::MOST_APART;

/// A sequence's keys and values: `Part` of the kernels.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Part {
    pub(super) keys: u64,
    pub(super) values: u64,
    pub(super) capacity: u32,
    pub(super) count: u32,
}

/// `Parts` of the kernels: of one all rows, or one a row.
#[repr(C)]
pub(super) struct Parts {
    count: u32,
    unused: u32,
    all: [Part; MOST_APART],
}

const _: () = assert!(
    size_of::<Parts>() == 8 + 24 * MOST_APART && MOST_APART == 64,
    "as in parts.cuh"
);

impl Parts {
    /// Fails of none, and of more than there is room for.
    pub(super) fn new(parts: impl Iterator<Item = Result<Part>>) -> Result<Self> {
        let mut all = [Part::default(); MOST_APART];
        let mut count = 0;
        for part in parts {
            let Some(place) = all.get_mut(count) else {
                bail!("a launch serves {MOST_APART} sequences at most");
            };
            *place = part?;
            count += 1;
        }
        if count == 0 {
            bail!("a launch serves at least one sequence");
        }
        Ok(Self {
            count: count as u32,
            unused: 0,
            all,
        })
    }
}

/// What a kernel takes.
#[derive(Clone, Copy)]
pub(super) enum Argument {
    /// Where a tensor lies on the card; 0 for none.
    Address(u64),
    /// An `unsigned`.
    Count(u32),
    /// An `unsigned long long`.
    Long(u64),
    /// An `int`.
    Kind(i32),
    /// A `float`.
    Value(f32),
}

/// So many blocks in each direction, of so many threads.
pub(super) fn grid(blocks: (usize, usize, usize), threads: usize) -> LaunchConfig {
    LaunchConfig {
        grid_dim: (blocks.0 as u32, blocks.1 as u32, blocks.2 as u32),
        block_dim: (threads as u32, 1, 1),
        shared_mem_bytes: 0,
    }
}

/// A tensor that a kernel is to write all of.
///
/// # Safety
/// Nobody reads it before.
pub(super) unsafe fn empty(
    shape: impl Into<Shape>,
    dtype: DType,
    device: &Device,
) -> Result<Tensor> {
    // SAFETY: as the caller says.
    unsafe { Tensor::empty(shape, dtype, device) }
}

/// Kernels of a text on a device.
#[derive(Default)]
struct Loaded {
    module: OnceLock<Arc<CudaModule>>,
    kernels: RwLock<HashMap<String, CudaFunction>>,
}

/// What was loaded of a text to a device.
fn loaded(device: &CudaDevice, text: &Text) -> Arc<Loaded> {
    type All = HashMap<(DeviceId, &'static str), Arc<Loaded>>;
    static ALL: LazyLock<RwLock<All>> = LazyLock::new(RwLock::default);
    let key = (device.id(), text.name);
    let known = ALL
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .get(&key)
        .cloned();
    known.unwrap_or_else(|| {
        let mut all = ALL.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(key).or_default())
    })
}

/// A kernel, asked for once a device: the driver looks it up by its name each time.
fn function(device: &CudaDevice, (text, kernel): (&Text, &str)) -> Result<CudaFunction> {
    let loaded = loaded(device, text);
    {
        let kernels = loaded
            .kernels
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(function) = kernels.get(kernel) {
            return Ok(function.clone());
        }
    }
    let module = if let Some(module) = loaded.module.get() {
        module
    } else {
        // A driver may compile it. Two who are first do so at once, and one of both is kept.
        let image = Ptx::from_binary(text.image.to_vec());
        let module = device.cuda_stream().context().load_module(image).w()?;
        loaded.module.get_or_init(|| module)
    };
    let function = module.load_function(kernel).w()?;
    let mut kernels = loaded
        .kernels
        .write()
        .unwrap_or_else(PoisonError::into_inner);
    kernels.insert(kernel.to_owned(), function.clone());
    Ok(function)
}

/// Launches a kernel.
///
/// # Safety
/// The arguments are those of the kernel, in order; what it reads and writes at their addresses is there, and nobody
/// else's who is not behind it on the stream.
pub(super) unsafe fn launch(
    device: &CudaDevice,
    kernel: (&Text, &str),
    grid: LaunchConfig,
    arguments: &[Argument],
) -> Result<()> {
    let (function, stream) = (function(device, kernel)?, device.cuda_stream());
    let mut builder = stream.launch_builder(&function);
    for argument in arguments {
        match argument {
            Argument::Address(value) | Argument::Long(value) => builder.arg(value),
            Argument::Count(value) => builder.arg(value),
            Argument::Kind(value) => builder.arg(value),
            Argument::Value(value) => builder.arg(value),
        };
    }
    // SAFETY: as the caller says.
    unsafe { builder.launch(grid) }.w()?;
    Ok(())
}

/// The same of a kernel that takes one struct.
///
/// # Safety
/// As of [`launch`], of what the struct says.
pub(super) unsafe fn launch_with<T: DeviceRepr>(
    device: &CudaDevice,
    kernel: (&Text, &str),
    grid: LaunchConfig,
    argument: &T,
) -> Result<()> {
    let (function, stream) = (function(device, kernel)?, device.cuda_stream());
    let mut builder = stream.launch_builder(&function);
    builder.arg(argument);
    // SAFETY: as the caller says.
    unsafe { builder.launch(grid) }.w()?;
    Ok(())
}
