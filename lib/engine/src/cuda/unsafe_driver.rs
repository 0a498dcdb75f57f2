//! The calls that ask NVIDIA's driver what there is. The library is opened at the first question, so that a
//! program starts without one; nothing is taken on a card. Unsafe for calls into a library by name.

use std::{
    error::Error,
    ffi::{CStr, c_char, c_int, c_uint},
    fmt::Write,
    mem::ManuallyDrop,
    ptr,
};

use libloading::Library;
use wire::{Failure, FailureKind};

use super::{Card, Driver, Version};

/// The driver's library, which the system finds as it finds others.
pub(super) const NAME: &str = "libcuda.so.1";

/// What calls give (`CUresult`).
type Status = c_int;
/// A card's number among all (`CUdevice`).
type Handle = c_int;
const NO_DEVICE: Status = 100;
/// `CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR` and `_MINOR`.
const CAPABILITY: [c_int; 2] = [75, 76];
/// Longest name of a card, its end included.
const NAME_BYTES: u16 = 256;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// The library is not there, or cannot be loaded.
    Absent(String),
    /// A call failed.
    Refused {
        call: &'static str,
        status: Status,
        text: String,
    },
}

impl From<Silence> for Failure {
    fn from(silence: Silence) -> Self {
        let (message, hint) = match silence {
            Silence::Absent(why) => (
                format!("there is no NVIDIA driver here ({why})"),
                "install NVIDIA's driver, or in a container start it with access to the cards (`docker run --gpus all`)",
            ),
            Silence::Refused { call, status, text } => (
                format!("NVIDIA's driver fails: `{call}` gives {status} ({text})"),
                "see what `nvidia-smi` says; after an update of the driver restart the machine",
            ),
        };
        Self::new(FailureKind::Device, message).hint(hint)
    }
}

/// The functions of the library, by the signatures of `cuda.h`.
struct Calls {
    init: unsafe extern "C" fn(c_uint) -> Status,
    version: unsafe extern "C" fn(*mut c_int) -> Status,
    count: unsafe extern "C" fn(*mut c_int) -> Status,
    device: unsafe extern "C" fn(*mut Handle, c_int) -> Status,
    name: unsafe extern "C" fn(*mut c_char, c_int, Handle) -> Status,
    attribute: unsafe extern "C" fn(*mut c_int, c_int, Handle) -> Status,
    memory: unsafe extern "C" fn(*mut usize, Handle) -> Status,
    uuid: unsafe extern "C" fn(*mut [u8; 16], Handle) -> Status,
    text: unsafe extern "C" fn(Status, *mut *const c_char) -> Status,
}

/// Asks the driver in the library of this name.
pub(super) fn ask(library: &str) -> Result<Driver, Silence> {
    let calls = Calls::open(library).map_err(|error| {
        // The error itself says no more than which call failed.
        Silence::Absent(
            error
                .source()
                .map_or_else(|| error.to_string(), ToString::to_string),
        )
    })?;
    // SAFETY: each call takes what `cuda.h` says, and writes to a place that lives until it returns.
    unsafe {
        let mut version = 0;
        calls.check("cuDriverGetVersion", (calls.version)(&raw mut version))?;
        let cuda = Version(version as u32 / 1000, version as u32 % 1000 / 10);
        let cards = match (calls.init)(0) {
            NO_DEVICE => Vec::new(),
            status => {
                calls.check("cuInit", status)?;
                calls.cards()?
            }
        };
        Ok(Driver { cuda, cards })
    }
}

impl Calls {
    fn open(name: &str) -> Result<Self, libloading::Error> {
        // SAFETY: what runs as it is loaded is the driver's, made for any process. It is never closed: it has
        // threads of its own, and candle calls it later.
        unsafe {
            let library = ManuallyDrop::new(Library::new(name)?);
            Ok(Self {
                init: *library.get(b"cuInit\0")?,
                version: *library.get(b"cuDriverGetVersion\0")?,
                count: *library.get(b"cuDeviceGetCount\0")?,
                device: *library.get(b"cuDeviceGet\0")?,
                name: *library.get(b"cuDeviceGetName\0")?,
                attribute: *library.get(b"cuDeviceGetAttribute\0")?,
                memory: *library.get(b"cuDeviceTotalMem_v2\0")?,
                uuid: *library.get(b"cuDeviceGetUuid_v2\0")?,
                text: *library.get(b"cuGetErrorString\0")?,
            })
        }
    }

    /// # Safety
    /// The driver was initialised.
    unsafe fn cards(&self) -> Result<Vec<Card>, Silence> {
        let mut count = 0;
        // SAFETY: the count is written to a place of ours.
        self.check("cuDeviceGetCount", unsafe { (self.count)(&raw mut count) })?;
        // SAFETY: as the caller says.
        (0..count)
            .map(|number| unsafe { self.card(number) })
            .collect()
    }

    /// # Safety
    /// The driver was initialised.
    unsafe fn card(&self, number: c_int) -> Result<Card, Silence> {
        let mut handle = 0;
        let mut name = [0u8; NAME_BYTES as usize];
        let mut capability = [0; 2];
        let (mut bytes, mut uuid) = (0, [0; 16]);
        // SAFETY: each call writes to a place of ours, the name no more than its length with its end.
        unsafe {
            self.check("cuDeviceGet", (self.device)(&raw mut handle, number))?;
            let place = name.as_mut_ptr().cast();
            self.check(
                "cuDeviceGetName",
                (self.name)(place, c_int::from(NAME_BYTES), handle),
            )?;
            for (value, which) in capability.iter_mut().zip(CAPABILITY) {
                self.check(
                    "cuDeviceGetAttribute",
                    (self.attribute)(value, which, handle),
                )?;
            }
            self.check("cuDeviceTotalMem", (self.memory)(&raw mut bytes, handle))?;
            self.check("cuDeviceGetUuid", (self.uuid)(&raw mut uuid, handle))?;
        }
        let name = CStr::from_bytes_until_nul(&name).unwrap_or_default();
        Ok(Card {
            name: name.to_string_lossy().into_owned(),
            uuid: shown(&uuid),
            capability: Version(capability[0] as u32, capability[1] as u32),
            bytes: bytes as u64,
        })
    }

    fn check(&self, call: &'static str, status: Status) -> Result<(), Silence> {
        if status == 0 {
            return Ok(());
        }
        let mut text = ptr::null();
        // SAFETY: it writes a pointer to a text that is never freed, or leaves it null.
        let text = unsafe {
            (self.text)(status, &raw mut text);
            if text.is_null() {
                "unknown".to_owned()
            } else {
                CStr::from_ptr(text).to_string_lossy().into_owned()
            }
        };
        Err(Silence::Refused { call, status, text })
    }
}

/// As `nvidia-smi` writes it.
fn shown(uuid: &[u8; 16]) -> String {
    let mut text = "GPU".to_owned();
    for (index, byte) in uuid.iter().enumerate() {
        if matches!(index, 0 | 4 | 6 | 8 | 10) {
            text.push('-');
        }
        // A `String` takes all that is written to it.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
