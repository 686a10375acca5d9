-- GLM-4.5-Air, published size without its block of multi-token prediction, to plan and count (106,852,245,504
-- parameters). Zeng 2025 (arXiv 2508.06471).
local routed = require "sluice.routed"
local moe = routed("glm-4.5-air", { experts = 128, d_ff = 1408, shared = { "dense", n = 1 } })
local ffn = { { "dense", d_ff = 10944 } }
for layer = 2, 46 do ffn[layer] = moe end

return {
  layers = 46, d_model = 4096, seq = 4096, vocab = 151552, embed = "plain", norm = { "rms", eps = 1e-5 },
  position = { "rope", base = 1e6, fraction = 0.5, where = "first" }, residual = "pre",
  attention = { "gqa", heads = 96, kv_heads = 8, head_dim = 128, bias = "qkv" },
  ffn = { layers = ffn },
  head = { "lm", tied = false },
}
