-- Six layers, or three of them twice, or two three times: what do weights of its own bring a layer, at equal work?
-- Published: a looped model of k layers run L / k times comes near one of L layers, above all where reasoning counts,
-- and is far better than k layers (Saunshi 2025); in loss the weights are missed (Dehghani 2018, Inkling 2026).
-- Expected: three twice worse by three hundredths than six, two three times by six, three once by six.
local sl = require "sluice"
local claim = require "attention"

return sl.study(claim {
  replicates = 5,
  baseline = "six",
  variants = { six = {}, three_twice = { layers = 3, order = { 0, 1, 2, 0, 1, 2 } },
               two_thrice = { layers = 2, order = { 0, 1, 0, 1, 0, 1 } }, three_once = { layers = 3 } },
})
