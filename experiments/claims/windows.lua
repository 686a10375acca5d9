-- Must every layer see everything?
-- Published: five layers with a window to one without are on a par with all without (Gemma 3 2025), as 1:1 is (Gemma
-- 2 2024); with windows alone what is further back is lost.
-- Expected: no difference between none, 1:1 and 5:1 at windows of 32 of 256 bytes; windows alone within a hundredth,
-- for six of them reach 186 bytes back. By position a difference would grow.
local sl = require "sluice"
local claim = require "attention"

local function every(n)
  return { ["attention.mask"] = function(layer) return layer % n == 0 and "causal" or { "window", size = 32 } end }
end

return sl.study(claim {
  baseline = "full",
  variants = { full = {}, one_to_one = every(2), five_to_one = every(6), window = every(7) },
})
