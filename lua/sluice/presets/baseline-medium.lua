-- A mixture of experts as most are built today, 272 M parameters with a vocabulary of 16384.
return {
  layers = 12, d_model = 768, seq = 512, vocab = 16384, embed = "plain", position = "rope", residual = "pre",
  attention = { "gqa", heads = 12, kv_heads = 4, head_dim = 64 },
  ffn = {
    "moe", experts = 16, d_ff = 512, shared = { "dense", n = 1 },
    router = { score = "softmax", top_k = 2, normalize = "after" },
    balance = { { "switch_aux", alpha = 0.01 }, "z_loss" },
  },
  head = { "lm", tied = true },
}
