-- Llama 4 Scout, published size of its text model, to plan and count (107,769,861,120 parameters). Meta 2025; every
-- fourth layer has no positions. Its balance is not public, and how its contexts were stretched is left out.
local routed = require "sluice.routed"

local position, attention = {}, {}
for layer = 1, 48 do
  local everywhere = layer % 4 == 0                         -- sees all of the past, and no positions
  position[layer] = everywhere and "none" or { "rope", base = 5e5, pairs = "neighbours" }
  attention[layer] = { "gqa", heads = 40, kv_heads = 8, head_dim = 128,
                       mask = everywhere and "causal" or { "chunk", size = 8192 },
                       qk_norm = everywhere and "none" or { "qk", gain = false, behind = true },
                       temperature = everywhere and { "log", length = 8192 } or "none" }
end

return {
  layers = 48, d_model = 5120, seq = 8192, vocab = 202048, embed = "plain", norm = { "rms", eps = 1e-5 },
  position = { layers = position }, residual = "pre",
  attention = { layers = attention },
  ffn = routed("llama-4", { experts = 16, d_ff = 8192, shared = { "dense", n = 1 } }),
  head = { "lm", tied = false },
}
