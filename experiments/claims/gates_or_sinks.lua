-- A head that has nothing to say: should it look at nothing (a sink), or be gated?
-- Published: gates on heads' outputs lower the loss and take attention off the first token (Qiu 2025); a learned sink
-- does the latter (gpt-oss 2025, Xiao 2023).
-- Expected: gates -0.01 to -0.03, sinks nothing that eight seeds tell, both as gates alone.
local sl = require "sluice"
local claim = require "attention"

return sl.study(claim {
  baseline = "neither", match = { "active_params", adjust = "ffn.d_ff", tolerance = 0.02 },
  variants = { neither = {}, head_gates = { ["attention.gate"] = "head" },
               element_gates = { ["attention.gate"] = "element" }, sinks = { ["attention.sink"] = "head" },
               both = { ["attention.gate"] = "head", ["attention.sink"] = "head" } },
})
