#!/bin/sh
# torch_moe.py in the environment in which PyTorch is fastest on a CPU:
#   OpenBLAS on OpenMP threads: those of its other build and PyTorch's own would spin against each other;
#   the kernels that it chooses itself, whatever the environment holds it to;
#   threads that stay on their cores; freed memory that stays with the process, on huge pages.
# PEER_PYTHON: a python with another PyTorch (/usr/bin/python3). PEER_PLAIN=1: the environment as it is.
set -eu
here=$(dirname "$0")
if [ -z "${PEER_PLAIN:-}" ]; then
    blas=/usr/lib/$(uname -m)-linux-gnu/openblas-openmp
    [ ! -d "$blas" ] || export LD_LIBRARY_PATH="$blas${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
    unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE ATEN_CPU_CAPABILITY
    export OMP_PROC_BIND="${OMP_PROC_BIND-close}" OMP_PLACES="${OMP_PLACES-cores}"
    export MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=17179869184 MALLOC_TOP_PAD_=67108864
    export GLIBC_TUNABLES="${GLIBC_TUNABLES-glibc.malloc.hugetlb=1}"
fi
exec "${PEER_PYTHON:-/usr/bin/python3}" "$here/torch_moe.py" "$@"
