//! NVIDIA's cards: which there are, and whether this program can compute on one. The driver is asked by every
//! program, also by one without the feature `cuda`, which then can say what it does not use. What computes on
//! cards is candle's matter but for the kernels in `kernels`, and where a model lives `placement`'s.

#[cfg(feature = "cuda")]
mod kernels;
mod memory;
mod unsafe_device;
mod unsafe_driver;
#[cfg(feature = "cuda")]
mod unsafe_libraries;

use std::{
    fmt,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use candle_core::Tensor;
use wire::{Failure, FailureKind, model::Device};

use crate::failures;
pub use memory::free_bytes;
pub(crate) use memory::{Work, return_memory, unused_bytes, used_bytes};
use unsafe_driver::Silence;

#[cfg(feature = "cuda")]
pub(crate) use kernels::{
    Around, HeadsInto, attention, block_values, candidates, four_bit_values, gate, int8_product,
    layer_norm, pack_four_bit, put_all, put_heads, root_mean_square, rounded, softmax,
};

/// What the driver says of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Driver {
    /// The newest CUDA that it runs.
    pub cuda: Version,
    /// The cards that this process may use, in CUDA's order: the first is `cuda:0`.
    pub cards: Vec<Card>,
}

/// A card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// Its name, as `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// By which other programs know it: `GPU-` and 32 hexadecimal digits in five groups.
    pub uuid: String,
    /// Its compute capability.
    pub capability: Version,
    /// Its memory in bytes.
    pub bytes: u64,
}

/// Major and minor number, of CUDA or of a compute capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// What this program's kernels need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Build {
    /// The CUDA that a driver must run.
    pub cuda: Version,
    /// The least compute capability.
    pub capability: Version,
}

/// What the kernels of this program need; `None` when it was built without the feature `cuda`.
pub fn build() -> Option<Build> {
    #[cfg(feature = "cuda")]
    {
        static BUILD: OnceLock<Option<Build>> = OnceLock::new();
        let read = || Build::of_kernel(candle_core::cuda_backend::kernels::FILL.ptx());
        *BUILD.get_or_init(read)
    }
    #[cfg(not(feature = "cuda"))]
    None
}

/// What the driver says, asked once: it does not learn of cards later. Fails where there is none, or it fails itself.
pub fn driver() -> Result<&'static Driver, Failure> {
    asked().map_err(Into::into)
}

/// Whether there is no driver at all, rather than one that fails.
pub fn lacks_driver() -> bool {
    matches!(asked(), Err(Silence::Absent(_)))
}

/// How long a driver that fails is left alone. It may be coming up.
const REST: Duration = Duration::from_secs(10);

fn asked() -> Result<&'static Driver, Silence> {
    static DRIVER: OnceLock<Result<Driver, Silence>> = OnceLock::new();
    static REFUSED: Mutex<Option<(Instant, Silence)>> = Mutex::new(None);
    if let Some(answer) = DRIVER.get() {
        return answer.as_ref().map_err(Clone::clone);
    }
    let mut refused = REFUSED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((when, silence)) = &*refused
        && when.elapsed() < REST
    {
        return Err(silence.clone());
    }
    match unsafe_driver::ask(unsafe_driver::NAME) {
        Err(silence @ Silence::Refused { .. }) => {
            *refused = Some((Instant::now(), silence.clone()));
            Err(silence)
        }
        lasting => DRIVER
            .get_or_init(|| lasting)
            .as_ref()
            .map_err(Clone::clone),
    }
}

/// Whether this program can compute on the card of this number. Fails with what is in the way.
pub fn usable(number: u32) -> Result<(), Failure> {
    #[cfg(test)]
    if number < tests::CARDS.get() {
        return Ok(());
    }
    check(number, build(), driver())?;
    #[cfg(feature = "cuda")]
    libraries()?;
    Ok(())
}

/// Opens the libraries, once.
#[cfg(feature = "cuda")]
fn libraries() -> Result<(), Failure> {
    static OPEN: OnceLock<()> = OnceLock::new();
    if OPEN.get().is_none() {
        unsafe_libraries::open()?;
        let _ = OPEN.set(());
    }
    Ok(())
}

/// Candle's device of a card, the same at each call. Fails as [`usable`] does.
pub(crate) fn device(number: u32) -> Result<candle_core::Device, Failure> {
    usable(number)?;
    #[cfg(test)]
    if number < tests::CARDS.get() {
        return Ok(candle_core::Device::Cpu);
    }
    unsafe_device::open(number).map_err(|error| failures::unopened(number, &error))
}

