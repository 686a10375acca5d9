-- How long would a step of DeepSeek-V3 take? The published batch, 15360 sequences of 4096 tokens, and products in FP8;
-- experts are chosen evenly, and have room for half as many rows again.
local sl = require "sluice"
return sl.study { name = "deepseek-v3", base = sl.preset "deepseek-v3", replicates = 1, baseline = "base",
                  data = "synthetic", variants = { base = {} },
                  train = { steps = 1, batch = 15360, micro = 120, precision = "bf16", fp8 = "tile",
                            ranks = { room = 1.5 } } }
