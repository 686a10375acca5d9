#!/bin/sh
# Runs that begin with the weights of others: those are trained first, whoever is killed meanwhile; each has the bits of
# a study that nobody disturbed; what is held for them goes when they have begun. SLUICE_FULL=1: more kills.
set -eu
. "$(dirname "$0")/study.sh"
kills=${SLUICE_FULL:+40}
kills=${kills:-5}

# script NAME VARIANTS [KEEP]
script() {
    cat >"$1.lua" <<LUA
local sl = require "sluice"
local moe = { "moe", experts = 4, d_ff = 24, router = { "staged", top_k = 2, normalize = "after" } }
return sl.study {
  name = "$1", data = "synthetic", replicates = 2,
  base = sl.model { layers = 2, d_model = 32, seq = 32, attention = { "gqa", heads = 2, kv_heads = 1, head_dim = 16 },
                    ffn = { "dense", d_ff = 48 } },
  train = { steps = 24, batch = 2, eval_every = 8, eval_tokens = 256, checkpoint_every = 7, keep = ${3:-1},
            average = { "ema", decay = 0.9 } },
  baseline = "on", variants = { $2 },
}
LUA
}
mapped='map = { "cycle", from = 0, to = 0, times = 3, identity = true }'
variants='parent = {}, on = { init = { "from", run = "parent", step = 11 } },
    a_deep = { layers = 4, init = { "from", run = "on", '$mapped' } },
    a_sparse = { ffn = moe, init = { "from", run = "parent", map = "upcycle", average = true } },'

# ---- in one study: who comes first by name comes last ----
script s "$variants"
leaves 0 "$sluice" plan s.lua
says "a_deep begins with the weights of on"
says "on begins with the weights of parent after step 11"
leaves 0 "$sluice" plan s.lua --map a_sparse
says "copies in 2 parts"
leaves 0 "$sluice" run s.lua --out calm --jobs 1 --progress none
leaves 0 "$sluice" show calm/s/on-*/0
says "started with the weights of calm/s/parent-"
says "step-00000011"
leaves 0 "$sluice" run s.lua --out many --jobs 4 --progress none
look equal calm/s many/s checkpoints
tears s.lua s "$kills"
look equal calm/s torn/s checkpoints
for run in torn/s/*/*/; do
    [ "$(ls "$run/checkpoints" | wc -l)" = 1 ] || fail "$run: $(ls "$run/checkpoints") are left, keep is 1"
done
script none "$variants" 0
leaves 0 "$sluice" run none.lua --out runs --jobs 2 --progress none
ls -d runs/none/*/*/checkpoints 2>/dev/null && fail "keep is 0, and checkpoints are left"
echo "starts within a study: in their order, the same bits after $kills kills, and nothing is left"

# ---- from another study, and from a file ----
script far 'on = { init = { "from", run = "calm/s/parent" } },
    first = { init = { "from", run = "calm/s/on", replicate = 0 } },
    deep = { layers = 4, init = { "from", run = "calm/s/parent", '"$mapped"' } },'
