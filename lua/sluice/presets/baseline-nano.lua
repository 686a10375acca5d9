-- A mixture of experts as most are built today, 0.4 M parameters.
return {
  layers = 4, d_model = 64, seq = 128, embed = "plain", position = "rope", residual = "pre",
  attention = { "gqa", heads = 4, kv_heads = 2, head_dim = 16 },
  ffn = {
    "moe", experts = 8, d_ff = 48, shared = { "dense", n = 1 },
    router = { score = "softmax", top_k = 2, normalize = "after" },
    balance = { { "switch_aux", alpha = 0.01 }, "z_loss" },
  },
  head = { "lm", tied = true },
}
