#!/bin/sh
# kill -9 at random moments, sluice resume, again and again: the files end equal, bit for bit, to those of a study that
# nobody disturbed, in every dataset but the @volatile ones. SLUICE_FULL=1: a longer loop.
set -eu
sluice=$(realpath "$1")
here=$(realpath "$(dirname "$0")")
kills=${SLUICE_FULL:+200}
kills=${kills:-24}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >study.lua <<'LUA'
local sl = require "sluice"
return sl.study {
  name = "s", base = sl.extend(sl.preset "welm-nano", { layers = 3, d_model = 32, seq = 32, ["embed.rows"] = 64 }), replicates = 2, baseline = "base",
  data = "synthetic", variants = { base = {}, plain = { ["attention.gate"] = "none" } },
  train = { steps = 60, batch = 4, micro = 2, eval_every = 20, eval_batches = 3, checkpoint_every = 7, optim = { "muon", lr = 2e-3 } },
}
LUA
$sluice run study.lua --out calm --progress none

# A kill of the whole group: the study's process and its runs, at the same moment.
random() { awk -v seed="$1" 'BEGIN { srand(seed); printf "%.3f", 0.02 + 0.5 * rand() * rand() }'; }
done=0
i=0
command="$sluice run study.lua --out torn --progress none"
while [ $i -lt "$kills" ]; do
    i=$((i + 1))
    setsid $command 2>>log &
    pid=$!
    sleep "$(random $i)"
    kill -9 -- -$pid 2>/dev/null || done=$((done + 1))
    wait $pid 2>/dev/null || true
    if [ -f torn/s/study.json ]; then command="$sluice resume torn/s --progress none"; fi
    # All points ended: begin another study to be torn.
    if [ $done -ge 2 ]; then
        for file in calm/s/*/*/run.h5; do /usr/bin/python3 "$here/h5_equal.py" "$file" "torn/${file#calm/}"; done
        rm -rf torn
        command="$sluice run study.lua --out torn --progress none"
        done=0
    fi
done
[ -f torn/s/study.json ] || $sluice run study.lua --out torn --progress none
$sluice resume torn/s --progress none
for file in calm/s/*/*/run.h5; do
    /usr/bin/python3 "$here/h5_equal.py" "$file" "torn/${file#calm/}"
    weights=${file%run.h5}checkpoints/step-0000000060/state.safetensors
    cmp "$weights" "torn/${weights#calm/}"
done
echo "$kills kills: every file equals the undisturbed one"