/// The cards that this program can compute on, in order.
pub(crate) fn cards() -> Vec<Device> {
    let numbers = 0..=u32::from(u8::MAX);
    // What is in the way of the first is, as a rule, in the way of all.
    numbers
        .take_while(|&number| usable(number).is_ok())
        .map(Device::Cuda)
        .collect()
}

/// A tensor on a device; what is there already stays as it is.
pub(crate) fn moved(x: &Tensor, device: &candle_core::Device) -> candle_core::Result<Tensor> {
    let there = x.to_device(device)?;
    #[cfg(feature = "cuda")]
    if let (Ok(from), Ok(to)) = (x.device().as_cuda_device(), device.as_cuda_device())
        && !x.device().same_device(device)
    {
        // The copy runs on the other card's stream, and this card's may not give the memory away before.
        let (from, to) = (from.cuda_stream(), to.cuda_stream());
        from.join(&to).map_err(candle_core::Error::wrap)?;
    }
    Ok(there)
}

/// Whether the text of an error says that a card has no memory left.
pub(crate) fn is_out_of_memory(text: &str) -> bool {
    ["CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED"]
        .iter()
        .any(|status| text.contains(status))
}

/// What an error of cuBLAS comes from, where a card's driver knows: its errors come late, with whatever is asked next.
pub(crate) fn reason(text: &str) -> Option<String> {
    #[cfg(feature = "cuda")]
    if LATE.iter().any(|status| text.contains(status)) {
        return unsafe_device::opened().iter().find_map(said_of);
    }
    let _ = text;
    None
}

/// Errors of cuBLAS that come of a card or of its memory.
#[cfg(feature = "cuda")]
const LATE: [&str; 4] = [
    "CUBLAS_STATUS_NOT_INITIALIZED",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_EXECUTION_FAILED",
    "CUBLAS_STATUS_INTERNAL_ERROR",
];

/// What is wrong with a card, as far as it says: an error, or that it has less memory left than cuBLAS takes at once,
/// with nothing in its pool.
#[cfg(feature = "cuda")]
fn said_of((number, device): &(u32, candle_core::Device)) -> Option<String> {
    const SCARCE: u64 = 32 << 20;
    if let Err(error) = device.synchronize() {
        return Some(error.to_string());
    }
    unsafe_device::trim_pool(*number, 0);
    let stream = device.as_cuda_device().ok()?.cuda_stream();
    let (free, _) = stream.context().mem_get_info().ok()?;
    let free = free as u64;
    (free < SCARCE).then(|| {
        let free = crate::memory::megabytes(free);
        format!("CUDA_ERROR_OUT_OF_MEMORY: {free} are free on `cuda:{number}`")
    })
}

/// Errors after which every further call fails: the context is broken, or its card is gone (`cuda.h`).
const LOSSES: [&str; 18] = [
    "CUDA_ERROR_ASSERT",
    "CUDA_ERROR_CONTAINED",
    "CUDA_ERROR_DEINITIALIZED",
    "CUDA_ERROR_CONTEXT_IS_DESTROYED",
    "CUDA_ERROR_ECC_UNCORRECTABLE",
    "CUDA_ERROR_EXTERNAL_DEVICE",
    "CUDA_ERROR_MPS_CLIENT_TERMINATED",
    "CUDA_ERROR_TENSOR_MEMORY_LEAK",
    "CUDA_ERROR_NVLINK_UNCORRECTABLE",
    "CUDA_ERROR_ILLEGAL_ADDRESS",
    "CUDA_ERROR_ILLEGAL_INSTRUCTION",
    "CUDA_ERROR_MISALIGNED_ADDRESS",
    "CUDA_ERROR_INVALID_ADDRESS_SPACE",
    "CUDA_ERROR_INVALID_PC",
    "CUDA_ERROR_HARDWARE_STACK_ERROR",
    "CUDA_ERROR_LAUNCH_TIMEOUT",
    "CUDA_ERROR_LAUNCH_FAILED",
    "CUDA_ERROR_UNKNOWN",
];

/// Whether the text of an error says that nothing more can be computed on a card by this process.
pub(crate) fn is_loss(text: &str) -> bool {
    LOSSES.iter().any(|status| text.contains(status))
}

static LOST: AtomicBool = AtomicBool::new(false);

/// Remembers that a card is lost to this process.
pub(crate) fn lose() {
    LOST.store(true, Ordering::Release);
}

