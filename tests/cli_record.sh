#!/bin/sh
# What was run is what is recorded: the command line and every file of a script, a run that is made again bit for bit,
# scripts of the same name, runs that a script does not name any more; and what all of it takes of the disk.
set -eu
. "$(dirname "$0")/study.sh"

# script FILE STEPS [TRAIN]: a study with two required files, named like its file.
script() {
    mkdir -p "$(dirname "$1")"
    cat >"$1" <<END
local sl = require "sluice"
return sl.study {
  base = require "model", baseline = "base", data = "synthetic", replicates = 2,
  variants = { base = {}, gated = require("change").gated },
  train = { steps = $2, batch = 4, eval_every = 3, eval_tokens = 128, ${3-} },
}
END
    cat >"$(dirname "$1")/model.lua" <<'END'
return require("sluice").model {
  layers = 2, d_model = 16, seq = 16, vocab = 256, attention = { "gqa", heads = 2, kv_heads = 1, head_dim = 8 },
  ffn = { "moe", experts = 4, d_ff = 8, router = { top_k = 2 } },
}
END
    echo 'return { gated = { ["attention.gate"] = "head" } }' >"$(dirname "$1")/change.lua"
}
runs() { leaves "$1" "$sluice" run "$2" --progress none $3; }
ls_runs() { leaves 0 "$sluice" ls "$@"; }
lacks() { ! grep -qF -- "$1" log || fail "something says '$1'"; }
counts() { [ "$(grep -c -- "$2" log || true)" = "$1" ] || fail "not $1 lines with '$2'"; }
taken() { du -s -B1 --apparent-size "$@" | awk '{ n += $1 } END { print n }'; }
# near GIVEN MEASURED PERCENT WHAT
near() {
    awk -v a="$1" -v b="$2" -v p="$3" 'BEGIN { exit !(a > 0 && a <= b * (1 + p / 100) && a >= b * (1 - p / 100)) }' ||
        fail "$4: $1 planned, $2 on the disk"
}

# ---- what is told, and made again ----
script here/s.lua 6
runs 0 here/s.lua '--set train.batch=2 --set attention.heads=4'
run=runs/s/base-$(ls runs/s | sed -n 's/^base-//p')/1
leaves 0 "$sluice" show "$run"
for words in 'study     s' 'variant   base' 'replicate 1' 'seed      1' 'data      synthetic' 'data hash ' \
    'revision  ' 'isa       ' 'threads   ' 'required  model.lua' 'required  change.lua' \
    "command   $sluice run here/s.lua --progress none --set train.batch=2 --set attention.heads=4" "folder    $folder" \
    'set       train.batch=2' 'set       attention.heads=4'; do
    says "$words"
done
leaves 0 "$sluice" show "$run" --script
says '--set train.batch=2'
says '--   model.lua'
says 'base = require "model"'
leaves 0 "$sluice" show "$run" --json
says '"train.batch=2"'
says '"seed": 1'
leaves 0 "$sluice" reproduce "$run"
says "sluice run $folder/here/s.lua --set train.batch=2 --set attention.heads=4 --data synthetic --only base/1 \
--out reproduced"
leaves 0 env PATH="$(dirname "$sluice"):$PATH" sh -c "$(cat log) --progress none"
look equal reproduced/s runs/s
[ "$(ls -d reproduced/s/*/*/run.h5)" = "reproduced/${run#runs/}/run.h5" ] || fail "more than the run alone was trained"
leaves 0 "$sluice" reproduce "$run" --check
says 'equal, bit for bit'
echo "a run tells its command, overrides and files, and is made again by them"

