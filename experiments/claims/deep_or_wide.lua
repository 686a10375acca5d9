-- Many narrow layers, or few wide ones, with as many active parameters?
-- Published: deeper is slightly better (Gemma 2 2024: 52.0 against 50.8 on average), and more so for small models
-- (MobileLLM, Liu 2024); Qwen3 chose it (2025).
-- Expected: twelve layers a hundredth better than six, three some hundredths worse, 24 worse than twelve, for they are
-- 32 wide.
local sl = require "sluice"
local claim = require "attention"

local function shape(layers, width)
  return { layers = layers, d_model = width, ["attention.heads"] = width // 16, ["attention.kv_heads"] = width // 16 }
end

return sl.study(claim {
  replicates = 5,
  base = sl.extend(sl.preset "baseline-nano", { layers = 6, seq = 256, ["attention.kv_heads"] = 4 }),
  baseline = "six", match = { "active_params", adjust = "ffn.d_ff", tolerance = 0.02 },
  variants = { six = {}, three = shape(3, 96), twelve = shape(12, 48), twenty_four = shape(24, 32) },
})
