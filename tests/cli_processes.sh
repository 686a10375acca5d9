#!/bin/sh
# Processes around a study: several on one study, each way to end one, readers that go, folders and data that move,
# children that must not be left. SLUICE_FULL=1: more processes, more often.
set -eu
. "$(dirname "$0")/study.sh"
tiny
trap 'kill $(jobs -p) 2>/dev/null || :; rm -rf "$folder"' EXIT
rounds=${SLUICE_FULL:+20}
rounds=${rounds:-1}

cat >study.lua <<'LUA'
local sl = require "sluice"
return sl.study {
  name = "s", replicates = 2, baseline = "base", data = "synthetic",
  variants = { base = {}, gated = { ["attention.gate"] = "head" } },
  base = require "tiny",
  train = { steps = 40, batch = 2, eval_every = 20, eval_tokens = 256, checkpoint_every = 20, keep = 2 },
}
LUA
long="--set train.steps=1000000 --set train.eval_every=1000000 --replicates 1 --only base"

lacks() { ! grep -qF -- "$1" log || fail "something says '$1'"; }
lines() { [ "$(wc -l <log)" -le "$1" ] || fail "more than $1 lines"; }
await() {
    i=0
    until eval "$1"; do
        i=$((i + 1))
        [ $i -lt 2000 ] || { cp out log 2>/dev/null || :; fail "in vain: $1"; }
        sleep 0.01
    done
}
gone() { ! kill -0 "$1" 2>/dev/null || grep -q '^State:.Z' /proc/"$1"/status 2>/dev/null; }
children() { cat /proc/"$1"/task/"$1"/children; }
# begins DIR ARGUMENTS..: one run in the background, past its first checkpoint; its process is $run, the study's $study.
begins() {
    dir=$1
    shift
    rm -rf "$dir"
    "$sluice" run study.lua --out "$dir" $long -j1 -t1 "$@" >out 2>&1 &
    study=$!
    await "ls -d $dir/s/base-*/0/checkpoints/step-* >/dev/null 2>&1"
    run=$(children $study)
    run=${run% }
}
ends() {
    code=$1 got=0
    wait $study || got=$?
    cp out log
    [ "$got" = "$code" ] || fail "exit code $got, not $code"
}
event() {
    /usr/bin/python3 - "$@" <<'PY' || fail "events: $*"
import json, sys
events = [json.loads(line) for line in open("log") if line.startswith("{")]
last, end = events[-1], [e for e in events if e["event"] == "end"]
want = dict(word.split("=") for word in sys.argv[1:])
assert last["event"] == "study" and str(last["code"]) == want["code"], last
assert end and all(str(end[0].get(k)) == want[k] for k in ("outcome", "signal") if k in want), end
PY
}

leaves 0 "$sluice" run study.lua --out calm --progress none
[ ! -s log ] || fail "--progress none says something of runs that finish"

# ---- each way to end, under each --progress ----
while read -r who signal progress code words; do
    begins e --progress "$progress"
    case $who in study) kill -"$signal" $study ;; run) kill -"$signal" "$run" ;; esac
    ends "$code"
    gone "$run" || fail "the run outlived $signal"
    case $progress in
    json) event code="$code" $words ;;
    *) says "$words" ;;
    esac
    [ "$code" = 75 ] || continue
    leaves 0 "$sluice" show e/s/base-*/0
    says "stopped by SIG$signal; sluice resume goes on"
    says preempted
done <<'END'
study HUP none 75 base/0 stopped by SIGHUP at step
study INT none 75 1 run is left: sluice resume e/s goes on
study QUIT lines 75 0 failed of 1 runs in
study TERM lines 75 s, stopped by SIGTERM
study XCPU json 75 outcome=stopped signal=SIGXCPU
run TERM none 75 base/0 stopped by SIGTERM at step
run XCPU lines 75 base/0 stopped by SIGXCPU at step
run HUP json 75 outcome=stopped signal=SIGHUP
run KILL none 1 base/0 was killed by SIGKILL at step
run USR1 lines 1 1 failed of 1 runs
run ABRT json 1 outcome=killed signal=SIGABRT
END
begins e --progress none
kill -9 $study
ends 137
await 'gone $run'
leaves 0 "$sluice" show e/s/base-*/0
says "the study's own process is gone; sluice resume goes on"
(trap '' HUP; exec "$sluice" run study.lua --out hup --set train.steps=1500 --progress none >out 2>&1) &
study=$!
await 'ls -d hup/s/base-*/0/checkpoints/step-* >/dev/null 2>&1'
kill -HUP $study
ends 0
echo "every ending is said and has its code; nohup is honoured"

