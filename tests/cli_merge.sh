#!/bin/sh
# sluice merge: the mean of what checkpoints hold, and its loss; runs stay as they are.
set -eu
. "$(dirname "$0")/study.sh"

cat >study.lua <<'LUA'
local sl = require "sluice"
return sl.study {
  name = "s", data = "synthetic", replicates = 2,
  base = sl.model { layers = 2, d_model = 32, seq = 32, attention = { "gqa", heads = 2, kv_heads = 1, head_dim = 16 },
                    ffn = { "moe", experts = 4, d_ff = 24, router = { top_k = 2 } } },
  variants = { base = {}, gated = { ["attention.gate"] = "head" } },
  train = { steps = 40, batch = 2, eval_every = 40, eval_tokens = 512, checkpoint_every = 10, keep = 3,
            schedule = { "constant", warmup = 4 }, optim = { "adamw", lr = 1e-2 } },
}
LUA
leaves 0 "$sluice" run study.lua --out runs --progress none
run=$(echo runs/s/base-*/0)
other=$(echo runs/s/base-*/1)
sum() { find runs -type f | sort | xargs sha256sum; }
sum >before

# is_mean OUT CHECKPOINT WEIGHT ..: every number is that of the weighted mean, in double and then rounded once.
is_mean() {
    /usr/bin/python3 - "$@" <<'PY' || fail "is_mean $*"
import json, struct, sys
import numpy
def read(folder):
    raw = open(folder + "/state.safetensors", "rb").read()
    size = struct.unpack("<Q", raw[:8])[0]
    kind = {"F32": "<f4", "I32": "<i4", "U8": "u1"}
    return {name: numpy.frombuffer(raw[8 + size:][slice(*t["data_offsets"])], kind[t["dtype"]])
            for name, t in json.loads(raw[8:8 + size]).items() if name != "__metadata__"}
got, parts = read(sys.argv[1]), [(read(p), float(w)) for p, w in zip(sys.argv[2::2], sys.argv[3::2])]
total, moved = sum(w for _, w in parts), 0
for name, values in got.items():
    if values.dtype != "<f4":
        assert (values == parts[-1][0][name]).all(), name
        continue
    mean = sum(w / total * part[name].astype("f8") for part, w in parts)
    assert (values == mean.astype("f4")).all(), name
    moved += (values != parts[-1][0][name]).any()
assert moved > 10, moved
PY
}
at() { echo "$1/checkpoints/step-000000$2"; }
leaves 0 "$sluice" merge "$run" --last 3 -o merged
is_mean merged/step-00000040 "$(at "$run" 20)" 1 "$(at "$run" 30)" 1 "$(at "$run" 40)" 1
leaves 0 "$sluice" merge "$(at "$run" 20)" "$other" -w 0.25 -w 0.5 -o merged
is_mean merged/step-00000040 "$(at "$run" 20)" 0.25 "$(at "$other" 40)" 0.5
leaves 0 "$sluice" sample "$run" --checkpoint merged/step-00000040 -n 4
# Of one checkpoint the mean is that checkpoint, and its loss what the run measured.
leaves 0 "$sluice" merge "$run" -o one
cmp one/step-00000040/state.safetensors "$(at "$run" 40)/state.safetensors" || fail "the mean of one is another"
loss=$(/usr/bin/python3 -c 'import h5py, sys
print("%.6f" % h5py.File(sys.argv[1], "r")["metrics/eval/loss"][-1])' "$run/run.h5")
says "loss      $loss nat/token, held out; the last of them has $loss"
sum >after
cmp before after || fail "runs have changed"
echo "means of checkpoints, of one run and of two"

leaves 2 "$sluice" merge "$run"
says "--output DIR"
leaves 2 "$sluice" merge "$run" -o "$run/checkpoints"
says "the folder of a run's own checkpoints"
leaves 2 "$sluice" merge "$run" "$other" -w 1 -o merged
says "--weight: 1 are given for 2 checkpoints"
leaves 2 "$sluice" merge "$run" "$other" -w 1 -w -1 -o merged
says "--weight -1: must be a number from 0 on"
leaves 4 "$sluice" merge "$run" --last 4 -o merged
says "holds 3 checkpoints, not 4"
leaves 4 "$sluice" merge "$run" runs/s/gated-*/0 -o merged
says "attention.gate.weight', which the model does not have"
leaves 4 "$sluice" merge "$run" -o merged --data nowhere.tok
says "--data FILE says where the run's data lies now"
seq 20000 | sed G >others.txt
leaves 0 "$sluice" data pack others.txt --blank-lines -o others.tok
leaves 4 "$sluice" merge "$run" -o merged --data others.tok
says "others.tok: has hash "
says "the run was made with data of hash "
leaves 4 "$sluice" merge runs/s -o merged
says "is no run, and no checkpoint in a run's folder"
sum >after
cmp before after || fail "runs have changed"
echo "refused: what does not fit, or has no place"
