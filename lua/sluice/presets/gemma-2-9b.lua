-- Gemma 2 9B, published size, to plan and count (9,241,705,984 parameters). Gemma Team 2024 (arXiv 2408.00118). Every
-- second layer sees all; the cap of the head's logits, 30, is left out.
local attention = {}
for layer = 1, 42 do
  attention[layer] = { "gqa", heads = 16, kv_heads = 8, head_dim = 256, softcap = 50,
                       mask = layer % 2 == 0 and "causal" or { "window", size = 4096 } }
end

return {
  layers = 42, d_model = 3584, seq = 8192, vocab = 256000, embed = { "plain", scale = 59.86651819 },
  norm = { "rms", zero_centred = true }, position = "rope", residual = "sandwich",
  attention = { layers = attention },
  ffn = { "dense", d_ff = 14336, activation = "geglu" },
  head = { "lm", tied = true },
}
