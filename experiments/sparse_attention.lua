-- How few keys does a small model need, and who should choose them: an indexer (DSA), means of blocks (MoBA), or none?
local sl = require "sluice"

local base = sl.model {
  layers = 4, d_model = 128, seq = 512, vocab = 256,
  attention = { "gqa", heads = 4, kv_heads = 2, head_dim = 32 },
  ffn = { "dense", d_ff = 384 },
}

return sl.study {
  name = "sparse_attention", base = base, replicates = 4, baseline = "all", primary = "eval.loss",
  data = "corpus.tok",
  train = { steps = 600, batch = 8, eval_every = 100, optim = { "adamw", lr = 3e-3 },
            schedule = { "wsd", warmup = 20 } },
  variants = {
    all = {},
    window = { ["attention.mask"] = { "window", size = 64 } },
    dsa = { ["attention.keys"] = { "dsa", top_k = 64 } },
    dsa_16 = { ["attention.keys"] = { "dsa", top_k = 16 } },
    moba = { ["attention.keys"] = { "moba", size = 32, blocks = 2 } },
    hca = { attention = { "compressed", pool = 32, head_dim = 32, q_rank = 64, out_rank = 64, window = 64 } },
    csa = { attention = { "compressed", pool = 4, overlap = true, top_k = 16, head_dim = 32, q_rank = 64, out_rank = 64,
                          window = 64 } },
  },
}
