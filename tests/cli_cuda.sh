#!/bin/sh
# The release program on the emulated GPU: a study from the script to the comparison, killed, stopped and resumed with
# the same bits; what is missing is said before anything is lost.
set -eu
. "$(dirname "$0")/study.sh"
build=$(dirname "$sluice")
[ -e "$build/libsluice_cuda.so" ] || skip "built without CUDA"
[ -e "$build/ptxhost/sluice-fast.so" ] || skip "the emulated GPU is not built"
export LD_LIBRARY_PATH="$build/ptxhost" PTXHOST_KERNELS="$build/ptxhost/sluice-fast.so"
without_gpu="env -u LD_LIBRARY_PATH -u PTXHOST_KERNELS CUDA_VISIBLE_DEVICES="       # whatever this machine has

cat >study.lua <<'LUA'
local sl = require "sluice"
return sl.study {
  name = "s", replicates = 1, baseline = "base", data = "synthetic",
  variants = { base = {}, gated = { ["attention.gate"] = "head" } },
  base = sl.model { layers = 2, d_model = 32, seq = 32, attention = { "gqa", heads = 2, kv_heads = 1, head_dim = 16 },
                    ffn = { "moe", experts = 4, d_ff = 24, router = { top_k = 2 },
                            balance = { { "bias", gamma = 1e-3 } } } },
  train = { backend = "cuda", steps = 24, batch = 2, micro = 2, eval_every = 8, eval_tokens = 64, checkpoint_every = 6,
            keep = 3,
            optim = { "muon", lr = 2e-3 } },
}
LUA

run_of() { echo "$1"/s/"$2"-*/0; }
isa_of() {
    /usr/bin/python3 -c 'import h5py, sys; print(h5py.File(sys.argv[1], "r")["environment"].attrs["isa"])' \
        "$1"/s/"$2"-*/0/run.h5
}

# begins DIR: the study in a group of its own, past a checkpoint of a variant.
begins() {
    setsid "$sluice" run study.lua --out "$1" -j1 --progress none >log 2>&1 &
    study=$!
    reaches "$1/s/*/0/checkpoints/step-00000006" 60
}
ends() {
    code=$1 got=0
    wait $study || got=$?
    [ "$got" = "$code" ] || fail "exit code $got, not $code"
}

# ---- from the script to the answer ----
leaves 0 "$sluice" doctor
says 'ptxhost sm_80'
leaves 0 "$sluice" run study.lua --out calm
says 'gated/0 finished'
look cost "$(run_of calm base)/run.h5"
leaves 0 "$sluice" plan study.lua --set train.offload=true
grep -q 'KiB + [0-9.]* KiB' log || fail "the plan does not show what the host keeps"
[ "$(isa_of calm base)" = sm_80 ] || fail "computed with $(isa_of calm base)"
leaves 0 "$sluice" compare calm/s
says 'gated'
leaves 0 "$sluice" export calm/s --csv -o rows.csv
[ "$(grep -c '^' rows.csv)" -gt 48 ] || fail "$(grep -c '^' rows.csv) lines were exported"
leaves 0 "$sluice" sample "$(run_of calm base)" --tokens 8 --temperature 0
cp log sample
leaves 0 "$sluice" sample "$(run_of calm base)" --tokens 8 --temperature 0
cmp -s log sample || fail "a second sample differs from $(cat sample)"
echo "a study on the GPU, compared, exported and sampled"

# ---- the processor's study says nearly the same; both kinds go into one study ----
leaves 0 "$sluice" run study.lua --out cpu --set train.backend=cpu
mkdir -p twins/cpu twins/cuda
for variant in base gated; do                               # under equal names: the backend is in the hash
    mv cpu/s/$variant-* twins/cpu/$variant
    cp -a calm/s/$variant-* twins/cuda/$variant
done
echo "losses differ from the processor's by $(look near twins/cpu twins/cuda 1e-4)"
sed 's/gated = {/gated = { ["train.backend"] = "cpu",/' study.lua >both.lua
leaves 0 "$sluice" run both.lua --out both -j2
leaves 0 "$sluice" compare both/s
[ "$(isa_of both base)" = sm_80 ] || fail "the GPU's run is computed with $(isa_of both base)"
case $(isa_of both gated) in sm_*) fail "the processor's run is computed with $(isa_of both gated)" ;; esac
sed 's/gated = {.*} },/gated = { ["train.backend"] = "cpu" } },/' study.lua >twins.lua
leaves 3 "$sluice" run twins.lua --out refused
says 'gated'
echo "runs of both kinds in one study"

