-- What do all claims share? A model that trains in seconds, real text, and enough replicates to tell small differences.
local sl = require "sluice"

local shared = {
  base = sl.extend(sl.preset "baseline-nano", {
    ["ffn.experts"] = 16, ["ffn.shared"] = "none", ["ffn.balance"] = { { "switch_aux", alpha = 0.01 } },
  }),
  replicates = 8, data = "corpus.tok",
  train = { steps = 500, batch = 16, eval_every = 125, optim = { "adamw", lr = 3e-3 },
            schedule = { "wsd", warmup = 25 } },
}

return function(study)
  for key, value in pairs(shared) do
    if study[key] == nil then study[key] = value end
  end
  return study
end
