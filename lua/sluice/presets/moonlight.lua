-- Moonlight-16B-A3B, published size, to plan and count (15,960,108,544 parameters, and 1,664 biases of experts, which
-- are none here). Liu 2025 (arXiv 2502.16982): DeepSeek-V3's layers at the size of V2-Lite.
local routed = require "sluice.routed"
local moe = routed("moonlight", { experts = 64, d_ff = 1408, shared = { "dense", n = 2 } })
local ffn = { { "dense", d_ff = 11264 } }
for layer = 2, 27 do ffn[layer] = moe end

return {
  layers = 27, d_model = 2048, seq = 4096, vocab = 163840, embed = "plain", norm = { "rms", eps = 1e-5 },
  position = { "rope", base = 5e4 }, residual = "pre",
  attention = { "mla", heads = 16, nope_dim = 128, rope_dim = 64, value_dim = 128, kv_rank = 512 },
  ffn = { layers = ffn },
  head = { "lm", tied = false },
}
