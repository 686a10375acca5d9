-- What does each mixer in linear time make of a small hybrid, three layers of it to one of attention?
-- Memories are of one size, so that what is compared is how they are written, read and forgotten. Expected: those with
-- a convolution and a learned decay before those without; the delta rule is for recall, which this loss says little of.
local sl = require "sluice"
local full = { "gqa", heads = 4, kv_heads = 2, head_dim = 16 }

local variants = { attention = {} }
for _, name in ipairs(sl.mixers()) do
  local memory = { heads = 4, value_heads = 4, key_dim = 16, value_dim = 16 }
  local mixer = sl.mixer(name, name == "mamba2" and { heads = 4, head_dim = 16, state = 16 } or memory)
  variants[name] = { attention = function(layer) return layer % 4 == 0 and full or mixer end }
end

return sl.study {
  base = sl.extend(sl.preset "baseline-nano", { attention = full, layers = 8 }),
  replicates = 5, data = "corpus.tok", baseline = "attention",
  train = { steps = 300, batch = 16, eval_every = 100, optim = { "adamw", lr = 3e-3 },
            schedule = { "wsd", warmup = 20 } },
  variants = variants,
}