# ---- planted differences: told with code 8 ----
for planted in 'metrics/train/loss 3' 'metrics/eval/accuracy 1' 'metrics/train/expert_tokens 0'; do
    set -- $planted
    cp -r "$run" planted
    look write planted/run.h5 "$1" "$2" 7
    leaves 8 "$sluice" reproduce planted --check
    says "differs: $(echo "${1#metrics/}" | tr / .) at step"
    rm -r planted
done
cp -r "$run" planted
look other_state planted/run.h5
leaves 8 "$sluice" reproduce planted --check
says 'differs: the state after step 6'
rm -r planted
cp -r "$run" planted
look attribute planted/run.h5 environment revision another
leaves 0 "$sluice" reproduce planted --check
says 'computed by revision another'
for old in record required; do look forget planted/run.h5 config/$old; done
leaves 4 "$sluice" reproduce planted
says 'older than format 1.2'
leaves 0 "$sluice" show planted
says 'not known: the file is older than format 1.2'
leaves 0 "$sluice" show planted --script
echo "what differs is found, and files of before are read"

# ---- files that have changed or are gone, another folder, data that moved ----
echo 'return {}' >here/change.lua
leaves 4 "$sluice" reproduce "$run"
says 'change.lua: has changed since'
rm -r here
leaves 4 "$sluice" reproduce "$run"
(cd / && leaves 0 "$sluice" reproduce "$folder/$run" --check)
(cd / && leaves 0 "$sluice" reproduce "$folder/$run" -o "$folder/again" --check)
ls again | tr '\n' ' ' | grep -qx 'README change.lua model.lua runs s.lua ' || fail "again holds $(ls again)"
leaves 1 "$sluice" reproduce "$run" -o again
says 'is there already'
mkdir texts
seq 3000 | sed 's/$/ is a number.\n/' >texts/a.txt
leaves 0 "$sluice" data pack texts --blank-lines -o a.tok
script other/t.lua 4
runs 0 other/t.lua '--data a.tok --replicates 1'
mv a.tok b.tok
leaves 4 "$sluice" reproduce runs/t/base-*/0 --check
says "--data FILE says where the run's data lies now"
leaves 4 "$sluice" reproduce runs/t/base-*/0 --check --data synthetic
says 'the run was trained on data of hash '
leaves 0 "$sluice" reproduce runs/t/base-*/0 --check --data b.tok
echo "a run is made again wherever its script and data are"

# ---- files from strangers ----
cp -r "$run" strange
look json strange/run.h5 config/required name ../evil.lua
leaves 1 "$sluice" reproduce strange -o evil
says "'../evil.lua' is no name of a file beside a script"
[ ! -e evil.lua ] || fail "a run file wrote outside the folder"
look json strange/run.h5 config/record trust true
leaves 4 "$sluice" reproduce strange --check
says 'was run with --trust'

# ---- a script that changes ----
rm -rf runs
script s.lua 3
runs 0 s.lua ''
lacks 'note:'
runs 0 s.lua ''
lacks 'note:'
sed 's/steps = 3/steps = 4/' s.lua >new && mv new s.lua
runs 0 s.lua ''
says 'note: runs/s has changed: runs 4 new, 4 become earlier ones'
for command in 'ls runs/s' 'compare runs/s' 'export runs/s -o all.csv' 'show runs/s' 'watch runs/s --once'; do
    leaves 0 "$sluice" $command
    says '4 earlier runs of this study are not named'
done
ls_runs runs/s --earlier
counts 4 'finished, earlier'
ls_runs runs
says ' 4'
leaves 0 "$sluice" export runs/s --earlier -m eval.loss
[ "$(cut -d , -f 1 log | sort -u | wc -l)" = 5 ] || fail "not four variants with the earlier ones"
leaves 0 "$sluice" fsck runs/s
counts 8 clean
now=$("$sluice" ls runs/s --json | sed -n 's/.*"path": "\(.*base.*\)\/0\/run.h5".*/\1/p')
earlier=$(ls -d runs/s/base-*/0 | grep -v "$now")
leaves 0 "$sluice" show "$earlier"
leaves 0 "$sluice" export "$earlier" -m eval.loss
leaves 4 "$sluice" reproduce "$earlier"
leaves 0 "$sluice" reproduce "$earlier" -o before
says 'this has the study name it again'
back=$(sed -n 's/^  sluice run/run/p' log)
leaves 0 "$sluice" $back
counts 4 'was finished before'
ls_runs runs/s
counts 4 ' 3/3 '
says '4 earlier runs'
runs 0 s.lua '--replace'
says 'note: runs/s has changed: runs 4 brought back, 4 become earlier ones'
runs 0 s.lua '--replicates 3'
says 'runs 2 new, 4 kept'
runs 0 s.lua ''
says 'runs 4 kept, 2 become earlier ones'
echo "runs that a script does not name any more are listed, exported, checked, and brought back"

# ---- another script of the same name ----
script b/s.lua 5
runs 4 b/s.lua ''
says "runs/s is the study of $folder/s.lua; 4 of its runs would become earlier ones"
ls_runs runs/s
counts 4 ' 4/4 '
runs 0 b/s.lua '--out elsewhere'
runs 0 b/s.lua '--set name="t"'
cp s.lua b/s.lua
runs 0 b/s.lua ''
lacks 'become earlier'
runs 0 s.lua ''
script b/s.lua 5
runs 4 b/s.lua ''
runs 0 b/s.lua '--replace --progress json'
says '"event":"changed","study":"s","new":4,"kept":0,"brought_back":0,"earlier":4,"dropped":0}'
cp runs/s/study.json kept
echo '{' >runs/s/study.json
runs 4 b/s.lua ''
says 'study.json'
mv kept runs/s/study.json
echo "another script takes nothing over unasked"

# ---- disk ----
script d.lua 30 'checkpoint_every = 10, keep = 2'
leaves 0 "$sluice" plan d.lua --json
planned=$(sed -n 's/^  "disk_bytes": \([0-9]*\).*/\1/p' log)
runs 0 d.lua ''
near "$planned" "$(du -s -B1 runs/d | cut -f 1)" 4 "a study"
[ "$(ls -d runs/d/*/*/checkpoints/step-* | wc -l)" = 8 ] || fail "not two checkpoints a run"
leaves 0 "$sluice" plan d.lua
says 'disk: '
before=$(du -s -B1 runs/d | cut -f 1)
leaves 2 "$sluice" prune runs/d
says 'would remove 0 runs, 4 checkpoints'
[ "$(du -s -B1 runs/d | cut -f 1)" = "$before" ] || fail "something was removed unasked"
leaves 0 "$sluice" prune runs/d --keep 0 --dry-run
freed=$(sed -n 's/.*, \([0-9.]*\) KiB on disk/\1/p' log)
leaves 0 "$sluice" prune runs/d --keep 0 --yes
near "$(awk -v k="$freed" 'BEGIN { print 1024 * k }')" $((before - $(du -s -B1 runs/d | cut -f 1))) 1 "what prune frees"
leaves 0 "$sluice" compare runs/d
leaves 4 "$sluice" sample runs/d/base-*/0 -p 0
says 'holds no good checkpoint'
runs 0 d.lua '--set train.steps=20'
leaves 0 "$sluice" prune runs/d --earlier --yes
says 'removed 4 runs'
[ "$(ls -d runs/d/*/*/run.h5 | wc -l)" = 4 ] || fail "the earlier runs are still there"

# keep = 0: the newest while it goes on, none when it is over; its state is known by its hash all the same.
script k.lua 1000 'checkpoint_every = 50, keep = 0'
"$sluice" run k.lua --progress none --only base/0 2>log &
reaches 'runs/k/base-*/0/checkpoints/step-*50' 10
kill -9 $! && wait $! || true
flock runs/k/base-*/0/run.lock true                         # the run itself has ended
n=$(ls -d runs/k/base-*/0/checkpoints/step-* | grep -cv tmp)
[ "$n" = 1 ] || fail "$n checkpoints while it goes on"
leaves 0 "$sluice" resume runs/k --progress none --only base/0
[ ! -e runs/k/base-*/0/checkpoints ] || fail "a checkpoint is left"
leaves 0 "$sluice" reproduce runs/k/base-*/0 --check
says 'the state at '
mkdir -p "$(echo runs/k/base-*/0)/checkpoints/step-00000300"
runs 0 k.lua '--only base/0'
[ ! -e runs/k/base-*/0/checkpoints ] || fail "what a kill left is not cleared away"
leaves 0 "$sluice" plan k.lua --json
says '"checkpoints_kept": 0'
echo "checkpoints are planned, pruned, and not kept where none is asked for"

# ---- rm ----
mkdir precious && echo words >precious/words
ln -s "$folder/precious" runs/d/link-12345678
ln -s "$folder/precious" runs/d/base-00000000
echo mine >runs/d/notes.txt
one=$(ls -d runs/d/gated-*/1)
for refused in runs / precious runs/d/link-12345678 "$one/checkpoints" runs/nothing; do
    leaves 4 "$sluice" rm "$refused" --yes
done
leaves 2 "$sluice" rm "$one"
says 'nothing was removed'
leaves 0 "$sluice" rm "$one" --dry-run
[ -e "$one/run.h5" ] || fail "a dry run removed a run"
leaves 0 "$sluice" rm "$one" --yes
[ ! -e "$one" ] || fail "$one is still there"
ls_runs runs/d
counts 1 pending
leaves 0 "$sluice" rm "$(dirname "$one")" --yes
lock=$(echo runs/d/base-*/0/run.lock)
flock "$lock" sleep 2 &
while flock -n "$lock" true; do sleep 0.01; done
leaves 4 "$sluice" rm runs/d --yes
says 'a process is training this run'
[ -e runs/d/base-*/1/run.h5 ] || fail "a study was removed in part"
wait
leaves 0 "$sluice" rm runs/d --yes
says 'notes.txt is not Sluice'
[ "$(find runs/d | sort | tr '\n' ' ')" = 'runs/d runs/d/base-00000000 runs/d/link-12345678 runs/d/notes.txt ' ] ||
    fail "left: $(find runs/d)"
[ "$(cat precious/words)" = words ] || fail "a link was followed"
leaves 0 "$sluice" rm runs/s runs/k --yes
[ ! -e runs/s ] && [ ! -e runs/k ] || fail "studies are still there"
echo "rm removes what is Sluice's and nothing else"
