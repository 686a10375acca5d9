-- Can weights be kept in bf16 alone, without a copy in float32, if their roundings are left to chance?
local sl = require "sluice"
local base = require "baseline"

return sl.study {
  base = base, replicates = 5, data = "corpus.tok", baseline = "float", primary = "eval.loss",
  train = { steps = 200, batch = 16, eval_every = 100, optim = { "adamw", lr = 3e-3 } },
  variants = {
    float = {},
    nearest = { ["train.rounding"] = "nearest" },
    stochastic = { ["train.rounding"] = "stochastic" },
  },
}
