#!/bin/sh
# Choices of one run that are kept and imposed on another: a run that replays its own is that very run, one that replays
# another's has its loads whatever else differs, and what is no record of this run's tokens is refused.
set -eu
. "$(dirname "$0")/study.sh"

# script NAME KEYS ROUTER VARIANTS TRAIN: a study of a tiny mixture of experts with multi-token prediction.
script() {
    cat >"$1.lua" <<END
local sl = require "sluice"
local train = { steps = 8, batch = 4, eval_every = 3, eval_tokens = 130, checkpoint_every = 2,
                optim = { "adamw", lr = 1e-2 } }
for key, value in pairs { $5 } do train[key] = value end
return sl.study {
  name = "$1", data = "synthetic", baseline = "base", replicates = 2, train = train, $2
  base = sl.model {
    layers = 2, d_model = 16, seq = 16, vocab = 256, attention = { "gqa", heads = 2, kv_heads = 1, head_dim = 8 },
    ffn = { "moe", experts = 4, d_ff = 8, balance = { { "switch_aux", alpha = 0.1 } },
            router = { top_k = 2, normalize = "after", $3 } },
    head = { mtp = "sequential" },
  },
  variants = { $4 },
}
END
}
runs() { leaves "$1" "$sluice" run "$2.lua" --progress none ${3-}; }
# refused NAME WORDS SETS: by the script, before anything is trained
refused() {
    leaves 3 "$sluice" plan "$1.lua" $3
    says "$2"
}
# fails NAME WORDS SETS: by each run, before its first step
fails() {
    runs 4 "$1" "--out failed ${3-}"
    says "$2"
    [ ! -e "$(echo failed/*/*/0/run.h5)" ] || fail "a run began"
    rm -rf failed
}

# ---- a run that replays its own choices is that run; another has its loads ----
norms='rms = { norm = { "rms", eps = 1e-2 } }'
script record '' '' 'base = {}' 'record = true'
script replay 'choices = "runs/record/base",' 'select = "replayed"' \
    'base = {}, gated = { ["attention.gate"] = "head" }, '"$norms"', loose = { ["ffn.router.score"] = "sigmoid" }' \
    'record = true'
for micro in 1 2 4; do
    runs 0 record "--set train.micro=$micro"
    runs 0 replay "--set train.micro=$micro"
    look replayed runs/record/base runs/replay/base
    for other in gated rms loose; do look loads runs/record/base "runs/replay/$other"; done
    mv runs/record "runs/record$micro"
    mv runs/replay "runs/replay$micro"
done
look first runs/record1/base runs/record2/base runs/record4/base
mv runs/record1 runs/record
echo "a run that replays its own choices is that run, however its batch is cut; others have its loads"

