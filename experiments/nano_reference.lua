-- How far do the two reference models get with more steps: the usual mixture of experts, and WeLM?
local sl = require "sluice"

return sl.study {
  base = sl.preset "baseline-nano", replicates = 3, data = "corpus.tok", baseline = "baseline",
  train = { steps = 2000, batch = 16, eval_every = 200, optim = { "adamw", lr = 3e-3 },
            schedule = { "wsd", warmup = 50 } },
  variants = { baseline = {}, welm = sl.preset "welm-nano" },
}
