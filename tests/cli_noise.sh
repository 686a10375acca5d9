#!/bin/sh
# Noise in whole runs: the same for any cut of a step into micro-batches and ranks, and after a kill the same bits. The
# program has one noisy module more: tests/noisy.c.
set -eu
. "$(dirname "$0")/study.sh"
sluice=$(dirname "$sluice")/noisy

cat >study.lua <<'LUA'
local sl = require "sluice"
return sl.study {
  name = "s", replicates = 1, data = "synthetic", baseline = "base", variants = { base = {} },
  base = sl.model { layers = 2, d_model = 32, seq = 32, norm = { "noisy", std = 0.5 },
                    ffn = { "moe", experts = 4, d_ff = 24, router = { noise = "learned", normalize = "after" } },
                    attention = { "gqa", heads = 2, kv_heads = 1, head_dim = 16 } },
  train = { steps = 30, batch = 8, eval_every = 15, eval_tokens = 512, checkpoint_every = 10,
            optim = { "adamw", lr = 2e-3, eps = 1e-5 } },
}
LUA

# trains DIR WORDS..: with these words in front of the program, and after them what is set.
trains() {
    dir=$1 set=$2
    shift 2
    leaves 0 "$@" "$sluice" run study.lua --out "$dir" $set --progress none
    mv "$dir"/s/base-* "$dir"/s/base
}

trains whole ""
for micro in 2 4; do
    trains micro$micro "--set train.micro=$micro"
    near=$(look near whole/s micro$micro/s 1e-5)
    echo "$micro micro-batches: losses differ by $near"
done
trains drawn "--set train.recompute=selective"
look near whole/s drawn/s 0 >/dev/null
trains still "--set norm.std=0"
if /usr/bin/python3 "$here/run_file.py" near whole/s still/s 1e-3 >log 2>&1; then fail "no noise is heard"; fi

# ---- killed, and on with it ----
leaves 0 "$sluice" run study.lua --out calm --set train.steps=300 --progress none
setsid "$sluice" run study.lua --out torn --set train.steps=300 --progress none >log 2>&1 &
job=$! i=0
until ls -d torn/s/base-*/0/checkpoints/step-00000010 >/dev/null 2>&1; do
    i=$((i + 1))
    [ $i -lt 3000 ] || fail "torn never came to its first checkpoint"
    sleep 0.02
done
kill -9 -$job
wait $job 2>/dev/null || true
leaves 0 "$sluice" resume torn/s --progress none
look equal calm/s torn/s
echo "kill -9: the same bits after"

# ---- ranks ----
needs_ranks
for n in 2 4; do
    trains ranks$n "" mpirun --oversubscribe -np $n
    near=$(look near whole/s ranks$n/s 1e-5)
    echo "$n ranks: losses differ by $near"
done
trains both "--set train.micro=2" mpirun --oversubscribe -np 2
near=$(look near whole/s both/s 1e-5)
echo "2 ranks with 2 micro-batches: losses differ by $near"
