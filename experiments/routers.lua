-- What does each published router make of one small model: how low a loss, how even a load?
-- Each stands with its balance and dispatch as published, but among 16 experts, of which it chooses at most 2: those
-- that choose 1 do less work than the baseline, and compare says so.
-- Expected: routers of equal top_k lie within a few hundredths of a nat; those published without a balance collapse.
local sl = require "sluice"

local variants = {}
for _, name in ipairs(sl.routers()) do
  local variant = sl.router(name)
  local router = variant["ffn.router"]
  router.top_k = math.min(router.top_k, 2)
  variants[name] = variant
end
variants["deepseek-v2-lite"] = nil                          -- is deepseekmoe's, with another number of layers

return sl.study {
  base = sl.extend(sl.preset "baseline-nano", { ["ffn.experts"] = 16, ["ffn.shared"] = "none" }),
  replicates = 5, data = "corpus.tok", baseline = "mixtral",
  train = { steps = 300, batch = 16, eval_every = 100, optim = { "adamw", lr = 3e-3 },
            schedule = { "wsd", warmup = 20 } },
  variants = variants,
}
