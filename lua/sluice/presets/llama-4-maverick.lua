-- Llama 4 Maverick, published size of its text model, to plan and count (400,711,848,960 parameters). Meta 2025; every
-- other layer is dense, every fourth has no positions. Its balance is not public.
local routed = require "sluice.routed"
local moe = routed("llama-4", { experts = 128, d_ff = 8192, shared = { "dense", n = 1 } })
local position, attention, ffn = {}, {}, {}
for layer = 1, 48 do
  local everywhere = layer % 4 == 0                         -- sees all of the past, and no positions
  position[layer] = everywhere and "none" or { "rope", base = 5e5, pairs = "neighbours" }
  attention[layer] = { "gqa", heads = 40, kv_heads = 8, head_dim = 128,
                       mask = everywhere and "causal" or { "chunk", size = 8192 },
                       temperature = everywhere and { "log", length = 8192 } or "none" }
  ffn[layer] = layer % 2 == 0 and moe or { "dense", d_ff = 16384 }
end

return {
  layers = 48, d_model = 5120, seq = 8192, vocab = 202048, embed = "plain", norm = { "rms", eps = 1e-5 },
  position = { layers = position }, residual = "pre",
  attention = { layers = attention }, ffn = { layers = ffn },
  head = { "lm", tied = false },
}
