-- DeepSeekMoE-16B, published size, to plan and count (16,375,728,128 parameters). Dai 2024 (arXiv 2401.06066).
local routed = require "sluice.routed"
local moe = routed("deepseekmoe", { experts = 64, d_ff = 1408, shared = { "dense", n = 2 } })
local ffn = { { "dense", d_ff = 10944 } } -- the first layer is dense: its load would settle last
for layer = 2, 28 do ffn[layer] = moe end

return {
  layers = 28, d_model = 2048, seq = 4096, vocab = 102400, embed = "plain", position = "rope", residual = "pre",
  attention = { "gqa", heads = 16, kv_heads = 16, head_dim = 128 },
  ffn = { layers = ffn },
  head = { "lm", tied = false },
}
