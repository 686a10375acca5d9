#!/bin/sh
# What goes wrong, one thing after another: each is said, costs no committed row, harms no other run, and what goes on
# afterwards ends with the bits of a study that nobody disturbed. SLUICE_FEW=1: fewer signals.
set -eu
. "$(dirname "$0")/study.sh"
tiny
disk=
signals=${SLUICE_FEW:+7}
signals=${signals:-14}
trap '[ -z "$disk" ] || umount "$disk"; rm -rf "$folder"' EXIT

cat >study.lua <<'LUA'
local sl = require "sluice"
return sl.study {
  name = "s", replicates = 1, baseline = "base", data = "synthetic",
  variants = { base = {}, gated = { ["attention.gate"] = "head" } },
  base = sl.extend(require "tiny", { ["ffn.balance"] = { { "bias", gamma = 1e-3 } } }),
  train = { steps = 300, batch = 4, micro = 2, eval_every = 25, eval_tokens = 512, checkpoint_every = 20, keep = 3,
            optim = { "adamw", lr = 2e-3 } },
}
LUA

now() { date +%s%N; }
random() { awk -v seed="$1" -v most="$2" 'BEGIN { srand(seed); printf "%.3f", most * rand() }'; }
run_of() { echo "$1"/s/"$2"-*/0; }

# equal DIR [LEFT_OUT]: every run's file and weights are the calm study's. Not in the list of checkpoints, where one was
# asked for by a signal.
equal() { look equal calm/s "$1/s" ${2-}; }
# says_soon FILE WORDS: waits until they stand in it.
says_soon() {
    i=0
    until grep -qF -- "$2" "$1"; do
        i=$((i + 1))
        [ $i -lt 3000 ] || { cp "$1" log; fail "nothing says '$2'"; }
        sleep 0.01
    done
}
gone() {
    i=0
    while kill -0 "$1" 2>/dev/null; do
        i=$((i + 1))
        [ $i -lt 1000 ] || fail "process $1 is still there"
        sleep 0.01
    done
}
# begins DIR OPTIONS..: a study in the background that is past its second checkpoint, which may be gone when we look.
begins() {
    out=$1
    shift
    "$sluice" run study.lua --out "$out" --progress lines "$@" >log_study 2>&1 &
    study=$!
    for variant in base gated; do
        steps=$out/s/$variant-*/0/checkpoints/step
        reaches "$steps-000000[4-9]0 $steps-00000[1-9]?0" 30
    done
}
children() { cat /proc/"$1"/task/"$1"/children; }
ends() {
    code=$1 got=0
    wait $study || got=$?
    cp log_study log
    [ "$got" = "$code" ] || fail "exit code $got, not $code"
}

leaves 0 "$sluice" run study.lua --out calm -j2
look cost calm/s/gated-*/0/run.h5
cat >micro.lua <<'LUA'
local sl = require "sluice"
return sl.study { name = "s", base = sl.preset "baseline-micro", replicates = 1, baseline = "base", data = "synthetic",
                  variants = { base = {} },
                  train = { steps = 2, batch = 8, eval_tokens = 2048 } }
LUA
leaves 0 "$sluice" run micro.lua --out large
look cost large/s/base-*/0/run.h5 0.05

# ---- one run is killed: the study goes on, and says so ----
begins a -j2
set -- $(children $study)
kill -9 "$1"
gone "$1"
"$sluice" ls a/s >ls_meanwhile
ends 1
says 'was killed by SIGKILL'
says 'sluice resume a/s goes on'
grep -q ' dead ' ls_meanwhile || fail "no run is dead: $(cat ls_meanwhile)"
leaves 0 "$sluice" ls a/s
says ' dead '
says ' finished '
leaves 0 "$sluice" show a/s
says ' dead '
leaves 0 "$sluice" resume a/s
equal a
echo "a killed run: the study goes on"

# ---- the study's own process is killed: its runs end by themselves, with a checkpoint ----
begins b -j2
orphans=$(children $study)
kill -9 $study
ends 137
for orphan in $orphans; do gone "$orphan"; done
for variant in base gated; do
    leaves 0 "$sluice" show "$(run_of b $variant)"
    says preempted
done
leaves 0 "$sluice" resume b/s
equal b checkpoints
echo "a killed study: its runs end by themselves"

