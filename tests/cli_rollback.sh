#!/bin/sh
# A guard that goes back to a checkpoint: killed or stopped at any time, the run ends with the bits of one that was
# left alone, and what was taken back is in its file.
set -eu
. "$(dirname "$0")/study.sh"
tiny
rounds=${SLUICE_FULL:+40}
rounds=${rounds:-8}

cat >study.lua <<'LUA'
local sl = require "sluice"
return sl.study {
  name = "s", data = "synthetic", replicates = 2,
  base = require "tiny",
  variants = { base = {} },
  train = { steps = 120, batch = 2, micro = 2, eval_every = 40, eval_tokens = 256, checkpoint_every = 15, keep = 1,
            guard = { "rollback", window = 16, sigma = 3.4 },
            optim = { "adamw", lr = 1e-2 }, schedule = { "constant", warmup = 4 } },
}
LUA
start=$(date +%s%N)
leaves 0 "$sluice" run study.lua --out calm --progress none
took=$(($(date +%s%N) - start))
for run in calm/s/*/*; do
    leaves 0 "$sluice" show "$run"
    returns=$(grep -c rolled_back log)
    [ "$returns" -ge 2 ] && [ "$returns" -le 10 ] || fail "$returns returns"
    says "is taken back, and goes on from step"
    [ "$(ls "$run/checkpoints")" = step-00000120 ] || fail "$(ls "$run/checkpoints") are left, keep is 1"
done

for signal in KILL TERM; do
    i=0
    while [ $i -lt "$rounds" ]; do
        i=$((i + 1))
        if [ -f torn/s/study.json ]; then set -- resume torn/s; else set -- run study.lua --out torn; fi
        setsid "$sluice" "$@" --progress none 2>>log &
        study=$!
        sleep "$(awk -v ns="$took" -v i="$i" 'BEGIN { print ns / 1e9 * (i % 5 + 1) / 8 }')"     # parts of its time
        kill -$signal -$study 2>/dev/null || :
        wait $study 2>/dev/null || :
    done
    [ -f torn/s/study.json ] || leaves 0 "$sluice" run study.lua --out torn --progress none
    leaves 0 "$sluice" resume torn/s --progress none
    look equal calm/s torn/s checkpoints
    stops=$(/usr/bin/python3 -c 'import h5py, sys
print(sum(len(h5py.File(path, "r")["attempts"]) - 1 for path in sys.argv[1:]))' torn/s/*/*/run.h5)
    [ "$stops" -ge 1 ] || fail "SIG$signal stopped $stops runs"
    echo "SIG$signal: $stops runs were stopped: $(/usr/bin/python3 "$here/run_file.py" deaths torn/s/*/*/run.h5)" \
        "(died, steps trained again); the same bits"
    rm -rf torn
done
