-- What does it cost that layers share keys and values, and what does it bring to read a shallow layer's input?
-- Published: CLA of 2 halves the cache at nearly no loss (Brandon 2024), YOCO keeps one layer's for half of the stack
-- and is on a par (Sun 2024); KV-Mirror saves no cache, and is said to help (WeLM 2025).
-- Expected: a mirror within noise of none; CLA and YOCO worse by a hundredth or two, YOCO more, since its lower layers
-- see 64 bytes.
local sl = require "sluice"
local claim = require "attention"

local function lower(layer) return layer <= 3 and { "window", size = 64 } or "causal" end

return sl.study(claim {
  baseline = "own",
  variants = { own = {}, mirror = { ["attention.kv"] = "mirror" }, cla = { ["attention.kv"] = "cla" },
               yoco = { ["attention.kv"] = "yoco", ["attention.mask"] = lower },
               yoco_causal = { ["attention.kv"] = "yoco" } },
})
