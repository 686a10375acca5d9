-- WeLM's architecture at the size of baseline-nano: the same width, depth, experts and key-value heads.
return {
  layers = 4, d_model = 64, seq = 128, embed = { "over_encoding", rows = 512, width = 16 },
  position = { "rope", fraction = 0.25, where = "last" }, residual = { "partial_post", output_norm = true },
  attention = { "gqa", heads = 12, kv_heads = 2, head_dim = 16, kv = "mirror", qk_norm = "k", gate = "head" },
  ffn = {
    "moe", experts = 8, d_ff = 48, shared = { "dense", n = 1 },
    router = { score = "sigmoid", top_k = 2, normalize = "none" },
    balance = { { "bias", gamma = 0.001 } },
  },
  head = { "lm", tied = true, mtp = { "sequential", depth = 1, weight = 0.3 } },
}
