-- How much of full fine-tuning do low-rank adapters reach, and at which rank, on text of another kind? The model knows
-- English, and meets C and C++:
--     sh scripts/corpus.sh corpus.tok && sluice data pack /usr/include -o code.tok
--     sluice run nano_reference.lua --only baseline --replicates 5 --set train.steps=1000
--     sluice run lora.lua
-- Rates are the best in a run of the first seed: 0.003 of 0.001, 0.003 and 0.01 for full fine-tuning; for rank 8 0.003
-- and 0.01 were equal, and 0.03 was too high.
-- Expected: full fine-tuning is ahead, by less the higher the rank (Biderman 2024: what is far from what was learnt
-- before needs ranks of hundreds), and rank 32, half of the width, level with it (Schulman 2025: adapters are level
-- while they have room); all are ahead of a model that begins anew.
local sl = require "sluice"
local parent = { "from", run = "runs/nano_reference/baseline" }

local function lora(rank)
  return { init = parent, adapter = { "lora", rank = rank, alpha = 32 }, ["train.optim.lr"] = 5e-3 }
end

return sl.study {
  base = require "baseline", replicates = 5, data = "code.tok", baseline = "full",
  train = { steps = 150, batch = 16, eval_every = 50, optim = { "adamw", lr = 3e-3 },
            schedule = { "wsd", warmup = 10 } },
  variants = { full = { init = parent }, rank_2 = lora(2), rank_8 = lora(8), rank_32 = lora(32), scratch = {} },
}
