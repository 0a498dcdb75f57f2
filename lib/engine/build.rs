//! With the feature `cuda`, has NVIDIA's compiler make machine code of our kernels, for the capability that candle's are
//! made for and of 8.0 for 9.0, too, and their text, which drivers compile for other cards.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

const FOLDER: &str = "src/cuda/kernels";
/// Files, and which of their kinds are each made by itself: a driver that compiles compiles all of what is made together.
const KERNELS: [(&str, &[&str]); 12] = [
    ("attention", &["f32", "f16", "bf16"]),
    (
        "blocks",
        &[
            "Half", "Brain", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K",
            "Q5_K", "Q6_K",
        ],
    ),
    ("candidates", &[]),
    ("eight_bit", &[]),
    ("four_bit", &["f32", "f16", "bf16"]),
    ("gate", &[]),
    ("heads", &[]),
    ("norm", &[]),
    ("pack", &[]),
    ("prompt", &["f16", "bf16"]),
    ("round", &[]),
    ("softmax", &[]),
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
    for (file, kinds) in KERNELS {
        if kinds.is_empty() {
            compile(&compiler, (file, None), (&capability, Path::new(&out)))?;
        }
        for kind in kinds {
            compile(
                &compiler,
                (file, Some(kind)),
                (&capability, Path::new(&out)),
            )?;
        }
    }
    Ok(())
}

/// What a card loads of a file, or of one of its kinds alone.
fn compile(
    compiler: &Path,
    (file, kind): (&str, Option<&str>),
    (capability, out): (&str, &Path),
) -> Result<(), String> {
    let name = kind.map_or_else(|| file.to_owned(), |kind| format!("{file}_{kind}"));
    // Machine code for 8.0 runs on 8.6 and 8.9, too.
    let hopper = if capability == "80" { "sm_90," } else { "" };
    let status = Command::new(compiler)
        // They are for candle's.
        .env_remove("NVCC_APPEND_FLAGS")
        // Text that can be read: what stands in for a card runs it.
        .args(["--fatbin", "--no-compress", "-O3", "-std=c++17", "-o"])
        .arg(out.join(format!("{name}.fatbin")))
        .arg(format!(
            "-gencode=arch=compute_{capability},code=[sm_{capability},{hopper}compute_{capability}]"
        ))
        // What only other kinds use.
        .arg("-diag-suppress=177")
        .args(kind.map(|kind| format!("-DONLY={kind}")))
        .arg(Path::new(FOLDER).join(format!("{file}.cu")))
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!(
            "{} ended with {status} at {name}",
            compiler.display()
        )),
        Err(error) => Err(format!(
            "cannot run NVIDIA's compiler `{}`: {error}; `kernel/cuda/build.sh` brings one",
            compiler.display()
        )),
    }
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
