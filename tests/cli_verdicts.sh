#!/bin/sh
# What a study says of itself, on studies that were trained a moment ago: which way a metric is read, what is not
# tested, runs that diverged or have not learned, metrics that a variant lacks, and figures of any size.
set -eu
. "$(dirname "$0")/study.sh"

# script NAME KEYS VARIANTS [REPLICATES]: a study of a tiny mixture of experts, 4 replicates of 6 steps; KEYS come last
# and win.
script() {
    cat >"$1.lua" <<END
local sl = require "sluice"
local keys = {
  name = "$1", data = "synthetic", baseline = "base", replicates = ${4:-4}, variants = { $3 },
  base = sl.model {
    layers = 2, d_model = 16, seq = 16, vocab = 256, attention = { "gqa", heads = 2, kv_heads = 1, head_dim = 8 },
    ffn = { "moe", experts = 4, d_ff = 8, router = { top_k = 2 }, balance = { { "switch_aux", alpha = 0.01 } } },
  },
  train = { steps = 6, batch = 4, eval_every = 3, eval_tokens = 128, optim = { "adamw", lr = 3e-3 } },
}
for key, value in pairs { $2 } do keys[key] = value end
return sl.study(keys)
END
}
trains() { leaves 0 "$sluice" run "$1.lua" --out runs --progress none; }
compares() { leaves 0 "$sluice" compare "$@"; }
lacks() { ! grep -qF -- "$1" log || fail "something says '$1'"; }
figure() {
    command -v gnuplot >/dev/null || return 0
    leaves 0 "$sluice" plot "$@" -o figure.svg
    [ ! -s log ] || fail "a complaint about: plot $*"
    grep -q '</svg>' figure.svg || fail "no figure: plot $*"
}
shows() {
    if command -v gnuplot >/dev/null; then grep -qF -- "$1" figure.svg || fail "the figure does not show '$1'"; fi
}

# ---- before training ----

# refuses KEYS WORDS..
refuses() {
    script wrong "$1" 'base = {}, gated = { ["attention.gate"] = "head" }'
    shift
    for verb in plan run; do
        leaves 3 "$sluice" "$verb" wrong.lua
        for words in "$@"; do says "$words"; done
    done
    [ ! -e runs/wrong ] || fail "a study with a mistake was made"
}
refuses 'primary = "eval.acuracy"' "did you mean 'eval.accuracy'?" 'nothing was run'
refuses 'primary = "train.max_vio"' "ask for 'train.max_vio:mean'"
refuses 'primary = "train.max_vio:average"' "'average' must be mean, max or min"
refuses 'test = { family = "sidac" }' "did you mean 'sidak'?"
refuses 'test = { families = "sidak" }' "test has no key 'families'"
script few 'primary = "train.max_vio:mean"' 'base = {}, dense = { ffn = "dense" }'
leaves 0 "$sluice" plan few.lua
says "variant 'dense': no metric 'train.max_vio'"
says '4 pairs show a difference of 2.13 standard deviations'
script many '' 'base = {}, a = { layers = 1 }, b = { layers = 3 }' nil
leaves 0 "$sluice" plan many.lua
says '3 variants x 8 replicates'
says '8 pairs show a difference of 1.34 standard deviations'
says 'over 2 comparisons, family sidak'
echo "mistakes are told before training"

# ---- which way ----
script acc 'train = { steps = 120, batch = 8, eval_every = 120, eval_tokens = 1024, optim = { "adamw", lr = 2e-2 } }' \
    'base = {}, frozen = { ["train.optim.lr"] = 0 }'
trains acc
compares runs/acc -m eval.accuracy
says 'higher is better'
says 'frozen loses to base by '
compares runs/acc -m eval.accuracy -b frozen
says 'base beats frozen by '
compares runs/acc -b frozen
says 'base beats frozen by '
says 'frozen: 4 of 4'
compares runs/acc
says 'not learned: 4 runs'
says 'frozen: 4 of 4'
says 'its 4 runs have not learned'
compares runs/acc -m train.update_ratio
says 'neither higher nor lower is better'
says 'frozen is lower than base by '
compares runs/acc --unpaired
says '<0.001'
lacks '0.000'
compares runs/acc --family none
lacks "Sidak"
leaves 4 "$sluice" compare runs/acc --family hoolm
says "did you mean 'holm'?"
echo "a metric says which way is better"

