-- Do simulated steps take as long as real ones? A small model whose parts all four ranks can divide.
local sl = require "sluice"
return sl.study { name = "scale", base = sl.preset "welm-nano", replicates = 1, baseline = "base", data = "synthetic",
                  variants = { base = {} }, train = { steps = 6, batch = 16, micro = 4, eval_tokens = 256 } }
