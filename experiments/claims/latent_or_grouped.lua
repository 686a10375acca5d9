-- At equal bytes of cache, are keys and values better kept as a latent than as few heads?
-- Published: at 14 % of its cache MLA beats MHA, where GQA and MQA lose to it (DeepSeek-V2 2024).
-- Expected: of 64 cached values a layer and token MLA before GQA before MQA, and by its parameters MHA before all; the
-- differences are of a few hundredths, for heads of 16 are nearly as wide as the latent.
local sl = require "sluice"
local claim = require "attention"

local function mla(rank, rope)
  return { attention = { "mla", heads = 4, nope_dim = 16, rope_dim = rope, value_dim = 16, kv_rank = rank } }
end
local function gqa(heads, kv_heads, dim)
  return { attention = { "gqa", heads = heads, kv_heads = kv_heads, head_dim = dim } }
end

return sl.study(claim {
  baseline = "gqa", match = { "active_params", adjust = "ffn.d_ff", tolerance = 0.02 },
  variants = { gqa = gqa(4, 2, 16), mqa = gqa(4, 1, 32), mla = mla(56, 8), mha = gqa(4, 4, 16) },
})