# ---- SIGTERM and SIGINT at any moment ----
i=0 stopped=0 slowest=0 span=0.15 anew="run study.lua --out c --set train.eval_tokens=5120 --set train.steps=600"
command=$anew
leaves 0 "$sluice" run study.lua --out calm-c --set train.eval_tokens=5120 --set train.steps=600 -j2
while [ $i -lt "$signals" ]; do
    i=$((i + 1))
    "$sluice" $command -j2 --progress none >log 2>&1 &
    study=$!
    sleep "$(random $i $span)"
    before=$(now)
    [ $((i % 2)) = 0 ] && kill -TERM $study 2>/dev/null || kill -INT $study 2>/dev/null || true
    got=0
    wait $study || got=$?
    took=$((($(now) - before) / 1000000))
    [ ! -f c/s/study.json ] || command="resume c/s"
    case $got in
    75) stopped=$((stopped + 1))
        [ $took -le $slowest ] || slowest=$took
        "$sluice" ls c/s >after
        ! grep -qE ' (dead|running|created) ' after || fail "after a signal: $(cat after)"
        for file in c/s/*/0/run.h5; do
            [ ! -f "$file" ] || ls -d "$(dirname "$file")"/checkpoints/step-* >/dev/null || fail "$file: no checkpoint"
        done ;;
    0) look equal calm-c/s c/s checkpoints
        rm -r c
        command=$anew ;;
    130 | 143) span=$(awk "BEGIN { print 2 * $span }") ;;   # before anything had begun: a slow machine
    *) fail "exit code $got" ;;
    esac
done
leaves 0 "$sluice" $command
look equal calm-c/s c/s checkpoints
[ $stopped -ge $((signals * 2 / 7)) ] && [ $slowest -lt 2000 ] ||
    fail "$stopped of $i signals stopped a study, the slowest took $slowest ms"
echo "$stopped studies stopped by a signal, each within $slowest ms"

# ---- a study stopped at step 40 and later, for what follows ----
begins stopped -j2
kill -TERM $study
ends 75
copy() { rm -rf "$1"; cp -a stopped "$1"; }

# ---- checkpoints that are damaged ----
newest() { ls -d "$1"/checkpoints/step-* | tail -n 1; }
flip() { printf '\377' | dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null; }
copy d
flip "$(newest "$(run_of d base)")/state.safetensors" 20000
: >"$(newest "$(run_of d gated)")/state.safetensors"
leaves 0 "$sluice" resume d/s
says 'damaged'
says 'passed over'
equal d checkpoints
copy d
rm "$(newest "$(run_of d base)")/manifest.json"
for file in "$(run_of d gated)"/checkpoints/*/manifest.json; do flip "$file" 30; done
leaves 0 "$sluice" resume d/s
says 'manifest.json: No such file'
equal d checkpoints
leaves 0 "$sluice" show "$(run_of d gated)"
says 'resumed from step 0'
echo "damaged checkpoints are passed over, down to step 0"

# ---- run files that are damaged, or another run's ----
for harm in garbage truncated foreign; do
    copy e
    file=$(run_of e base)/run.h5
    case $harm in
    garbage) flip "$file" 0; flip "$file" 9; words='sluice fsck' ;;
    truncated) truncate -s 3000 "$file"; words='sluice fsck' ;;
    foreign) cp "$(run_of e gated)/run.h5" "$file"; words='is the file of another run' ;;
    esac
    leaves 4 "$sluice" resume e/s
    says "$words"
    says 'gated/0 finished'
done
copy e
rm "$(run_of e base)/run.h5"                                # its checkpoints are later than a new file's rows
leaves 0 "$sluice" resume e/s
equal e checkpoints
echo "damaged and foreign run files are refused, the other run goes on"

# ---- checkpoints of another configuration or seed ----
copy f
rm -r "$(run_of f base)/checkpoints"
cp -a "$(run_of f gated)/checkpoints" "$(run_of f base)/"
leaves 4 "$sluice" resume f/s
says 'which the model does not have'
says 'gated/0 finished'
rm -rf f
for rate in 1e-3 2e-3; do
    leaves 0 "$sluice" run study.lua --out f --set train.steps=40 --set train.optim.lr=$rate --replicates 2 --only base
