-- A mixture of experts as most are built today, 2 M parameters.
return {
  layers = 4, d_model = 128, seq = 256, embed = "plain", position = "rope", residual = "pre",
  attention = { "gqa", heads = 4, kv_heads = 2, head_dim = 32 },
  ffn = {
    "moe", experts = 8, d_ff = 128, shared = { "dense", n = 1 },
    router = { score = "softmax", top_k = 2, normalize = "after" },
    balance = { { "switch_aux", alpha = 0.01 }, "z_loss" },
  },
  head = { "lm", tied = true },
}
