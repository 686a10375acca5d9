-- Does the router's score function matter more under one order of normalisation than under another?
local sl = require "sluice"
local base = require "baseline"

return sl.study {
  base = base, replicates = 5, data = "corpus.tok",
  train = { steps = 300, batch = 16, eval_every = 100, optim = { "adamw", lr = 3e-3 }, schedule = "wsd" },
  axes = {
    ["ffn.router.score"] = { "softmax", "sigmoid" },
    ["ffn.router.normalize"] = { "none", "before", "after" },
    residual = { "pre", "sandwich" },
  },
}
