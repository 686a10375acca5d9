-- Does a trained model that is made half as deep again overtake itself, and beat one trained from scratch?
-- Four layers are trained for 400 steps; `deeper` has six, the middle two twice (WeLM), `identity` the same with copies
-- that write nothing at first, `longer` goes on with four, `scratch` has six from the beginning.
-- All have cost equally many FLOPs at the end, what they begin with included.
-- Expected: deeper passes longer before the end (Kim 2023), scratch is worse than both at this length.
local sl = require "sluice"
local base = sl.extend(require "baseline", { ffn = { "dense", d_ff = 192 } })
local dense = { layers = 6 }

local function deeper(identity)
  local map = { "cycle", from = 1, to = 2, times = 2, identity = identity }
  return { layers = 6, init = { "from", run = "parent", map = map } }
end

return sl.study {
  base = base, replicates = 5, data = "corpus.tok", baseline = "deeper",
  match = { "total_flops", adjust = "train.steps" },
  train = { steps = 400, batch = 16, eval_every = 25, optim = { "adamw", lr = 3e-3 },
            schedule = { "wsd", warmup = 20, decay = 0.2, shape = "linear" } },
  variants = {
    parent = {}, deeper = deeper(false), identity = deeper(true),
    longer = { init = { "from", run = "parent" } }, scratch = dense,
  },
}
