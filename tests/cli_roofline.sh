#!/bin/sh
# The roofline of sluice plan counts what the plan counts: FLOPs, calls, and the bytes of an update, which can be told
# beforehand.
set -eu
export LC_ALL=C
sluice=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "cli_roofline.sh: $*" >&2; exit 1; }

cat >"$work/study.lua" <<'END'
local sl = require "sluice"
return sl.study { base = sl.preset "baseline-small", replicates = 1, baseline = "base", data = "synthetic",
                  variants = { base = {} },
  train = { steps = 1, batch = 8, micro = 2 } }
END
plan() { "$sluice" plan "$work/study.lua" "$@"; }

for precision in fp32 bf16; do
    plan --set train.precision=$precision --roofline h100 >"$work/$precision"
    grep -q 'a model, not measured' "$work/$precision" || fail "$precision: nothing says that it is a model"
    awk -v precision=$precision '
        function number(text) { return text * (text ~ /T$/ ? 1e12 : text ~ /G$/ ? 1e9 : text ~ /M$/ ? 1e6 : 1) }
        function bytes(count, unit) {
            return count * (unit == "GiB" ? 2 ^ 30 : unit == "MiB" ? 2 ^ 20 : unit == "KiB" ? 1024 : 1)
        }
        function hold(what, found, wanted, slack) {
            if (found < wanted * (1 - slack) || found > wanted * (1 + slack)) {
                print precision ": " what ": " found ", not " wanted; bad = 1
            }
        }
        $2 == "(baseline)" { params = number($3); flops = number($11) }
        /^(products|attention|loss|elementwise|rows|tables|routing|metrics|update) / { families += $2 }
        /^  [a-z]/ { ops += $2; if ($1 == "adamw") update = bytes($4, $5) }
        $1 == "step" { calls = $2; hold("FLOPs of a step", number($3), flops, 0.01) }
        END {
            hold("calls of families", families, calls, 0)
            hold("calls of ops", ops, calls, 0)
            hold("bytes of adamw", update, params * (precision == "bf16" ? 30 : 28), 0.01)
            exit bad
        }' "$work/$precision" >"$work/wrong" || fail "$(cat "$work/wrong")"
done

if plan --roofline abacus >/dev/null 2>"$work/error"; then fail "an unknown GPU is taken"; fi
grep -q 'a100, h100, h200 or h800' "$work/error" || fail "which GPUs are known is not said"
echo "roofline: FLOPs, calls and the bytes of an update are those of the plan"
