-- How much of what experts bring needs a learned router, and how much comes from more parameters alone?
-- Published: Hash layers (Roller 2021) come close to Switch; DeepSeekMoE's table (Dai 2024): dense 2.060, hash 1.932,
-- Switch 1.881 nats on the Pile.
-- Expected: dense worst, hash between, Switch best.
local sl = require "sluice"
local claim = require "claim"

local switch, hash = sl.router "switch", sl.router "hash"
switch["ffn.dispatch"] = "dropless"                         -- equal work: nothing is dropped

return sl.study(claim {
  baseline = "switch",
  variants = { switch = switch, hash = hash, dense = { ffn = { "dense", d_ff = 48 } } },
})
