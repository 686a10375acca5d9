-- Is it better to assign tokens to experts as a whole (S-BASE), or to draw experts and reward what predicts (RL-R)?
-- Published: Clark 2022: S-BASE best at scale, RL-R close and better for small models, hash layers behind; BASE (Lewis
-- 2021) is the exact assignment that S-BASE approximates.
-- Expected: S-BASE and BASE alike; RL-R and hash behind, for a byte-level model of this size leaves little to reward.
local sl = require "sluice"
local claim = require "claim"

return sl.study(claim {
  baseline = "s_base",
  variants = { s_base = sl.router "s-base", base = sl.router "base", rl_r = sl.router "rl-r", hash = sl.router "hash" },
})
