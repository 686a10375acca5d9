-- What do all claims about attention share? Longer sequences and more layers than those about routers, so that there is
-- something to look back at, and patterns of layers have room.
local sl = require "sluice"
local claim = require "claim"

return function(study)
  study.base = study.base or sl.extend(sl.preset "baseline-nano", { layers = 6, seq = 256 })
  study.train = study.train or { steps = 600, batch = 8, eval_every = 150, optim = { "adamw", lr = 3e-3 },
                                 schedule = { "wsd", warmup = 30 } }
  return claim(study)
end
