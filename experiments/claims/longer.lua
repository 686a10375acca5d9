-- Which model stands text that is longer than what it was trained on?
-- Published: without positions models generalise to longer sequences, with RoPE they do not (Kazemnejad 2023); layers
-- without among layers with RoPE and a window help (Llama 4, SmolLM3 2025); norms on queries and keys bound logits.
-- Expected: within 128 bytes RoPE before none; beyond, up to 512, RoPE loses most, QK-norm does not change that, a
-- window of 64 saves it.
local sl = require "sluice"
local claim = require "attention"

local function some(layer) return layer % 3 == 0 and "none" or "rope" end

return sl.study(claim {
  baseline = "rope", primary = "eval.loss_beyond",
  base = sl.extend(sl.preset "baseline-nano", { layers = 6 }),
  train = { steps = 600, batch = 16, eval_every = 150, eval_seq = 512, optim = { "adamw", lr = 3e-3 },
            schedule = { "wsd", warmup = 30 } },
  variants = { rope = {}, nope = { position = "none" }, every_third_nope = { position = some },
               rope_qk_norm = { ["attention.qk_norm"] = "qk" },
               rope_window = { ["attention.mask"] = { "window", size = 64 } } },
})
