#!/bin/sh
# bench/compare.sh and bench/scaling.sh with stand-ins for both programs, whose figures are known: what they say of them
# is right, and what is no comparison is refused. The models of bench/ and the presets of the same names have the same
# size.
set -eu

sluice=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "cli_peer.sh: $*" >&2; cat "$work/said" >&2; exit 1; }

# says WORDS: the last output has them
says() { grep -qF -- "$1" "$work/said" || fail "not said: $1"; }

# ---- stand-ins ----

# Sluice's steps take 1, 2, 3, .. s, and half a second more with two threads, at 100, 200, .. tokens/s; the peer's take
# $PEER_HALVES half seconds.
cat >"$work/sluice" <<'END'
#!/bin/sh
[ "$1" = bench ] || { echo '{}'; exit; }
n=$(($(cat "$STAND_IN/sluice.count") + 1))
echo $n >"$STAND_IN/sluice.count"
echo "$*" >>"$STAND_IN/calls"
case "$*" in *threads=2*) step=$n.5 ;; *) step=$n ;; esac
echo "[{\"isa\": \"some\", \"precision\": \"fp32\", \"threads\": 2, \"steps\": 3, \"params_total\": 10,
  \"tokens_per_step\": 60, \"flops_per_step\": 1e9,
  \"step_seconds\": $step, \"processor_seconds\": $step, \"tokens_per_second\": ${n}00, \"best_gemm\": 1e9,
  \"processor_share\": ${SHARE:-1},
  \"memory_peak\": 1048576, \"first_step_seconds\": 0.25}]"
END
cat >"$work/python" <<'END'
#!/bin/sh
[ "$1" = -c ] && exit "${NO_TORCH:-0}"
n=$(($(cat "$STAND_IN/peer.count") + 1))
echo $n >"$STAND_IN/peer.count"
half=$(echo "$PEER_HALVES" | cut -d' ' -f$n)
echo "{\"program\": \"torch 9\", \"precision\": \"fp32\", \"dispatch\": \"sort\", \"params_total\": ${PARAMS:-10},
  \"tokens_per_step\": 60, \"flops_per_step\": 1e9,
  \"step_seconds\": $((half / 2)).$((half % 2 * 5)), \"processor_seconds\": 1,
  \"memory_peak\": 4194304, \"first_step_seconds\": 1.5}"
END
chmod +x "$work/sluice" "$work/python"
export STAND_IN="$work" PEER_HALVES="5 8 24" SLUICE="$work/sluice" PEER_PYTHON="$work/python"

# from_start SCRIPT ARGUMENTS..
from_start() {
    script=$1
    shift
    echo 0 >"$work/sluice.count"
    echo 0 >"$work/peer.count"
    : >"$work/calls"
    sh "bench/$script" "$@" --cpus 0 >"$work/said" 2>&1
}

# ---- compare.sh ----

from_start compare.sh micro --pairs 3 --json "$work/all.json" || fail "compare.sh fails"
says "| micro | 0.0 M | **2.50** (2.00 – 4.00) | 30 | 15 | 1 | 50 % | 25 % |"
says "| micro | 1 | 4 | 0.25 | 0.25 | 1.50 |"
says "Sluice some, fp32; torch 9, fp32, sort dispatch. 3 pairs"
! grep -q quiet "$work/said" || fail "a quiet machine was doubted"
grep -q -- "--variant micro .*--threads 2 --steps 20" "$work/calls" || fail "not the steps of micro"
python3 -c "import json; m, = json.load(open('$work/all.json'))['models']
assert m['ratios'] == [2.5, 2, 4] and m['ratio'] == 2.5 and m['pairs'] == 3, m" || fail "other figures in the JSON"
from_start compare.sh micro --pairs 1 --clock processor || fail "compare.sh --clock fails"
says "**1.00** (1.00 – 1.00)"
(export SHARE=0.5; from_start compare.sh micro --pairs 1) || fail "compare.sh fails where the machine is shared"
says "only 50 % of its processors"
! (export PARAMS=11; from_start compare.sh micro --pairs 1) || fail "other models were compared"
says "params_total is 10 in Sluice, 11 in its peer"
! (export NO_TORCH=1; from_start compare.sh micro) || fail "no PyTorch, and no word of it"
says "apt-get install python3-torch"
! from_start compare.sh --rounds 3 || fail "an unknown option was taken"
says "usage: sh bench/compare.sh"

# ---- scaling.sh ----

from_start scaling.sh threads --rounds 2 || fail "scaling.sh fails"
says "| tiny, threads=1 | 60 | 2000.0 | 200 | 1 |"                          # 1 and 3 s, 100 and 300 tokens/s
says "| tiny, threads=2 | 60 | 3500.0 | 300 | **1.67** (1.33 – 2.00) |"     # 2.5 and 4.5 s, 200 and 400 tokens/s
from_start scaling.sh experts dense --rounds 1 || fail "scaling.sh fails"
says "| tiny,experts=64 | 60 | 4500.0 | 400 | **3.00** (3.00 – 3.00) |"      # 4.5 s, and 1.5 s with 8 experts
says "| small | 60 | 8500.0 | 800 | **1.13** (1.13 – 1.13) |"                # 8.5 s, and 7.5 s of small-dense
! from_start scaling.sh expert || fail "an unknown table was taken"
says "no table expert"

# ---- the models ----

cat >"$work/presets.lua" <<'END'
local sl = require "sluice"
local variants = {}
for _, name in ipairs { "micro", "tiny", "small", "medium" } do variants[name] = sl.preset("baseline-" .. name) end
variants["dense-124m"] = sl.preset "dense-124m"
return sl.study { base = sl.preset "baseline-nano", data = "synthetic", replicates = 1, baseline = "tiny",
                  variants = variants }
END
"$sluice" plan bench/models.lua --json >"$work/models.json" 2>"$work/said" || fail "bench/models.lua"
"$sluice" plan "$work/presets.lua" --json >"$work/presets.json" 2>"$work/said" || fail "presets"
python3 - "$work/models.json" "$work/presets.json" >"$work/said" 2>&1 <<'END' || fail "sizes of models"
import json, sys
models, presets = ({v["name"]: v for v in json.load(open(path))["variants"]} for path in sys.argv[1:])
for name, preset in presets.items():
    assert models[name]["params_total"] == preset["params_total"], name
for name in "micro", "tiny", "small", "medium":                 # equally wide for one token: all but the router
    assert 0.99 < models[name + "-dense"]["params_total"] / models[name]["params_active"] < 1, name
for experts in 8, 32, 64:
    more = models[f"tiny,experts={experts}"]["params_active"] - models["tiny"]["params_active"]
    assert more == (experts - 16) * 6 * 256, experts
END
echo "peer: comparisons say what was measured"
