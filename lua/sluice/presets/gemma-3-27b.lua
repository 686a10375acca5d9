-- Gemma 3 27B, published size of its text model, to plan and count (27,009,346,304 parameters). Gemma Team 2025 (arXiv
-- 2503.19786). Of six layers five see 1024 tokens, and the sixth all, with slower positions of an eightfold context.
local position, attention = {}, {}
for layer = 1, 62 do
  local everywhere = layer % 6 == 0
  position[layer] = everywhere and { "rope", base = 1e6, stretch = "linear", factor = 8 } or "rope"
  attention[layer] = { "gqa", heads = 32, kv_heads = 16, head_dim = 128, qk_norm = { "qk", zero_centred = true },
                       scale = 0.07715167498, mask = everywhere and "causal" or { "window", size = 1024 } }
end

return {
  layers = 62, d_model = 5376, seq = 32768, vocab = 262208, embed = { "plain", scale = 73.32121112 },
  norm = { "rms", zero_centred = true }, position = { layers = position }, residual = "sandwich",
  attention = { layers = attention },
  ffn = { "dense", d_ff = 21504, activation = "geglu" },
  head = { "lm", tied = true },
}
