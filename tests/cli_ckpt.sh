#!/bin/sh
# sluice ckpt: what checkpoints hold, their mean and its loss, models as files, what begins with others; runs stay as
# they are.
set -eu
. "$(dirname "$0")/study.sh"
tiny

cat >study.lua <<'LUA'
local sl = require "sluice"
return sl.study {
  name = "s", data = "synthetic", replicates = 2,
  base = require "tiny",
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
mkdir -p averaged/notes.tmp                                # somebody else's
leaves 0 "$sluice" ckpt average "$run" --last 3 -o averaged
[ -d averaged/notes.tmp ] || fail "a folder that is no checkpoint is gone"
is_mean averaged/step-00000040 "$(at "$run" 20)" 1 "$(at "$run" 30)" 1 "$(at "$run" 40)" 1
leaves 0 "$sluice" ckpt average "$(at "$run" 20)" "$other" -w 0.25 -w 0.5 -o averaged
is_mean averaged/step-00000040 "$(at "$run" 20)" 0.25 "$(at "$other" 40)" 0.5
leaves 0 "$sluice" sample averaged/step-00000040 -n 4
# Of one checkpoint the mean is that checkpoint, and its loss what the run measured.
leaves 0 "$sluice" ckpt average "$run" -o one
cmp one/step-00000040/state.safetensors "$(at "$run" 40)/state.safetensors" || fail "the mean of one is another"
loss=$(/usr/bin/python3 -c 'import h5py, sys
print("%.6f" % h5py.File(sys.argv[1], "r")["metrics/eval/loss"][-1])' "$run/run.h5")
says "loss      $loss nat/token, held out; the last of them has $loss"
sum >after
cmp before after || fail "runs have changed"
echo "means of checkpoints, of one run and of two"

leaves 2 "$sluice" ckpt average "$run"
says "--output PATH"
leaves 2 "$sluice" ckpt average "$run" -o "$run/checkpoints"
says "the folder of a run's own checkpoints"
leaves 2 "$sluice" ckpt average "$run" "$other" -w 1 -o averaged
says "--weight: 1 are given for 2 checkpoints"
leaves 2 "$sluice" ckpt average "$run" "$other" -w 1 -w -1 -o averaged
says "--weight -1: must be a number from 0 on"
leaves 4 "$sluice" ckpt average "$run" --last 4 -o averaged
says "holds 3 checkpoints, not 4"
leaves 4 "$sluice" ckpt average "$run" runs/s/gated-*/0 -o averaged
says "attention.gate.weight', which the model does not have"
leaves 4 "$sluice" ckpt average "$run" -o averaged --data nowhere.tok
says "--data FILE says where the run's data lies now"
seq 20000 | sed G >others.txt
leaves 0 "$sluice" data pack others.txt --blank-lines -o others.tok
leaves 4 "$sluice" ckpt average "$run" -o averaged --data others.tok
says "others.tok: has hash "
says "the run was trained on data of hash "
leaves 4 "$sluice" ckpt average runs/s -o averaged
says "is no run, and no checkpoint in a run's folder"

# ---- models as files ----

# is_model FILE CHECKPOINT PREFIX DTYPE: the checkpoint's numbers (of PREFIX, where it has such), matrices rounded to
# nearest.
is_model() {
    /usr/bin/python3 - "$@" <<'PY' || fail "is_model $*"
import json, struct, sys
import numpy
def read(path):
    raw = open(path, "rb").read()
    size = struct.unpack("<Q", raw[:8])[0]
    kind = {"F32": "<f4", "I32": "<i4", "U8": "u1", "F16": "<f2", "BF16": "<u2"}
    head = json.loads(raw[8:8 + size])
    about = head.pop("__metadata__", {})
    return about, {n: (t["dtype"], numpy.frombuffer(raw[8 + size:][slice(*t["data_offsets"])], kind[t["dtype"]])
                       .reshape(t["shape"])) for n, t in head.items()}
about, got = read(sys.argv[1])
_, was = read(sys.argv[2] + "/state.safetensors")
prefix, dtype = sys.argv[3:]
config = json.loads(about["sluice.config"])
assert config["model"]["layers"] == 2
own = [n for n in was if not n.startswith(("optim.", "average.", "guard."))]
assert sorted(got) == sorted(own), set(got) ^ set(own)
for name, (type_, values) in got.items():
    want = was.get(prefix + name, was[name])[1]
    assert type_ == (dtype if values.ndim > 1 else "F32"), (name, type_)
    if type_ == "BF16":
        bits = want.view("<u4")
        want = ((bits + 0x7fff + (bits >> 16 & 1)) >> 16).astype("<u2")
    if type_ == "F16":
        want, values = want.astype("<f2").view("<u2"), values.view("<u2")
    assert (values == want).all(), name
PY
}
cat >more.lua <<'LUA'
local sl = require "sluice"
local dense = sl.model { layers = 2, d_model = 32, seq = 32, ffn = { "dense", d_ff = 24 },
                         attention = { "gqa", heads = 2, kv_heads = 1, head_dim = 16 } }
return sl.study {
  name = "m", data = "synthetic", replicates = 1, base = dense,
  variants = {
    base = {}, ema = { ["train.average"] = "ema" },
    lora = { adapter = { "lora", rank = 4 }, init = { "from", run = "base" } },
    sparse = { ffn = { "moe", experts = 4, d_ff = 24, router = { top_k = 2 } },
               init = { "from", run = "base", map = "upcycle" } },
  },
  train = { steps = 20, batch = 2, eval_every = 10, eval_tokens = 512, checkpoint_every = 10, keep = 2,
            optim = { "adamw", lr = 1e-2 }, schedule = { "constant", warmup = 4 } },
}
LUA
leaves 4 "$sluice" ckpt map more.lua sparse -o none.safetensors
says "sluice run trains a study's own variants"
[ ! -e none.safetensors ] || fail "a file is there all the same"
leaves 0 "$sluice" run more.lua --out runs --progress none
dense=$(echo runs/m/base-*/0) ema=$(echo runs/m/ema-*/0) lora=$(echo runs/m/lora-*/0)
find runs -type f | sort | xargs sha256sum >before
leaves 0 "$sluice" ckpt convert "$dense" -o dense.safetensors
is_model dense.safetensors "$(at "$dense" 20)" "" F32
leaves 0 "$sluice" ckpt convert "$ema" -o ema.safetensors --dtype bf16
is_model ema.safetensors "$(at "$ema" 20)" average. BF16
leaves 0 "$sluice" ckpt convert "$(at "$ema" 10)" -o raw.safetensors --dtype f16 --raw
is_model raw.safetensors "$(at "$ema" 10)" "" F16
leaves 0 "$sluice" ckpt convert averaged/step-00000040 -o averaged.safetensors
is_model averaged.safetensors averaged/step-00000040 "" F32

# What a file says goes on like the run, adapters merged or not.
for path in "$dense dense.safetensors" "$lora merged.safetensors"; do
    set -- $path
    [ "$1" = "$dense" ] || leaves 0 "$sluice" ckpt convert "$1" --merge -o "$2"
    "$sluice" sample "$1" -n 20 -t 0 2>log >of_run
    "$sluice" sample "$2" -n 20 -t 0 2>log >of_file
    cmp of_run of_file || fail "$2 says something else than $1"
done
echo "models as files: as evaluated, rounded, merged"

# What begins with a file that was mapped learns what begins with the map.
leaves 0 "$sluice" ckpt map more.lua sparse -o sparse.safetensors
says "layers.*.ffn.experts.down.weight"
sed -e 's/run = "base", map = "upcycle"/run = "sparse.safetensors"/' -e 's/name = "m"/name = "f"/' more.lua >file.lua
leaves 0 "$sluice" run file.lua --only sparse --out runs --progress none
/usr/bin/python3 -c 'import h5py, sys
a, b = (h5py.File(p, "r")["metrics/train/loss"][:] for p in sys.argv[1:])
assert len(a) == 20 and (a == b).all()' runs/m/sparse-*/0/run.h5 runs/f/sparse-*/0/run.h5 || fail "another beginning"
echo "a variant's beginning as a file"

leaves 0 "$sluice" ckpt inspect "$dense"
says "checkpoint $(at "$dense" 20)"
says "layers.*.ffn.down.weight"
leaves 0 "$sluice" ckpt inspect averaged/step-00000040
says "averaged   "
leaves 0 "$sluice" ckpt inspect "$dense" --tensor 'optim.m.*q.weight'
says "optim.m.layers.1.attention.q.weight"
leaves 0 "$sluice" ckpt inspect "$dense" --json
/usr/bin/python3 - "$(at "$dense" 20)" <<'PY' || fail "figures of inspect"
import json, struct, sys
import numpy
raw = open(sys.argv[1] + "/state.safetensors", "rb").read()
size = struct.unpack("<Q", raw[:8])[0]
head, said = json.loads(raw[8:8 + size]), json.load(open("log"))
assert said["step"] == 20 and said["bytes"] == len(raw) and len(said["tensors"]) == len(head)
for t in said["tensors"]:
    if head[t["tensor"]]["dtype"] != "F32":
        continue
    x = numpy.frombuffer(raw[8 + size:][slice(*head[t["tensor"]]["data_offsets"])], "<f4").astype("f8")
    assert t["values"] == x.size and t["bytes"] == 4 * x.size and t["not_finite"] == 0
    assert abs(t["rms"] - (x ** 2).mean() ** 0.5) < 1e-12 and t["largest"] == abs(x).max()
PY
cp -r "$(at "$dense" 20)" damaged
printf x | dd of=damaged/state.safetensors bs=1 seek=20000 conv=notrunc 2>/dev/null
leaves 4 "$sluice" ckpt inspect damaged
says "damaged (XXH128"
/usr/bin/python3 - dense.safetensors <<'PY'
import sys
raw = bytearray(open(sys.argv[1], "rb").read())
raw[-8:] = b"\0\0\xc0\x7f" + b"\0\0\x80\x7f"        # a NaN and an infinity
open("broken.safetensors", "wb").write(raw)
PY
leaves 0 "$sluice" ckpt inspect broken.safetensors
grep -q "not finite" log && grep -qE " 2$" log || fail "two values that are not finite are not counted"
echo "inspected"

leaves 2 "$sluice" ckpt inpsect "$dense"
says "no verb 'inpsect' (did you mean 'inspect'?)"
leaves 2 "$sluice" ckpt convert "$dense"
says "--output PATH"
leaves 2 "$sluice" ckpt convert "$dense" -o none --dtype f8
says "--dtype f8: must be f32, bf16 or f16"
leaves 4 "$sluice" ckpt convert "$dense" -o none --merge
says "there is nothing to merge"
leaves 4 "$sluice" ckpt convert "$(at "$dense" 20)/state.safetensors" -o none
says "does not say which model's weights these are"
leaves 4 "$sluice" ckpt inspect "$dense" -t nothing
says "has no tensor 'nothing'"
leaves 2 "$sluice" ckpt map more.lua spares -o none
says "no variant 'spares' (did you mean 'sparse'?)"
leaves 2 "$sluice" ckpt map more.lua sparse/1 -o none
says "the replicates of a variant are 0 to 0"
leaves 3 "$sluice" ckpt map more.lua base -o none
says "base begins with draws"
[ ! -e none ] || fail "a file is there all the same"
grep -v /f/ before >was
sum | grep -v /f/ >after
cmp was after || fail "runs have changed"
echo "refused: what does not fit, or has no place"
