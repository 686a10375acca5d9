#!/bin/sh
# Samples go on from a prompt, which is read in chunks without what no cache needs, however much that is.
set -eu
. "$(dirname "$0")/study.sh"

cat >forms.lua <<'END'
local sl = require "sluice"
return sl.study {
  name = "forms", data = "synthetic", baseline = "own",
  train = { steps = 3, batch = 4, eval_every = 3, eval_tokens = 130, checkpoint_every = 3 },
  base = sl.model {
    layers = 6, d_model = 16, seq = 128, vocab = 256, attention = { "gqa", heads = 2, kv_heads = 1, head_dim = 8 },
    ffn = { "dense", d_ff = 16 },
  },
  variants = {
    own = {}, mirror = { ["attention.kv"] = "mirror" }, yoco = { ["attention.kv"] = "yoco" },
    tail = { ["attention.kv"] = "tail", ["attention.mask"] = { "window", size = 20 } },
    heads = { ["head.mtp"] = "parallel" },
  },
}
END
leaves 0 "$sluice" run forms.lua --progress none
prompt='It was read in chunks, as far as chunks go, and the rest of it was read one by one.'

# sample VARIANT LEFT: of six layers so many are left out
sample() {
    run=$(echo runs/forms/"$1"-*/0)
    leaves 0 "$sluice" sample "$run" -p "$prompt" -n 12
    says "64 of the prompt's 83 tokens are read in chunks, without $2 of 6 layers"
    says "$prompt"
    cp log first
    leaves 0 "$sluice" sample "$run" -p "$prompt" -n 12
    cmp -s log first || fail "$1: a second sample differs"
    leaves 0 "$sluice" sample "$run" -p I -n 3
    ! grep -q 'read in chunks' log || fail "$1: a prompt of one byte has nothing to read in chunks"
}
sample own 1
sample heads 1
sample mirror 3
sample yoco 3
sample tail 4
echo "prompts are read in chunks, without upper layers that no cache needs"
