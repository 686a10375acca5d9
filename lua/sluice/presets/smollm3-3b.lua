-- SmolLM3 3B, published size, to plan and count (3,075,098,624 parameters). Hugging Face 2025. Every fourth layer has
-- no positions.
local position = {}
for layer = 1, 36 do position[layer] = layer % 4 == 0 and "none" or { "rope", base = 2e6 } end

return {
  layers = 36, d_model = 2048, seq = 4096, vocab = 128256, embed = "plain", position = { layers = position },
  residual = "pre",
  attention = { "gqa", heads = 16, kv_heads = 4, head_dim = 128 },
  ffn = { "dense", d_ff = 11008 },
  head = { "lm", tied = true },
}