# ---- Ctrl-C twice: a run that does not answer is not waited for ----
begins e --progress none
kill -STOP "$run"
kill -INT $study
kill -INT $study                                            # what a process group gets twice is one
sleep 0.7
! gone $study || fail "an echo of Ctrl-C ended the study at once"
kill -INT $study
ends 75
says 'stopped by SIGINT, at once'
await 'gone $run'
leaves 0 "$sluice" ls e/s
says ' dead '
echo "a second Ctrl-C ends at once"

# ---- readers that go, streams that are closed ----
for progress in lines json; do
    rm -rf quiet
    { "$sluice" run study.lua --out quiet -j1 -t1 --progress $progress 2>&1 && touch quiet/done; } | head -n 1 >log
    await '[ -e quiet/done ]'
done
for streams in '2>&-' '>&-' '<&- >&- 2>&-' '2>/dev/full'; do
    rm -rf quiet
    eval '"$sluice" run study.lua --out quiet --progress lines 2>log' "$streams" || fail "exit code $? with $streams"
done
look equal calm/s quiet/s
"$sluice" run study.lua --out closed $long -j1 -t1 <&- >&- 2>&- &
study=$!
await 'ls -d closed/s/base-*/0/checkpoints/step-* >/dev/null 2>&1'
run=$(children $study)
for stream in 0 1 2; do
    [ "$(readlink /proc/${run% }/fd/$stream)" = /dev/null ] ||
        fail "a file stands in the place of the closed stream $stream"
done
kill -TERM $study
wait $study || :
cat >terminal.py <<'PY'
import os, pty, signal, sys, time, glob
pid, terminal = pty.fork()
if pid == 0:
    if sys.argv[1] == "stays": signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.execv(sys.argv[2], sys.argv[2:])
while not glob.glob("quiet/s/base-*/0/checkpoints/step-*"): time.sleep(0.01)
os.close(terminal)
_, status = os.waitpid(pid, 0)
sys.exit(os.waitstatus_to_exitcode(status))
PY
rm -rf quiet
leaves 75 /usr/bin/python3 terminal.py hears "$sluice" run study.lua --out quiet --set train.steps=100000
rm -rf quiet
leaves 0 /usr/bin/python3 terminal.py stays "$sluice" run study.lua --out quiet --set train.steps=500
echo "a reader or a terminal that goes stops nothing"

# ---- several processes on one study ----
# beside DIR N: a study that N processes begin in one moment.
beside() {
    rm -rf "$1"
    mkdir -p "$1/s"
    cp calm/s/study.json "$1/s/"
    processes=
    for i in $(seq "$2"); do
        "$sluice" resume "$1/s" -j$((i % 2 + 1)) -t1 --progress lines >"log$i" 2>&1 &
        processes="$processes $!"
    done
    i=0
    for process in $processes; do
        i=$((i + 1))
        wait "$process" || { cp "log$i" log; fail "process $i of $2 left $?"; }
        cp "log$i" log
        says 's: 4 finished, 0 diverged, 0 failed of 4 runs'
    done
    cat log? >log
    rm log?
    trained=$(grep -c 'finished: eval loss' log)
    [ "$trained" = 4 ] || fail "$trained runs were trained, not 4"
    look equal calm/s "$1/s"
    [ "$(look deaths "$1"/s/*/*/run.h5)" = '0 0' ] || fail "a run was begun twice"
}
for round in $(seq $rounds); do
    beside many 2
    beside many 3
done
echo "processes that begin together train each run once"

