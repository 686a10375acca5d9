-- DeepSeek-V2-Lite, published size, to plan and count (15,706,484,224 parameters). DeepSeek-AI 2024 (arXiv 2405.04434);
-- queries are made of no latent. YaRN is left out.
local routed = require "sluice.routed"
local moe = routed("deepseek-v2-lite", { experts = 64, d_ff = 1408, shared = { "dense", n = 2 } })
local ffn = { { "dense", d_ff = 10944 } }
for layer = 2, 27 do ffn[layer] = moe end

return {
  layers = 27, d_model = 2048, seq = 4096, vocab = 102400, embed = "plain", position = "rope", residual = "pre",
  attention = { "mla", heads = 16, nope_dim = 128, rope_dim = 64, value_dim = 128, kv_rank = 512 },
  ffn = { layers = ffn },
  head = { "lm", tied = false },
}
