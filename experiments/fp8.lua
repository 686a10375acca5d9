-- What do products of operands in FP8 cost in loss, beside bf16, and does it matter which values share a scale?
-- Expected: less than 0.25 % (DeepSeek-V3 2024) with a scale for each tile, more with one for a whole tensor. The model
-- is dense: choices of experts would make runs too unlike to tell.
local sl = require "sluice"
local base = require "baseline"

return sl.study {
  base = sl.extend(base, { ffn = { "dense", d_ff = 384 } }), replicates = 8, data = "corpus.tok", baseline = "bf16",
  train = { steps = 300, batch = 16, eval_every = 100, eval_tokens = 131072, precision = "bf16",
            schedule = { "linear", warmup = 20 }, optim = { "adamw", lr = 3e-3 } },
  variants = {
    bf16 = {}, tile = { ["train.fp8"] = "tile" }, tensor = { ["train.fp8"] = "tensor" },
    delayed = { ["train.fp8"] = "delayed" },
  },
}
