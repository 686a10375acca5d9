-- How long would a step of WeLM 80B take? A batch of 4096 sequences of 4096 tokens, and products in FP8;
-- experts are chosen evenly, and have room for half as many rows again.
local sl = require "sluice"
return sl.study { name = "welm-80b", base = sl.preset "welm-80b", replicates = 1, baseline = "base",
                  data = "synthetic", variants = { base = {} },
                  train = { steps = 1, batch = 4096, micro = 16, precision = "bf16", fp8 = "tile",
                            ranks = { room = 1.5 } } }
