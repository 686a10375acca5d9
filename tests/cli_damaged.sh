#!/bin/sh
# Damaged run files: HDF5 refuses some, reads others as if nothing were wrong and crashes on the rest. Whatever it does,
# each command goes on with the other runs, says the same of them as before, no other number of the damaged ones, and
# leaves with code 4.
set -eu
. "$(dirname "$0")/study.sh"
damage() { /usr/bin/python3 "$here/damage.py" "$@" || fail "damage.py $*"; }

victims=5 replicates=12 rounds=1
[ "${SLUICE_FULL:-}" ] && rounds=50
variants='base = {}, other = { ["ffn.d_ff"] = 12 }'
for i in $(seq $victims); do variants="$variants, victim$i = { [\"ffn.d_ff\"] = $((12 + 4 * i)) }"; done
cat >study.lua <<END2
local sl = require "sluice"
return sl.study {
  name = "study", data = "synthetic", replicates = $replicates, variants = { $variants },
  base = sl.model {
    layers = 1, d_model = 16, seq = 16, vocab = 256, attention = { "gqa", heads = 2, kv_heads = 1, head_dim = 8 },
    ffn = { "moe", experts = 4, d_ff = 8, router = { top_k = 2 }, balance = { { "switch_aux", alpha = 0.01 } } },
  },
  train = { steps = 2, batch = 1, eval_every = 2, eval_tokens = 64 },
}
END2
leaves 0 "$sluice" run study.lua --out whole --progress none
leaves 0 "$sluice" compare whole/study --json
mv log compare.json
leaves 0 "$sluice" ls whole/study --json
sed 's/whole/runs/' log >ls.json
leaves 0 "$sluice" export whole/study -m eval.loss
grep -v victim log >export.csv

# survives COMMAND..: code 4, no crash of its own.
survives() {
    got=0
    timeout 300 "$@" >out 2>log || got=$?
    [ $got = 4 ] || fail "exit code $got, not 4: $*"
    ! grep -q 'killed by signal' log || fail "a process died: $*"
}
study=runs/study
for seed in $(seq $rounds); do
    rm -rf runs
    cp -r whole runs
    damage make $seed $study/victim*/*/run.h5
    survives "$sluice" ls $study --json
    damage same ls.json out victim
    unreadable=$(damage count out)
    [ "$(grep -c 'is left out: ' log)" = "$unreadable" ] || fail "not each of $unreadable unreadable runs is named"
    survives "$sluice" compare $study --json
    damage same compare.json out victim
    survives "$sluice" export $study -m eval.loss
    grep -v victim out | cmp - export.csv || fail "other lines of runs that are whole"
    for command in "export -o all.json --json" "plot -o figure.gp" "watch --once" show fsck; do
        survives "$sluice" ${command%% *} $study ${command#"${command%% *}"}
    done
    grep -q '"runs"' all.json || fail "nothing of the runs that are whole was exported"
    for run in $study/victim1-*/[0-9]; do
        got=0
        timeout 300 "$sluice" show "$run" >log 2>&1 || got=$?
        case $got in 0 | 4) ;; *) fail "exit code $got: show $run" ;; esac
    done
    survives "$sluice" resume $study --progress lines
    ! grep -q '\(base\|other\)/[0-9]* \(failed\|was killed\)' log || fail "whole runs are not whole to resume"
    ls "$study"/*/*/core* 2>/dev/null && fail "a core file"
    echo "seed $seed: $unreadable of $((victims * replicates)) damaged runs cannot be listed," \
        "and all others are as before"
done
