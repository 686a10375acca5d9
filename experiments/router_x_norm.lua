-- Does softmax or sigmoid routing win, and does the answer depend on normalising the gates or on where the norms stand?
local sl = require "sluice"

return sl.study {
  base = require "baseline",
  replicates = 5, data = "corpus.tok", baseline = "normalize=after,score=softmax,residual=pre",
  train = { steps = 300, batch = 16, eval_every = 100, optim = { "adamw", lr = 3e-3 },
            schedule = { "wsd", warmup = 20 } },
  axes = {
    ["ffn.router.score"] = { "softmax", "sigmoid" },
    ["ffn.router.normalize"] = { "none", "after" },
    residual = { "pre", "sandwich" },
  },
}
