#!/usr/bin/env bash
# Builds `warmcell` with the feature `cuda`, on x86-64 Linux, where there need be neither a card nor CUDA: the
# compiler of kernels comes by pip, pinned by hash (105 MB). The program starts without a driver, too.
#
#   kernel/cuda/build.sh                        for cards of compute capability 8.0 and newer
#   CUDA_COMPUTE_CAP=75 kernel/cuda/build.sh    for 7.5 (Colab's T4), which computes bf16 in f32
#   kernel/cuda/build.sh test …                 cargo with other arguments, in the same environment
set -euo pipefail
cd "$(dirname "$0")/../.."

fail() { # fail MESSAGE HINT
    printf 'error: %s\nhint: %s\n' "$@" >&2
    exit 1
}

triple=x86_64-unknown-linux-gnu
export CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-80}
toolkit=$PWD/target/cuda-toolkit
export CUDA_HOME=$toolkit/nvidia/cu13

[ "$(uname -sm)" = "Linux x86_64" ] || fail "kernels are built on x86-64 Linux, this is $(uname -sm)" \
    "build on such a machine and copy the program"
command -v g++ >/dev/null || fail "the compiler of kernels calls g++, which is not there" "apt install g++"

# Of each kernel, machine code for the capability and text that the driver compiles for newer cards. Of those for
# 8.0 also machine code for 9.0, so that a Hopper card need not compile a minute at first use; it is made from
# the text for 8.0, since nvcc gives text for one architecture alone.
code=arch=compute_$CUDA_COMPUTE_CAP,code
case $CUDA_COMPUTE_CAP in
75 | 86 | 89) NVCC_APPEND_FLAGS="-gencode=$code=compute_$CUDA_COMPUTE_CAP" ;;
80) NVCC_APPEND_FLAGS="-gencode=$code=compute_80 -gencode=$code=sm_90" ;;
*) fail "CUDA_COMPUTE_CAP is $CUDA_COMPUTE_CAP" "use 75, 80, 86 or 89: newer cards run what is built for 80" ;;
esac
# A quarter of the size, for some milliseconds at start.
export NVCC_APPEND_FLAGS="$NVCC_APPEND_FLAGS --compress-mode=size"
unset NVCC NVCC_CCBIN
export CUDAFORGE_THREADS=${CUDAFORGE_THREADS:-$(nproc)}

if ! cmp -s kernel/cuda/requirements.txt "$toolkit/requirements.txt"; then
    rm -rf "$toolkit"
    python3 -m pip install --quiet --disable-pip-version-check --no-input --require-hashes --no-deps \
        --only-binary=:all: --target "$toolkit" -r kernel/cuda/requirements.txt
    # The C part of the runtime, linked into the program, under the name that candle asks for.
    ln -s libcudart_static.a "$CUDA_HOME/lib/libcudart.a"
    # candle has cudarc link NVIDIA's libraries (`dynamic-linking`), by which a program does not start without
    # them. cudarc's code would rather open them when they are first used (`dynamic-loading`), and only its build
    # script refuses both. So the code is told and the script is not, as flags of the compiler go to the target
    # alone where one is named; and what the script asks the linker for are these, with nothing in them.
    mkdir "$CUDA_HOME/lib/stubs"
    for library in cuda nvrtc curand cublas cublasLt; do
        ar crs "$CUDA_HOME/lib/stubs/lib$library.a"
    done
    cp kernel/cuda/requirements.txt "$toolkit/"
fi
export PATH=$CUDA_HOME/bin:$PATH
export RUSTFLAGS='--cfg feature="dynamic-loading"'
# cargo does not see when the flags of nvcc change: a folder for each.
export CARGO_TARGET_DIR=target/cuda-$CUDA_COMPUTE_CAP CARGO_BUILD_TARGET=$triple

if [ $# -gt 0 ]; then
    exec cargo "$@"
fi
cargo build --release --locked --package warmcell-kernel --features cuda
echo "built $CARGO_TARGET_DIR/$triple/release/warmcell"
