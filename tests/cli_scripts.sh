#!/bin/sh
# What scripts and the command line say to each other: values of --set, names, grids, byte order marks, what print may
# do, and every mistake told once, on lines of its own.
set -eu
. "$(dirname "$0")/study.sh"

cat >study.lua <<'END'
local sl = require "sluice"
return sl.study {
  name = "s", replicates = 1, data = "synthetic", baseline = "base", variants = { base = {}, deep = { layers = 3 } },
  base = sl.model { layers = 2, d_model = 32, seq = 16, ffn = { "moe", experts = 4, d_ff = 16, router = { top_k = 2 } },
                    attention = { "gqa", heads = 2, kv_heads = 1, head_dim = 16 } },
  train = { steps = 2, batch = 2, eval_tokens = 64, optim = { "adamw" } },
}
END

# plans CODE ARGUMENTS..: sluice plan, its streams in out and log.
plans() {
    code=$1 got=0
    shift
    "$sluice" plan "$@" >out 2>log </dev/null || got=$?
    [ "$got" = "$code" ] || fail "exit code $got, not $code: plan $*"
    [ "$code" = 0 ] || [ ! -s out ] || fail "stdout although nothing was planned: $*"
    [ "$code" = 0 ] || tail -n 1 log | grep -qxE '[0-9]+ mistakes?; nothing was run\.' ||
        fail "the last line counts no mistakes: $*"
}
holds() { grep -qF -- "$1" out || { cat out >>log; fail "stdout does not hold '$1'"; }; }
silent() { [ ! -s log ] || fail "something is said"; }

