-- What do all claims about attention share? Longer sequences and more layers than those about routers, so that there is
-- something to look back at, and patterns of layers have room.
local sl = require "sluice"

local shared = {
  base = sl.extend(sl.preset "baseline-nano", { layers = 6, seq = 256 }),
  replicates = 8, data = "corpus.tok",
  train = { steps = 600, batch = 8, eval_every = 150, optim = { "adamw", lr = 3e-3 },
            schedule = { "wsd", warmup = 30 } },
}

return function(study)
  for key, value in pairs(shared) do
    if study[key] == nil then study[key] = value end
  end
  return study
end
