#!/bin/sh
# Whatever goes wrong while a file is written, its name leads to the old file or to the new one, whole; nothing else is
# left beside it, the exit code says what it was, and a full disk is 6. tests/faults.c makes calls fail and kills.
set -eu
faults=$(dirname "$(realpath "$1")")/faults.so
full=${SLUICE_FULL-}
. "$(dirname "$0")/study.sh"
trap 'chmod -R u+rwx "$folder"; rm -rf "$folder"' EXIT
ASAN_OPTIONS=verify_asan_link_order=0:${ASAN_OPTIONS-}
export ASAN_OPTIONS

# with FAULT COMMAND..: runs it with the faults.
with() { (FAULT=$1 LD_PRELOAD=$faults; export FAULT LD_PRELOAD; shift; "$@"); }
mode() { stat -c %a "$1"; }
is() { [ "$1" = "$2" ] || fail "'$1' is not '$2': $3"; }
# alone DIR FILE..: nothing else is in the folder.
alone() {
    dir=$1
    shift
    is "$(ls -A "$dir" | sort | tr '\n' ' ')" "$(printf '%s\n' "$@" | sort | tr '\n' ' ')" "what is in $dir"
}

cat >one.lua <<'LUA'
local sl = require "sluice"
return sl.study {
  name = "one", replicates = 1, baseline = "base", data = "synthetic", variants = { base = {} },
  base = sl.model { layers = 2, d_model = 32, seq = 16, ffn = "dense",
                    attention = { "gqa", heads = 2, kv_heads = 1, head_dim = 16 } },
  train = { steps = 6, batch = 2, eval_every = 3, eval_tokens = 64, checkpoint_every = 2, keep = 1 },
}
LUA
leaves 0 "$sluice" run one.lua --progress none
seq 3000 >text.txt
run=$(echo runs/one/base-*/0)

# Devices that a program which replaces them may have: root's /dev is everybody's.
null=/dev/null none_left=/dev/full streams='- stdout /dev/fd/1 /dev/stdout'
if [ "$(id -u)" = 0 ]; then
    null=null none_left=full streams='- stdout /dev/fd/1'
    { mknod null c 1 3 && mknod full c 1 7 && echo >null; } 2>log || null= none_left=
fi
ln -s /dev/stdout stdout

# ---- commands that write the file OUT ----

# writes KIND OUT: runs the writer of a kind.
writes() {
    case $1 in
    export) set -- export runs/one -o "$2" ;;
    script) set -- plot runs/one -f gp -o "$2" ;;
    figure) set -- plot runs/one -f svg -o "$2" ;;
    pack) set -- data pack text.txt --held-out 0 -o "$2" ;;
    esac
    "$sluice" "$@"
}
kinds='export script pack'
! command -v gnuplot >/dev/null || kinds="$kinds figure"
unnamed=none:1:0 named=tmpfile:1:95             # a file system that has files without a name, and one that has not

