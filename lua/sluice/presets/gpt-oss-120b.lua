-- gpt-oss-120b, published size, to plan and count (116,829,156,672 parameters). OpenAI 2025; its
-- balance is not public.
local routed = require "sluice.routed"

local function mask(layer) return layer % 2 == 1 and { "window", size = 128 } or "causal" end

local attention = {}
for layer = 1, 36 do
  attention[layer] = { "gqa", heads = 64, kv_heads = 8, head_dim = 64, bias = "all", sink = "head",
                       mask = mask(layer) }
end

return {
  layers = 36, d_model = 2880, seq = 4096, vocab = 201088, embed = "plain", norm = { "rms", eps = 1e-5 },
  position = {
    "rope", base = 150000, stretch = "yarn", factor = 32, original = 4096, rounded = false, temperature = "rotated",
  },
  residual = "pre",
  attention = { layers = attention },
  ffn = routed("gpt-oss", { experts = 128, d_ff = 2880, bias = true, activation = "swiglu_oss" }),
  head = { "lm", tied = false },
}