leaves 0 "$sluice" run far.lua --out runs --progress none
file=$(ls -d calm/s/parent-*/0/checkpoints/step-00000024)
script file "on = { init = { \"from\", run = \"$file\" } },
    twin = { init = { \"from\", run = \"$file/state.safetensors\",
    replicate = 0 }, [\"train.steps\"] = 25 },"
leaves 0 "$sluice" run file.lua --out runs --progress none
leaves 0 "$sluice" plan file.lua --map on
says "as it is"
last=0/checkpoints/step-00000024/state.safetensors
cmp runs/file/on-*/$last runs/far/on-*/$last || fail "from a file another model comes than from the run that wrote it"
echo "from another study and from a file: the same weights"

# ---- what is known only when a run begins, and weights in four bits ----
few='ffn = { "moe", experts = 3, d_ff = 24, router = { "staged", top_k = 2, normalize = "after" } }'
script kept "parent = {}, moe = { init = { \"from\", run = \"parent\", map = \"upcycle\" }, ffn = moe },
    on = { $few, init = { \"from\", run = \"moe\", map = { \"prune\", by = \"load\" } } },
    a_norm = { $few, init = { \"from\", run = \"moe\", map = { \"prune\", by = \"norm\" } } }"
leaves 0 "$sluice" plan kept.lua --map on
says "the 3 of 4 with the most tokens"
leaves 0 "$sluice" run kept.lua --out calm --jobs 1 --progress none
tears kept.lua kept "$kills"
look equal calm/kept torn/kept checkpoints
still='["train.optim.lr"] = 1e-12'
adapter='adapter = { "lora", base = "nf4" }'
script codes "parent = {}, on = { init = { \"from\", run = \"parent\" }, $adapter, $still },
    child = { init = { \"from\", run = \"on\", left = \"*.lora_*\" }, $still }"
leaves 0 "$sluice" run codes.lua --out runs --progress none
leaves 0 "$sluice" export runs/codes --metric eval.loss
awk -F, '$3 == 24 { sum[$1] += $NF } END { d = sum["child"] - sum["on"]; exit !(d * d < 1e-9 && sum["on"]) }' log ||
    fail "of weights in four bits another model comes than they stand for"
echo "prune by load: the same experts after $kills kills; four bits are the values that they stand for"

# ---- equal total FLOPs ----
script even 'parent = {}, on = { init = { "from", run = "parent" } }, scratch = {},'
sed -i 's/  baseline/  match = { "total_flops", adjust = "train.steps", tolerance = 0.03 }, baseline/' even.lua
leaves 0 "$sluice" plan even.lua --config scratch
says '"steps": 48'
leaves 0 "$sluice" plan even.lua --config parent
says '"steps": 24'

# ---- mistakes: nothing is run ----
wrong() { script wrong "$1" && leaves 3 "$sluice" run wrong.lua --out runs --progress none && says "$2"; }
wrong 'on = { init = { "from" } }, b = {},' "whose weights does the model begin with?"
wrong 'on = { init = { "from", run = "parnet" } }, parent = {},' "did you mean 'parent'?"
wrong 'on = { init = { "from", run = "parent", step = 25 } }, parent = {},' "25: parent is trained for 24 steps"
wrong 'on = { init = { "from", run = "b" } }, b = { init = { "from", run = "on" } },' "begins with itself"
wrong 'on = { layers = 3, init = { "from", run = "parent" } }, parent = {},' "has 2 layers and this model 3"
wrong 'on = { init = { "from", run = "parent", rest = "from" } }, parent = {},' "name a rule of draws"
wrong 'on = { init = { "from", run = "calm/s/parant" } }, parent = {},' "did you mean 'parent'?"
wrong 'on = { init = { "from", run = "parent", replicate = 5 } }, parent = {},' "parent has 2 replicates"
map() { wrong "on = { init = { \"from\", run = \"parent\", map = $1 } }, parent = {}," "$2"; }
map '{ "prune" }' "which experts stay?"
map '{ "prune", experts = { 2, 1 } }' "1: comes after 2; the list ascends"
map '{ "prune", experts = { 1 }, by = "load" }' "and \`by\` says which stay"
map '{ "merge", experts = { 1, 0, 1 } }' "1: is named twice"
map '{ "merge", experts = { 1, 2 } }' "2: 2 experts are named, which are counted from 0"
map '{ "overlap", removed = 2 }' 'init.map = "overlap": leaves none of the 2 layers of parent'
wrong 'on = { init = { "from", run = "nowhere/x.safetensors" } }, parent = {},' "nowhere/x.safetensors: is not there"
wrong 'on = { init = { "from", run = "runs/wrong/parent-01234567/0/checkpoints/step-00000024" } }, parent = {},' \
    "is named by its variant"
wrong "on = { layers = 3, init = { \"from\", run = \"$file\" } }, b = {}," "has 2 layers and this model 3"
says "wrong.lua:9"
wrong "on = { init = { \"from\", run = \"wrong.lua\" } }, b = {}," "wrong.lua: header of"
cp "$(ls -d calm/kept/moe-*/0/checkpoints/step-00000024)/state.safetensors" lone.safetensors
wrong "on = { $few, init = { \"from\", run = \"lone.safetensors\", map = { \"prune\", by = \"load\" } } }, b = {}," \
    "lone.safetensors is no checkpoint in a run's folder"
codes=$(ls -d runs/codes/on-*/0/checkpoints/step-00000024)
wrong "on = { init = { \"from\", run = \"$codes/state.safetensors\", left = \"*.lora_*\" } }, b = {}," "is in codes"
script right "on = { init = { \"from\", run = \"$codes\", left = \"*.lora_*\" } }, b = {},"
leaves 0 "$sluice" plan right.lua
script gone 'on = { init = { "from", run = "runs/none/parent" } }, b = {},'
leaves 4 "$sluice" run gone.lua --out runs --progress none
says "holds no good checkpoint (train.keep = 0 and sluice prune leave none)"
echo "mistakes are said before anything is trained"
