-- Does MuonClip hold attention logits below its threshold where AdamW and Muon do not, and at what cost? Kimi K2 has a
-- threshold of 100; here 10, for models this small. Expected: Muon's logits are the largest, clipped ones stay near 10
-- (a head is shrunk after the step in which it passed it), and the loss is the same.
local sl = require "sluice"
local base = require "baseline"

local function with(optim, lr, clip) return { ["train.optim"] = { optim, lr = lr }, ["attention.qk_clip"] = clip } end

return sl.study {
  base = base, replicates = 5, data = "corpus.tok", baseline = "muon",
  train = { steps = 300, batch = 16, eval_every = 100 },
  variants = {
    adamw = with("adamw", 3e-3, 0), muon = with("muon", 1e-2, 0),
    muon_clip = with("muon", 1e-2, 10), adamw_clip = with("adamw", 3e-3, 10),
  },
}
