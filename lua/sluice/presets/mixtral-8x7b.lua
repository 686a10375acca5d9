-- Mixtral 8x7B, published size, to plan and count (46,702,792,704 parameters). Jiang 2024 (arXiv 2401.04088).
local routed = require "sluice.routed"

return {
  layers = 32, d_model = 4096, seq = 4096, vocab = 32000, embed = "plain", norm = { "rms", eps = 1e-5 },
  position = { "rope", base = 1e6 }, residual = "pre",
  attention = { "gqa", heads = 32, kv_heads = 8, head_dim = 128 },
  ffn = routed("mixtral", { experts = 8, d_ff = 14336 }),
  head = { "lm", tied = false },
}
