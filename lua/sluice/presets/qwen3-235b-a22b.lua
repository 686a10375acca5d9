-- Qwen3-235B-A22B, published size, to plan and count (235,093,634,560 parameters). Yang 2025 (arXiv 2505.09388); the
-- balance is global there.
local routed = require "sluice.routed"

return {
  layers = 94, d_model = 4096, seq = 4096, vocab = 151936, embed = "plain", position = { "rope", base = 1e6 },
  residual = "pre",
  attention = { "gqa", heads = 64, kv_heads = 4, head_dim = 128, qk_norm = "qk" },
  ffn = routed("qwen3", { experts = 128, d_ff = 1536, balance = { { "switch_aux", alpha = 8.5e-5 } } }),
  head = { "lm", tied = false },
}
