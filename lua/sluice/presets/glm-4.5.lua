-- GLM-4.5, published size without its block of multi-token prediction, to plan and count (352,797,814,784 parameters).
-- Zeng 2025 (arXiv 2508.06471).
local routed = require "sluice.routed"
local moe = routed("glm-4.5", { experts = 160, d_ff = 1536, shared = { "dense", n = 1 } })
local ffn = {}
for layer = 1, 92 do ffn[layer] = layer <= 3 and { "dense", d_ff = 12288 } or moe end

return {
  layers = 92, d_model = 5120, seq = 4096, vocab = 151552, embed = "plain", norm = { "rms", eps = 1e-5 },
  position = { "rope", base = 1e6, fraction = 0.5, where = "first" }, residual = "pre",
  attention = { "gqa", heads = 96, kv_heads = 8, head_dim = 128, bias = "qkv", qk_norm = "qk" },
  ffn = { layers = ffn },
  head = { "lm", tied = false },
}
