-- Qwen1.5-MoE-A2.7B, published size, to plan and count (14,315,784,192 parameters). Qwen 2024.
local routed = require "sluice.routed"

return {
  layers = 24, d_model = 2048, seq = 4096, vocab = 151936, embed = "plain", position = { "rope", base = 1e6 },
  residual = "pre",
  attention = { "gqa", heads = 16, kv_heads = 16, head_dim = 128, bias = "qkv" },
  ffn = routed("qwen1.5-moe", { experts = 60, d_ff = 1408, shared = { "dense", d_ff = 5632, gated = true } }),
  head = { "lm", tied = false },
}
