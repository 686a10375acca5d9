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
  base = sl.model { layers = 2, d_model = 32, seq = 32, attention = { "gqa", heads = 2, kv_heads = 1, head_dim = 16 },
                    ffn = { "dense", d_ff = 64 } },
  variants = { base = {}, gated = { ["attention.gate"] = "head" } },
}
END

"$sluice" bench baseline-nano --steps 3 --batch 2 --ops --ceilings --json >"$work/one.json" 2>"$work/said" ||
    fail "a preset fails"
"$sluice" bench --script "$work/small.lua" --variant gated --steps 1 --threads 1 --precision bf16 --logging --json \
    >"$work/two.json" 2>"$work/said" || fail "a script fails"
python3 "$(dirname "$0")/bench_file.py" "$work/one.json" "$work/two.json" 2>"$work/said" || fail "it does not add up"
python3 - "$work/one.json" "$work/two.json" <<'END'
import json, sys
one, two = (json.load(open(path))[0] for path in sys.argv[1:])
assert one["params_active"] < one["params_total"]
assert (one["name"], one["precision"], one["steps"], one["batch"]) == ("baseline-nano", "fp32", 3, 2)
assert ([two[key] for key in ("name", "precision", "steps", "threads", "batch", "micro")]
        == ["gated", "bf16", 1, 1, 4, 2])
assert "families" in one and "ceilings" in one and "logging" not in one
assert "families" not in two and "ceilings" not in two and "logging" in two
END
"$sluice" bench --script "$work/small.lua" --each --steps 2 --threads 1 --json >"$work/each.json" 2>"$work/said" ||
    fail "variants fail"
python3 - "$work/each.json" <<'END'
import json, sys
(gated,) = json.load(open(sys.argv[1]))
assert (gated["name"], gated["pairs"], gated["steps"]) == ("gated", 8, 2)
for ratio in ("wall_ratio", "processor_ratio"):
    assert 0 < gated[ratio + "_min"] <= gated[ratio] <= gated[ratio + "_max"]
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
leaves 2 "a --script" --each
leaves 2 "no --variant" --script "$work/small.lua" --each --variant gated
echo "bench: adds up"