for kind in $kinds; do
    # new, by the umask; replaced, as it was
    mkdir "$kind"
    (umask 002 && leaves 0 writes $kind $kind/a)
    (umask 027 && leaves 0 writes $kind $kind/b)
    is "$(mode $kind/a) $(mode $kind/b)" '664 640' "modes of $kind"
    chmod 600 $kind/b
    leaves 0 writes $kind $kind/b
    is "$(mode $kind/b)" 600 "mode of $kind that is replaced"
    cmp $kind/a $kind/b || fail "$kind differs from itself"
    alone $kind a b

    # where links lead
    mkdir $kind/there
    ln -s ../b $kind/there/link
    ln -s nothing $kind/there/dangling
    echo old >$kind/b
    for link in link dangling; do
        leaves 0 writes $kind $kind/there/$link
        [ -h $kind/there/$link ] || fail "$kind replaced a link"
    done
    cmp $kind/a $kind/b && cmp $kind/a $kind/there/nothing || fail "$kind did not write where links lead"
    alone $kind/there link dangling nothing
    rm -r $kind/there

    # what cannot be written
    leaves 1 writes $kind $kind
    says 'Is a directory'
    leaves 1 writes $kind $kind/none/
    leaves 1 writes $kind ''
    leaves 1 writes $kind missing/a
    leaves 1 writes $kind text.txt/a
    [ ! -e missing ] || fail "$kind made a folder"
    for place in missing/a $kind; do
        writes $kind $place >out 2>log || true
        [ ! -s out ] || fail "$kind poured $(wc -c <out) bytes on stdout"
    done
    if [ "$(id -u)" != 0 ]; then
        chmod 444 $kind/b
        leaves 1 writes $kind $kind/b
        says 'Permission denied'
        chmod 555 $kind
        leaves 1 writes $kind $kind/c
        chmod 755 $kind
    fi
    rm -f $kind/b

    # a file that may not grow
    echo old >$kind/b
    (ulimit -f 1 && leaves 6 writes $kind $kind/b && says 'File too large')
    is "$(cat $kind/b)" old "$kind when the disk is full"
    alone $kind a b

    # what is no regular file is written as it goes
    mkfifo $kind/fifo
    if [ $kind = pack ]; then
        for stream in $kind/fifo $null $none_left $streams; do
            leaves 1 writes $kind $stream
            says 'must be a regular file'
        done
    else
        timeout 20 cat $kind/fifo >got &
        leaves 0 writes $kind $kind/fifo
        wait $!
        cmp got $kind/a || fail "$kind into a FIFO"
        echo before >want
        cp want got
        for stream in $streams; do
            writes $kind $stream >>got 2>log || fail "$kind to $stream"
            cat $kind/a >>want
        done
        cmp want got || fail "$kind to stdout"
        writes $kind - 2>log | cmp - $kind/a || fail "$kind to a pipe"
        if [ "$null" ]; then
            leaves 0 writes $kind $null
            leaves 6 writes $kind $none_left
            says "$none_left: cannot be written: No space left on device"
        fi
    fi
    [ -p $kind/fifo ] && [ -h stdout ] && [ -c ${null:-/dev/null} ] && [ -c ${none_left:-/dev/full} ] ||
        fail "$kind replaced what is no file"
    rm $kind/fifo

    # every call that may fail, and every moment to be killed; for one kind all of them
    calls='write rename' killing='write rename' errors='28:6'
    if [ $kind = export ] || [ "$full" ]; then
        calls='write fsync close rename linkat create' killing='write fsync close rename' errors='28:6 122:6 5:1'
    fi
    [ $kind != script ] || continue
    for way in $unnamed $named; do
        for call in $calls; do
            case $way$call in $unnamed'create' | $named'linkat') continue ;; esac
            for what in $errors; do
                leaves ${what#*:} with "$way,$call:1:${what%:*}" writes $kind $kind/b
                says "$kind/b: cannot be written"
                is "$(cat $kind/b)" old "$kind when $call fails"
                alone $kind a b
            done
        done
        for call in $killing; do
            leaves 143 with "$way,$call:1:term" writes $kind $kind/b
            is "$(cat $kind/b)" old "$kind terminated at $call"
            alone $kind a b
            leaves 137 with "$way,$call:1:kill" writes $kind $kind/b
            is "$(cat $kind/b)" old "$kind killed at $call"
            case $way$call in $unnamed'write' | $unnamed'fsync') alone $kind a b ;; esac
        done
        leaves 0 with $way writes $kind $kind/b             # clears away what the killed left
        cmp $kind/a $kind/b || fail "$kind differs from itself"
        alone $kind a b
        echo old >$kind/b
    done
    echo "$kind: the old file or the new one"
done

# A writer that lives is left alone by another one of the same file.
with $named,rename:1:hold writes export export/b >log_slow 2>&1 &
i=0
until ls export/.b.*.tmp >log 2>&1 || [ $i = 1000 ]; do i=$((i + 1)); sleep 0.01; done
leaves 0 with $named writes export export/b
touch go
wait $! || { cp log_slow log; fail "a writer was disturbed by another"; }
alone export a b

# ---- gnuplot that fails amid a figure ----
mkdir bin
for end in 'exit 3' 'kill -9 $$'; do
    printf '#!/bin/sh\ncat >/dev/null\necho "<svg>"\n%s\n' "$end" >bin/gnuplot
    chmod +x bin/gnuplot
    echo old >bin/figure.svg
    (PATH=$PWD/bin:$PATH && leaves 1 "$sluice" plot runs/one -o bin/figure.svg)
    is "$(cat bin/figure.svg)" old "a figure that gnuplot did not finish"
    alone bin gnuplot figure.svg
done
leaves 1 "$sluice" plot runs/one -o -
says '--format'

# ---- a text is not packed over itself ----
mkdir books
cp text.txt books/one.txt
ln -s one.txt books/link
ln books/one.txt books/hard
for out in books/one.txt ./books/../books/one.txt books/link books/hard; do
    for inputs in books 'text.txt books/one.txt'; do
        leaves 4 "$sluice" data pack $inputs -o $out
        says 'is an input'
        cmp text.txt books/one.txt || fail "pack -o $out changed its input"
    done
done
alone books one.txt link hard
echo "an input is not written over"

# ---- stdout ----
for command in 'ls runs' 'ls runs --json' 'show runs/one' "show $run" 'compare runs/one --json' 'export runs/one' \
    'export runs/one --json' "sample $run" 'plan one.lua' \
               'reference commands' 'fsck runs/one' 'watch runs/one' '--help' '--version' 'data inspect synthetic'; do
    got=0
    "$sluice" $command >/dev/full 2>log || got=$?
    is $got 6 "sluice $command >/dev/full"
    says 'standard output: cannot be written: No space left on device'
