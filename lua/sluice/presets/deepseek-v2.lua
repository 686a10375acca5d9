-- DeepSeek-V2, published size, to plan and count (235,741,434,880 parameters; 34,560 values a token in caches).
-- DeepSeek-AI 2024 (arXiv 2405.04434); YaRN is left out.
local moe = {
  "moe", experts = 160, d_ff = 1536, shared = { "dense", n = 2 },
  router = { score = "softmax", top_k = 6, scale = 16, select = { "top_k", groups = 8, limit = 3 } },
  balance = { { "switch_aux", alpha = 0.003, device = 0.05, communication = 0.02, scope = "sequence", groups = 8,
                per_token = 3 } },
}
local ffn = { { "dense", d_ff = 12288 } }
for layer = 2, 60 do ffn[layer] = moe end

return {
  layers = 60, d_model = 5120, seq = 4096, vocab = 102400, embed = "plain", position = "rope", residual = "pre",
  attention = { "mla", heads = 128, nope_dim = 128, rope_dim = 64, value_dim = 128, kv_rank = 512, q_rank = 1536 },
  ffn = { layers = ffn },
  head = { "lm", tied = false },
}
