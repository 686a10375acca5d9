#!/bin/sh
# On a machine with a GPU: holds the hardware against what the tests know of it, then measures. Writes gpu-check.txt.
# Exit code 1 when something differs, 77 when there is no GPU. sh scripts/gpu-check.sh [BUILD FOLDER]
set -u
cd "$(dirname "$0")/.."
build=${1:-build-gpu}
report=gpu-check.txt
sh scripts/deps.sh || exit 1
cmake -S . -B "$build" -G Ninja -DSLUICE_CUDA=ON >"$build.log" 2>&1 && ninja -C "$build" >>"$build.log" 2>&1 || { tail -n 40 "$build.log" >&2; exit 1; }

"$build/sluice" doctor | tee "$report"
grep -q '^GPU 0' "$report" || { echo "gpu-check.sh: no GPU here; what lacks it is said above" >&2; exit 77; }
check() {                       # what, command...
    what=$1; shift
    if "$@" >"$build/check.log" 2>&1; then echo "ok      $what"; else echo "DIFFERS $what"; cat "$build/check.log"; fi
}
{
    # The libraries of the toolkit come first, so that the kit runs on the device and not on its stand-in.
    toolkit=$(sed -n 's/^CUDA_cudart:FILEPATH=\(.*\)\/[^/]*$/\1/p' "$build/CMakeCache.txt")
    check "instructions: every form against scalar C" env LD_LIBRARY_PATH="${LD_LIBRARY_PATH:-$toolkit}" "$build/ptxhost_conformance"
    for test in ops edges fill fused modules training; do check "CPU against GPU: $test" "$build/test_cuda_$test"; done
    check "CPU against GPU: grouped_matmul by the library" env SLUICE_CUDA_GROUPED=library SLUICE_CUDA_GRAPH=off "$build/test_cuda_ops" grouped_matmul
    for precision in fp32 bf16; do
        "$build/sluice" bench baseline-nano baseline-micro baseline-tiny welm-tiny --backend cuda --precision $precision --batch 64 || echo "FAILED  bench in $precision"
    done
} | tee -a "$report"
! grep -qE '^(DIFFERS|FAILED)' "$report"