# ---- runs are admitted by the GPU's memory: 1000 MiB hold one process, 2200 two ----
for room in 1000 2200; do
    leaves 0 env PTXHOST_MEMORY=$room "$sluice" run study.lua --out jobs-$room -j2 --progress json
    sed -n 's/.*"event": *"\([a-z]*\)".*"variant": *"\([a-z]*\)".*/\1 \2/p' log | uniq >order
    cp order order-$room
done
[ "$(cut -d' ' -f2 order-1000 | uniq | wc -l)" = 2 ] || fail "two runs shared 1000 MiB: $(cat order-1000)"
[ "$(cut -d' ' -f2 order-2200 | uniq | wc -l)" -gt 2 ] || fail "two runs did not share 2200 MiB: $(cat order-2200)"
echo "runs are admitted by the GPU's memory"

# ---- how fast: what it says adds up; no figure is judged ----
leaves 0 "$sluice" bench --script study.lua --steps 2 --ops --ceilings
says 'of ceiling'
"$sluice" bench --script study.lua --steps 2 --ops --ceilings --json >bench.json 2>log || fail "bench fails"
/usr/bin/python3 "$here/bench_file.py" bench.json || fail "$(cat bench.json)"
grep -q '"families"' bench.json && grep -q '"ceilings"' bench.json || fail "$(cat bench.json)"
echo "time of each op on the GPU"

# ---- killed ----
begins killed
sleep 0.5
kill -9 -$study
wait $study 2>/dev/null || true
leaves 0 "$sluice" resume killed/s
look equal calm/s killed/s
set -- $(look deaths killed/s/*/*/run.h5)
[ "$1" -ge 1 ] || fail "no run was killed"
echo "killed and resumed, with the same bits: $1 runs died, $2 steps were trained again"

# ---- stopped; goes on where there is no GPU, on another, without graphs ----
begins stopped
kill -TERM $study
ends 75
leaves 7 $without_gpu "$sluice" resume stopped/s
says 'GPU'
leaves 7 env PTXHOST_DEVICES=0 "$sluice" resume stopped/s
says 'GPU'
cp -a stopped other
leaves 4 env PTXHOST_ARCH=sm_90 "$sluice" resume other/s
says 'with sm_80'
says '--mix'
leaves 0 env PTXHOST_ARCH=sm_90 "$sluice" resume other/s --mix
leaves 0 "$sluice" ls other/s
[ "$(grep -c finished log)" = 2 ] || fail "$(cat log)"
leaves 0 env SLUICE_CUDA_GRAPH=off PTXHOST_SEED=1 "$sluice" resume stopped/s
look equal calm/s stopped/s checkpoints
echo "stopped: goes on with the same bits, not where the GPU is missing, and on another only when asked"

# ---- what is missing is said, and nothing begins ----
leaves 7 $without_gpu "$sluice" run study.lua --out none
says 'GPU'
says 'train.backend = "cpu"'
leaves 7 env PTXHOST_DEVICES=0 "$sluice" run study.lua --out none
says 'this machine has no NVIDIA GPU'
leaves 7 $without_gpu "$sluice" sample "$(run_of calm base)"
leaves 0 $without_gpu "$sluice" compare calm/s
! ls -d none/s/*/0/run.h5 >/dev/null 2>&1 || fail "a run was begun without a GPU"
cp "$sluice" alone
leaves 3 ./alone run study.lua --out none
says 'this build has no CUDA backend'
says 'libsluice_cuda.so'
leaves 7 env PTXHOST_MEMORY=64 "$sluice" run study.lua --out wide --set train.batch=1024
says 'MiB of memory'
says 'would fit: '
leaves 7 env PTXHOST_MEMORY=16 "$sluice" run study.lua --out small -j1
says '0.0 are free'
leaves 7 env PTXHOST_LOST=3000 "$sluice" run study.lua --out lost -j1
says 'the GPU is lost'
says 'base/0 failed at step'
leaves 0 "$sluice" resume lost/s --retry-failed
look equal calm/s lost/s
leaves 3 "$sluice" run study.lua --out none --set train.backend=cudda
says "did you mean 'cuda'"
leaves 2 env SLUICE_CUDA_GRAPH=maybe "$sluice" run study.lua --out none -j1
says 'SLUICE_CUDA_GRAPH=maybe'
leaves 2 env SLUICE_CUDA_GROUPED=library "$sluice" run study.lua --out none -j1
says 'needs SLUICE_CUDA_GRAPH=off'
echo "what is missing is said"
