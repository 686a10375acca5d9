-- Do the first steps change activations alike at every width? Not a study to run, but to ask:
--     sluice coordcheck experiments/coordcheck.lua
local sl = require "sluice"
local base = require "baseline"

local function wide(width, parametrization)
  return { d_model = width, parametrization = parametrization, ["attention.heads"] = width // 16,
           ["attention.kv_heads"] = width // 32, ["ffn.d_ff"] = width * 3 // 4 }
end

local variants = {}
for _, width in ipairs { 64, 128, 256 } do
  variants["standard_" .. width] = wide(width, "standard")
  variants["mup_" .. width] = wide(width, { "mup", base_d_model = 32 })
end

return sl.study {
  base = base, variants = variants, baseline = "standard_64", replicates = 3, data = "corpus.tok",
  train = { steps = 10, batch = 8, optim = { "adamw", lr = 3e-3 } },
}
