#!/bin/sh
# What reads a study, on one that was trained a moment ago: ls, show, watch, compare, export, plot, fsck.
set -eu
. "$(dirname "$0")/streams.sh"

is_json() {
    if command -v python3 >/dev/null; then python3 -m json.tool out >/dev/null || fail "no JSON"; fi
}

cat >tiny.lua <<'END'
local sl = require "sluice"
local base = sl.model {
  layers = 2, d_model = 16, seq = 16, vocab = 256, attention = { "gqa", heads = 2, kv_heads = 1, head_dim = 8 },
  ffn = { "moe", experts = 4, d_ff = 8, router = { top_k = 2 }, balance = { { "switch_aux", alpha = 0.01 } } },
}
return sl.study {
  name = "tiny", base = base, replicates = 4, baseline = "base", primary = "eval.loss", data = "synthetic",
  train = { steps = 12, batch = 2, eval_every = 4, eval_tokens = 32, optim = { "adamw", lr = 3e-3 } },
  variants = { base = {}, gated = { ["attention.gate"] = "head" } },
}
END
leaves 0 run tiny.lua --out runs --progress none
study=runs/tiny run=$(echo runs/tiny/base-*/0)

leaves 0 ls
matches out 'tiny .*8/8 *finished'
leaves 0 ls "$study"
matches out 'gated/3 *finished *12/12'
leaves 0 ls "$study" --json
is_json
leaves 0 show "$study"
matches out 'base (baseline)'
leaves 0 show "$study" --json
is_json
leaves 0 show "$study" --script
cmp out tiny.lua || fail "the script was not kept"
leaves 0 show "$run"
matches out 'train.max_vio'
matches out 'finished'
leaves 0 show "$run/run.h5" --json
is_json
leaves 0 watch "$study"
leaves 0 watch "$study" --once
matches out 'tiny  finished'

leaves 0 compare "$study"
matches out '^gated .* 4 '
matches out '4 paired seeds, p '
leaves 0 compare "$study" --at step=8 --baseline gated --unpaired --metric train.loss
matches out 'difference = variant - gated'
leaves 0 compare "$study" --json
is_json
leaves 4 compare "$study" --metric eval.los
matches err "did you mean 'eval.loss'?"
leaves 4 compare "$run"

leaves 0 export "$study" --metric eval.loss
[ "$(wc -l <out)" = 25 ] || fail "8 runs with 3 evaluations are not 24 lines"
leaves 0 export "$run" -o all.csv
[ ! -s out ] && [ ! -e all.csv.part ] || fail "output beside the file"
says all.csv 'train.expert_tokens,1,3,'
leaves 0 export "$run" --json --every 5
is_json
leaves 1 export "$run" -o missing/all.csv
[ ! -e missing ] || fail "a folder was made"

if command -v gnuplot >/dev/null; then
    for kind in loss final pairs load collapse; do
        leaves 0 plot "$study" -o "$kind.svg" --kind "$kind"
        says "$kind.svg" '</svg>'
        [ ! -s err ] || fail "gnuplot complained about $kind"
    done
    leaves 0 plot "$run" -o one.png -m train.loss
    [ ! -s err ] || fail "gnuplot complained about one run"
fi
# Routers of single layers, in the feed-forward of one and in attention of another.
cat >routers.lua <<'END'
local sl = require "sluice"
local base = sl.model {
  layers = 2, d_model = 16, seq = 16, vocab = 256,
  attention = function(layer)
    local experts = layer == 1 and { "routed", n = 6, router = { top_k = 3 } } or "none"
    return { "gqa", heads = 2, kv_heads = 1, head_dim = 8, experts = experts }
  end,
  ffn = function(layer) return layer == 2 and { "moe", experts = 4, d_ff = 8 } or { "dense", d_ff = 8 } end,
}
return sl.study { name = "routers", base = base, replicates = 1, baseline = "base", data = "synthetic",
                  train = { steps = 12, batch = 2, eval_tokens = 32 }, variants = { base = {} } }
END
leaves 0 run routers.lua --out runs --progress none
both=$(echo runs/routers/base-*/0)
leaves 0 show "$both"
matches out '^expert load in the last step'
matches out "^load of attention's experts in the last step"
matches out '^    0 .* no$'
matches out '^    1 .* no$'
leaves 0 export "$both" --metric train.attention_max_vio_floor --metric train.max_vio_floor
matches out '^base,0,12,train.attention_max_vio_floor,0,0\.[0-9]*$'
matches out '^base,0,12,train.max_vio_floor,1,0\.[0-9]*$'
leaves 1 plot "$both" -o none.svg --kind load -m train.loss
matches err 'train.attention_expert_tokens'
if command -v gnuplot >/dev/null; then
    leaves 0 plot "$both" -o heads.svg --kind collapse -m train.attention_expert_tokens
    says heads.svg "attention's experts"
    [ ! -s err ] || fail 'gnuplot complained about experts of attention'
fi

PATH=/nowhere leaves 1 plot "$study" -o none.svg
matches err 'gnuplot is not installed'

leaves 0 fsck "$study"
matches out 'clean'
printf 'x' | dd of="$run/run.h5" bs=1 seek=3 conv=notrunc 2>/dev/null
leaves 4 fsck "$study"
matches out 'unreadable'
leaves 4 ls "$study"
matches out 'base/0 *unreadable'
leaves 4 compare "$study"
matches out 'base/0: unreadable'
matches out '3 paired seeds; no interval'
leaves 4 export "$study" --metric eval.loss
matches err 'base/0 is left out'
