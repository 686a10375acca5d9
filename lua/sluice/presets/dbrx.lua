-- DBRX, published size, to plan and count (131,596,523,520 parameters). Databricks 2024; its LayerNorm is an RMSNorm
-- here, and what it clips queries, keys and values to is left out.
local routed = require "sluice.routed"

return {
  layers = 40, d_model = 6144, seq = 4096, vocab = 100352, embed = "plain", norm = { "rms", eps = 1e-5 },
  position = { "rope", base = 5e5 }, residual = "pre",
  attention = { "gqa", heads = 48, kv_heads = 8, head_dim = 128 },
  ffn = routed("dbrx", { experts = 16, d_ff = 10752 }),
  head = { "lm", tied = false },
}
