-- Which parts of the WeLM architecture does a small model miss when they are taken out one at a time?
local sl = require "sluice"

return sl.leave_one_out {
  base = sl.preset "welm-nano", replicates = 5, data = "corpus.tok",
  train = { steps = 300, batch = 16, eval_every = 100, optim = { "adamw", lr = 3e-3 }, schedule = "wsd" },
  drop = {
    "embed", "residual", "attention.kv", "attention.qk_norm", "attention.gate", "ffn.shared", "head.mtp",
    ["position.fraction"] = 1, ["attention.heads"] = 4,
  },
}