# Of three that train together, one is killed with its runs, of another the run: the third takes over all that is left.
random() { awk -v seed="$1" 'BEGIN { srand(seed); printf "%.3f", 0.6 * rand() }'; }
for round in $(seq $rounds); do
    rm -rf torn
    mkdir -p torn/s
    cp calm/s/study.json torn/s/
    setsid "$sluice" resume torn/s -j2 -t1 --progress none >log1 2>&1 &
    first=$!
    "$sluice" resume torn/s -j1 -t1 --progress none >log2 2>&1 &
    second=$!
    "$sluice" resume torn/s -j1 -t1 --progress none >out 2>&1 &
    study=$!
    sleep "$(random $round)"
    kill -9 -$first 2>/dev/null || :
    for run in $(children $second 2>/dev/null || :); do kill -9 "$run" 2>/dev/null || :; done
    wait $first $second || :
    ends 0
    look equal calm/s torn/s checkpoints
done
echo "what killed processes left is taken over"

# The second waits for what the first trains; it takes over what a dead one left, or goes at once.
begins h --progress none
"$sluice" resume h/s --only base --progress json >waiting 2>&1 &
waiting=$!
await 'grep -qs "\"event\":\"wait\"" waiting'
kill -INT $waiting
got=0
wait $waiting || got=$?
[ $got = 75 ] || fail "a process that waited left $got"
"$sluice" resume h/s --only base --progress lines >waiting 2>&1 &
waiting=$!
await 'grep -qs "waiting for 1 run elsewhere: base/0 (Ctrl-C" waiting'
leaves 0 "$sluice" ls h/s
says ' running '
kill -9 $study "$run"
ends 137
await '[ "$(children $waiting)" ]'
kill -TERM $waiting
got=0
wait $waiting || got=$?
[ $got = 75 ] || fail "a process that took over left $got"
leaves 0 "$sluice" show h/s/base-*/0
says 'resumed from step'
says 'stopped by SIGTERM'
# A run that is killed is taken over by a process that waits for it, and is nobody's failure.
leaves 0 "$sluice" run study.lua --out calm-k --set train.steps=500 --replicates 1 -t1 --progress none
mkdir -p k/s
cp calm-k/s/study.json k/s/
"$sluice" resume k/s -j1 -t1 --progress lines >first 2>&1 &
first=$!
await 'ls k/s/base-*/0/run.h5 >/dev/null 2>&1'
run=$(children $first)
kill -STOP $run
"$sluice" resume k/s -j1 -t1 --progress lines >out 2>&1 &
study=$!
await 'grep -qs "waiting for 1 run elsewhere" out'
kill -9 $run
wait $first || { cp first log; fail "the first of two processes left $?"; }
ends 0
cp first log
says 'base/0 was killed by SIGKILL'
says '2 finished, 0 diverged, 0 failed of 2 runs'
look equal calm-k/s k/s checkpoints
echo "a process waits for runs elsewhere, and takes over those of the dead"

# ---- --only, and what is left to do ----
leaves 0 "$sluice" run study.lua --out o --only base --progress lines
says 'other variants have 2 pending runs: sluice resume o/s'
leaves 0 timeout 60 "$sluice" watch o/s --interval 0.1
says 'o/s: 2 finished, 2 pending; nobody trains the runs that are left'
says 'sluice resume o/s goes on'
leaves 0 "$sluice" ls o
says '2 finished, 2 pending'
leaves 2 "$sluice" resume o/s --only gatet
says "did you mean 'gated'?"
timeout 60 "$sluice" watch o/s --interval 0.1 >watched 2>&1 &
watching=$!
leaves 0 "$sluice" resume o/s --progress lines
lacks 'pending'
wait $watching || fail "watch left $?"
look equal calm/s o/s
begins w --progress none
timeout 60 "$sluice" watch w/s --interval 0.1 >log 2>&1 &
watching=$!
sleep 0.5
! gone $watching || fail "watch does not wait for a run that is trained"
kill -TERM $study
ends 75
wait $watching || fail "watch left $?"
echo "--only leaves the rest pending, resume trains it, watch ends when nobody trains"

