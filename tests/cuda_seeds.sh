#!/bin/sh
# Every op on the emulated GPU against the CPU under several orders of threads, blocks and streams: the same bits. Under
# the first every access is checked; races are found by what orders two accesses, not by which of them came first, so
# that once is enough.
# cuda_seeds.sh TEST_CUDA_OPS      SLUICE_FULL=1: more orders, all of them checked
set -eu
out=$(mktemp)
trap 'rm -f "$out"' EXIT
first= seeds="0 1${SLUICE_FULL:+ 2 3 4 5 6 7 8 9}" checked=$PTXHOST_KERNELS
for seed in $seeds; do
    [ "$seed" = 0 ] || [ -n "${SLUICE_FULL-}" ] || PTXHOST_KERNELS=${checked%-checked.so}-fast.so
    PTXHOST_SEED=$seed "$1" >"$out" 2>&1 || { cat "$out"; exit 1; }
    bits=$(grep -o 'bits [0-9a-f]*' "$out")
    grep -h ' cases, ' "$out"
    [ -n "$bits" ] || { echo "seed $seed: no bits were printed"; exit 1; }
    [ "${first:=$bits}" = "$bits" ] || { echo "seed $seed: $bits, but the first seed gave $first"; exit 1; }
done
