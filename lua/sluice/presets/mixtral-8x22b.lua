-- Mixtral 8x22B, published size, to plan and count (140,620,634,112 parameters). Mistral AI 2024.
local routed = require "sluice.routed"

return {
  layers = 56, d_model = 6144, seq = 4096, vocab = 32000, embed = "plain", norm = { "rms", eps = 1e-5 },
  position = { "rope", base = 1e6 }, residual = "pre",
  attention = { "gqa", heads = 48, kv_heads = 8, head_dim = 128 },
  ffn = routed("mixtral", { experts = 8, d_ff = 16384 }),
  head = { "lm", tied = false },
}
