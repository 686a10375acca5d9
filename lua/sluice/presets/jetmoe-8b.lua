-- JetMoE-8B, published size, to plan and count (8,522,139,648 parameters; it has 98,304 more, biases of what experts
-- write). Shen 2024 (arXiv 2404.07413). Attention's experts have 16 heads each, of which a token uses 32.
local routed = require "sluice.routed"
local ffn = routed("jetmoe", { experts = 8, d_ff = 5632 })

return {
  layers = 24, d_model = 2048, seq = 4096, vocab = 32000, embed = "plain", position = "rope", residual = "pre",
  attention = {
    "gqa", heads = 16, kv_heads = 16, head_dim = 128,
    experts = { "routed", n = 8, router = ffn.router, balance = ffn.balance },
  },
  ffn = ffn,
  head = { "lm", tied = true },
}
