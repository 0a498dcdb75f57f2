//! With the feature `cuda`, has NVIDIA's compiler make the text of our kernels, for the capability that candle's are
//! made for. Drivers compile it for the card that is there.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

const FOLDER: &str = "src/cuda/kernels";
const KERNELS: [&str; 8] = [
    "attention",
    "blocks",
    "candidates",
    "eight_bit",
    "four_bit",
    "gate",
    "heads",
    "norm",
];

fn main() -> Result<(), String> {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return Ok(());
    }
    println!("cargo::rerun-if-changed={FOLDER}");
    for name in ["NVCC", "CUDA_HOME", "CUDA_COMPUTE_CAP"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    // Candle's would ask a card that is there, and ours would be made for another.
    let capability = env::var("CUDA_COMPUTE_CAP").map_err(|_| {
        "CUDA_COMPUTE_CAP names no compute capability, as 80 for 8.0; `kernel/cuda/build.sh` sets it"
    })?;
    let out = env::var_os("OUT_DIR").ok_or("cargo says where outputs go by OUT_DIR")?;
    let compiler = compiler();
    for kernels in KERNELS {
        let source = Path::new(FOLDER).join(format!("{kernels}.cu"));
        let status = Command::new(&compiler)
            // They ask for machine code, of which text has none.
            .env_remove("NVCC_APPEND_FLAGS")
            .args(["--ptx", "-O3", "-std=c++17", "-o"])
            .arg(Path::new(&out).join(format!("{kernels}.ptx")))
            .arg(format!("-arch=compute_{capability}"))
            .arg(source)
            .status();
        match status {
            Ok(status) if status.success() => {}
            Ok(status) => {
                let compiler = compiler.display();
                return Err(format!("{compiler} ended with {status} at {kernels}.cu"));
            }
            Err(error) => {
                return Err(format!(
                    "cannot run NVIDIA's compiler `{}`: {error}; `kernel/cuda/build.sh` brings one",
                    compiler.display()
                ));
            }
        }
    }
    Ok(())
}

fn compiler() -> PathBuf {
    if let Some(compiler) = env::var_os("NVCC") {
        return compiler.into();
    }
    let installed = env::var_os("CUDA_HOME").map(|home| Path::new(&home).join("bin/nvcc"));
    installed
        .filter(|path| path.exists())
        .unwrap_or_else(|| "nvcc".into())
}
