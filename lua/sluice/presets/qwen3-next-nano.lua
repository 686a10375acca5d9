-- Qwen3-Next scaled down, 0.4 M parameters: three layers of a gated delta rule to one of gated attention.
local memory = { "gated_delta", heads = 2, value_heads = 4, key_dim = 16, value_dim = 16 }
local full = { "gqa", heads = 4, kv_heads = 2, head_dim = 16, gate = "element", qk_norm = "qk" }

return {
  layers = 4, d_model = 64, seq = 128, embed = "plain", position = { "rope", fraction = 0.25, where = "first" },
  residual = "pre", attention = { layers = { memory, memory, memory, full } },
  ffn = {
    "moe", experts = 8, d_ff = 48, shared = { "dense", n = 1, gated = true },
    router = { score = "softmax", top_k = 2, normalize = "after" },
    balance = { { "switch_aux", alpha = 0.01 }, "z_loss" },
  },
  head = { "lm", tied = true },
}
