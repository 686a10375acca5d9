-- Does Muon reach a lower loss than AdamW in the same number of steps, each at its own best learning rate?
local sl = require "sluice"
local base = require "baseline"

local function adamw(lr) return { ["train.optim"] = { "adamw", lr = lr } } end
local function muon(lr) return { ["train.optim"] = { "muon", lr = lr } } end

return sl.study {
  base = base, replicates = 5, data = "corpus.tok", baseline = "adamw_3e-3",
  train = { steps = 300, batch = 16, eval_every = 100, schedule = "wsd" },
  variants = {
    ["adamw_1e-3"] = adamw(1e-3), ["adamw_3e-3"] = adamw(3e-3), ["adamw_1e-2"] = adamw(1e-2),
    ["muon_1e-3"] = muon(1e-3), ["muon_3e-3"] = muon(3e-3), ["muon_1e-2"] = muon(1e-2),
  },
}
