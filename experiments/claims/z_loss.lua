-- Does a loss on the size of router logits help or cost?
-- Published: ST-MoE (Zoph 2022) finds it necessary for stability and slightly better in quality; OLMoE (2024) the same,
-- at 2 % of throughput.
-- Expected: smaller logits; no difference of the loss at this size, where nothing is unstable.
local sl = require "sluice"
local claim = require "claim"

local aux = { "switch_aux", alpha = 0.01 }

return sl.study(claim {
  baseline = "without",
  variants = {
    without = { ["ffn.balance"] = { aux } },
    with = { ["ffn.balance"] = { aux, { "z_loss", coef = 0.001 } } },
  },
})
