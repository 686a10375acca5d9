-- Do experts that choose tokens beat tokens that choose experts?
-- Published, and contrary: Zhou 2022 finds expert choice better (encoders, and decoders that leak); OLMoE (2024) finds
-- token choice better in a decoder.
-- Expected: a lower loss for expert choice that is no answer, because a token's experts depend on later tokens: compare
-- says that it is not causal and calls it neither better nor worse.
local sl = require "sluice"
local claim = require "claim"

return sl.study(claim {
  baseline = "token",
  variants = {
    token = { ["ffn.router"] = { "staged", score = "softmax", top_k = 2 } },
    expert = { ["ffn.router"] = { "staged", score = "softmax", top_k = 2, select = "expert_choice" },
               ["ffn.balance"] = {} },
  },
})
