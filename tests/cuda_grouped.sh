#!/bin/sh
# grouped_matmul by the library on the emulated GPU against the CPU: all its cases, and none of our own kernels for it
# runs.
# cuda_grouped.sh TEST_CUDA_OPS
set -eu
counts=$(mktemp)
trap 'rm -f "$counts"' EXIT
SLUICE_CUDA_GROUPED=library SLUICE_CUDA_GRAPH=off PTXHOST_COUNT=$counts "$1" grouped_matmul
grep cublasLtMatmul "$counts" || { echo "the library was not called"; exit 1; }
if grep grouped_ "$counts"; then echo "our own kernels ran"; exit 1; fi
