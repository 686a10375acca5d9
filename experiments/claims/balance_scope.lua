-- Over which tokens should the load be even: each sequence, each micro-batch, or the whole batch?
-- Published: Qiu 2025 and Qwen3: the wider, the better, for experts may then specialise (about 0.1 in perplexity).
-- Expected: whole batch at least as good as sequence; differences of a few thousandths of a nat.
local sl = require "sluice"
local claim = require "claim"

local function scope(name) return { ["ffn.balance"] = { { "switch_aux", alpha = 0.01, scope = name } } } end

return sl.study(claim {
  baseline = "sequence",
  train = { steps = 500, batch = 16, micro = 4, eval_every = 125, optim = { "adamw", lr = 3e-3 },
            schedule = { "wsd", warmup = 25 } },
  variants = { sequence = scope "sequence", micro_batch = scope "micro", global = scope "global" },
})