done
[ "$(ls -d f/s/base-* | wc -l)" = 2 ] || fail "two configurations share a folder"
this=$(ls -td f/s/base-* | head -n 1) other=$(ls -td f/s/base-* | tail -n 1)
look write "$this/0/run.h5" status 0 5                      # as if it had been stopped
look write "$this/1/run.h5" status 0 5
rm -r "$this"/1/checkpoints
mv "$this/0/checkpoints" "$this/1/"                         # another seed's
cp -a "$other/0/checkpoints" "$this/0/"                     # another configuration's
leaves 4 "$sluice" resume f/s
[ "$(grep -c 'belongs to another run' log)" = 2 ] || fail "a foreign checkpoint was taken"
echo "foreign checkpoints are refused"

# ---- data that changed under a study ----
seq 1 20000 | awk '{ print } NR % 100 == 0 { print "%" }' >numbers.fortune
seq 5 20004 | awk '{ print } NR % 100 == 0 { print "%" }' >others.fortune
leaves 0 "$sluice" data pack numbers.fortune -o data.tok
leaves 0 "$sluice" run study.lua --out v --data data.tok --set train.steps=20 --only base
look write v/s/base-*/0/run.h5 status 0 5
leaves 0 "$sluice" data pack others.fortune -o data.tok
leaves 4 "$sluice" resume v/s
says 'data.tok: has hash '
says ', v/s was made with data of hash '
[ "$(wc -l <log)" = 2 ] || fail "more than one message"

# ---- committed rows that the replay does not repeat ----
copy g
look spoil "$(run_of g base)/run.h5" metrics/train/loss 39
for step in "$(run_of g base)"/checkpoints/step-*; do [ "${step##*-}" -lt 40 ] || rm -r "$step"; done
leaves 8 "$sluice" resume g/s
says 'train/loss[0] at step 40 was'
leaves 1 "$sluice" resume g/s
says 'it failed before'
leaves 0 "$sluice" resume g/s --retry-failed --mix
equal g checkpoints
echo "a row that the replay does not repeat: exit 8"

# ---- two processes on one study: the second waits, and takes over what the first leaves ----
begins h -j2
"$sluice" resume h/s -j2 --progress lines >log_second 2>&1 &
second=$!
says_soon log_second 'waiting for 2 runs elsewhere'
kill -TERM $study
ends 75
wait $second || { cp log_second log; fail "the second left $?"; }
equal h checkpoints
echo "a second process waits, and goes on with what the first left"

# ---- threads and jobs ----
for threads in 1 2 3; do
    leaves 0 "$sluice" run study.lua --out "t$threads" -j $((threads % 2 + 1)) -t $threads
    equal "t$threads"
done
echo "1, 2, 3 threads and 1, 2 jobs: equal files"

# ---- another instruction set or revision ----
if "$sluice" doctor | grep -q 'kernels for a'; then
    copy m
    export SLUICE_ISA=sse2
    leaves 4 "$sluice" resume m/s
    says 'with sse2, and its bits may differ'
    says '--mix goes on all the same'
    leaves 0 "$sluice" resume m/s --mix
    leaves 0 "$sluice" show "$(run_of m base)"
    says 'with sse2'
    unset SLUICE_ISA
fi
copy m
look attribute "$(run_of m base)/run.h5" environment revision v0-stone-age
leaves 4 "$sluice" resume m/s
says 'was computed by revision v0-stone-age'
leaves 0 "$sluice" resume m/s --mix
equal m 'checkpoints environment@revision'
echo "another revision or instruction set asks for --mix"