# ---- children end with their parent ----
# leaves_no_child NAME ARGUMENTS..: the child NAME of such a command is gone after SIGKILL to the parent.
mkdir programs
printf '#!/bin/sh\nexec sleep 1000\n' >programs/gnuplot
chmod +x programs/gnuplot
leaves_no_child() {
    PATH=$folder/programs:$PATH "$sluice" "$@" >log 2>&1 &
    parent=$!
    await 'child=$(children $parent) && [ "$child" ]'            # one look: the child of the next may be another
    child=${child% }
    kill -9 $parent
    wait $parent 2>/dev/null || :
    await 'gone $child'
}
leaves_no_child bench baseline-nano --steps 100000 --batch 1
leaves_no_child plot calm/s -o figure.svg
leaves_no_child doctor
echo "bench, plot and doctor leave no child behind"

# ---- folders that move, data that moves ----
seq 1 20000 | awk '{ print } NR % 100 == 0 { print "%" }' >numbers.fortune
seq 5 20004 | awk '{ print } NR % 100 == 0 { print "%" }' >others.fortune
mkdir data
leaves 0 "$sluice" data pack numbers.fortune -o data/numbers.tok
leaves 0 "$sluice" data pack others.fortune -o data/others.tok
leaves 0 "$sluice" run study.lua --out v --data data/numbers.tok --only base --replicates 3 --progress none
leaves 0 "$sluice" run study.lua --out v2 --data data/numbers.tok --replicates 3 --progress none
mv data elsewhere
mv v/s moved
leaves 4 "$sluice" resume moved --progress none
says 'data/numbers.tok: No such file or directory'
says 'moved was made with data of hash '
says 'sluice resume moved --data FILE'
lines 2
leaves 4 "$sluice" resume moved --progress json
says '"event":"study","study":"s","steps_trained":0,"steps_taken":0,"finished":0,'
says '"diverged":0,"failed":0,"left":3,"runs":6,"code":4}'
leaves 4 "$sluice" resume moved --data elsewhere/others.tok --progress none
says 'elsewhere/others.tok: has hash '
says 'moved was made with data of hash '
lines 2
leaves 4 "$sluice" resume moved --data elsewhere/none.tok --progress none
lines 2
leaves 0 "$sluice" resume moved/ --data elsewhere/numbers.tok --progress none
look equal v2/s moved
grep -qF "\"data\": \"$(realpath elsewhere/numbers.tok)\"" moved/study.json ||
    fail "study.json does not keep the new place"
for command in 'resume . --progress none' 'compare .' 'show .' 'show base-*/0'; do
    (cd moved; leaves 0 "$sluice" $command)
done
for command in 'resume ../moved/' 'compare ../moved' 'ls ../moved/'; do
    (cd elsewhere; leaves 0 "$sluice" $command)
done
rm -r moved/gated-*
leaves 0 "$sluice" resume moved --progress none
look equal v2/s moved
echo "one message where the data lies no more; --data takes the same and nothing else"

# ---- folders that cannot be written, or go ----
begins r --progress lines
mv r/s r/away
ends 1
says 'r/s is gone: it was removed or renamed while its runs were trained'
lacks 'resume'
lines 3
leaves 0 "$sluice" run study.lua --out r --only base --progress none
user=
[ "$(id -u)" != 0 ] || user='setpriv --reuid 65534 --clear-groups --bounding-set -all'
if [ -z "$user" ] || $user "$sluice" --version >/dev/null 2>&1; then
    chmod 755 "$folder"
    chmod -R a-w calm r
    leaves 0 $user "$sluice" resume calm/s --progress lines
    says 's: 4 finished, 0 diverged, 0 failed of 4 runs'
    leaves 1 $user "$sluice" resume r/s --progress none
    says 'nothing can be written here: Permission denied'
    lines 1
    chmod 777 r/s/gated-*/1
    leaves 1 $user "$sluice" resume r/s --progress none
    says 'gated/0 failed at step 0 (code 1)'
    says '1 failed of 4 runs'
    chmod -R u+w calm r
fi
echo "a folder that goes or cannot be written is said once"
