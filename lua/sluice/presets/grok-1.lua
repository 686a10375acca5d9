-- Grok-1, published size, to plan and count (315,684,820,992 parameters). xAI 2024; its balance and the scale of its
-- logits are not here.
local routed = require "sluice.routed"

return {
  layers = 64, d_model = 6144, seq = 8192, vocab = 131072, embed = { "plain", scale = 78.38367177 },
  norm = { "rms", eps = 1e-5 }, position = "rope", residual = "sandwich",
  attention = { "gqa", heads = 48, kv_heads = 8, head_dim = 128, softcap = 30 },
  ffn = routed("grok-1", { experts = 8, d_ff = 32768, activation = "geglu" }),
  head = { "lm", tied = true },
}