# ---- runs that diverge, and rules that stop ----
cat >diverge.lua <<'LUA'
local sl = require "sluice"
return sl.study {
  name = "s", replicates = 1, baseline = "base", data = "synthetic",
  base = sl.model { layers = 2, d_model = 32, seq = 16,
                    ffn = { "moe", experts = 16, d_ff = 16, router = { top_k = 1 } },
                    attention = { "gqa", heads = 2, kv_heads = 1, head_dim = 16 } },
  train = { steps = 120, batch = 2, eval_every = 40, stop_window = 5 },
  variants = { base = {}, mad = { ["train.optim.lr"] = 10, ["train.optim.decay"] = 10 },
    mad16 = { ["train.optim.lr"] = 10, ["train.optim.decay"] = 10, ["train.precision"] = "bf16", ["train.clip"] = 0 },
    spike = { ["train.optim.lr"] = 2, ["train.stop_sigma"] = 0.5 },
    starved = { ["train.stop_dead"] = 0.05, ["ffn.router.score"] = "sigmoid" },
    late = { ["train.steps"] = 1000000, ["train.stop_seconds"] = 0.2, ["train.eval_every"] = 1000000 } },
}
LUA
leaves 0 "$sluice" run diverge.lua --out n
says '4 diverged, 0 failed of 6 runs'
reason() {
    leaves 0 "$sluice" show "$(run_of n "$1")"
    says "$2"
}
reason mad 'the loss is not finite'
reason mad16 'the loss is not finite'
reason spike 'stop_sigma: the loss stays far above its window'
reason starved 'stop_dead: too many experts got no token for a window'
reason late 'stop_seconds: the time is spent'
look rows "$(run_of n mad)/run.h5" >rows
read -r train evals <rows
[ "$train" -gt 1 ] || fail "$train rows of the run that diverged"
look rows "$(run_of n late)/run.h5" >rows
read -r train evals <rows
[ "$evals" = 1 ] || fail "$evals evaluations of the run whose time was spent"
leaves 0 "$sluice" compare n/s
says 'mad/0: diverged at step'
echo "runs that diverge are results"

# ---- memory that is not there ----
cat >wide.lua <<'LUA'
local sl = require "sluice"
return sl.study {
  name = "s", replicates = 1, baseline = "base", data = "synthetic",
  variants = { wide = { d_model = 512, seq = 1024, ["train.batch"] = 32 }, base = {},
               huge = { d_model = 4096, ["ffn.d_ff"] = 8192 } },
  base = sl.model { layers = 2, d_model = 32, seq = 32, ffn = "dense",
                    attention = { "gqa", heads = 2, kv_heads = 1, head_dim = 16 } },
  train = { steps = 10, batch = 4 },
}
LUA
cat >heavy.lua <<'LUA'
local sl = require "sluice"
return sl.study {
  name = "s", replicates = 1, baseline = "base", data = "synthetic",
  variants = { base = {}, gated = { ["attention.gate"] = "head" } },
  base = sl.model { layers = 2, d_model = 32, seq = 256, ffn = "dense",
                    attention = { "gqa", heads = 2, kv_heads = 1, head_dim = 16 } },
  train = { steps = 2, batch = 64, eval_tokens = 16384 },
}
LUA
if (ulimit -v 400000; "$sluice" --version >/dev/null 2>&1); then        # a sanitizer's own memory does not fit
    (ulimit -v 400000; leaves 7 "$sluice" run wide.lua --out o -j1 -t1)
    says 'MiB of memory'
    says 'sequences at a time, not 32'
    says 'not even one sequence at a time would fit'
    says 'base/0 finished'
    (ulimit -v 320000; leaves 0 "$sluice" run heavy.lua --out w -j2 -t1)
    look apart w/s/*/0/run.h5
    rm -r w
    echo "runs that do not fit say so, those that do not fit together run one after the other"
fi

# ---- readers beside the writer ----
begins p -j2 --set train.steps=6000
look follow "$(run_of p base)/run.h5" 3
kill -TERM $study
ends 75

# ---- full disks ----
# full DIR: after exit code 6 every committed row can be read, and with room again the study ends as the calm one.
full() {
    for file in "$1"/s/*/0/run.h5; do
        [ ! -f "$file" ] || look rows "$file" >rows
    done
    says 'make room where'
    says "sluice resume $1/s"
}
for blocks in 150 200 300 700; do
    (ulimit -f $blocks; leaves 6 "$sluice" run study.lua --out q$blocks -j1)
    full q$blocks
    leaves 0 "$sluice" resume q$blocks/s
    equal q$blocks
done
echo "files that may not grow: no committed row is lost, and the study goes on"
mkdir disk
if mount -t tmpfs -o size=8m none disk 2>/dev/null; then
    disk=$folder/disk
    leaves 6 "$sluice" run study.lua --out disk/r -j2
    says 'MiB of disk are free, the next checkpoint and rows may need'
    full disk/r
    mount -o remount,size=64m disk
    begins disk/r2 -j2
    dd if=/dev/zero of=disk/ballast bs=1M 2>/dev/null || true
    ends 6
    full disk/r2
    rm disk/ballast
    leaves 0 "$sluice" resume disk/r/s
    equal disk/r checkpoints
    leaves 0 "$sluice" resume disk/r2/s
    equal disk/r2 checkpoints
    echo "a disk that is full, or nearly so: the same"
fi
