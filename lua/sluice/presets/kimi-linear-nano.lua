-- Kimi Linear scaled down, 0.4 M parameters: three layers of Kimi Delta Attention to one of attention, of shared key
-- heads where the published model compresses them, and no position encoding: order is the memories' alone.
local memory = {
  "gated_delta", heads = 4, value_heads = 4, key_dim = 16, value_dim = 16,
  decay = { "softplus", per = "channel", rank = 16, least = 1 }, gate = { "element", rank = 16, bias = true },
}
local full = { "gqa", heads = 4, kv_heads = 2, head_dim = 16 }

return {
  layers = 4, d_model = 64, seq = 128, embed = "plain", position = "none", residual = "pre",
  attention = { layers = { memory, memory, memory, full } },
  ffn = {
    "moe", experts = 8, d_ff = 48, shared = { "dense", n = 1 },
    router = { score = "sigmoid", top_k = 2, normalize = "after" },
    balance = { { "bias", gamma = 0.001 } },
  },
  head = { "lm", tied = true },
}
