#!/bin/sh
# Ranks that divide a model: by experts, by parts of weights, by layers, and by all of it, give the numbers of one rank;
# the same mesh gives the same bits, another goes on with a checkpoint; what cannot be is refused before anything runs.
set -eu
. "$(dirname "$0")/study.sh"
tiny
needs_ranks

cat >study.lua <<'LUA'
local sl = require "sluice"
local base = sl.extend(require "tiny", { layers = 4, ["attention.kv_heads"] = 2,
  ["ffn.balance"] = { { "bias", gamma = 1e-3 }, { "switch_aux", scope = "global" } } })
local welm = { ["attention.kv"] = { "mirror" }, ["attention.gate"] = "head", ["attention.qk_norm"] = "k",
               ["embed"] = "over_encoding", residual = "partial_post", ["head.mtp"] = { "sequential" },
               ["ffn.shared"] = { "dense" } }
return sl.study {
  name = "s", replicates = 1, baseline = "base", data = "synthetic",
  variants = { base = {}, welm = welm },
  base = base,
  train = { steps = 8, batch = 8, micro = 4, eval_every = 4, eval_tokens = 512, checkpoint_every = 4, keep = 3,
            optim = { "muon", lr = 2e-3 }, average = { "ema", decay = 0.9 } },
}
LUA

ranks() { mpirun --oversubscribe -np "$@"; }
plain() { for variant in base welm; do mv $1/s/$variant-* $1/s/$variant; done; }

leaves 0 "$sluice" run study.lua --out alone --progress none
plain alone

# ---- the numbers of one rank ----
# mesh RANKS AXES KEYS: trains so, holds losses against those of one rank.
number=0 reference=alone
mesh() {
    n=$1 axes=$2
    shift 2
    number=$((number + 1))
    leaves 0 ranks $n "$sluice" run study.lua --out "mesh$number" --ranks "$axes" "$@" --progress none
    plain "mesh$number"
    near=$(look near "$reference/s" "mesh$number/s" 1e-5)
    echo "$axes $*: losses differ from one rank's by $near"
}
mesh 2 'ep=2' --set train.micro=4 --set train.monitors=weights
mesh 4 'dp=2 ep=2' --set train.micro=2 --set train.ranks.pieces=2
mesh 4 'ep=4 nodes=2' --set train.ranks.zero=2 --set train.micro=2 --set train.ranks.spare=1 \
    --set train.ranks.spare_every=2 --set train.ranks.pieces=2
mesh 4 'dp=4' --set train.ranks.zero=3 --set train.micro=2
mesh 2 'pp=2' --set train.ranks.schedule=1f1b --set train.monitors=weights
mesh 2 'pp=2' --set train.ranks.schedule=gpipe
mesh 2 'pp=2' --set train.ranks.schedule=interleaved
mesh 2 'pp=2' --set train.ranks.schedule=zb_v
mesh 4 'pp=4' --set train.ranks.schedule=zb_h1
mesh 4 'pp=2 ep=2' --set train.ranks.schedule=dualpipev
mesh 4 'pp=2 dp=2' --set train.ranks.schedule=dualpipev --set train.ranks.zero=3
mesh 4 'pp=4' --set train.ranks.schedule=dualpipe --set train.micro=8 --set train.monitors=weights
mesh 2 'tp=2' --set train.monitors=weights
mesh 4 'cp=4'
mesh 4 'cp=2 ep=2' --set train.ranks.zero=2 --set train.micro=2
mesh 4 'cp=2 pp=2' --set train.ranks.schedule=zb_v
leaves 0 "$sluice" run study.lua --out adamw --set train.optim=adamw --progress none
plain adamw
reference=adamw
mesh 2 'tp=2' --set train.optim=adamw --set train.monitors=spectral
mesh 4 'ep=2 tp=2' --set train.optim=adamw --set train.ranks.zero=3 --set train.micro=2 --set train.ranks.spare=2 \
    --set train.ranks.spare_every=1
