//! The libraries that candle calls beside the driver, opened before it does: cudarc looks for them by name
//! alone and panics where it finds none, and they often lie where the system does not look. Once one is open,
//! its name finds it. Unsafe for opening libraries.

use std::{env, mem, path::PathBuf};

use libloading::Library;
use wire::{Failure, FailureKind};

/// In the order in which they need each other.
const LIBRARIES: [[&str; 2]; 3] = [
    ["libcublasLt.so.13", "libcublasLt.so.12"],
    ["libcublas.so.13", "libcublas.so.12"],
    ["libcurand.so.10", "libcurand.so"],
];

/// Opens all of them. Fails on the first that is nowhere.
pub(super) fn open() -> Result<(), Failure> {
    for names in LIBRARIES {
        let found = names
            .iter()
            .flat_map(|name| places(name))
            // SAFETY: what runs as they are loaded is NVIDIA's, made for any process. They are never closed.
            .find_map(|place| unsafe { Library::new(place) }.ok());
        match found {
            Some(library) => mem::forget(library),
            None => return Err(missing(names[0])),
        }
    }
    Ok(())
}

/// Where a library may lie: where the system looks, then where a toolkit is installed.
fn places(name: &str) -> Vec<PathBuf> {
    let homes = ["CUDA_HOME", "CUDA_PATH"]
        .into_iter()
        .filter_map(env::var_os);
    let homes = homes
        .map(PathBuf::from)
        .chain(["/usr/local/cuda", "/opt/cuda"].map(PathBuf::from));
    let folders = homes.flat_map(|home| ["lib64", "lib"].map(|folder| home.join(folder)));
    let places = folders.map(|folder| folder.join(name));
    std::iter::once(PathBuf::from(name)).chain(places).collect()
}

fn missing(name: &str) -> Failure {
    let message = format!("cannot use a card: `{name}` is not there, or does not load");
    Failure::new(FailureKind::Device, message).hint(
        "install the CUDA toolkit's libraries (`pip install nvidia-cublas nvidia-curand`) and set CUDA_HOME to the \
folder above their `lib`; or use the device `cpu`",
    )
}
