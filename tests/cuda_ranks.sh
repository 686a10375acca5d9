#!/bin/sh
# Several ranks, each with an emulated GPU: what NCCL adds, deals out and passes on gives the numbers of one rank, the
# same bits recorded as a graph or not and in any order of streams; experts of other ranks likewise, and a choice for
# which there is no room is named; so do layers of other ranks, by every kind of schedule; a rank that dies is named.
set -eu
. "$(dirname "$0")/study.sh"
needs_ranks
export PTXHOST_DEVICES=4

cat >study.lua <<'LUA'
local sl = require "sluice"
return sl.study {
  name = "s", replicates = 1, baseline = "base", data = "synthetic", variants = { base = {} },
  base = sl.model { layers = 1, d_model = 32, seq = 16, attention = { "gqa", heads = 2, kv_heads = 1, head_dim = 16 },
                    ffn = { "moe", experts = 4, d_ff = 24, router = { top_k = 2 },
                            balance = { { "bias", gamma = 1e-3 } } } },
  train = { backend = "cuda", steps = 4, batch = 4, eval_every = 2, eval_tokens = 64, checkpoint_every = 2,
            optim = { "muon", lr = 2e-3 },
            average = { "ema", decay = 0.5 } },
}
LUA

ranks() { mpirun --oversubscribe -np "$@" --progress none; }

for n in 2 3 4; do leaves 0 mpirun --oversubscribe -np $n "$(dirname "$sluice")/test_comm" gpus; done
echo "sums, maxima, broadcasts and exchanges between 2 to 4 GPUs, and of groups of a grid of 4"
leaves 0 mpirun --oversubscribe -np 4 "$(dirname "$sluice")/test_cuda_ops" ranks
echo "ops of ranks on 4 GPUs have the bits of the CPU"

leaves 7 env PTXHOST_DEVICES=1 mpirun --oversubscribe -np 2 "$sluice" run study.lua --out shared
says 'ranks 0 and 1 of 2 have the same GPU, ptxhost sm_80'

leaves 0 "$sluice" run study.lua --out alone --progress none
leaves 0 ranks 2 "$sluice" run study.lua --out ranks
leaves 0 env SLUICE_CUDA_GRAPH=off mpirun --oversubscribe -np 2 "$sluice" run study.lua --out launched --progress none
look equal ranks/s launched/s
leaves 0 env PTXHOST_SEED=5 mpirun --oversubscribe -np 2 "$sluice" run study.lua --out shuffled --progress none
look equal ranks/s shuffled/s
leaves 0 ranks 2 "$sluice" run study.lua --out offloaded --set train.offload=true

# ---- experts of other ranks ----
leaves 0 ranks 2 "$sluice" run study.lua --out experts --ranks ep=2
leaves 0 env SLUICE_CUDA_GRAPH=off PTXHOST_SEED=5 mpirun --oversubscribe -np 2 "$sluice" run study.lua --out sent \
    --ranks ep=2 --progress none
look equal experts/s sent/s
leaves 0 ranks 4 "$sluice" run study.lua --out grid --ranks 'dp=2 ep=2'
leaves 0 env SLUICE_CUDA_GRAPH=off mpirun --oversubscribe -np 4 "$sluice" run study.lua --out dealt \
    --ranks 'dp=2 ep=2' --progress none
look equal grid/s dealt/s
leaves 7 ranks 2 "$sluice" run study.lua --out narrow --ranks ep=2 --set train.ranks.room=1
says 'train.ranks.room leaves room for 32 from each'

# ---- parts of weights, of heads and of sequences; experts' copies on nodes; messages come beside what is computed ----
divided() {
    out=$1 n=$2 axes=$3
    shift 3
    leaves 0 ranks $n "$sluice" run heads.lua --out $out --ranks "$axes" "$@"
}
sed 's/kv_heads = 1/kv_heads = 2/; s/"muon"/"adamw"/' study.lua >heads.lua
leaves 0 "$sluice" run heads.lua --out adamw --progress none
divided parts 2 'ep=2' --set train.ranks.zero=3 --set train.ranks.pieces=2
PTXHOST_SEED=5 SLUICE_CUDA_MEMORY=apart divided beside 2 'ep=2' --set train.ranks.zero=3 --set train.ranks.pieces=2
divided after 2 'ep=2' --set train.ranks.zero=3 --set train.ranks.pieces=2 --set train.ranks.overlap=false
look equal parts/s beside/s
look equal parts/s after/s cost/planned cost@predicted_peak_bytes
divided heads 2 'tp=2'
divided sequences 2 'cp=2'
divided nodes 4 'ep=4 nodes=2' --set train.ranks.spare=1 --set train.ranks.spare_every=1
for run in adamw parts heads sequences nodes; do mv $run/s/base-* $run/s/base; done
for run in parts heads sequences nodes; do
    echo "AdamW, $run: losses differ from one GPU's by $(look near adamw/s $run/s 1e-5)"
done

for run in alone ranks offloaded experts grid; do mv $run/s/base-* $run/s/base; done
look near ranks/s offloaded/s 0 >/dev/null
near=$(look near alone/s ranks/s 1e-5)
experts=$(look near alone/s experts/s 1e-5)
grid=$(look near alone/s grid/s 1e-5)
echo "2 GPUs: losses differ from one's by $near, with experts on each by $experts; 4 GPUs with both: by $grid"

# ---- layers of other ranks ----
sed 's/layers = 1/layers = 4/; s/steps = 4/micro = 4, steps = 2/' study.lua >deep.lua
# mesh OUT RANKS AXES SCHEDULE KEYS: trains so.
mesh() {
    out=$1 n=$2 axes=$3 schedule=$4
    shift 4
    leaves 0 ranks $n "$sluice" run deep.lua --out $out --ranks "$axes" --set train.ranks.schedule=$schedule "$@"
}
leaves 0 "$sluice" run deep.lua --out deep --progress none
leaves 0 "$sluice" run deep.lua --out cpu --set train.backend=cpu --progress none
mesh halves 2 pp=2 zb_h1
mesh folded 2 pp=2 zb_v
mesh both 2 pp=2 dualpipev
PTXHOST_SEED=5 SLUICE_CUDA_MEMORY=apart mesh mixed 2 pp=2 dualpipev
look equal both/s mixed/s
mesh square 4 'pp=2 ep=2' 1f1b --set train.micro=2

for run in deep cpu halves folded both square; do mv $run/s/base-* $run/s/base; done
for run in cpu halves folded both square; do
    near=$(look near deep/s $run/s 1e-6)
    echo "4 layers, $run: losses differ from one GPU's by $near"
done
look near cpu/s both/s 1e-6 >/dev/null

# ---- a rank dies while the other waits for its part of an exchange ----
SLUICE_COMM_TIMEOUT=20 PTXHOST_NCCL_TIMEOUT=5 mpirun --oversubscribe -np 2 "$sluice" run study.lua --out dead \
    --set train.steps=1000 --progress none >log 2>&1 &
job=$!
reaches 'dead/s/base-*/0/checkpoints/step-00000004' 60
for launched in $(cat /proc/$job/task/$job/children); do
    if tr '\0' '\n' </proc/"$launched"/environ | grep -qx OMPI_COMM_WORLD_RANK=1; then
        kill -STOP $(cat /proc/"$launched"/task/"$launched"/children)
    fi
done
got=0
wait $job || got=$?
[ $got = 7 ] || fail "exit code $got, not 7"
grep -q 'rank 0.* for rank 1' log || grep -q 'rank 1 did not answer' log || fail "nothing names rank 1"
echo "a rank that is silent is named"