mesh 4 'pp=2 tp=2' --set train.optim=adamw --set train.ranks.schedule=zb_v
mesh 4 'cp=2 tp=2' --set train.optim=adamw --set train.micro=4
if [ "${SLUICE_FULL:-}" ]; then
    mesh 4 'cp=2 dp=2' --set train.optim=adamw --set train.micro=2
    mesh 2 'cp=2' --set train.optim=adamw --set train.ranks.zero=3
    mesh 4 'dp=2 tp=2' --set train.optim=adamw --set train.ranks.zero=2 --set train.micro=2
    mesh 8 'dp=2 ep=2 tp=2' --set train.optim=adamw --set train.ranks.zero=3 --set train.micro=2
    mesh 8 'pp=2 ep=2 cp=2' --set train.optim=adamw --set train.ranks.schedule=dualpipev
    mesh 8 'ep=4 tp=2 nodes=2' --set train.optim=adamw --set train.micro=2
    mesh 8 'pp=4 dp=2' --set train.optim=adamw --set train.micro=4 --set train.ranks.schedule=zb_h1
fi

# ---- parts of sequences: masks, positions, sources of keys, losses of each sequence; the same bits again ----
cat >parts.lua <<'LUA'
local sl = require "sluice"
return sl.study {
  name = "s", replicates = 1, baseline = "base", data = "synthetic",
  variants = {
    base = { ["attention.mask"] = { "window", size = 5 }, position = "relative", ["attention.sink"] = "token" },
    welm = { attention = { "mla", heads = 2, kv_rank = 16, rope_dim = 8, nope_dim = 16, value_dim = 16,
                           mask = { "chunk", size = 7 } },
             ["head.mtp"] = { "parallel", heads = 2 }, memory = "bigram" },
  },
  base = sl.extend(require "tiny", { ["ffn.balance"] = { { "switch_aux", scope = "sequence" } } }),
  train = { steps = 4, batch = 8, micro = 2, eval_every = 2, eval_tokens = 512, eval_seq = 64,
            optim = { "adamw", lr = 2e-3 } },
}
LUA
leaves 0 "$sluice" run parts.lua --out whole --progress none
plain whole
for out in parts again; do
    leaves 0 ranks 2 "$sluice" run parts.lua --out $out --ranks cp=2 --progress none
    plain $out
done
look equal parts/s again/s
near=$(look near whole/s parts/s 1e-5)
echo "cp=2 of other modules: losses differ from one rank's by $near"

# ---- a stage of which no weight trains ----
cat >frozen.lua <<'LUA'
local sl = require "sluice"
return sl.study {
  name = "s", replicates = 1, data = "synthetic", variants = { base = {} },
  base = sl.extend(require "tiny", { layers = 4, adapter = { "lora", rank = 2, roles = "latent_up" },
    ffn = function(layer)
      return layer < 4 and { "dense", d_ff = 48 }
             or { "moe", experts = 4, d_ff = 24, latent = "projected", router = { top_k = 2 } }
    end }),
  train = { steps = 4, batch = 8, micro = 4, eval_every = 4, eval_tokens = 512, optim = { "adamw", lr = 2e-2 } },
}
LUA
leaves 0 "$sluice" run frozen.lua --out warm --progress none
leaves 0 ranks 2 "$sluice" run frozen.lua --out cold --ranks pp=2 --set train.ranks.schedule=zb_v --progress none
for study in warm cold; do mv $study/s/base-* $study/s/base; done
echo "a stage that is frozen: losses differ from one rank's by $(look near warm/s cold/s 1e-5)"

# ---- messages beside computation: the bits of one after the other, also where they come late ----
late() {
    axes=$1
    shift
    rm -rf apart beside
    leaves 0 ranks 4 "$sluice" run study.lua --out apart --ranks "$axes" "$@" --set train.ranks.overlap=false \
        --progress none
    leaves 0 env SLUICE_LINK=500:0.1 mpirun --oversubscribe -np 4 "$sluice" run study.lua --out beside --ranks "$axes" \
        "$@" --progress none
    plain apart
    plain beside
    look equal apart/s beside/s cost/planned cost@predicted_peak_bytes       # more is alive at a time
}
late 'ep=2 tp=2' --set train.optim=adamw --set train.ranks.zero=3 --set train.micro=2
late 'pp=2 ep=2' --set train.ranks.schedule=dualpipev --set train.ranks.spare=1
echo "messages beside computation: the same bits"

