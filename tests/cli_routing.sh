#!/bin/sh
# sluice routing, and the figures that ask a run's checkpoints: what it counts is what the run's evaluation counted, and
# routers of which all is known say so.
set -eu
. "$(dirname "$0")/study.sh"

cat >many.lua <<'LUA'
local sl = require "sluice"
local base = sl.model {
  layers = 2, d_model = 16, seq = 32, vocab = 256, attention = { "gqa", heads = 2, kv_heads = 1, head_dim = 8 },
  ffn = { "moe", experts = 6, d_ff = 8, router = { top_k = 2 } },
}
local unlike = sl.model {
  layers = 3, d_model = 16, seq = 32, vocab = 256, attention = { "gqa", heads = 2, kv_heads = 1, head_dim = 8 },
  ffn = function(i) return i == 1 and "dense" or { "moe", experts = 3 + i, d_ff = 8, router = { top_k = i } } end,
}
return sl.study {
  name = "many", base = base, replicates = 1, baseline = "base", data = "synthetic",
  train = { steps = 20, batch = 4, eval_every = 20, eval_tokens = 1000, checkpoint_every = 5, keep = 3,
            optim = { "adamw", lr = 3e-3 } },
  variants = {
    base = {}, hash = { ["ffn.router.select"] = "hash" }, random = { ["ffn.router.select"] = "forced" },
    base_layer = { ["ffn.router.select"] = "base", ["ffn.router.top_k"] = 1 },
    sinkhorn = { ["ffn.router.select"] = "sinkhorn" },
    bias = { ["ffn.router.score"] = "sigmoid", ["ffn.balance"] = { { "bias", gamma = 0.003 } } },
    constant = { ["ffn.router.select"] = { "forced", pattern = "constant" } }, dense = { ffn = "dense" },
    chooses = { ["ffn.router.select"] = "expert_choice" }, idle = { ["ffn.zero"] = 1, ["ffn.copy"] = 1 },
    averaged = { ["train.average"] = "ema" }, mtp = { ["head.mtp"] = "sequential" }, again = { order = { 0, 1, 1 } },
    two = { ["attention.experts"] = { "routed", n = 5, router = { score = "sigmoid" }, balance = { "bias" } } },
    unlike = unlike, relu = { ["ffn.router.score"] = "relu", ["ffn.router.top_k"] = 5 },
  },
}
LUA
leaves 0 "$sluice" run many.lua --out runs --progress none

# ---- the numbers ----
variants="base base_layer sinkhorn hash random bias constant chooses idle averaged mtp again unlike relu two"
for variant in $variants; do
    leaves 0 "$sluice" routing runs/many --variant $variant --tokens 1000 --closed 2 --json -o $variant.json
    leaves 0 "$sluice" routing runs/many/$variant-*/0 --tokens 1000 --closed 2 --csv -o $variant.csv
    leaves 0 "$sluice" export runs/many/$variant-*/0 --json -o eval.json
    mv eval.json $variant.eval
