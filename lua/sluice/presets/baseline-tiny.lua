-- A mixture of experts as most are built today, 12 M parameters.
return {
  layers = 6, d_model = 256, seq = 512, embed = "plain", position = "rope", residual = "pre",
  attention = { "gqa", heads = 8, kv_heads = 4, head_dim = 32 },
  ffn = {
    "moe", experts = 16, d_ff = 128, shared = { "dense", n = 2 },
    router = { score = "softmax", top_k = 4, normalize = "after" },
    balance = { { "switch_aux", alpha = 0.01 }, "z_loss" },
  },
  head = { "lm", tied = true },
}