# ---- a router whose tokens go to two of four groups of experts, on two nodes and on four ----
cat >groups.lua <<'LUA'
local sl = require "sluice"
return sl.study {
  name = "s", replicates = 1, baseline = "base", data = "synthetic", variants = { base = {} },
  base = sl.extend(require "tiny", { ["ffn.experts"] = 8, ["ffn.router.top_k"] = 4,
    ["ffn.router.select"] = { "top_k", groups = 4, limit = 2 }, ["ffn.shared"] = { "adjugate" } }),
  train = { steps = 8, batch = 8, eval_every = 4, eval_tokens = 512, monitors = { "ranks" } },
}
LUA
leaves 0 "$sluice" run groups.lua --out one --progress none
for nodes in 2 4; do
    leaves 0 ranks 4 "$sluice" run groups.lua --out nodes$nodes --ranks "ep=4 nodes=$nodes" --progress none
done
for study in one nodes2 nodes4; do mv $study/s/base-* $study/s/base; done
near=$(look near one/s nodes2/s 1e-5)
look near one/s nodes4/s 1e-5 >/dev/null
echo "tokens to groups of experts on nodes: losses differ from one rank's by $near, $(look nodes nodes2/s 256 1) go to
another of two, $(look nodes nodes4/s 256 2) of four"

# ---- copies of experts that stay busy ----
leaves 0 ranks 4 "$sluice" run groups.lua --out busy --ranks ep=4 --set train.ranks.spare=1 \
    --set train.ranks.spare_every=2 --set ffn.router.select=forced --set ffn.router.select.skew=1 --progress none
look busiest busy/s 2

# ---- the same bits again, and on with another mesh, both ways, of whose experts some have copies ----
spare="--set train.ranks.spare=1 --set train.ranks.spare_every=3"
both="--only base --set train.steps=40 --set train.ranks.schedule=dualpipe $spare"
cut() {
    rm -rf "$1"
    ranks 4 "$sluice" run study.lua --out "$1" $both --ranks 'pp=2 ep=2' --progress none >log 2>&1 &
    job=$!
    reaches "$1/s/base-*/0/checkpoints/step-00000004" 60
    pkill -9 -P "$(pgrep -d, -P $job)" || :
    kill -9 $job 2>/dev/null || :
    wait $job 2>/dev/null || :
}
leaves 0 ranks 4 "$sluice" run study.lua --out calm $both --ranks 'pp=2 ep=2' --progress none
cut torn
cp -r torn other
leaves 0 ranks 4 "$sluice" resume torn/s --only base --ranks 'pp=2 ep=2' --progress none
look equal calm/s torn/s checkpoints
leaves 4 ranks 2 "$sluice" resume other/s --only base --ranks 'ep=2' --progress none
says 'its bits may differ'
leaves 0 ranks 2 "$sluice" resume other/s --only base --ranks 'cp=2' --mix --progress none
for study in calm other; do mv $study/s/base-* $study/s/base; done
near=$(look near calm/s other/s 1e-4)
echo "killed: the same mesh goes on with the same bits, another within $near"

