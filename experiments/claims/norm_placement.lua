-- Where should norms stand, and does the answer change with depth? Once as it is, with 4 layers, and deeper:
--     sluice run norm_placement.lua --set layers=12 --out runs/twelve
--     sluice run norm_placement.lua --set layers=24 --out runs/twenty-four
-- Published: PostNorm is best where it trains, and stops training with depth (Xiong 2020); DeepNorm trains at a
-- thousand layers (Wang 2022); norms on both sides of a branch are the most stable, and better (Peri-LN, Kim 2025);
-- behind it alone likewise (OLMo 2, 2024); WeLM's partial PostNorm trains 48 layers (2025).
-- Expected: at 4 layers all within three hundredths of PreNorm, PostNorm ahead. At 12 PostNorm behind, at 24 it does
-- not learn at this rate with 30 steps of warm-up, DeepNorm does, and sandwich and peri are ahead by some hundredths.
local sl = require "sluice"
local claim = require "attention"

return sl.study(claim {
  base = sl.extend(sl.preset "baseline-nano", { layers = 4 }), replicates = 5, baseline = "pre",
  train = { steps = 300, batch = 8, eval_every = 100, optim = { "adamw", lr = 3e-3 },
            schedule = { "wsd", warmup = 30 } },
  variants = {
    pre = {}, post = { residual = "post" }, deepnorm = { residual = { "post", deep = true } },
    sandwich = { residual = "sandwich" }, peri = { residual = { "sandwich", embed_norm = true } },
    reordered = { residual = "reordered" }, partial_post = { residual = "partial_post" },
    -- As their authors begin: vectors of tokens as large as what branches write (Gemma), Xavier's width.
    sandwich_scaled = { residual = "sandwich", ["embed.scale"] = 8 },
    reordered_scaled = { residual = "reordered", ["embed.scale"] = 8 },
    deepnorm_xavier = { residual = { "post", deep = true }, init = { "fan", fan = "both" } },
  },
})
