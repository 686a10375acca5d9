-- Which of WeLM's changes help a small mixture of experts: mirrored K/V, gated heads, partial post-norm, or n-grams?
local sl = require "sluice"

local base = sl.model {
  layers = 4, d_model = 64, seq = 128, vocab = 256,
  embed = "plain", position = { "rope", fraction = 0.5 }, residual = "pre",
  attention = { "gqa", heads = 4, kv_heads = 2, head_dim = 16, kv = "own", qk_norm = "none", gate = "none" },
  ffn = {
    "moe", experts = 8, d_ff = 48, shared = { "dense", n = 1 },
    router = { score = "softmax", top_k = 2, normalize = "after" },
    balance = { { "switch_aux", alpha = 0.01 }, { "z_loss", coef = 0.001 } },
  },
  head = "lm",
}

return sl.study {
  name = "quickstart", base = base, replicates = 8, baseline = "base", primary = "eval.loss",
  data = "corpus.tok",
  train = { steps = 500, batch = 16, eval_every = 100, optim = { "adamw", lr = 3e-3 },
            schedule = { "wsd", warmup = 20 } },
  variants = {
    base = {},
    mirror = { ["attention.kv"] = "mirror" },
    gated = { ["attention.gate"] = "head" },
    partial_post = { residual = { "partial_post", output_norm = true } },
    over_encoding = { embed = { "over_encoding", rows = 4096, width = 16 } },
  },
}
