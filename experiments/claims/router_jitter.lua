-- Does noise on what the router reads help it to explore?
-- Published: Switch (Fedus 2021) and ST-MoE (Zoph 2022) multiply the router's input by 1 +- 0.01 for stability; ST-MoE
-- finds that it costs some quality.
-- Expected: no difference that eight replicates resolve at 0.01; at 0.1 a small loss.
local sl = require "sluice"
local claim = require "claim"

return sl.study(claim {
  baseline = "none",
  variants = {
    none = {},
    jitter_1 = { ["ffn.router.noise"] = { "jitter", eps = 0.01 } },
    jitter_10 = { ["ffn.router.noise"] = { "jitter", eps = 0.1 } },
  },
})
