-- DeepSeek-V3, published size without its block of multi-token prediction, to plan and count (671,026,404,352
-- parameters, and 14,848 biases of experts, which are none here; caches of 70,272 bytes a token in bf16). DeepSeek-AI
-- 2024 (arXiv 2412.19437); YaRN is left out.
local routed = require "sluice.routed"
local moe = routed("deepseek-v3", { experts = 256, d_ff = 2048, shared = { "dense", n = 1 } })
local ffn = {}
for layer = 1, 61 do ffn[layer] = layer <= 3 and { "dense", d_ff = 18432 } or moe end

return {
  layers = 61, d_model = 7168, seq = 4096, vocab = 129280, embed = "plain", position = "rope", residual = "pre",
  attention = { "mla", heads = 128, nope_dim = 128, rope_dim = 64, value_dim = 128, kv_rank = 512, q_rank = 1536 },
  ffn = { layers = ffn },
  head = { "lm", tied = false },
}
