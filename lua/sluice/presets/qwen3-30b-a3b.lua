-- Qwen3-30B-A3B, published size, to plan and count (30,532,122,624 parameters). Yang 2025 (arXiv 2505.09388); the
-- balance is global there.
local routed = require "sluice.routed"

return {
  layers = 48, d_model = 2048, seq = 4096, vocab = 151936, embed = "plain", position = { "rope", base = 1e6 },
  residual = "pre",
  attention = { "gqa", heads = 32, kv_heads = 4, head_dim = 128, qk_norm = "qk" },
  ffn = routed("qwen3", { experts = 128, d_ff = 768, balance = { { "switch_aux", alpha = 1.7e-4 } } }),
  head = { "lm", tied = false },
}
