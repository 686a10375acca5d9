-- Is an expert that every token uses worth more than one more routed expert, at equal active parameters?
-- Published, and contrary: DeepSeekMoE (Dai 2024) finds shared experts essential, OLMoE (Muennighoff 2024) slightly
-- harmful, Qwen3 dropped them and Qwen3-Next took them again.
-- Expected: a difference below 0.02 nats, whose sign small models need not share with large ones.
local sl = require "sluice"
local claim = require "claim"

return sl.study(claim {
  baseline = "routed",
  variants = {
    routed = { ["ffn.router.top_k"] = 3 },
    shared = { ["ffn.router.top_k"] = 2, ["ffn.experts"] = 15, ["ffn.shared"] = { "dense", n = 1 } },
  },
})
