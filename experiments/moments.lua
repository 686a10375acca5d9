-- What does an optimizer's memory in bf16, or in 8 bits, cost in loss? Expected: less than 0.3 % (Dettmers 2022), for a
-- half and a quarter of the bytes. The model is dense: choices of experts would make runs too unlike to tell.
local sl = require "sluice"
local base = require "baseline"

return sl.study {
  base = sl.extend(base, { ffn = { "dense", d_ff = 384 } }), replicates = 24, data = "corpus.tok", baseline = "float",
  train = { steps = 300, batch = 16, eval_every = 100, optim = { "adamw", lr = 3e-3 } },
  variants = { float = {}, bf16 = { ["train.optim.state"] = "bf16" }, int8 = { ["train.optim.state"] = "int8" } },
}
