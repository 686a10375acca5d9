#!/bin/sh
# sluice plan of models at their published size: in seconds, with the published counts; the vocabulary of small data is
# no obstacle.
set -eu
sluice=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "$*" >&2; exit 1; }

# name, parameters, KV bytes per token in bf16, memory in GiB: at least weights, gradients and two moments in float
plan() {
  cat >"$work/study.lua" <<LUA
local sl = require "sluice"
return sl.study { name = "s", base = sl.preset "$1", data = "synthetic", train = { batch = 2, precision = "bf16" },
                  baseline = "base",
  variants = { base = {}, muon = { ["train.optim"] = "muon" } } }
LUA
  timeout 60 "$sluice" plan "$work/study.lua" --json >"$work/plan.json" || fail "plan of $1: exit code $?"
  python3 - "$work/plan.json" "$@" <<'PYTHON' || fail "plan of $1"
import json, sys
name, params, kv, least = sys.argv[2], *map(int, sys.argv[3:])
for v in json.load(open(sys.argv[1]))["variants"]:
    seen = v["params_total"], v["kv_bytes_per_token"]
    assert seen == (params, kv), f"{name} {v['name']}: {seen}"
    assert 0.7 * least <= v["memory_bytes"] / 2**30 <= 1.6 * least, \
        f"{name} {v['name']}: {v['memory_bytes'] / 2**30} GiB"
    assert 6 * v["params_active"] < v["train_flops_per_token"] < 12 * v["params_active"], \
        f"{name} {v['name']}: {v['train_flops_per_token']}"
PYTHON
}

# Every weight is listed once, with what moves it.
weights() {
  timeout 60 "$sluice" plan "$work/study.lua" --weights "$1" >"$work/weights" || fail "weights of $1: exit code $?"
  python3 - "$work/weights" "$work/plan.json" "$@" <<'PYTHON' || fail "weights of $1"
import json, sys
rows = [line.split() for line in open(sys.argv[1])][1:]
total = next(v["params_total"] for v in json.load(open(sys.argv[2]))["variants"] if v["name"] == sys.argv[3])
assert sum(int(row[2]) for row in rows) == total
for path, _, _, role, optimizer, decay in rows:
    outside = role in ("embed", "head", "table", "gain")
    assert optimizer == ("muon" if sys.argv[3] == "muon" and not outside else "adamw"), path
    assert float(decay) == (0 if role in ("embed", "table", "gain") else 0.1), path
PYTHON
}
plan mixtral-8x7b 46702792704 131072 696
plan qwen3-30b-a3b 30532122624 98304 455
plan qwen3-235b-a22b 235093634560 192512 3503
plan deepseekmoe-16b 16375728128 229376 244
plan deepseek-v2-lite 15706484224 31104 234
plan deepseek-v3 671026404352 70272 9999
plan jetmoe-8b 8522139648 196608 127
plan welm-80b 86833518848 98304 1294
weights base
weights muon
