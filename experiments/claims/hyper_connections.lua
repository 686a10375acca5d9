-- Are several residual streams better than one?
-- Published: dynamic hyper-connections of four streams converge 1.8 times as fast (Zhu 2024), constrained to mixtures
-- that keep the streams' sum they do so at any depth (mHC, DeepSeek 2025); two streams bring most of it.
-- Expected: one or two hundredths for both at six layers, four streams no better than two, for there is little depth to
-- connect; mHC no worse than HC.
local sl = require "sluice"
local claim = require "attention"

local function streams(name, n) return { residual = { name, streams = n } } end

return sl.study(claim {
  replicates = 5,
  baseline = "one", match = { "active_params", adjust = "ffn.d_ff", tolerance = 0.03 },
  variants = { one = {}, hyper_2 = streams("hyper", 2), hyper_4 = streams("hyper", 4),
               mhc_2 = streams("mhc", 2), mhc_4 = streams("mhc", 4) },
})
