-- Does a mixture of experts overfit sooner than a dense model of as many active parameters? Both read 40 thousand bytes
-- of sayings twenty times, and the mixture has seven times as many parameters:
--     apt-get download fortunes && dpkg-deb -x fortunes_*.deb f && cp f/usr/share/games/fortunes/art art.fortune
--     sluice data pack art.fortune --held-out 0.5 -o small.tok
--     sluice compare runs/overfitting --at step=550; sluice compare runs/overfitting -m train.loss
-- Expected: the mixture has the lower training loss and the higher held-out loss at the end (Switch 2021, where sparse
-- models overfit small tasks and want more dropout in experts; ST-MoE 2022), its best held-out loss comes earlier, and
-- is no better.
local sl = require "sluice"

return sl.study {
  base = require "baseline", replicates = 5, data = "small.tok", baseline = "dense",
  match = { "active_params", adjust = "ffn.d_ff" },
  train = { steps = 800, batch = 8, eval_every = 50, eval_tokens = 0, optim = { "adamw", lr = 3e-3 },
            schedule = { "constant", warmup = 50 } },
  variants = { dense = { ffn = { "dense", d_ff = 144 } }, experts = { ["ffn.experts"] = 32 } },
}
