-- A mixture of experts as most are built today, 114 M parameters with a vocabulary of 8192.
return {
  layers = 8, d_model = 512, seq = 512, vocab = 8192, embed = "plain", position = "rope", residual = "pre",
  attention = { "gqa", heads = 8, kv_heads = 4, head_dim = 64 },
  ffn = {
    "moe", experts = 32, d_ff = 256, shared = { "dense", n = 1 },
    router = { score = "softmax", top_k = 4, normalize = "after" },
    balance = { { "switch_aux", alpha = 0.01 }, "z_loss" },
  },
  head = { "lm", tied = true },
}
