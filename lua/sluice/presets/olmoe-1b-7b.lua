-- OLMoE-1B-7B, published size, to plan and count (6,919,161,856 parameters). Muennighoff 2024 (arXiv 2409.02060).
-- Queries and keys are normalised over all their heads together.
local routed = require "sluice.routed"

return {
  layers = 16, d_model = 2048, seq = 4096, vocab = 50304, embed = "plain", norm = { "rms", eps = 1e-5 },
  position = "rope", residual = "pre",
  attention = { "gqa", heads = 16, kv_heads = 16, head_dim = 128, qk_norm = { "qk", over = "all", eps = 1e-5 } },
  ffn = routed("olmoe", { experts = 64, d_ff = 1024 }),
  head = { "lm", tied = false },
}
