#!/bin/sh
# Like is compared with like: one held-out set for a study, however its variants cut it; baselines of the text that was
# seen; data that is found from any folder, and missed when it changed; the same text on one side of the split.
set -eu
. "$(dirname "$0")/study.sh"
run() { leaves "$1" "$sluice" run "$2" --out "$3" --progress none; }

# ---- documents that differ by line ends, final newline or kind of file ----
/usr/bin/python3 - <<'PY'
import json, os, random
random.seed(3)
os.makedirs("texts"); os.makedirs("project")
lines = open("texts/some.jsonl", "w")
for d in range(300):
    text = "".join("line %d of text %d\n" % (random.randrange(90), d) for _ in range(8))
    write = lambda name, text: open("texts/" + name, "w", newline="").write(text)
    write("%d.txt" % d, text)
    if d % 6 == 0: write("%d-windows.txt" % d, text.replace("\n", "\r\n"))
    if d % 6 == 1: write("%d-cut.txt" % d, text[:-1])
    if d % 6 == 2: write("%d-mark.txt" % d, "\ufeff" + text)
    if d % 6 == 3: lines.write(json.dumps({"text": text}) + "\n")
PY
leaves 0 "$sluice" data pack texts -o project/a.tok
says 'duplicates 50, and 150 that differ in white space alone'
leaves 0 "$sluice" data pack texts -o project/a.tok --json
says '"duplicates": 50'
/usr/bin/python3 - project/a.tok <<'PY' || fail "the same text lies on both sides"
import struct, sys
file = open(sys.argv[1], "rb").read()
tokens, documents, _, train = struct.unpack_from("<4Q", file, 40)
bound = struct.unpack_from("<%dQ" % (documents + 1), file, (128 + tokens + 7) // 8 * 8)
texts = [file[128 + bound[d]:128 + bound[d + 1]].replace(b"\xef\xbb\xbf", b"").split() for d in range(documents)]
assert 0 < train < documents == 500 and not set(map(tuple, texts[:train])) & set(map(tuple, texts[train:]))
PY

# ---- one set for all variants, whatever they change ----
cat >project/cuts.lua <<'LUA'
local sl = require "sluice"
return sl.study {
  name = "cuts", data = "a.tok", replicates = 1, baseline = "base",
  base = sl.model { layers = 1, d_model = 16, seq = 32, ffn = "dense",
                    attention = { "gqa", heads = 2, kv_heads = 1, head_dim = 8 } },
  train = { steps = 4, batch = 8, eval_tokens = 1000, optim = { "adamw", lr = 0 } },
  variants = { base = {}, wide = { ["train.batch"] = 16 }, micro = { ["train.micro"] = 4 }, short = { seq = 16 },
               long = { seq = 300, ["train.batch"] = 1 } },
}
LUA
mkdir elsewhere
(cd elsewhere; run 0 ../project/cuts.lua ../runs)
/usr/bin/python3 - runs/cuts/*/0/run.h5 <<'PY' || fail "the variants were measured on different text"
import h5py, sys
sets = {(data.attrs["eval_hash"], int(data.attrs["eval_tokens"]))
        for data in (h5py.File(path, "r")["data"] for path in sys.argv[1:])}
assert len(sys.argv) == 6 and len(sets) == 1 and sets.pop()[1] == 1000, sets
PY
leaves 3 "$sluice" plan project/cuts.lua --set train.eval_batches=4
says "did you mean 'eval_tokens'"

# Untrained weights are one value however the batch is cut.
cat >same.lua <<'LUA'
local sl = require "sluice"
return sl.study {
  name = "same", data = "project/a.tok", replicates = 4, baseline = "base",
  base = sl.model { layers = 1, d_model = 16, seq = 32, ffn = "dense",
                    attention = { "gqa", heads = 2, kv_heads = 1, head_dim = 8 } },
  train = { steps = 1, batch = 8, eval_tokens = 1000, optim = { "adamw", lr = 0 } },
  variants = { base = {}, wide = { ["train.batch"] = 16 }, one = { ["train.batch"] = 1 },
               micro = { ["train.micro"] = 4 } },
}
LUA
run 0 same.lua runs
/usr/bin/python3 - runs/same/*/0/run.h5 <<'PY' || fail "the same weights read differently"
import h5py, sys
losses = [h5py.File(path, "r")["metrics/eval/loss"][-1] for path in sys.argv[1:]]
assert len(losses) == 4 and max(losses) - min(losses) < 1e-6, losses
PY
for family in sidak none; do
    leaves 0 "$sluice" compare runs/same --family $family
    ! grep -E 'beats|loses' log || fail "rounding is taken for a difference"
done

# ---- longer sequences than those of training: what a model that was trained on them would be measured on ----
cat >longer.lua <<'LUA'
local sl = require "sluice"
return sl.study {
  name = "longer", data = "project/a.tok", replicates = 1, baseline = "base",
  base = sl.model { layers = 1, d_model = 16, seq = 16, ffn = "dense",
                    attention = { "gqa", heads = 2, kv_heads = 1, head_dim = 8 } },
  train = { steps = 1, batch = 8, eval_tokens = 1000, eval_seq = 64, optim = { "adamw", lr = 0 } },
  variants = { base = {}, long = { seq = 64, ["train.batch"] = 2 }, micro = { ["train.micro"] = 8 } },
}
LUA
run 0 longer.lua runs
/usr/bin/python3 - runs/longer/*/0/run.h5 <<'PY' || fail "a longer sequence is read otherwise"
import h5py, math, sys
its = {path.split("/")[2].split("-")[0]: h5py.File(path, "r")["metrics/eval"] for path in sys.argv[1:]}
loss = {name: of["loss"][-1] for name, of in its.items()}
assert loss["base"] == loss["long"] and abs(loss["base"] - loss["micro"]) < 1e-6, loss
assert its["base"]["position_loss"].shape[1] == 64 and its["long"]["position_loss"].shape[1] == 16
part = its["base"]["loss_within"][-1], its["base"]["loss_beyond"][-1]
assert min(part) < loss["base"] < max(part) and "loss_beyond" not in its["long"], (part, loss)
PY
leaves 0 "$sluice" compare runs/longer --metric eval.loss_beyond
leaves 0 "$sluice" plan longer.lua --set primary=eval.position_loss:max
leaves 0 "$sluice" plot runs/longer --kind position -o figure.gp
grep -q 'position in the document' figure.gp || fail "the figure has no positions"
leaves 1 "$sluice" plot runs/longer --kind position --metric eval.loss -o figure.gp
says "metric 'eval.loss' has no value for each position; eval.position_loss has"
leaves 3 "$sluice" plan longer.lua --set train.eval_seq=40
says "40: must be a multiple of the model's seq of 16"
sed -i 's/base = {}, long/base = {}, other = { ["train.eval_seq"] = 32 }, long/' longer.lua
leaves 3 "$sluice" plan longer.lua
says 'all variants are measured in equal sequences'

# ---- what counting reaches, on the very tokens ----
cat >project/seen.lua <<'LUA'
local sl = require "sluice"
return sl.study {
  name = "seen", data = "a.tok", replicates = 1, baseline = "base",
  base = sl.model { layers = 1, d_model = 8, seq = 64, ffn = "dense",
                    attention = { "gqa", heads = 1, kv_heads = 1, head_dim = 8 } },
  train = { steps = 150, batch = 16, eval_tokens = 777, eval_every = 150, checkpoint_every = 150 },
  variants = { base = {}, gated = { ["attention.gate"] = "head" } },
}
LUA
leaves 0 "$sluice" plan project/seen.lua --json
cp log plan.json
run 0 project/seen.lua runs
leaves 0 "$sluice" compare runs/seen
/usr/bin/python3 - project/a.tok plan.json log <<'PY' || fail "the baselines are of other tokens"
import collections, json, math, re, struct, sys
file, plan, said = open(sys.argv[1], "rb").read(), json.load(open(sys.argv[2])), open(sys.argv[3]).read()
tokens, documents, train, _ = struct.unpack_from("<4Q", file, 40)
starts = set(struct.unpack_from("<%dQ" % (documents + 1), file, (128 + tokens + 7) // 8 * 8))
text, windows = file[128:128 + tokens], (train - 1) // 64
pairs = lambda first, targets: [(text[i - 1], text[i]) for i in range(first + 1, first + targets + 1)
                                if i not in starts]
seen, held = pairs(0, windows * 64), pairs(train, 777)
two, before, after = collections.Counter(seen), collections.Counter(a for a,
                                                                    _ in seen), collections.Counter(b for _, b in seen)
unigram = -sum(math.log((after[b] + 1) / (len(seen) + 256)) for _, b in held) / len(held)
bigram = -sum(math.log((two[p] + 1) / (before[p[0]] + 256)) for p in held) / len(held)
want = ("the same 777 held-out tokens, from the text that base/0 was trained on: "
        "a unigram model of bytes has %.4f nats, a bigram model %.4f." % (unigram, bigram))
assert want in said, want
assert plan["eval_tokens"] == 777 and plan["train_tokens"] == train and plan["held_out_tokens"] == tokens - train, plan
assert all(abs(v["epochs"] - 150 * 16 / windows) < 1e-9
           for v in plan["variants"]) and plan["variants"][0]["epochs"] > 1, plan
PY

# ---- from any folder; changed; gone; nothing held out ----
(cd elsewhere; leaves 0 "$sluice" resume ../runs/seen; leaves 0 "$sluice" compare ../runs/seen; says 'a bigram model')
rm -r runs/seen/base-*/0/run.h5 runs/seen/base-*/0/checkpoints
cp project/a.tok kept.tok
leaves 0 "$sluice" data pack texts --held-out 0.3 -o project/a.tok
leaves 0 "$sluice" compare runs/cuts
says 'is not the data that the study was made with: it has changed since'
leaves 4 "$sluice" resume runs/seen
says 'seen was made with data of hash'
says 'sluice resume runs/seen --data FILE'
cp kept.tok project/a.tok
(cd elsewhere; leaves 0 "$sluice" resume ../runs/seen; leaves 0 "$sluice" compare ../runs/seen; says 'a bigram model')
rm project/a.tok
leaves 0 "$sluice" compare runs/cuts
says 'No unigram and bigram models to compare with'
leaves 4 "$sluice" plan project/cuts.lua
says 'beside it, then in the working folder'
leaves 0 "$sluice" data pack texts --held-out 0 -o a.tok
leaves 0 "$sluice" plan project/cuts.lua
says "$folder/a.tok"
says 'nothing held out: no run can be measured; pack it with --held-out SHARE or --held-out-from INPUT'
run 4 project/cuts.lua none
says 'nothing is held out to measure on; pack it with'
[ ! -e none ] || fail "a study that cannot be measured was begun"
leaves 0 "$sluice" plan project/cuts.lua --set vocab=384
says "has a vocabulary of 384, the data 256: 128 rows of its embedding are of no token"
leaves 0 "$sluice" plan project/cuts.lua --set vocab=383
! grep 'of no token' log || fail "a vocabulary that is rounded up is remarked on"

# ---- values of different text are refused ----
/usr/bin/python3 -c 'import h5py, sys
h5py.File(sys.argv[1], "r+", libver="latest")["data"].attrs["eval_hash"] = "0" * 32' runs/cuts/wide-*/0/run.h5
leaves 4 "$sluice" compare runs/cuts
says 'were measured on different text'
leaves 0 "$sluice" compare runs/cuts --metric train.loss