# ---- metrics that some lack ----
script lack '' 'base = {}, other = { ["ffn.d_ff"] = 12 }, dense = { ffn = "dense" }'
trains lack
compares runs/lack -m train.max_vio:mean
says 'dense has no train.max_vio:mean: left out'
says 'other '
compares runs/lack -m train.max_vio:mean --family holm
lacks 'intervals are not simultaneous'
compares runs/lack --family holm
says 'intervals are not simultaneous'
figure runs/lack -m train.max_vio:mean
shows 'dense (no such metric)'
for kind in final pairs; do figure runs/lack -k $kind -m train.max_vio:mean; done
leaves 4 "$sluice" compare runs/lack -m train.max_via:mean
says "did you mean 'train.max_vio'?"
echo "a variant without the metric is left out by name"

# ---- routing that collapses, and that does not ----
script forced 'train = { steps = 20, batch = 4, eval_tokens = 128 }' \
    'base = { ["ffn.router.select"] = { "forced", pattern = "uniform" } },
     constant = { ["ffn.router.select"] = { "forced", pattern = "constant" } },
     chance = { ["ffn.router.select"] = { "forced", pattern = "random" } }' 1
trains forced
compares runs/forced
says 'collapsed: 1 run ends with a layer'
says 'constant: 1 of 1'
leaves 0 "$sluice" show runs/forced/constant-*/0
says 'since step 20'
for variant in base chance; do
    leaves 0 "$sluice" show runs/forced/$variant-*/0
    says 'expert load in the last step'
    lacks 'since step'
done
compares runs/forced -m train.collapsed:max
figure runs/forced -k collapse --variant constant
echo "routing to the same experts is collapse, in turn and by chance it is not"

# ---- runs that diverge ----
lost='["train.optim.lr"] = 10, ["train.optim.decay"] = 10, ["train.clip"] = 0, ["train.steps"] = 200'
script lost '' "base = { $lost }, other = { $lost, [\"ffn.d_ff\"] = 12 }" 1
leaves 5 "$sluice" run lost.lua --out runs --progress none
leaves 5 "$sluice" resume runs/lost --progress none
leaves 5 "$sluice" compare runs/lost
says 'diverged at step'
figure runs/lost -m train.loss
figure runs/lost/base-*/0 -m train.loss
leaves 0 "$sluice" show runs/lost/base-*/0
rows=$(awk '$1 == "train.loss" { print $3 }' log)
leaves 0 "$sluice" export runs/lost/base-*/0 -m train.loss
[ "$(grep -c ',train.loss,' log)" = "$rows" ] || fail "not all $rows rows of the run that diverged"
says ',nan'
script half '' "base = {}, other = { $lost }" 1
leaves 0 "$sluice" run half.lua --out runs --progress none
compares runs/half
says 'other/0: diverged at step'
echo "runs that diverge are drawn and exported, and alone they are no success"

# ---- figures ----
variants='base = {}'
for i in $(seq 39); do
    variants="$variants, variant_number_${i}_of_forty_with_a_name_that_is_long = { [\"train.optim.lr\"] = ${i}1e-5 }"
done
script forty 'train = { steps = 2, batch = 1, eval_every = 2, eval_tokens = 128 }' "$variants" 1
trains forty
mkdir home
echo 'this is no gnuplot' >home/.gnuplot
HOME=$folder/home
export HOME
figure runs/forty
for i in $(seq 39); do shows "variant_number_${i}_of_forty_with_a_name_that_is_long (n = 1)"; done
for kind in final pairs; do
    figure runs/forty -k $kind
    shows variant_number_39_of_forty_with_a_name_that_is_long
done
script one 'train = { steps = 1, batch = 1, eval_tokens = 128 }' \
    'base = {}, lone = { ["ffn.experts"] = 1, ["ffn.router.top_k"] = 1 }' 1
trains one
figure runs/one -k load
figure runs/one -k load --variant lone
for variant in base lone; do figure runs/one -k collapse --variant $variant; done
script lone '' 'base = { ["ffn.experts"] = 1, ["ffn.router.top_k"] = 1 }, other = {}' 1
trains lone
figure runs/lone -k load
compares runs/lone -m train.max_vio:max
says 'other against base: not tested, '
says '1 paired seed; no interval'
echo "figures of forty variants, of one step and of one expert"
