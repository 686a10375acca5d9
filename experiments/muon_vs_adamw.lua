-- Does Muon reach a lower loss than AdamW in the same number of steps, each at its own best learning rate?
-- Expected: yes (Jordan 2024, Moonlight 2025). Four rates each, so that neither's best is at an end.
local sl = require "sluice"
local base = require "baseline"

local variants = {}
for _, lr in ipairs { 1e-3, 3e-3, 1e-2, 3e-2 } do
  for _, optim in ipairs { "adamw", "muon" } do
    variants[("%s_%g"):format(optim, lr)] = { ["train.optim"] = { optim, lr = lr } }
  end
end

return sl.study {
  base = base, replicates = 5, data = "corpus.tok", baseline = "adamw_0.003", variants = variants,
  train = { steps = 300, batch = 16, eval_every = 100, schedule = "wsd" },
}
