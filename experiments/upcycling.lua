-- When does it pay to make a mixture of experts out of a dense model rather than to train it from scratch?
-- Dense models are trained for 100 and for 400 steps; eight experts, copies of each feed-forward, go on from there, as
-- do copies half of whose neurons are drawn anew, and copies cut into 32 experts of a quarter of the width. Scratch is
-- the same mixture from the beginning. All have cost equally many FLOPs at the end, the dense model included.
-- Expected: copies of the longer one are ahead of scratch (Komatsuzaki 2022), drop-upcycling ahead of copies (Nakamura
-- 2025), fine-grained ones level with copies (He 2024).
local sl = require "sluice"
local base = sl.extend(require "baseline", { ffn = { "dense", d_ff = 96 } })

local function experts(n, width, chosen)
  local router = { "staged", top_k = chosen, normalize = "after" }
  return { "moe", experts = n, d_ff = width, router = router, balance = { "bias" } }
end

local moe = experts(8, 96, 2)

local function from(run, map) return { ffn = moe, init = { "from", run = run, map = map } } end

return sl.study {
  base = base, replicates = 5, data = "corpus.tok", baseline = "copies_400",
  match = { "total_flops", adjust = "train.steps" },
  train = { steps = 400, batch = 16, eval_every = 25, optim = { "adamw", lr = 3e-3 },
            schedule = { "wsd", warmup = 20, decay = 0.2, shape = "linear" } },
  variants = {
    dense_100 = { ["train.steps"] = 100 }, dense_400 = {},
    copies_100 = from("dense_100", "upcycle"), copies_400 = from("dense_400", "upcycle"),
    drop_400 = from("dense_400", { "upcycle", reinit = 0.5 }),
    fine_400 = { ffn = experts(32, 24, 8), init = { "from", run = "dense_400", map = "upcycle" } },
    scratch = { ffn = moe },
  },
}
