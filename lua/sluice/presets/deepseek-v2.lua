-- DeepSeek-V2, published size, to plan and count (235,741,434,880 parameters; 34,560 values a token in caches).
-- DeepSeek-AI 2024 (arXiv 2405.04434); YaRN is left out.
local routed = require "sluice.routed"
local moe = routed("deepseek-v2", { experts = 160, d_ff = 1536, shared = { "dense", n = 2 } })
local ffn = { { "dense", d_ff = 12288 } }
for layer = 2, 60 do ffn[layer] = moe end

return {
  layers = 60, d_model = 5120, seq = 4096, vocab = 102400, embed = "plain", position = "rope", residual = "pre",
  attention = { "mla", heads = 128, nope_dim = 128, rope_dim = 64, value_dim = 128, kv_rank = 512, q_rank = 1536 },
  ffn = { layers = ffn },
  head = { "lm", tied = false },
}
