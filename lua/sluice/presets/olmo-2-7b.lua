-- OLMo 2 7B, published size, to plan and count (7,298,617,344 parameters). OLMo 2025 (arXiv 2501.00656). Norms stand
-- behind what branches write, queries and keys are normalised over all their heads together.
return {
  layers = 32, d_model = 4096, seq = 4096, vocab = 100352, embed = "plain", position = { "rope", base = 500000 },
  residual = "reordered", init = { "normal", depth_scale = false },
  attention = { "gqa", heads = 32, kv_heads = 32, head_dim = 128, qk_norm = { "qk", over = "all" } },
  ffn = { "dense", d_ff = 11008 },
  head = { "lm", tied = false, z_loss = 1e-5 },
}
