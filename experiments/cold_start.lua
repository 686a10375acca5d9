-- Does a router gain by beginning hot and with fewer experts? No measurement is published. Expected: at this size no
-- difference in loss, and a load that is no more even at the end than without.
local sl = require "sluice"
local base = require "baseline"

local function cold(settings)
  settings[1] = "cold_start"
  return { ["ffn.router.anneal"] = settings }
end

return sl.study {
  base = sl.extend(base, { ["ffn.experts"] = 16, ["ffn.router.noise"] = "normal" }),
  replicates = 5, data = "corpus.tok", baseline = "none",
  train = { steps = 400, batch = 16, eval_every = 100, optim = { "adamw", lr = 3e-3 } },
  variants = {
    none = {}, both = cold { length = 0.2 }, hot = cold { length = 0.2, experts = 1 },
    few = cold { length = 0.2, temperature = 1 },
  },
}
