-- WeLM's architecture at the size of baseline-tiny: the same width, depth, experts and key-value heads.
return {
  layers = 6, d_model = 256, seq = 512, embed = { "over_encoding", rows = 8192, width = 64 },
  position = { "rope", fraction = 0.25, where = "last" }, residual = { "partial_post", output_norm = true },
  attention = { "gqa", heads = 24, kv_heads = 4, head_dim = 32, kv = "mirror", qk_norm = "k", gate = "head" },
  ffn = {
    "moe", experts = 16, d_ff = 128, shared = { "dense", n = 2 },
    router = { score = "sigmoid", top_k = 4, normalize = "none" },
    balance = { { "bias", gamma = 0.001 } },
  },
  head = { "lm", tied = true, mtp = { "sequential", depth = 1, weight = 0.3 } },
}
