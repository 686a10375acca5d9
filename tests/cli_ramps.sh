#!/bin/sh
# Batches and sequences that grow over a run: tokens and FLOPs are counted as they are, evaluations are of whole
# sequences, a study that is cut anywhere (cli_resume.sh) goes on.
set -eu
. "$(dirname "$0")/study.sh"

cat >ramp.lua <<'LUA'
local sl = require "sluice"
return sl.study {
  base = sl.model { layers = 1, d_model = 16, seq = 32, attention = { "gqa", heads = 2, kv_heads = 1, head_dim = 8 },
                    ffn = { "dense", d_ff = 16 } },
  replicates = 1, baseline = "constant", data = "synthetic",
  train = { steps = 8, batch = 8, micro = 4, eval_every = 2, eval_tokens = 320, schedule = "constant" },
  variants = {
    constant = {},
    batch = { ["train.batch_schedule"] = { "constant", warmup = 4, warmup_from = 0.25 } },
    seq = { ["train.seq_schedule"] = { "constant", warmup = 4, warmup_from = 0.25 } },
  },
}
LUA
leaves 0 "$sluice" plan ramp.lua --json
/usr/bin/python3 - <<'PY' || fail "tokens that are planned"
import json
epochs = {v["name"]: v["epochs"] for v in json.load(open("log"))["variants"]}
assert epochs["seq"] == epochs["constant"], epochs
assert abs(epochs["batch"] / epochs["constant"] - (4 + 6 + 6 + 5 * 8) / 64) < 1e-12, epochs
PY
leaves 0 "$sluice" run ramp.lua --out runs --progress none
leaves 0 "$sluice" export runs/ramp --csv -o ramp.csv
/usr/bin/python3 - <<'PY' || fail "what was counted"
import csv
rows = {}
for r in csv.DictReader(open("ramp.csv")):
    rows.setdefault((r["variant"], r["metric"]), []).append(float(r["value"]))
grown = [sum([4, 6, 6, 8, 8, 8, 8, 8][:n + 1]) * 32 for n in range(8)]
whole = [256 * (n + 1) for n in range(8)]
assert rows["batch", "train.tokens"] == grown, rows["batch", "train.tokens"]
assert rows["constant", "train.tokens"] == whole and rows["seq", "train.tokens"] == whole
assert rows["batch", "train.targets"][0] < rows["constant", "train.targets"][0] == rows["constant", "train.targets"][3]
cut = [rows["constant", "train.targets"][n] - rows["seq", "train.targets"][n] for n in range(8)]
assert cut[0] >= 8 and cut[0] > cut[1] >= cut[2] > cut[3] == cut[7] == 0, cut
late = [v for v in rows["seq", "eval.position_loss"] if v == v]
assert len(late) == len([v for v in rows["constant", "eval.position_loss"] if v == v]) > 4, late
assert rows["batch", "train.loss"][3] != rows["constant", "train.loss"][3]
PY

# ---- what cannot be ----
leaves 3 "$sluice" plan ramp.lua --set train.micro=1
says "train.batch_schedule"
says "train.micro says how many a whole one is cut into"
of='base = sl.model { layers = 1, d_model = 16, seq = 32, attention = { "gqa", heads = 2, kv_heads = 1, head_dim = 8 },
    ffn = { "moe", experts = 4, d_ff = 8, router = { select = SELECT } } }, replicates = 1, data = "synthetic"'
cat >record.lua <<LUA
local sl, SELECT = require "sluice", "top_k"
return sl.study { $of, baseline = "base", variants = { base = {} },
  train = { steps = 4, batch = 8, micro = 4, eval_tokens = 320, record = true } }
LUA
cat >replay.lua <<LUA
local sl, SELECT = require "sluice", "replayed"
return sl.study { $of, baseline = "base", choices = "runs/record/base",
  variants = { base = {}, batch = { ["train.batch_schedule"] = { "constant", warmup = 4, warmup_from = 0.25 } } },
  train = { steps = 4, batch = 8, micro = 4, eval_tokens = 320 } }
LUA
leaves 0 "$sluice" run record.lua --out runs --progress none
leaves 3 "$sluice" plan replay.lua
says "a record of them has as many sequences"