# ---- both routers of a layer, or one of them ----
own='"routed", n = 4, router = { top_k = 2, normalize = "after", select = SELECT }'
script both '' '' "base = { [\"attention.experts\"] = { $(echo "$own" | sed 's/SELECT/"top_k"/') } }" 'record = true'
script again 'choices = "runs/both/base",' 'select = "replayed"' \
    "base = { [\"attention.experts\"] = { $(echo "$own" | sed 's/SELECT/"replayed"/') } },
    rms = { norm = { \"rms\", eps = 1e-2 },
            [\"attention.experts\"] = { $(echo "$own" | sed 's/SELECT/"replayed"/') } },
    one = { [\"attention.experts\"] = { $(echo "$own" | sed 's/SELECT/"top_k"/') } }" 'record = true, micro = 2'
runs 0 both '--set train.micro=2'
runs 0 again
look replayed runs/both/base runs/again/base
look replayed runs/both/base runs/again/one
look loads runs/both/base runs/again/rms
script lacks 'choices = "runs/record/base",' '' \
    "base = { [\"attention.experts\"] = { $(echo "$own" | sed 's/SELECT/"replayed"/') } }" ''
fails lacks 'has no attention_router_choices, and this run replays them'
echo "attention's router is replayed as the other"

# ---- other cuts of the same tokens, ranks, and a run that was cut off ----
runs 0 replay '--set train.micro=2 --only base'
look loads runs/record/base runs/replay/base
rm -r runs/replay
long='--set train.steps=400 --set train.eval_every=100 --set train.checkpoint_every=20 --only base/0'
cut() {
    "$sluice" run "$1.lua" --progress none --out cut $long ${2-} 2>log &
    job=$!
    reaches "cut/$1/base-*/0/checkpoints/step-00000020" 20
    kill -9 $job
    wait $job 2>/dev/null || true
    flock cut/"$1"/base-*/0/run.lock true                   # the run itself has ended
    [ "$(look steps_of cut/"$1"/base-*/0/run.h5)" -lt 400 ] || fail "it was not cut off"
}
runs 0 record "--out long $long"
runs 0 replay "--out calm $long --set choices=long/record/base"
cut replay '--set choices=long/record/base'
leaves 0 "$sluice" resume cut/replay --progress none --only base/0
look equal calm/replay cut/replay checkpoints
look replayed long/record/base cut/replay/base
cut record
leaves 4 "$sluice" run replay.lua --progress none --out failed $long --set choices=cut/record/base
says 'run.h5: has no choices of step '
rm -r failed
runs 0 replay '--only rms'
leaves 0 "$sluice" reproduce "$(echo runs/replay/rms-*/1)" --check
says 'equal, bit for bit'
leaves 0 "$sluice" show "$(echo runs/replay/rms-*/1)"
says "choices   $folder/runs/record/base"
leaves 0 "$sluice" sample "$(echo runs/replay/rms-*/1)" -p a -n 4
echo "what replays is cut, resumed, made again and sampled as any run"

if command -v mpirun >/dev/null && [ -e "$(dirname "$sluice")/libsluice_mpi.so" ]; then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    mv runs/record runs/record1
    leaves 0 mpirun --oversubscribe -np 2 "$sluice" run record.lua --progress none
    look first runs/record1/base runs/record/base
    leaves 0 mpirun --oversubscribe -np 2 "$sluice" run replay.lua --progress none --out ranks --only base
    look replayed runs/record/base ranks/replay/base
    rm -r runs/record
    mv runs/record1 runs/record
    echo "ranks keep and replay together what one does alone"
fi

# ---- what is no record of these tokens ----
refused replay 'choices: the study in '"$folder/runs/record"' has no variant '"'bass' (did you mean 'base'?)" \
    '--set choices=runs/record/bass'
refused replay 'must be the folder of a variant' '--set choices=base'
refused replay 'study.json' '--set choices=runs/nothing/base'
refused replay 'was run with batch = 4, and this has 8' '--set train.batch=8'
refused replay 'was run with seq = 16, and this has 8' '--set seq=8'
refused replay 'was run with eval_tokens = 130, and this has 64' '--set train.eval_tokens=64'
refused replay 'was run with seed = 0, and this has 1' '--set seed=1'
refused replay 'has 2 replicates, and this has 3' '--set replicates=3'
refused replay 'was run on other data than synthetic:2' '--data synthetic:2'
refused replay 'has 8 steps, and this has 9' '--set train.steps=9'
refused replay 'was evaluated every 3 of 8 steps, this is every 2 of 8' '--set train.eval_every=2'
refused record 'needs train.eval_tokens' '--set train.eval_tokens=0'
refused record 'no router whose choices could be kept' '--set ffn=dense'
script none '' 'select = "replayed"' 'base = {}' ''
refused none "choices: is missing: whose choices does 'base' replay?" ''
refused record 'no variant replays them' '--set choices=runs/record/base'
script bias 'choices = "runs/record/base",' 'select = "replayed"' 'base = { ["ffn.balance"] = "bias" }' ''
refused bias 'router.select does not choose by it' ''

fails replay "has 2 choices of a token in layer 0, and this run's router.top_k is 1" \
    '--set ffn.router.top_k=1 --set ffn.router.normalize=none --only base'
fails replay 'chose among 4 experts in layer 0, and this run has 3' '--set ffn.experts=3 --only base'
fails replay 'has 3 layers, blocks of multi-token prediction included, and this run 4' '--set layers=3 --only base'
fails replay 'has choices of 60 tokens in layer 2, and this run of 64' '--set layers=3 --set head.mtp=none --only base'
record=$(echo runs/record/base-*)
mv "$record" away
fails replay 'run.h5' '--only base'
mv away "$record"
rm -r runs/replay
runs 0 replay '--only base/0'
mv runs/record away
rm runs/replay/base-*/0/run.h5
leaves 4 "$sluice" resume runs/replay --progress none --only base/0
says "choices: $folder/runs/record/study.json"
mv away runs/record
leaves 0 "$sluice" resume runs/replay --progress none --only base/0
cp -r runs/record away
look write "$(echo away/base-*/0/run.h5)" metrics/train/router_choices 3 4
runs 4 replay "--only base/0 --out failed --set choices=away/base"
says 'step 4, layer 0, token 0 went to expert 4, and there are 4'
rm -r failed away
echo "what is no record of a run's tokens is refused, and why"