done

# ---- a study ----

# modes DIR FOLDERS FILES
modes() {
    is "$(find "$1" -type d -printf '%m\n' | sort -u) $(find "$1" -type f -printf '%m\n' | sort -u)" "$2 $3" \
        "modes in $1"
}
(umask 002 && leaves 0 "$sluice" run one.lua --out group --progress none)
modes group 775 664
(umask 027 && leaves 0 "$sluice" run one.lua --out house --progress none)
modes house 750 640

# goes_on DIR [LOOK]: the study is trained to its end, with LOOK as if nothing had been, and nothing of its writers is
# left.
goes_on() {
    if [ -e "$1/one/study.json" ]; then leaves 0 "$sluice" resume "$1/one" --progress none
    else leaves 0 "$sluice" run one.lua --out "$1" --progress none; fi
    [ -z "${2-}$full" ] || look equal runs/one "$1/one" checkpoints
    is "$(find "$1" -name '.*' -o -name '*.tmp' -o -name '*.old')" '' "remains in $1"
}

# killed before each rename, where folders cannot change places and files have names from the beginning
n=0 killed=1
while [ $killed != 0 ]; do
    n=$((n + 1)) killed=0
    with $named,renameat2:1:22,rename:$n:kill "$sluice" run one.lua --out killed --progress none >log 2>&1 || killed=1
    [ $n != 6 ] || cp -a killed dead
    [ $killed = 0 ] || goes_on killed $([ $((n % 4)) != 2 ] || echo look)
    rm -r killed
done
[ $n -gt 12 ] || fail "killed only before $n renames"
echo "a study killed before each of $((n - 1)) renames goes on"

# a disk that is full from some call on
for fault in mkdir:2 write:2 fsync:5 create:1 pwrite:1 pwrite:30 linkat:3 rename:2 \
    ${full:+write:1 fsync:1 fsync:2 linkat:1 rename:5}; do
    leaves 6 with $fault:28 "$sluice" run one.lua --out filled --progress none
    goes_on filled look
    rm -r filled
done
cp runs/one/study.json .
for fault in write:1:28 fsync:1:28 rename:1:28; do
    leaves 6 with $fault "$sluice" run one.lua --progress none
    says 'runs/one/study.json: cannot be written: No space left on device'
    cmp runs/one/study.json study.json || fail "study.json changed"
done
leaves 1 with fsync:1:5 "$sluice" run one.lua --progress none
says 'study.json: cannot be written: Input/output error'
echo "a full disk ends a study with code 6 wherever it is met, and the study goes on"

# ---- a run file is mended on a copy ----
run=$(echo dead/one/base-*/0)
cp "$run/run.h5" dead.h5
is "$("$sluice" fsck dead/one | grep -c 'not closed')" 1 "dead writers"
before=$(ls -A "$run")
for case in write:1:28:6 write:1:5:1 pwrite:1:28:6 fsync:1:28:6 rename:1:28:6 create:1:28:6 rename:1:term:143 \
    write:1:term:143 rename:1:kill:137; do
    leaves ${case##*:} with ${case%:*} "$sluice" fsck --repair dead/one
    cmp "$run/run.h5" dead.h5 || fail "$case: the file was changed"
    [ ${case##*:} = 137 ] || alone "$run" $before
done
chmod 600 "$run/run.h5"
leaves 0 "$sluice" fsck --repair dead/one
says repaired
alone "$run" $before
is "$(mode "$run/run.h5")" 600 "mode of a mended file"
echo "mending a run file changes it at once or not at all"

# ---- several processes begin one study: study.json is whole at every moment ----
cat >reader.py <<'PY'
import json, os
looks = 0
while not os.path.exists("stop"):
    json.load(open("runs/one/study.json"))
    looks += 1
print(looks, "looks")
PY
/usr/bin/python3 reader.py >looks 2>&1 &
reader=$!
i=0
while [ $i -lt ${full:+20}7 ]; do
    i=$((i + 1)) writers=
    rm go
    for k in 1 2 3; do
        with fsync:1:hold "$sluice" run one.lua --progress none >log$k 2>&1 &
        writers="$writers $!"
    done
    sleep 0.1
    touch go
    k=0
    for writer in $writers; do
        k=$((k + 1))
        wait $writer || { cp log$k log; fail "one of three processes that begin a study failed"; }
    done
done
touch stop
wait $reader || { cp looks log; fail "study.json was not whole"; }
/usr/bin/python3 - <<'END' || fail "study.json differs"
import json
one, other = (json.load(open(name)) for name in ("runs/one/study.json", "study.json"))
assert one.pop("record") and other.pop("record") and one == other, "another study"
END
is "$(find runs -name '.*')" '' "remains"
echo "3 x $i processes began one study: $(cat looks), each time it was whole"
