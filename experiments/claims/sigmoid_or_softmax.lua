-- Does it matter whether experts compete for a token (softmax) or are scored one by one (sigmoid)?
-- Published: DeepSeek-V3, Kimi K2 and GLM-4.5 took sigmoid without an ablation of the score alone.
-- Expected: no difference that eight replicates resolve, with gates that sum to 1 in both.
local sl = require "sluice"
local claim = require "claim"

return sl.study(claim {
  baseline = "softmax",
  variants = {
    softmax = { ["ffn.router"] = { "staged", score = "softmax", top_k = 2, normalize = "after" } },
    sigmoid = { ["ffn.router"] = { "staged", score = "sigmoid", top_k = 2, normalize = "after" } },
  },
})
