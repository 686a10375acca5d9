#!/bin/sh
# kill -9 at random moments, sluice resume, again and again: the files end equal, bit for bit, to those of a study that
# nobody disturbed, in every dataset but the @volatile ones; so do the weights. SLUICE_FULL=1: more kills; SLUICE_FEW=1:
# fewer, of shorter studies.
set -eu
sluice=$(realpath "$1")
here=$(realpath "$(dirname "$0")")
kills=${SLUICE_FULL:+200}
kills=${kills:-${SLUICE_FEW:+8}}
kills=${kills:-24}
halves=${SLUICE_FEW:+1}
halves=${halves:-3}
shorter=${SLUICE_FEW:+2}
shorter=${shorter:-1}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
fail() { echo "cli_resume.sh: $*" >&2; cat log >&2; exit 1; }

# study NAME STEPS EVAL_EVERY EVAL_TOKENS CHECKPOINT_EVERY
study() {
    cat >"$1.lua" <<LUA
local sl = require "sluice"
return sl.study {
  name = "s", base = sl.extend(sl.preset "welm-nano", { layers = 3, d_model = 32, seq = 32, ["embed.rows"] = 64 }),
  replicates = 2, baseline = "base",
  data = "synthetic", variants = { base = {}, plain = { ["attention.gate"] = "none" } },
  train = { steps = $2, batch = 4, micro = 2, eval_every = $3, eval_tokens = $4, checkpoint_every = $5,
            optim = { "muon", lr = 2e-3 },
            batch_schedule = { "constant", warmup = $(($2 / 2)), warmup_from = 0.2 },
            seq_schedule = { "constant", warmup = $(($2 / 3)), warmup_from = 0.25 },
            average = { "ema", decay = 0.9 } },
}
LUA
    "$sluice" run "$1.lua" --out "calm-$1" --progress none
}

# equal NAME: the torn study's files are the calm one's. Counts the deaths that it went through.
died=0 replayed=0
equal() {
    /usr/bin/python3 "$here/run_file.py" equal "calm-$1/s" torn/s || fail "the torn study is not the calm one"
    set -- $(/usr/bin/python3 "$here/run_file.py" deaths torn/s/*/*/run.h5)
    died=$((died + $1)) replayed=$((replayed + $2))
    rm -rf torn
}

now() { date +%s%N; }
random() { awk -v seed="$1" -v most="$2" 'BEGIN { srand(seed); printf "%.3f", 0.02 + most * rand() }'; }

# torn NAME SEED MOST: begins or goes on with the study, and kills the whole group, the study's process and its runs,
# within MOST seconds. False: all had ended.
torn() {
    if [ -f torn/s/study.json ]; then set -- "$@" resume torn/s; else set -- "$@" run "$1.lua" --out torn; fi
    name=$1 seed=$2 most=$3
    shift 3
    setsid "$sluice" "$@" --progress none 2>>log &
    pid=$!
    sleep "$(random "$seed" "$most")"
    kill -9 -$pid 2>/dev/null && killed=0 || killed=1
    wait $pid 2>/dev/null || true
    return $killed
}
whole() {
    [ -f torn/s/study.json ] || fail "no study was begun"
    "$sluice" resume torn/s --progress none || fail "resume left $?"
}

# ---- the whole group, anywhere ----
start=$(now)
study random $((100 / shorter)) 20 370 17
took=$(awk -v ns=$(($(now) - start)) 'BEGIN { print ns / 1e9 }')
i=0
while [ $i -lt "$kills" ]; do
    i=$((i + 1))
    torn random $i "$(awk -v t="$took" 'BEGIN { print t / 6 }')" || equal random
done
if [ -d torn ]; then whole; equal random; fi
echo "$kills kills within $took s: $died runs died, $replayed steps were trained again;" \
    "every file equals the undisturbed one"
[ $died -ge $((kills / 2)) ] && [ $replayed -ge $((kills / 5)) ] || fail "too few kills hit a run"

# ---- while evaluating: that is what this study does nearly all the time ----
died=0 replayed=0
start=$(now)
study eval 12 4 7680 5
most=$(awk -v ns=$(($(now) - start)) 'BEGIN { print ns / 2e9 }')
for i in 1 2 3 4 5 6 7 8; do torn eval $i "$most" || break; done
whole
equal eval
echo "killed while evaluating: $died runs died, $replayed steps were trained again"
[ $died -ge 3 ] || fail "too few kills hit an evaluation"

# ---- while a checkpoint is written: what is left of it proves it ----
died=0 replayed=0 half=0 i=0 start=$(now)
study checkpoint $((80 / shorter)) $((40 / shorter)) 256 1
took=$(awk -v ns=$(($(now) - start)) 'BEGIN { print (ns / 3e9 > 0.3 ? ns / 3e9 : 0.3) }')
while [ $half -lt "$halves" ] && [ $i -lt 60 ]; do
    i=$((i + 1))
    torn checkpoint $i "$took" || equal checkpoint
    half=$((half + $(ls -d torn/s/*/*/checkpoints/*.tmp 2>/dev/null | wc -l)))
done
if [ -d torn ]; then whole; equal checkpoint; fi
echo "killed while writing a checkpoint: $half half checkpoints in $i kills, $died runs died," \
    "$replayed steps were trained again"
[ $half -ge "$halves" ] || fail "no kill hit a checkpoint"

# ---- after the last word, before the file is closed: what that leaves is closed by resume ----
"$sluice" run random.lua --out torn --progress none
for file in torn/s/*/*/run.h5; do
    /usr/bin/python3 -c 'import h5py, os, sys
f = h5py.File(sys.argv[1], "r+", libver="latest"); f.swmr_mode = True; os._exit(0)' "$file"
    /usr/bin/python3 -c 'import h5py, sys; h5py.File(sys.argv[1], "r")' "$file" 2>/dev/null &&
        fail "$file was not left open"
done
whole
equal random
echo "left open at the end: closed"
