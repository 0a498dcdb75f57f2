#!/usr/bin/env bash
# Packs programs for a machine with a card that takes little at a time: stripped, in one archive, of which what they share
# is there once (80 MB each become some 30 together), in parts.
#
#   tests/gpu/pack.sh FOLDER BYTES PROGRAM…      FOLDER/part.00, …, of so many bytes at most
#
# There: cat part.* | python3 -c "import lzma, sys, tarfile; tarfile.open(fileobj=lzma.open(sys.stdin.buffer), mode='r|').extractall()"
set -euo pipefail

folder=${1:?a folder for the parts} bytes=${2:?the bytes of a part}
shift 2
stripped=$(mktemp -d)
trap 'rm -rf "$stripped"' EXIT
for program in "$@"; do
    strip -s -o "$stripped/$(basename "$program")" "$program"
done
mkdir -p "$folder"
tar -c -C "$stripped" . | xz -T1 --lzma2=preset=6,dict=256MiB | split -b "$bytes" -d - "$folder/part."
ls -l "$folder"
