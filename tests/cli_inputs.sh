#!/bin/sh
# Named pipes, folders, devices and sockets where a file is read, and files that become shorter while they are: what is
# wrong is said at once and by name. Pipes that are meant as an input are read.
set -eu
. "$(dirname "$0")/study.sh"

# at_once CODE WORDS COMMAND..: nothing is waited for.
at_once() {
    wanted=$1 words=$2
    shift 2
    leaves "$wanted" timeout 20 "$@"
    says "$words"
}
# put KIND PATH: something that is no file.
put() {
    rm -rf "$2"
    case $1 in
    pipe) mkfifo "$2" ;;
    folder) mkdir "$2" ;;
    device) ln -s /dev/zero "$2" ;;
    socket) ln socket "$2" ;;
    esac
}
kept=$folder/kept
/usr/bin/python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")'
# in_place_of PATH COMMAND..: each kind stands there while the command runs, and then the file again.
in_place_of() {
    path=$1
    shift
    mv "$path" "$kept"
    for kind in pipe folder device socket; do
        put $kind "$path"
        case $kind in pipe) name='is a named pipe' ;; *) name="is a $kind" ;; esac
        at_once "$code_there" "$name" "$@"
        [ $kind = device ] || says "$(basename "$path")"       # a link, whose end is named
    done
    rm -rf "$path"
    mv "$kept" "$path"
}

cat >part.lua <<'END2'
return { steps = 4, batch = 4, eval_every = 2, checkpoint_every = 2, eval_tokens = 64 }
END2
cat >study.lua <<'END2'
local sl = require "sluice"
return sl.study {
  name = "study", data = "corpus.tok", replicates = 2, variants = { base = {}, other = { layers = 2 } },
  train = require "part",
  base = sl.model { layers = 1, d_model = 16, seq = 16, vocab = 256,
                    attention = { "gqa", heads = 2, kv_heads = 1, head_dim = 8 }, ffn = "dense" },
}
END2
for i in $(seq 400); do echo "line $i of a text"; echo; done >text
leaves 0 "$sluice" data pack text --blank-lines -o corpus.tok
leaves 0 "$sluice" run study.lua --out runs --progress none
study=runs/study
run=$(echo $study/base-*/0)

# ---- in the place of every file that is read ----
code_there=4
in_place_of study.lua "$sluice" plan study.lua
in_place_of study.lua "$sluice" run study.lua --out runs
in_place_of corpus.tok "$sluice" plan study.lua
in_place_of corpus.tok "$sluice" plan study.lua --data corpus.tok
code_there=3
in_place_of part.lua "$sluice" plan study.lua
code_there=4
cp corpus.tok raw.bin
truncate -s 4000 raw.bin
dd if=/dev/zero of=raw.bin bs=64 count=1 conv=notrunc 2>/dev/null
echo '{"vocab_size": 65536}' >meta.json
in_place_of meta.json "$sluice" data inspect raw.bin
in_place_of study.lua "$sluice" data inspect study.lua
for command in ls show compare export watch resume fsck "plot -o figure.gp"; do
    in_place_of $study/study.json "$sluice" ${command%% *} $study ${command#"${command%% *}"}
done
in_place_of $study/study.json "$sluice" ls runs
for command in ls show compare export watch resume fsck "plot -o figure.gp"; do
    in_place_of "$run/run.h5" "$sluice" ${command%% *} $study ${command#"${command%% *}"}
done
for command in show export fsck "sample --tokens 4"; do
    in_place_of "$run/run.h5" "$sluice" ${command%% *} "$run" ${command#"${command%% *}"}
done
newest=$(ls -d "$run"/checkpoints/step-* | tail -1)
for file in manifest.json state.safetensors; do
    for command in "sample --tokens 4" "ckpt inspect" "ckpt convert -o model.safetensors"; do
        in_place_of "$newest/$file" "$sluice" $command "$newest"
    done
done
put pipe pipe
for command in show export fsck watch; do at_once 4 'is a named pipe' "$sluice" $command pipe; done
mv "$run/run.lock" "$kept"
put pipe "$run/run.lock"
at_once 0 base/0 "$sluice" ls $study
rm "$run/run.lock"
mv "$kept" "$run/run.lock"
at_once 0 base/0 "$sluice" ls $study
echo "what is no file is said to be none, at once"

# ---- pipes that are meant ----
leaves 0 "$sluice" data pack text --blank-lines -o a.tok
"$sluice" data pack - --blank-lines -o b.tok <text >log 2>&1 || fail "a file as standard input"
cmp a.tok b.tok || fail "another file from standard input"
cat text | "$sluice" data pack - --blank-lines -o b.tok >log 2>&1 || fail "a pipe as standard input"
cmp a.tok b.tok || fail "another file from a pipe"
cat text | "$sluice" data pack /dev/stdin --blank-lines -o b.tok >log 2>&1 || fail "/dev/stdin"
cmp a.tok b.tok || fail "another file from /dev/stdin"
cat text >pipe &
leaves 0 timeout 20 "$sluice" data pack pipe --blank-lines -o b.tok
cmp a.tok b.tok || fail "another file from a named pipe"
at_once 4 'nothing comes through it' "$sluice" data pack pipe -o b.tok
mkdir inputs
put pipe inputs/pipe
at_once 4 'inputs/pipe: a named pipe' "$sluice" data pack inputs -o b.tok
for data in - pipe; do
    at_once 4 'tokens are read more than once' "$sluice" plan study.lua --data $data
    at_once 4 'tokens are read more than once' "$sluice" data inspect $data
done
seq 1000 >numbers
mkfifo slow
cat numbers >slow &
(ulimit -f 1 && at_once 6 'does not fit into a temporary file' "$sluice" data pack slow -o b.tok)
rm numbers slow
echo "pipes that are named as an input are read, where reading once will do and there is room"

# ---- shorter while it is read ----
cat >part.lua <<'END2'
return { steps = 100000, batch = 4, eval_every = 50, checkpoint_every = 100000, eval_tokens = 64 }
END2
cp corpus.tok whole.tok
for bytes in -300 200 0; do
    rm -rf runs
    cp whole.tok corpus.tok
    "$sluice" run study.lua --out runs --progress none --replicates 1 --jobs 1 --set train.steps=100000 >log 2>&1 &
    process=$!
    until "$sluice" ls runs/study 2>/dev/null | grep -q 'running *[1-9]'; do sleep 0.1; done
    truncate -s $bytes corpus.tok
    got=0
    wait $process || got=$?
    [ $got = 4 ] || fail "exit code $got of a run whose data became shorter by $bytes"
    says 'corpus.tok: became shorter while it was read'
    leaves 0 "$sluice" ls runs/study
    grep -q 'base/0 *preempted' log || fail "not held after a cut to $bytes"
    [ -e runs/study/base-*/0/checkpoints/step-*/manifest.json ] || fail "no checkpoint after a cut to $bytes"
    leaves 4 "$sluice" resume runs/study --progress none
done
echo "a run whose data becomes shorter is held with a checkpoint"