# ---- --set: what Lua takes; and what the plan then has ----
taken() { plans 0 study.lua --json --set "$1"; silent; holds "$2"; }
while IFS='|' read -r set has; do taken "$set" "$has"; done <<'END'
layers=2.0|"layers": 2,
train.steps=1e1|"steps": 10,
train.steps=0x10|"steps": 16,
train.optim.lr=.003|"lr": 0.0030000000000000001,
train.optim.lr=3e-3|"lr": 0.0030000000000000001,
train.clip=2|"clip": 2.0,
head.tied=false|"tied": false
attention.gate=head|"module": "head",
attention.gate={ "head", mult = 2 }|"mult": 2.0
ffn={ d_ff = 24 }|"d_ff": 24,
ffn.balance={ { "bias", gamma = .25 }, "z_loss" }|"gamma": 0.25
position=function(l) return l > 1 and "none" or "rope" end|"module": "none"
name=007|"name": "007"
name=1e3|"name": "1e3"
name=true|"name": "true"
name="0x10"|"name": "0x10"
name='a_b'|"name": "a_b"
replicates=2.0|"replicates": 2,
seed=1e2|"name": "s",
data=synthetic:2|"data": "synthetic:2"
END
refused() { plans 3 study.lua --set "$1"; says "$2"; }
while IFS='|' read -r set words; do refused "$set" "$words"; done <<'END'
layers=2.5|--set layers=2.5: layers: 2.5: must be an integer
layers=|--set layers=: no value is given; an empty text is written ""
layers|--set layers: must be path=value
=3|--set =3: must be path=value
layers={2|--set layers={2: layers: '}' expected
layers="2|--set layers="2: layers: unfinished string
layers={1}, 2|--set layers={1}, 2: layers: one value is needed, not 2
layers={ os.exit() }|--set layers={ os.exit() }: layers: attempt to index a nil value (global 'os')
layers=nan|layers: "nan": must be an integer
train.optim.lr=1/3|train.optim.lr: "1/3": must be a number
head.tied=no|head.tied: "no": must be true or false
ffn.router.topk=1|--set ffn.router.topk=1: ffn.router.topk: no parameter 'topk' (did you mean 'top_k'?)
train.stepz=1|--set train.stepz=1: train.stepz: no parameter 'stepz' (did you mean 'steps'?)
replicate=3|--set replicate=3: replicate: no parameter 'replicate'
replicate=3|of the study: baseline, choices, data, horizons, name, primary, replicates, seed; of training: train.KEY
replicates=x|--set replicates=x: replicates: must be an integer, not 'x'
replicates=1.5|--set replicates=1.5: replicates: must be an integer, not 1.5
replicates=9223372036854775807|replicates: 9223372036854775807 is out of range: 1 to 1000
seed=1e300|--set seed=1e300: seed: must be an integer
baseline=bass|--set baseline=bass: baseline: no variant 'bass' (did you mean 'base'?)
name=../x|'../x': a name begins with a letter
name=|no value is given
END

# ---- names: of scripts, studies and variants ----
unnamed=$(sed 's/name = "s", //' study.lua)
named() { mkdir -p names; echo "$unnamed" >"names/$1.lua"; plans 0 "names/$1.lua" --json; holds "\"name\": \"$1\""; }
for name in _x x.y a=b,c+d-e 007 X x; do named "$name"; done
cured() {
    mkdir -p names
    echo "$unnamed" >"names/$1.lua"
    plans 3 "names/$1.lua"
    says "$1"
    says "say name = \"$2\" in it, or --set name=$2"
    plans 0 "names/$1.lua" --set "name=$2"
}
long=$(printf 'x%.0s' $(seq 121))
for pair in läufe:l_ufe lèufe:l_ufe 'a b:a_b' .hidden:hidden -dash:dash 日本:study "$long:${long%x}"; do
    cured "${pair%:*}" "${pair##*:}"
done

# ---- grids ----
grid() { sed "s/baseline = .*/axes = { $1 },/" study.lua >grid.lua; }
grid '["attention.gate"] = { "none", "head" }, ["ffn.router.top_k"] = { 1, 2 }'
plans 0 grid.lua --json
holds '"name": "gate=head,top_k=2"'
grid '["attention.gate"] = { off = "none", on = { "head", mult = 2 } }, ["ffn.router.top_k"] = { 1, 2 }'
plans 0 grid.lua --json
for name in off,top_k=1 off,top_k=2 on,top_k=1 on,top_k=2; do holds "\"name\": \"$name\""; done
holds '"baseline": "off,top_k=1"'
balance='{ { "bias", gamma = 0.0123457 }, { "switch_aux", alpha = 0.0123457 }, { "z_loss", coefficient = 0.0123457 } }'
grid "[\"ffn.balance\"] = { $balance, \"none\" }, [\"attention.gate\"] = { \"none\", { \"head\", mult = 1.23457 } }, \
[\"train.optim.lr\"] = { 0.00123457 }"
plans 3 grid.lua
says 'characters, a name has at most 120; give values short names: '\
'axes = { ["attention.gate"] = { NAME = value, ... }, ... }'
[ "$(grep -c 'at most 120' log)" = 1 ] || fail "the long names of a grid are told more than once"
while IFS='|' read -r axes words; do grid "$axes"; plans 3 grid.lua; says "$words"; done <<'END'
seq = { 0.1234567, 0.12345671 }|'0.123457' is listed twice; values that are written alike need names
seq = { a = 8, 16 }|axes.seq: must be a list of values, { "softmax", "sigmoid" }, or values with names
seq = { ["a b"] = 8 }|'a b': a name begins with a letter
["attention.gate"] = { a = "none", ["a,b"] = "head" }, seq = { ["b,c"] = 8, c = 16 }|two combinations are called 'a,b,c'
END

# ---- byte order marks ----
{ printf '\357\273\277'; cat study.lua; } >bom.lua
plans 0 bom.lua
silent
{ printf '\357\273\277#!/usr/bin/env sluice\nlocal x = 1\n'; echo 'return x.y.z'; } >bom.lua
plans 3 bom.lua
says "bom.lua:3: attempt to index a number value"
{ printf '\357\273\277'; echo 'return { steps = 7 }'; } >keys.lua
sed 's/train = {.*/train = require "keys",/' study.lua >uses.lua
plans 0 uses.lua --json
holds '"steps": 7'

# ---- data that is missing hides nothing ----
sed 's/layers = 2/layerz = 2/; s/replicates = 1/replicatez = 1/; s/"synthetic"/"none.tok"/' study.lua >bad.lua
plans 3 bad.lua
for words in "bad.lua:3: sl.study has no key 'replicatez'" "bad.lua:4: layerz: no parameter 'layerz'" \
    "bad.lua:3: data: none.tok: " '3 mistakes; nothing'; do
    says "$words"
done
plans 4 study.lua --data none.tok
says '--data none.tok: data: none.tok: '
plans 4 study.lua --data "$(printf 'a\033[2J\377.tok')"
says '--data a\u{1b}[2J\xff.tok: data: a\u{1b}[2J\xff.tok: a path of bytes that are no UTF-8'
plans 4 nowhere.lua
says 'nowhere.lua: No such file'

# ---- print, and what goes to terminals ----
{ printf 'print("one", nil, 2, "a\\nb\\27[2J\\255")\nfor i = 1, 1e5 do print(i) end\n'; cat study.lua; } >chatty.lua
plans 0 chatty.lua --json
printf '| one\tnil\t2\ta\n| b\\u{1b}[2J\\xff\n| 1\n' >wanted
head -n 3 log | cmp -s - wanted || fail "print says something else"
[ "$(wc -l <log)" = 1001 ] && tail -n 1 log | grep -q '^| (what else the script prints is left out' ||
    fail "print is not cut"
/usr/bin/python3 -m json.tool out >/dev/null || fail "print spoils --json"
{ printf 'for i = 1, 100 do print(("x"):rep(1e4)) end\n'; cat study.lua; } >chatty.lua
plans 0 chatty.lua
[ "$(wc -c <log)" -lt 80000 ] || fail "print writes $(wc -c <log) bytes"
{ printf 'print "one\\n\\27"\n'; cat study.lua; } >chatty.lua
leaves 0 "$sluice" run chatty.lua --progress json --only base
says '{"event":"print","text":"one"}'
/usr/bin/python3 -c 'import json, sys; [json.loads(line) for line in open("log")]' || fail "--progress json is no JSON"
printf 'error("a\\n5 mistakes; nothing was run.\\n\\27]0;x\\7")\n' >words.lua
plans 3 words.lua
grep -qxF '  5 mistakes; nothing was run.' log && grep -qF '\u{1b}]0;x\u{7}' log ||
    fail "a script's words look like the program's"
printf 'io.write("half a line") os.exit(0)\n' >leaves.lua
plans 3 leaves.lua --trust
says 'leaves.lua: planning ended with code 0 before anything came of it'

# ---- terminals ----
cat >terminal.py <<'END'
import os, pty, sys
pid, fd = pty.fork()
if pid == 0: os.execvp(sys.argv[1], sys.argv[1:])
said = b""
try:
    while chunk := os.read(fd, 65536): said += chunk
except OSError: pass
print("escapes" if b"\033" in said else "plain", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
END
while read -r wanted settings; do
    rm -rf runs
    got=$(env -u NO_COLOR -u TERM -u CLICOLOR_FORCE $settings /usr/bin/python3 terminal.py \
        "$sluice" run study.lua --only base 2>log)
    [ "$got" = "$wanted 0" ] || fail "$settings: $got"
    got=$(env -u NO_COLOR -u TERM -u CLICOLOR_FORCE $settings /usr/bin/python3 terminal.py \
        "$sluice" plan study.lua --set layers=x 2>log)
    [ "$got" = "plain 3" ] || fail "mistakes on a terminal, $settings: $got"
done <<'END'
escapes TERM=xterm
plain TERM=dumb
plain TERM=
plain TERM=xterm NO_COLOR=1
END

# ---- limits that Lua does not see ----
cat >sort.lua <<'END'
local t, x = {}, ("x"):rep(1e7)
for i = 1, 20 do t[i] = x .. i end
local u = {}
for i = 1, 1e6 do u[i] = t[i % 20 + 1] end
table.sort(u)
END
plans 3 sort.lua
says 'sort.lua:5: the script took more than 6 seconds of processor time'
printf 'local t = {}\nfor i = 1, 1e9 do\n  t[i] = {}\nend\n' >memory.lua
plans 3 memory.lua
says 'memory.lua:3: the script needs more than 256 MiB of memory'
echo "scripts: values, names, grids, marks, words and limits"
