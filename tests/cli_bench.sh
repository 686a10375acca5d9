#!/bin/sh
# sluice bench: what it says of a preset and of a script's variant adds up; no figure is judged.
set -eu

sluice=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export TMPDIR="$work"

fail() {
    echo "cli_bench.sh: $*" >&2
    cat "$work/said" >&2
    exit 1
}

cat >"$work/small.lua" <<'END'
local sl = require "sluice"
return sl.study {
  name = "small", replicates = 1, train = { batch = 4, micro = 2 }, data = "synthetic",
  base = sl.model { layers = 2, d_model = 32, seq = 32, attention = { "gqa", heads = 2, kv_heads = 1, head_dim = 16 }, ffn = { "swiglu", d_ff = 64 } },
  variants = { base = {}, gated = { ["attention.gate"] = "head" } },
}
END

"$sluice" bench baseline-nano --steps 3 --batch 2 --ops --json >"$work/one.json" 2>"$work/said" || fail "a preset fails"
"$sluice" bench --script "$work/small.lua" --variant gated --steps 1 --threads 1 --precision bf16 --logging --json >"$work/two.json" 2>"$work/said" || fail "a script fails"
python3 - "$work/one.json" "$work/two.json" <<'END'
import json, sys
one, two = (json.load(open(path))[0] for path in sys.argv[1:])

for run in one, two:
    for key in ("params_total", "params_active", "tokens_per_second", "flops_per_step", "flops_per_second", "best_gemm", "best_gemm_share",
                "best_gemm_share_max", "processor_share", "processor_seconds", "start_seconds", "memory_predicted", "memory_measured"):
        assert run[key] > 0, (key, run[key])
    for key in "data_share", "gather_share":
        assert 0 <= run[key] < 1, (key, run[key])
    assert 0 < run["step_seconds_min"] <= run["step_seconds"] <= run["step_seconds_max"]
    assert run["tokens_per_step"] == run["batch"] * run["seq"]
    assert run["start_seconds"] < run["first_step_seconds"] < 600, run["first_step_seconds"]
    assert run["memory_measured"] < run["memory_peak"]
    assert run["isa"] and run["revision"]

assert one["params_active"] < one["params_total"]
assert (one["name"], one["precision"], one["steps"], one["batch"]) == ("baseline-nano", "fp32", 3, 2)
assert (two["name"], two["precision"], two["steps"], two["threads"], two["batch"], two["micro"]) == ("gated", "bf16", 1, 1, 4, 2)
assert "families" not in two and "logging" not in one

families = {f["name"]: f for f in one["families"]}
assert set(families) == {"products", "attention", "loss", "elementwise", "rows", "tables", "routing", "metrics", "update", "outside ops"}, set(families)
assert abs(sum(f["share"] for f in families.values()) - 1) < 1e-6
for f in families.values():
    for key in "seconds", "forward_seconds", "backward_seconds", "share", "calls", "least_seconds", "gain_seconds":
        assert not f["ops"] or abs(sum(op[key] for op in f["ops"]) - f[key]) < 1e-9 + 1e-9 * f[key], (f["name"], key)
    assert [op["gain_seconds"] for op in f["ops"]] == sorted((op["gain_seconds"] for op in f["ops"]), reverse=True)
    for op in f["ops"]:
        assert abs(op["least_seconds"] + op["gain_seconds"] - op["seconds"]) < 1e-12 and abs(op["least_seconds"] - op["ceiling_share"] * op["seconds"]) < 1e-12, op
        assert op["bound"] == "memory" or abs(op["flops_per_second"] * op["seconds"] - one["best_gemm"] * op["least_seconds"]) < 1, op
assert 0 < one["best_stream"] <= one["best_stream_cached"]
where = {op["name"]: f["name"] for f in families.values() for op in f["ops"]}
for op, family in ("matmul", "products"), ("grouped_matmul", "products"), ("cross_entropy", "loss"), ("rope", "rows"), ("dispatch", "routing"), ("carry", "metrics"), ("adamw", "update"):
    assert where[op] == family, (op, where[op])

log = two["logging"]
assert log["pairs"] >= 5 and log["steps"] >= 10 and log["series"] > 6
for key in "wall_ratio", "processor_ratio", "inside_share":
    assert 0 < log[key + "_min"] <= log[key] <= log[key + "_max"], key
END
[ -z "$(ls -d "$work"/sluice-bench-* 2>/dev/null)" ] || fail "the folder of the run file was left"

# leaves CODE WORDS ARGUMENTS..
leaves() {
    code=$1 words=$2
    shift 2
    got=0
    "$sluice" bench "$@" >"$work/said" 2>&1 || got=$?
    [ "$got" = "$code" ] || fail "exit code $got, not $code: $*"
    grep -q -- "$words" "$work/said" || fail "does not say '$words': $*"
}
leaves 2 "did you mean 'baseline-nano'" baseline-nona
leaves 2 "did you mean 'gated'" --script "$work/small.lua" --variant gatd
leaves 2 "a --script" --variant gated
leaves 2 "fp32 or bf16" --precision fp16
echo "bench: adds up"
