#!/usr/bin/env bash
# Runs our kernels for cards on the processor, where threads of a block take turns (`kernels/emulated.hpp`), and
# compares what they compute with sums in doubles: fresh numbers each time, or those of a seed.
#
#   tests/gpu/emulate.sh [SEED]
set -euo pipefail
cd "$(dirname "$0")/../.."

command -v c++ >/dev/null || {
    echo "error: kernels for cards are compiled by a C++ compiler, and there is no c++" >&2
    echo "hint: apt install g++" >&2
    exit 1
}
run() { # run SOURCE PROGRAM [SEED] [-DNAME]
    local source=$1 program=$2 options=() arguments=() word
    for word in "${@:3}"; do
        case $word in -D*) options+=("$word") ;; *) arguments+=("$word") ;; esac
    done
    # Jumps between fibers look to the compiler as if they clobbered a loop's variable, and to checks of jumps as if they
    # left a stack.
    c++ -std=c++17 -O1 -U_FORTIFY_SOURCE -ffp-contract=off -fsanitize=alignment -fno-sanitize-recover=all \
        -Wall -Wextra -Werror -Wno-unknown-pragmas -Wno-clobbered -Itests/gpu/kernels \
        "${options[@]}" "$source" -o "$program"
    echo "$(basename "$program"):"
    "$program" "${arguments[@]}"
}

mkdir -p target/card-kernels
for source in tests/gpu/kernels/*.cpp; do
    program=target/card-kernels/$(basename "${source%.cpp}")
    run "$source" "$program" "$@"
done
# The same by what tensor cores before 8.0 have.
for name in four_bit blocks prompt; do
    run tests/gpu/kernels/$name.cpp target/card-kernels/${name}_old "$@" -DOLD_TENSOR_CORES
done