done
/usr/bin/python3 - $variants <<'PY' || fail "what the routers do"
import csv, glob, json, struct, sys, math
def norms_of(variant):
    """Of each expert of layer 0, from the checkpoint."""
    bytes = open(glob.glob("runs/many/%s-*/0/checkpoints/step-*20/state.safetensors" % variant)[0], "rb").read()
    size, = struct.unpack("<Q", bytes[:8])
    header, square = json.loads(bytes[8:8 + size]), [0] * 6
    for name, tensor in header.items():
        if not name.startswith("layers.0.ffn.experts.") or not name.endswith(".weight"): continue
        begin, end = (8 + size + x for x in tensor["data_offsets"])
        values = struct.unpack("<%df" % ((end - begin) // 4), bytes[begin:end])
        for i, x in enumerate(values): square[i * 6 // len(values)] += x * x
    return [math.sqrt(x) for x in square]
def near(got, want, within, what):
    assert got is not None and abs(got - want) <= within, "%s: %s is %s, not %s" % (variant, what, got, want)
for variant in sys.argv[1:]:
    of = json.load(open(variant + ".json"))
    run = json.load(open(variant + ".eval"))["runs"][0]["series"]
    series = {s["metric"]: s["value"][-1] for s in run}
    # What an evaluation of the same tokens counted
    near(of["loss"], series["eval.loss"], 1e-12, "loss")
    assert of["tokens"] == 1000 and of["step"] == 20
    for r in of["routers"]:
        counts = "eval.attention_expert_tokens" if r["router"] == "attention" else "eval.expert_tokens"
        assert r["expert_tokens"] == series[counts][r["layer"]][:r["experts"]], variant
        for matrix in r["coactivation"], r["coactivation_adjacent"]:
            assert len(matrix) == r["experts"] and all(len(row) == r["experts"] for row in matrix)
        if "margin" in r: assert sum(r["margin"]["tokens"]) == r["tokens"], (variant, r)
        assert r["router"] == "ffn" or variant == "two"
        assert r["tokens"] == (968 if variant == "mtp" and r["layer"] == 2 else 1000)
    # Checkpoints: three were kept, and before them the weights at first
    steps = of["steps"]
    assert [s["step"] for s in steps] == [0, 10, 15, 20]
    assert set(steps[-1]["saturation"]) == {1}
    near(steps[-1]["loss"], of["loss"], 0, "loss of the last step")
    assert steps[0]["loss"] > steps[-1]["loss"] and None not in steps[1]["kept"] and set(steps[0]["kept"]) == {None}
    # Both forms say the same
    rows = list(csv.DictReader(open(variant + ".csv")))
    for r in of["routers"]:
        got = {(row["metric"], row["expert"], row["other"]): float(row["value"]) for row in rows
               if row["layer"] == str(r["layer"]) and row["router"] == r["router"] and row["step"] == "20"}
        for name, value in r.items():
            if isinstance(value, float): near(got[name, "", ""], value, 1e-12, name)
            if value is None: assert (name, "", "") not in got
        for i, row in enumerate(r["coactivation"]):
            for j, value in enumerate(row):
                if value is not None: near(got["coactivation", str(i), str(j)], value, 1e-12, "a pair")
    first = of["routers"][0]
    # Who sees later tokens: experts that choose, and plans of a sequence
    if variant == "chooses": assert of["leak"] > 1e-6, of["leak"]
    else: near(of["leak"], 0, 0, "leak")
    for r in of["routers"]:
        works = r["experts"] - r["idle"]
        norms, written = r["expert_weight_norm"], [x for x in r["expert_output_rms"] if x is not None]
        assert len(norms) == works and min(norms) > 0 and len(written) == sum(n > 0 for n in r["expert_tokens"][:works])
        near(r["output_rms_least"] * r["output_rms"], min(written), 1e-12, "least output")
        near(r["output_rms_most"] * r["output_rms"], max(written), 1e-12, "most output")
        near(r["weight_norm_most"] * r["weight_norm"], max(norms), 1e-12, "largest norm")
        assert 0 <= r["score_high"] <= 1 and 0 <= r["score_low"] <= 1
    assert 0 <= first["class_information"] < 1.8 and first["class_information_chance"] < 0.05
    if variant in ("hash", "random", "constant"):               # nothing that is learnt decides
        for s in steps: assert set(s["saturation"]) == {1}
        assert "margin" not in first and not of["loss_without_best"]
    if variant == "hash": near(first["vocabulary_input"], 1, 0, "vocabulary")
    if variant == "random":
        near(first["coactivation_chance"], 1 / 5, 1e-12, "chance of pairs")
        mean = sum(map(sum, first["coactivation"])) / 30
        near(mean, 1 / 5, 0.01, "pairs")
        near(first["vocabulary_input"], first["vocabulary_input_chance"], 0.1, "vocabulary")
        near(steps[0]["saturation_chance"][0], 1 / 3, 1e-9, "chance of saturation")
    if variant == "constant":
        assert first["coactivation"][0] == [0, 1, 0, 0, 0, 0] and first["coactivation"][2] == [None] * 6
        near(first["max_vio"], 2, 1e-12, "MaxVio")
        near(first["dead_frac"], 4 / 6, 1e-12, "dead")
        near(first["drowned_frac"], 2 / 6, 1e-12, "drowned")
    if variant == "two":
        assert [r["router"] for r in of["routers"]] == ["attention", "ffn"] * 2 and first["experts"] == 5
        near(first["bias_change"], 0.002, 1e-6, "change of the bias")
        assert first["down_cosine"] is not None and of["routers"][1]["bias_change"] is None
    elif variant == "bias":
        near(first["bias_change"], 0.006, 1e-6, "change of the bias")
        assert 0 < first["margin_below_bias_change"] <= 1
    else: assert first["bias_change"] is None
    if variant == "chooses": assert "margin" not in first and first["max_vio"] < 0.1
    if variant == "idle":
        assert first["experts"] == 8 and first["idle"] == 2
        load = first["expert_tokens"][:6]
        near(first["max_vio"], max(load) / (sum(load) / 6) - 1, 1e-12, "MaxVio")
    if variant == "relu": assert len(of["loss_without_best"]) == 1 and "margin" not in first     # 5 of 6 experts
    if variant == "mtp": assert [r["layer"] for r in of["routers"]] == [0, 1, 2]
    if variant == "again":
        assert [r["layer"] for r in of["routers"]] == [0, 1, 2]
        for name in "down_cosine", "router_cosine": near(of["routers"][2][name], of["routers"][1][name], 0, name)
    if variant == "unlike":
        assert [(r["layer"], r["experts"]) for r in of["routers"]] == [(1, 5), (2, 6)] or \
               [(r["layer"], r["experts"]) for r in of["routers"]] == [(0, 3), (2, 5)], of["routers"]
    if variant in ("base", "averaged", "idle"):
        assert len(of["loss_without_best"]) == 2 and of["loss_without_best"][0] != of["loss"]
        assert first["margin_median"] > 0 and first["gate_largest"] < first["gate_max"] <= 1
        assert abs(first["down_cosine"]) < 0.3
    if variant == "base":
        for got, want in zip(first["expert_weight_norm"], norms_of(variant)): near(got, want, 1e-5, "norm of an expert")
PY

# ---- domains ----
mkdir text
i=0; while [ $i -lt 400 ]; do echo "$((i * 7919 % 10007)) $((i * 31 % 997))"; i=$((i + 1)); done >text/digits.txt
i=0; while [ $i -lt 400 ]; do echo "what is so rare as a day in june"; i=$((i + 1)); done >text/words.txt
for name in digits words; do
    leaves 0 "$sluice" data pack text/$name.txt -o $name.tok --held-out-from text/$name.txt
done
for form in json csv; do
    leaves 0 "$sluice" routing runs/many --variant base --tokens 1000 --domain digits=digits.tok \
        --domain words=words.tok --$form -o domains.$form
done
/usr/bin/python3 - <<'PY' || fail "domains"
import csv, json
rows = list(csv.DictReader(open("domains.csv")))
for r in json.load(open("domains.json"))["routers"]:
    assert list(r["domains"]) == ["digits", "words"]
    for name, d in r["domains"].items():
        assert d["tokens"] == 1000 and abs(sum(d["share"]) - 2) < 1e-9 and abs(d["chance"] - 2 / 6) < 1e-12
        got = [float(x["value"]) for x in rows
               if x["metric"] == "domain_share." + name and x["layer"] == str(r["layer"])]
        assert max(abs(x - y) for x, y in zip(got, d["share"])) < 1e-12 and len(got) == 6
    both = zip(r["domains"]["digits"]["share"], r["domains"]["words"]["share"])
    assert max(abs(x - y) for x, y in both) > 0.05          # other bytes, other experts
PY
leaves 0 "$sluice" routing runs/many --tokens 64 --domain words=words.tok
says 'the expert that most'
leaves 4 "$sluice" routing runs/many --domain words.tok
says 'must be NAME=FILE'
head -c 8000 /dev/zero >other.bin
leaves 4 "$sluice" routing runs/many --domain other=other.bin:vocab=300
says "the run's are of"

# ---- answers: what fills windows up goes nowhere, and is not counted ----
for i in 1 2 3 4 5 6 7 8 9; do for k in 1 2 3 4 5 6 7 8 9; do
    printf '{"prompt": "%0*d+%d?", "completion": "%0*d"}\n' $((2 * k)) $i $k $i $((i + k))
done; done >sums.jsonl
leaves 0 "$sluice" data pack sums.jsonl --answers prompt --template '{prompt}={completion};' --held-out 0.5 -o sums.tok
cat >answers.lua <<'LUA'
local sl = require "sluice"
return sl.study {
  name = "answers", replicates = 1, baseline = "base", data = "sums.tok",
  train = { steps = 4, batch = 4, eval_tokens = 0 },
  variants = { base = {} },
  base = sl.model { layers = 1, d_model = 16, seq = 64, attention = { "gqa", heads = 2, kv_heads = 1, head_dim = 8 },
                    ffn = { "moe", experts = 4, d_ff = 8, router = { top_k = 2 } } },
}
LUA
leaves 0 "$sluice" run answers.lua --out runs --progress none
leaves 0 "$sluice" routing runs/answers --json -o answers.json
leaves 0 "$sluice" export runs/answers/base-*/0 --json -o answers.eval
/usr/bin/python3 - <<'PY' || fail "answers"
import json
of, run = json.load(open("answers.json")), json.load(open("answers.eval"))["runs"][0]["series"]
series, router = {s["metric"]: s["value"][-1] for s in run}, of["routers"][0]
assert abs(of["loss"] - series["eval.loss"]) < 1e-12 and router["expert_tokens"] == series["eval.expert_tokens"][0]
assert router["tokens"] == of["tokens"] and sum(router["expert_tokens"]) == 2 * of["tokens"]
PY

# ---- words, and what it refuses ----
leaves 0 "$sluice" routing runs/many
says 'layer  experts'
says 'saturation: choices that are those of step 20'
leaves 0 "$sluice" routing runs/many --against 10 --tokens 64
says 'those of step 10'
leaves 4 "$sluice" routing runs/many --against 7
says 'step 7 has no checkpoint; there are: 0, 10, 15, 20'
leaves 4 "$sluice" routing runs/many --variant dense
says 'the model has no router'
leaves 4 "$sluice" routing runs/many --variant none
says "no run of variant 'none'"
leaves 4 "$sluice" routing runs/many --data synthetic:2
says 'the run was trained on data of hash '
leaves 2 "$sluice" routing runs/many --json --csv
cp -r runs/many/base-*/0/checkpoints kept
damaged=$(echo runs/many/base-*/0)/checkpoints/step-00000010/state.safetensors
printf x | dd of="$damaged" bs=1 seek=9000 conv=notrunc 2>/dev/null
leaves 0 "$sluice" routing runs/many --tokens 64
says 'passed over'
leaves 0 "$sluice" prune runs/many --keep 0 --yes
leaves 4 "$sluice" routing runs/many
says 'holds no checkpoint'

# ---- figures ----
rm -rf "$(echo runs/many/base-*/0)/checkpoints"
mv kept "$(echo runs/many/base-*/0)/checkpoints"
for kind in margin coactivation saturation; do
    leaves 0 "$sluice" plot runs/many --kind $kind -o $kind.gp
    command -v gnuplot >/dev/null || continue
    leaves 0 "$sluice" plot runs/many --kind $kind -o $kind.svg
    [ ! -s log ] || fail "gnuplot complained about $kind"
    grep -q '</svg>' $kind.svg || fail "$kind.svg is no figure"
done
leaves 1 "$sluice" plot runs/many --kind margin --variant dense -o none.gp
says 'the model has no router'
echo "routing: counts are those of evaluations, known routers say what is known"
