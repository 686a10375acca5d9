-- Should a layer's values know those of the first layer, and a head speak of its own token?
-- Published: value residuals bring what 14 % more tokens bring (ResFormer, Zhou 2024); attention that leaves out its
-- own value is better, more so in long sequences (XSA 2026).
-- Expected: a hundredth for value residuals, nothing that is told for XSA.
local sl = require "sluice"
local claim = require "attention"

return sl.study(claim {
  baseline = "none",
  variants = { none = {}, residual = { ["attention.value"] = "residual" }, xsa = { ["attention.gate"] = "xsa" },
               both = { ["attention.value"] = "residual", ["attention.gate"] = "xsa" } },
})
