-- Snowflake Arctic, published size, to plan and count (480 G parameters, 17 G active). Snowflake 2024. A mixture of
-- experts that reads each layer's input stands beside attention and a dense feed-forward; its balance is not public.
return {
  layers = 35, d_model = 7168, seq = 4096, vocab = 32000, embed = "plain", norm = { "rms", eps = 1e-5 },
  position = "rope", residual = "pre",
  block = { "shortcut", dense = { "dense", d_ff = 7168 }, reads = "block", joins = "here" },
  attention = { "gqa", heads = 56, kv_heads = 8, head_dim = 128 },
  ffn = { "moe", experts = 128, d_ff = 4864, router = { score = "softmax", top_k = 2, normalize = "after" } },
  head = { "lm", tied = false },
}
