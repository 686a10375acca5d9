#!/bin/sh
# Runs that begin alike share their trunk: it is trained once, each of them has the bits of a run by itself, whoever is
# killed meanwhile; so has a run whose steps are raised. SLUICE_FULL=1: more kills; SLUICE_FEW=1: fewer.
set -eu
. "$(dirname "$0")/study.sh"
tiny
kills=${SLUICE_FULL:+60}
kills=${kills:-${SLUICE_FEW:+4}}
kills=${kills:-10}

# script NAME SCHEDULE STEPS [KEEP]: STEPS as keys of the study and of train.
script() {
    cat >"$1.lua" <<LUA
local sl = require "sluice"
return sl.study {
  name = "s", data = "synthetic", replicates = 1, $3
  base = sl.extend(require "tiny", { ["ffn.balance"] = { { "bias", gamma = 1e-2 } } }),
  variants = { base = {}, gated = { ["attention.gate"] = "head" }, linear = { ["train.schedule.shape"] = "linear" } },
  train = { batch = 2, eval_every = 8, eval_tokens = 256, checkpoint_every = 7, keep = ${4:-2}, $2,
            average = { "ema", decay = 0.9 }, guard = { "outliers", window = 8 } },
}
LUA
}
wsd='schedule = { "wsd", warmup = 4, decay = 0.25 }'

# alone SCRIPT: each run of the study in a folder of its own, where it has nobody to begin with; together below alone/s.
alone() {
    rm -rf alone && mkdir -p alone/s
    "$sluice" plan "$1" --json | /usr/bin/python3 -c 'import json, sys
for v in json.load(sys.stdin)["variants"]: print(v["name"])' >names
    while read -r name; do
        leaves 0 "$sluice" run "$1" --out "own/$name" --only "$name/0" --progress lines
        ! grep -q 'share their trunk' log || fail "$name alone shares a trunk"
        for run in "own/$name"/s/*/0/run.h5; do mv "${run%/0/run.h5}" alone/s/; done
    done <names
    rm -rf own
}
equal() { look equal alone/s "$1" checkpoints; }

# ---- a trunk of four horizons, for two variants and a third that decays in another way, is trained once ----
script study "$wsd" 'horizons = { 12, 24, 36, 48 },'
alone study.lua
leaves 0 "$sluice" plan study.lua
says "steps: 152 of 360 are trained: runs that begin alike share their trunk"
leaves 0 "$sluice" run study.lua --out runs --jobs 3 --progress lines
says "trained 152 of 360 steps"
equal runs/s
for run in runs/s/*/0; do
    [ "$(ls "$run/checkpoints" | wc -l)" = 2 ] || fail "$run: $(ls "$run/checkpoints") are left, keep is 2"
done
leaves 0 "$sluice" compare runs/s
says "branches: 10 of 12 runs begin with the steps of another run of their seed"
says "gated,steps=12 against base,steps=12: not tested"
leaves 0 "$sluice" show runs/s/base,steps=24-*/0
says "the first 10 steps are those of base,steps=12-"
echo "4 horizons x 3 variants: 152 of 360 steps are trained, with the bits of 12 runs by themselves"

# A branch is a run as any: a warm-up that reaches into its decay is refused before anything is trained.
leaves 3 "$sluice" run study.lua --out runs --set "horizons={ 9, 24 }" --set train.schedule.warmup=8
says "warm-up"
says "in variant 'base,steps=9'"
leaves 3 "$sluice" run study.lua --out runs --set train.steps=12
says "horizons: train.steps is what they say"

# ---- killed at any time, with several processes ----
tears study.lua s "$kills"
equal torn/s
for run in torn/s/*/0; do
    [ "$(ls "$run/checkpoints" | wc -l)" -le 2 ] || fail "$run: $(ls "$run/checkpoints") are left, keep is 2"
done
died=$(/usr/bin/python3 "$here/run_file.py" deaths torn/s/*/*/run.h5)
echo "$kills kills: runs that died, and steps that were trained again: $died; every file equals that of a run by itself"

rm -rf torn
"$sluice" run study.lua --out torn --jobs 1 --progress none 2>>log &
first=$!
reaches "torn/s/*/0/run.h5" 30
leaves 0 "$sluice" resume torn/s --jobs 2 --progress none
wait $first || fail "exit code $? of the first of two processes"
equal torn/s
echo "two processes: the same"

# ---- no checkpoints are kept, but until they are taken ----
script study "$wsd" 'horizons = { 12, 24, 36, 48 },' 0
alone study.lua >/dev/null
leaves 0 "$sluice" run study.lua --out none --jobs 2 --progress lines
says "trained 152 of 360 steps"
ls -d none/s/*/0/checkpoints 2>/dev/null && fail "checkpoints are left, keep is 0"
for run in alone/s/*/0/run.h5; do
    look values "$run" "none/${run#alone/}"
done
echo "keep = 0: the same, and nothing is left"

# ---- steps are raised ----
# raised SCHEDULE: from 21 steps, which are finished, to 40.
raised() {
    rm -rf more
    for steps in 21 40; do
        script more "schedule = $1, steps = $steps" ""
        sed -i 's/, linear = {.*} },$/ },/' more.lua
        [ $steps = 21 ] || alone more.lua
        leaves 0 "$sluice" run more.lua --out more --progress lines
    done
}
raised '{ "constant", warmup = 4 }'
says "trained 38 of 80 steps"
equal more/s
leaves 0 "$sluice" run more.lua --out more --set seed=5 --progress lines
! grep -q 'share their trunk' log || fail "a run begins with one of another seed"
raised '{ "cosine", warmup = 4 }'
says "base/0 begins anew: it is like base-"
says "an earlier run, up to step 5, and no checkpoint that is left lies there"
! grep -q 'share their trunk' log || fail "a cosine of 40 steps begins with one of 21"
equal more/s
echo "raised: a constant rate goes on, a cosine begins anew, and says why"

# A trunk that was cut off before its decay goes on to any other end.
script more "$wsd, steps = 4000" ""
rm -rf more
"$sluice" run more.lua --out more --only base/0 --progress none 2>>log &
first=$!
reaches "more/s/base-*/0/checkpoints/step-0000002?" 60
kill -TERM $first
wait $first && fail "not stopped" || :
script more "$wsd, steps = 2400" ""
alone() { leaves 0 "$sluice" run more.lua --out alone --only base/0 --progress none; }
rm -rf alone && alone
leaves 0 "$sluice" run more.lua --out more --only base/0 --progress lines
says "of 2400 steps: runs that begin alike share their trunk"
for run in alone/s/base-*/0/run.h5; do look values "$run" "more/${run#alone/}"; done
echo "a trunk that was cut off before its decay goes on to another end"

