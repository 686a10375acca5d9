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
script gone 'on = { init = { "from", run = "runs/none/parent" } }, b = {},'
leaves 4 "$sluice" run gone.lua --out runs --progress none
says "holds no good checkpoint to begin with"
echo "mistakes are said before anything is trained"
