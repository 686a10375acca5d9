-- How fast is a training step, from small models to large, with experts and without? The models that bench/ measures.
local sl = require "sluice"

-- shared: width of the shared expert, in widths of a routed one
local sizes = {
  micro = { layers = 4, d_model = 128, heads = 4, kv_heads = 2, head_dim = 32, experts = 8, top_k = 2, d_ff = 128,
            shared = 1, vocab = 256, seq = 256, batch = 8 },
  tiny = { layers = 6, d_model = 256, heads = 4, kv_heads = 2, head_dim = 64, experts = 16, top_k = 4, d_ff = 128,
           shared = 2, vocab = 256, seq = 512, batch = 4 },
  small = { layers = 8, d_model = 512, heads = 8, kv_heads = 4, head_dim = 64, experts = 32, top_k = 4, d_ff = 256,
            shared = 1, vocab = 8192, seq = 512, batch = 4 },
  medium = { layers = 12, d_model = 768, heads = 12, kv_heads = 4, head_dim = 64, experts = 16, top_k = 2, d_ff = 512,
             shared = 1, vocab = 16384, seq = 512, batch = 4 },
}

local function moe(s)
  return {
    "moe", experts = s.experts, d_ff = s.d_ff, shared = { "dense", n = s.shared },
    router = { score = "softmax", top_k = s.top_k, normalize = "after" },
    balance = { { "switch_aux", alpha = 0.01 }, { "z_loss", coef = 0.001 } },
  }
end

-- As wide as what the mixture uses for one token.
local function dense(s) return { "dense", d_ff = s.d_ff * (s.top_k + s.shared) } end

local function settings(s, ffn)
  return {
    layers = s.layers, d_model = s.d_model, seq = s.seq, vocab = s.vocab, ffn = ffn, ["train.batch"] = s.batch,
    attention = { "gqa", heads = s.heads, kv_heads = s.kv_heads, head_dim = s.head_dim },
  }
end

local variants = {
  ["dense-124m"] = settings(
    { layers = 12, d_model = 768, heads = 12, kv_heads = 12, head_dim = 64, vocab = 50257, seq = 256, batch = 4 },
    { "dense", d_ff = 2048 }),
}
for name, s in pairs(sizes) do
  variants[name] = settings(s, moe(s))
  variants[name .. "-dense"] = settings(s, dense(s))
end

-- small with mixers in linear time, of as many heads, as wide.
local mixers = {
  gated_delta = { heads = 4, value_heads = 8, key_dim = 64, value_dim = 64 },
  kda = { heads = 8, value_heads = 8, key_dim = 64, value_dim = 64 },
  mamba2 = { heads = 16, head_dim = 64, state = 64 },
}
for name, keys in pairs(mixers) do
  local s = settings(sizes.small, moe(sizes.small))
  s.attention = sl.mixer(name, keys)
  variants["small,mixer=" .. name] = s
end

-- tiny with one thing changed, at the same number of tokens in a step. Its own values make the middle of each row.
local tiny = sizes.tiny
local function grown(key, values)
  for _, value in ipairs(values) do
    local s = setmetatable({ [key] = value }, { __index = tiny })
    s.batch = tiny.batch * tiny.seq // s.seq
    variants["tiny," .. key .. "=" .. value] = settings(s, moe(s))
  end
end
grown("experts", { 8, 32, 64 })
grown("seq", { 256, 1024 })
grown("layers", { 3, 12 })

return sl.study {
  base = sl.model { norm = { "rms", eps = 1e-5 }, position = "rope", residual = "pre", head = { "lm", tied = true } },
  data = "synthetic", replicates = 1, baseline = "tiny", variants = variants,
  train = { optim = { "adamw", lr = 1e-3, beta1 = 0.9, beta2 = 0.95, decay = 0.1 }, clip = 1,
            schedule = { "constant", warmup = 0 } },
}
