-- What does training with FP8 products cost in loss, and does it matter which values share a scale?
local sl = require "sluice"
local base = require "baseline"

return sl.study {
  base = base, replicates = 5, data = "corpus.tok", baseline = "float", primary = "eval.loss",
  train = { steps = 200, batch = 16, eval_every = 100, optim = { "adamw", lr = 3e-3 } },
  variants = {
    float = {},
    tile = { ["train.fp8"] = "tile" },
    tile_powers = { ["train.fp8"] = { "tile", power_of_two = true } },
    tensor = { ["train.fp8"] = "tensor" },
    delayed = { ["train.fp8"] = "delayed" },
    hybrid = { ["train.fp8"] = { "delayed", gradient = "e5m2" } },
  },
}
