-- How should a rate come down, and does the answer hold for longer runs? Four shapes of WSD's decay at four horizons.
-- The trunk of a seed, at the peak, is trained once up to the last decay; sixteen runs branch off it.
-- Expected: 1 - sqrt is lowest at every horizon (Haegele 2024), linear and cosine within 0.02 of it.
local sl = require "sluice"

local function shape(name, final)
  return { ["train.schedule.shape"] = name, ["train.schedule.final"] = final }
end

return sl.study {
  base = sl.preset "baseline-nano", data = "corpus.tok", replicates = 5, horizons = { 50, 100, 200, 400 },
  train = { batch = 16, eval_every = 25, optim = { "adamw", lr = 3e-3 },
            schedule = { "wsd", warmup = 20, decay = 0.2 } },
  variants = { sqrt = {}, linear = shape("linear"), cosine = shape("cosine"), exponential = shape("exponential", 0.1) },
}
