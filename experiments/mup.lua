-- Does the best learning rate of a narrow model hold for a wide one? Five rates at three widths, with muP and without;
-- mup at 64 is standard at 64. The sign that it does: at 256 the best of muP has the rate of the best at 64.
local sl = require "sluice"
local base = require "baseline"

local function wide(width, parametrization, lr)
  return { d_model = width, parametrization = parametrization, ["train.optim.lr"] = lr,
           ["attention.heads"] = width // 16, ["attention.kv_heads"] = width // 32, ["ffn.d_ff"] = width * 3 // 4 }
end

local variants = {}
for _, lr in ipairs { 2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3 } do
  for _, width in ipairs { 64, 128, 256 } do
    local at = ("_%g_%d"):format(lr, width)
    variants["standard" .. at] = wide(width, "standard", lr)
    if width > 64 then variants["mup" .. at] = wide(width, { "mup", base_d_model = 64 }, lr) end
  end
end

return sl.study {
  base = sl.extend(base, { layers = 2, seq = 64 }), variants = variants, baseline = "standard_0.002_64",
  replicates = 5, data = "corpus.tok",
  train = { steps = 200, batch = 16, eval_every = 100, keep = 0, schedule = { "wsd", warmup = 20 } },
}
