-- Kimi K2, published size, to plan and count (1,026,408,209,408 parameters, and 23,040 biases of experts, which are
-- none here). Moonshot AI 2025 (arXiv 2507.20534): fewer heads and more experts than DeepSeek-V3, and QK-clip; YaRN is
-- left out.
local routed = require "sluice.routed"
local moe = routed("kimi-k2", { experts = 384, d_ff = 2048, shared = { "dense", n = 1 } })
local ffn = { { "dense", d_ff = 18432 } }
for layer = 2, 61 do ffn[layer] = moe end

return {
  layers = 61, d_model = 7168, seq = 4096, vocab = 163840, embed = "plain", position = { "rope", base = 5e4 },
  residual = "pre",
  attention = { "mla", heads = 64, nope_dim = 128, rope_dim = 64, value_dim = 128, kv_rank = 512, q_rank = 1536,
                qk_clip = 100 },
  ffn = { layers = ffn },
  head = { "lm", tied = false },
}
