-- Is a bias that moves the choice alone better than a balance loss, whose gradient disturbs the main one?
-- Published: Wang 2024 (arXiv 2408.15664): lower perplexity (9.50 against 9.56 at 1 B) and a far more even load.
-- Expected: more even load over the whole run; a loss that is lower by less than 0.01 nats, or not resolved.
local sl = require "sluice"
local claim = require "claim"

local sigmoid = { "staged", score = "sigmoid", top_k = 2, normalize = "after" }

return sl.study(claim {
  baseline = "loss",
  variants = {
    loss = { ["ffn.router"] = sigmoid, ["ffn.balance"] = { { "switch_aux", alpha = 0.01 } } },
    bias = { ["ffn.router"] = sigmoid, ["ffn.balance"] = { { "bias", gamma = 0.001 } } },
    bias_and_loss = {
      ["ffn.router"] = sigmoid,
      ["ffn.balance"] = { { "bias", gamma = 0.001 }, { "switch_aux", alpha = 1e-4, scope = "sequence" } },
    },
  },
})
