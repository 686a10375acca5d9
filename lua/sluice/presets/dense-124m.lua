-- A dense model at the size of GPT-2 small, 124 M parameters with its vocabulary, built as most are today.
return {
  layers = 12, d_model = 768, seq = 1024, vocab = 50257, embed = "plain", position = "rope", residual = "pre",
  attention = { "gqa", heads = 12, kv_heads = 12, head_dim = 64 },
  ffn = { "dense", d_ff = 2048 },
  head = { "lm", tied = true },
}
