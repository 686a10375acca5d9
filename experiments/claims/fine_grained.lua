-- Are many small experts better than few large ones, with the same parameters and the same work for each token?
-- Published: DeepSeekMoE (Dai 2024): each split lowers the loss; OLMoE (2024): 8 to 32 experts much, 32 to 64 little.
-- Expected: the loss falls from 8 to 32 experts; beyond that the gain shrinks or turns, for an expert is 12 wide.
local sl = require "sluice"
local claim = require "claim"

local function split(experts)
  return { ["ffn.experts"] = experts, ["ffn.d_ff"] = 768 // experts, ["ffn.router.top_k"] = experts // 8,
           ["ffn.router.normalize"] = "none" }
end

return sl.study(claim {
  baseline = "of_8",
  variants = { of_8 = split(8), of_16 = split(16), of_32 = split(32), of_64 = split(64) },
})
