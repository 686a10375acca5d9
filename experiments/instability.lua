-- What does a run look like that is about to fail? A planted instability, and the same model without it: draw both with
--     sluice plot runs/instability -o health.png --kind health --variant unstable
local sl = require "sluice"

return sl.study {
  base = sl.extend(sl.preset "baseline-nano", {
    layers = 12, ["attention.qk_norm"] = "qk", head = { "lm", z_loss = 1e-4 },
  }),
  replicates = 1, data = "corpus.tok", baseline = "stable",
  train = { steps = 400, batch = 8, eval_every = 50, optim = { "adamw", lr = 3e-3 },
            schedule = { "wsd", warmup = 30 }, monitors = { "stream", "attention" } },
  variants = {
    stable = {},
    unstable = {
      ["attention.qk_norm"] = "none", ["head.z_loss"] = 0, ["train.optim"] = { "adamw", lr = 3e-2, beta2 = 0.999 },
      ["train.clip"] = 0, ["train.schedule"] = { "wsd", warmup = 0 },
    },
  },
}