/// Whether a card was lost to this process: then only another process can compute on it.
pub fn is_lost() -> bool {
    LOST.load(Ordering::Acquire)
}

/// The type of 16 bits in which this program's kernels compute products: cards before 8.0 have no brain floats.
pub(crate) fn short_dtype() -> candle_core::DType {
    short_dtype_of(build())
}

fn short_dtype_of(build: Option<Build>) -> candle_core::DType {
    match build {
        Some(build) if build.capability < Version(8, 0) => candle_core::DType::F16,
        _ => candle_core::DType::BF16,
    }
}

/// The device that `auto` takes, and a line that says so where a card could have been expected.
pub fn auto() -> (Device, Option<String>) {
    choose(build(), driver(), usable(0))
}

fn choose(
    build: Option<Build>,
    driver: Result<&Driver, Failure>,
    first: Result<(), Failure>,
) -> (Device, Option<String>) {
    let Err(failure) = first else {
        return (Device::Cuda(0), None);
    };
    let is_expected = build.is_some() || driver.is_ok_and(|driver| !driver.cards.is_empty());
    (Device::Cpu, is_expected.then(|| passed_over(failure)))
}

/// That `auto` takes the CPU, and why.
pub(crate) fn passed_over(failure: Failure) -> String {
    let hint = failure.hint.map(|hint| format!(" ({hint})"));
    let hint = hint.unwrap_or_default();
    format!("`auto` takes the CPU: {}{hint}", failure.message)
}

fn check(
    number: u32,
    build: Option<Build>,
    driver: Result<&Driver, Failure>,
) -> Result<(), Failure> {
    let refused = |why: String, hint: &str| {
        let message = format!("cannot use `cuda:{number}`: {why}");
        Err(Failure::new(FailureKind::Device, message).hint(hint))
    };
    let Some(build) = build else {
        return refused(
            "this program was built without the feature `cuda`".to_owned(),
            "use the device `cpu` or `auto`, or build one that has it: `kernel/cuda/build.sh`",
        );
    };
    let driver = match driver {
        Ok(driver) => driver,
        Err(failure) => {
            let hint = failure.hint.unwrap_or_default();
            return refused(failure.message, &format!("{hint}; or use the device `cpu`"));
        }
    };
    let Some(card) = driver.cards.get(number as usize) else {
        let count = driver.cards.len();
        return refused(
            format!("the driver has {count} cards for this process"),
            match count {
                0 => {
                    "see what `nvidia-smi` says and what CUDA_VISIBLE_DEVICES is set to; or use the device `cpu`"
                }
                1 => "the only card is `cuda:0`",
                _ => "cards are counted from `cuda:0`; `%gpu` lists them",
            },
        );
    };
    if card.capability < build.capability {
        let needed = build.capability;
        return refused(
            format!(
                "{} has compute capability {}, this program's kernels need {needed}",
                card.name, card.capability
            ),
            "use the device `cpu`, or build for that card: `CUDA_COMPUTE_CAP=75 kernel/cuda/build.sh`, without the dot",
        );
    }
    if driver.cuda < build.cuda {
        let (runs, needs) = (driver.cuda, build.cuda);
        return refused(
            format!("its driver runs CUDA {runs} at most, this program's kernels need {needs}"),
            "install a newer driver (580 runs CUDA 13.0), or use the device `cpu`",
        );
    }
    Ok(())
}

impl Build {
    /// What the header of a kernel's text says. Versions of the text run four behind CUDA's, and their minor
    /// numbers at most behind: 9.0 came with CUDA 13.0, 8.7 with 12.8 ("PTX ISA", release notes).
    #[cfg(any(feature = "cuda", test))]
    fn of_kernel(text: &str) -> Option<Self> {
        let after = |word: &str| {
            let mut lines = text.lines();
            lines.find_map(|line| line.trim().strip_prefix(word))
        };
        let (major, minor) = after(".version ")?.trim().split_once('.')?;
        let target = after(".target sm_")?;
        let digits = target.find(|c: char| !c.is_ascii_digit());
        let capability: u32 = target[..digits.unwrap_or(target.len())].parse().ok()?;
        Some(Self {
            cuda: Version(major.parse::<u32>().ok()? + 4, minor.parse().ok()?),
            capability: Version(capability / 10, capability % 10),
        })
    }
}

impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (capability, cuda) = (self.capability, self.cuda);
        write!(
            f,
            "compute capability {capability} and newer, CUDA {cuda} and newer"
        )
    }
}

#[cfg(test)]
pub(crate) mod tests;
