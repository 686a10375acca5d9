-- Where do n-grams and the token itself serve best: in the input, inside the trunk behind a gate, or in each layer?
-- At equal parameters: what a memory takes, experts lack. Once on the corpus, and on text of another kind:
--     sluice data pack /usr/include -o code.tok
--     sluice run memories.lua --data code.tok --out runs/code
-- Published: over-encoding lowers the loss by 0.015 for each fourfold table (Huang 2025); Engram beats experts of as
-- many parameters, best at a fifth to a quarter of them (DeepSeek 2026), and gains nothing over plain addition in small
-- models (nanochat 2026); of PLE there are no numbers.
-- Expected: over-encoding and Engram alike and better than more experts, by five hundredths, for bytes say little one
-- by one; PLE worth nothing, for a byte's own vectors say nothing that the layers do not know; more of all on code.
local sl = require "sluice"
local claim = require "attention"

local function in_second_layer(memory)
  return function(layer) return layer == 2 and memory or "none" end
end

return sl.study(claim {
  base = sl.extend(sl.preset "baseline-nano", { layers = 4 }), replicates = 5, baseline = "experts",
  match = { "total_params", adjust = "ffn.d_ff", tolerance = 0.03 },
  train = { steps = 400, batch = 8, eval_every = 100, optim = { "adamw", lr = 3e-3 },
            schedule = { "wsd", warmup = 30 } },
  variants = {
    experts = { ["ffn.d_ff"] = 64 },
    over_encoding = { embed = { "over_encoding", rows = 2048, width = 16 } },
    engram = { memory = in_second_layer { "engram", rows = 2048, heads = 2, width = 16 } },
    bigram = { memory = in_second_layer { "bigram", rows = 2048 } },
    ple = { ple = { "gated", width = 64 } },
  },
})
