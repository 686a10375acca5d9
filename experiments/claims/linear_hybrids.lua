-- Three layers in linear time to one of attention: what is lost, and where?
-- Published: Gated DeltaNet 3:1 and KDA 3:1 are better than attention alone (Qwen3-Next, Kimi Linear 2025).
-- Expected: better by some hundredths, most at early positions, for a convolution and a decay find near bytes at once;
-- the lead of both shrinks with the position.
local sl = require "sluice"
local claim = require "attention"

local full = { "gqa", heads = 4, kv_heads = 2, head_dim = 16 }
local memory = { heads = 4, value_heads = 4, key_dim = 16, value_dim = 16 }
local function hybrid(name)
  local mixer = sl.mixer(name, memory)
  return { attention = function(layer) return layer % 4 == 0 and full or mixer end }
end

return sl.study(claim {
  base = sl.extend(sl.preset "baseline-nano", { attention = full, layers = 8, seq = 256 }),
  baseline = "attention", match = { "active_params", adjust = "ffn.d_ff", tolerance = 0.02 },
  variants = { attention = {}, gated_delta = hybrid "gated_delta", kda = hybrid "kda" },
})
