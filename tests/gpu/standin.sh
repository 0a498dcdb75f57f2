#!/usr/bin/env bash
# Runs a command where a stand-in is NVIDIA's driver and the card (`card/src/lib.rs` says what it is and what the
# environment may say of it): a program built with the feature `cuda` computes on it as on a card, each kernel run from
# its text, slowly, and with a fault at much that a card leaves undefined.
#
#   kernel/cuda/build.sh build --release --locked -p warmcell-engine --features cuda --example on_device --example measure
#   tests/gpu/standin.sh tests/gpu/run.sh target/cuda-80/x86_64-unknown-linux-gnu/release/examples
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)

# A warp is 32 lanes of a loop, which these make eight steps and fewer.
flags=
grep -qw avx2 /proc/cpuinfo && grep -qw fma /proc/cpuinfo && flags='-C target-feature=+avx2,+fma,+f16c'
(cd "$root" && RUSTFLAGS=$flags CARGO_TARGET_DIR=target/standin cargo build --quiet --release --locked -p standin-card)

# One library under the names of all.
folder=$root/target/standin/card
mkdir -p "$folder"
for name in libcuda.so.1 libcuda.so libcublas.so.13 libcublas.so libcublasLt.so.13 libcublasLt.so libcurand.so.10 libcurand.so; do
    ln -sf ../release/libstandin_card.so "$folder/$name"
done
export LD_LIBRARY_PATH=$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
exec "$@"
