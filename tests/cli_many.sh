#!/bin/sh
# Studies of many runs: the same answer with few descriptors and in little memory, and a study that grows while it is
# watched.
set -eu
. "$(dirname "$0")/study.sh"
grow() { /usr/bin/python3 "$here/damage.py" grow "$@" || fail "damage.py grow $*"; }

cat >study.lua <<'END2'
local sl = require "sluice"
return sl.study {
  name = "study", data = "synthetic", replicates = 30, variants = { base = {}, other = { ["ffn.d_ff"] = 12 } },
  base = sl.model { layers = 1, d_model = 16, seq = 16, vocab = 256,
                    attention = { "gqa", heads = 2, kv_heads = 1, head_dim = 8 }, ffn = { "dense", d_ff = 8 } },
  train = { steps = 1, batch = 1, eval_every = 1, eval_tokens = 64 },
}
END2
leaves 0 "$sluice" run study.lua --out runs --progress none
study=runs/study

# ---- few descriptors ----
for command in "ls --json" "compare --json" "export --csv" fsck; do
    leaves 0 "$sluice" ${command%% *} $study ${command#"${command%% *}"}
    mv log many
    leaves 0 sh -c 'ulimit -n 48; exec "$@"' few "$sluice" ${command%% *} $study ${command#"${command%% *}"}
    cmp log many || fail "another answer with 48 descriptors: $command"
done
leaves 0 "$sluice" plot $study -o many.gp
leaves 0 sh -c 'ulimit -n 48; exec "$@"' few "$sluice" plot $study -o few.gp
cmp few.gp many.gp || fail "another figure with 48 descriptors"
leaves 0 sh -c 'ulimit -n 48; exec "$@"' few "$sluice" resume $study --progress none
echo "60 runs with 48 descriptors"

# ---- a study that grows while it is watched; memory ----
# peak MiB COMMAND..: of its largest process.
peak() {
    /usr/bin/python3 -c 'import resource, subprocess, sys
if subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode: sys.exit(1)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)' "$@" || fail "$*"
}
runs=240
[ "${SLUICE_FULL:-}" ] && runs=600
latest=$((runs / 2 - 1))
few=$(peak "$sluice" compare $study)
last=$(echo $study/other-*/29)
mv "$last" away
flock --shared --no-fork $study sleep 600 &               # as one who trains it
tends=$!
"$sluice" watch $study --interval 0.1 >watched 2>&1 &
watch=$!
until grep -q 'other/29 pending' watched; do sleep 0.1; done
grow $study $runs
until grep -q "other/$latest finished" watched; do sleep 0.1; done
mv away "$last"
got=0
wait $watch || got=$?
kill $tends
[ $got = 0 ] || { cp watched log; fail "exit code $got of watch"; }
for run in base/0 base/59 other/30 other/$latest; do
    [ "$(grep -c "^$run finished" watched)" = 1 ] || { cp watched log; fail "$run is not told once"; }
done
[ "$(wc -l <watched)" = $((runs + 1)) ] || fail "$(wc -l <watched) lines of $runs runs, of which one was pending first"
many=$(peak "$sluice" compare $study)
[ $((many - few)) -lt 100 ] || fail "$runs runs take $many MiB, 60 take $few"
leaves 0 sh -c 'ulimit -n 48; exec "$@"' few "$sluice" ls $study
[ "$(grep -c ' finished ' log)" = $runs ] || fail "not all of $runs runs"
echo "$runs runs in $many MiB, 60 in $few, and watched as they come"
