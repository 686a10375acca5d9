-- WeLM-80B-A3B at its size, to plan and count (trunk 78.82 B, active 3.02 B), as its serving code and parameter counts
-- tell; rows of the n-gram tables, vocabulary and rates are not public: what fits 6.1 B embedding parameters stands
-- here.
local routed = require "sluice.routed"

return {
  layers = 48, d_model = 2048, seq = 4096, vocab = 151936,
  embed = { "over_encoding", grams = { 2, 2, 3, 3 }, rows = 2800000, width = 512 },
  norm = { "rms", eps = 1e-5 }, position = { "rope", fraction = 0.25, where = "last" },
  residual = { "partial_post", output_norm = true },
  attention = { "gqa", heads = 24, kv_heads = 2, head_dim = 256, kv = "mirror", qk_norm = { "k", eps = 1e-5 },
                gate = "head" },
  ffn = routed("welm", { experts = 512, d_ff = 512, shared = { "dense", n = 1 } }),
  head = { "lm", tied = false, mtp = { "sequential", depth = 1, weight = 0.3 } },
}
