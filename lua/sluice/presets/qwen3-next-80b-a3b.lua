-- Qwen3-Next-80B-A3B, published size without its block of multi-token prediction, to plan and count (79,674,391,296
-- parameters). Qwen 2025. Three layers of a gated delta rule to one of gated attention; the balance is that of Qwen3.
local routed = require "sluice.routed"

local memory = { "gated_delta", heads = 16, value_heads = 32, key_dim = 128, value_dim = 128 }
local full = { "gqa", heads = 16, kv_heads = 2, head_dim = 256, gate = "element",
               qk_norm = "qk" }
local attention = {}
for layer = 1, 48 do attention[layer] = layer % 4 == 0 and full or memory end

return {
  layers = 48, d_model = 2048, seq = 4096, vocab = 151936, embed = "plain", norm = { "rms", zero_centred = true },
  position = { "rope", base = 1e7, fraction = 0.25, where = "first" }, residual = "pre",
  attention = { layers = attention },
  ffn = routed("qwen3-next", { experts = 512, d_ff = 512, shared = { "dense", n = 1, gated = true },
                               balance = { { "switch_aux", alpha = 2.1e-4 } } }),
  head = { "lm", tied = false },
}