# ---- a rank that is killed takes the others with it; what was committed stands ----
children() { cat /proc/"$1"/task/"$1"/children 2>/dev/null || :; }
trainer() {
    for launched in $(children $job); do
        if tr '\0' '\n' </proc/"$launched"/environ | grep -qx "OMPI_COMM_WORLD_RANK=$1"; then children "$launched"; fi
    done
}
# kills NAME TIMES KEYS..: a rank at a random moment, so often; the study goes on to the bits of one that nobody killed.
long="--only base --set train.steps=60"
kills() {
    name=$1 times=$2
    shift 2
    leaves 0 ranks 4 "$sluice" run study.lua --out "$name" $long "$@" --progress none
    i=0
    while [ $i -lt $times ]; do
        i=$((i + 1))
        rm -rf shot
        SLUICE_COMM_TIMEOUT=5 mpirun --oversubscribe -np 4 "$sluice" run study.lua --out shot $long "$@" \
            --progress none >log 2>&1 &
        job=$!
        reaches 'shot/s/base-*/0/run.h5' 60
        sleep 0.$((i * 7 % 10))$((i * 3 % 10))
        victim=$((i % 4))
        pid=$(trainer $victim)
        [ -z "$pid" ] || kill -9 $pid 2>/dev/null || :
        got=0
        wait $job || got=$?
        [ $got = 0 ] || says "rank $victim of 4 was killed by SIGKILL"
        leaves 0 ranks 4 "$sluice" resume shot/s --only base --progress none
        look equal "$name/s" shot/s checkpoints
    done
    echo "$* of 4 ranks: one killed $times times, the same bits after"
}
times=${SLUICE_FULL:+30}
kills experts ${times:-1} --set train.ranks.ep=4 --set train.ranks.nodes=2 $spare --set train.micro=2
kills layers ${times:-1} --set train.ranks.pp=4
[ -z "$times" ] || kills sides $times --set train.ranks.pp=4 --set train.ranks.schedule=dualpipe --set train.micro=8
kills heads ${times:-1} --set train.ranks.tp=2 --set train.ranks.zero=3 --set train.micro=4 --set train.optim=adamw

# ---- what cannot be ----
refused() {
    says=$1 code=$2 n=$3
    shift 3
    leaves $code ranks $n "$sluice" run study.lua --out no "$@" --progress none
    says "$says"
}
refused 'ep 3 are 3 ranks, and 4, as are here, are no multiple of them' 3 4 --ranks ep=3
refused 'dp 2 x ep 4 are 8 ranks, and 4 are here' 3 4 --ranks 'dp=2 ep=4'
refused "'qp=2': must be an axis" 2 2 --ranks qp=2
refused 'it needs at least 2 * 2 = 4' 3 2 --ranks pp=2 --set train.ranks.schedule=dualpipev --set train.micro=2
refused 'it needs an even number, half for each direction; 6 would do' 3 2 --ranks pp=2 \
    --set train.ranks.schedule=dualpipe --set train.micro=5 --set train.batch=10
refused 'a pipeline of 8 stages, and the model has' 3 2 --ranks pp=2 --set train.ranks.schedule=interleaved \
    --set train.ranks.chunks=4
refused 'ranks cannot divide monitored heads' 3 2 --ranks tp=2 --set train.monitors=attention
refused 'sequences of 33 tokens (seq) cannot be divided among 2 ranks: 1 are left over' 3 2 --ranks cp=2 --set seq=33
while read -r says set; do
    says=$(echo "$says" | tr _ ' ')
    refused "ranks cannot divide sequences with $says" 3 2 --ranks cp=2 --only base --set $set </dev/null
done <<'END'
what_passes_from_token_to_token conv=short
what_passes_from_token_to_token ffn.router.logits=running_mean
keys_=_'moba' attention.keys=moba
keys_=_'dsa' attention.keys=dsa
dispatch_=_'capacity' ffn.dispatch=capacity
noise,_which_is_drawn_by ffn.router.noise=normal
memory_=_'engram' memory=engram
train.record, train.record=true
END
refused 'train.ranks.pieces: layers.0.ffn: 7: 32 tokens of a rank cannot be divided so' 3 2 --ranks ep=2 \
    --set train.ranks.pieces=7
refused 'train.ranks.ep: layers.0.ffn: 4 experts cannot be divided among 3 ranks' 3 3 --ranks ep=3 \
    --set train.batch=12
refused 'train.ranks.nodes: 3: 4 ranks of ep cannot be divided among them' 3 4 --ranks 'ep=4 nodes=3'
refused 'train.ranks.spare: layers.0.ffn: 3: the other ranks of a node have only 2 experts' 3 2 --ranks ep=2 \
    --set train.ranks.spare=3
refused "train.ranks.spare: 1: products by train.fp8 = 'tile' read experts where they are at home" 3 2 --ranks ep=2 \
    --set train.ranks.spare=1 --set train.fp8=tile
refused 'train.ranks.room leaves room for' 7 2 --ranks ep=2 --set train.ranks.room=1 --only welm
