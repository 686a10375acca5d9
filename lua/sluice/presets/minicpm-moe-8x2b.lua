-- MiniCPM-MoE 8x2B, published size, to plan and count (13,873,291,776 parameters). Hu 2024 (arXiv 2404.06395), whose
-- scale of logits is left out.
local routed = require "sluice.routed"

return {
  layers = 40, d_model = 2304, seq = 4096, vocab = 122753, embed = { "plain", scale = 12 },
  norm = { "rms", eps = 1e-5 }, position = "rope",
  residual = { "pre", scale = 1.4, by_depth = true },
  attention = { "gqa", heads = 36, kv_heads = 36, head_dim = 64 },
  ffn = routed("minicpm-moe", { experts = 8, d_ff = 5760 }),
  head = { "lm", tied = true },
}
