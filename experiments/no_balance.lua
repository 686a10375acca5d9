-- Does routing collapse without balance, and do a balance loss or a bias of each expert keep all experts at work?
-- Expected: without balance a few experts of each layer take nearly all tokens within a few steps; with either rule
-- the load stays near even and the held-out loss is lower.
local sl = require "sluice"

return sl.study {
  base = require "baseline",
  replicates = 5, data = "corpus.tok", baseline = "none",
  train = { steps = 300, batch = 16, eval_every = 100, optim = { "adamw", lr = 3e-3 },
            schedule = { "wsd", warmup = 20 } },
  variants = {
    none = { ["ffn.balance"] = {} },
    switch_aux = { ["ffn.balance"] = { { "switch_aux", alpha = 0.01 } } },
    bias = { ["ffn.balance"] = { { "bias", gamma = 0.001 } } },
  },
}
