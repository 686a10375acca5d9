-- Mixers in linear time by the names that they were published under: values of the slot attention, one row each. What a
-- row does not say is the module's default, sizes above all. `ranks`: the key whose value each rank in the row follows.
local GATED = "gated_delta"

-- Memories to which values are added, without what makes the delta rule stable.
local function sum(decay, gate)
  return { GATED, heads = 4, delta = false, unit = false, beta = false, conv = 0, decay = decay, gate = gate }
end

return {
  { name = "linear", about = "linear attention without a feature map, normed (Katharopoulos 2020; Qin 2022)",
    attention = sum("none", "none") },
  { name = "retnet", about = "RetNet, its rotation left out; Sun 2023",
    attention = sum("fixed", "silu") },
  { name = "lightning", about = "Lightning Attention of MiniMax-01, SiLU on queries, keys and values left out; 2025",
    attention = sum({ "fixed", by = "slopes" }, "element") },
  { name = "gla", about = "gated linear attention; Yang 2023",
    attention = sum("log_sigmoid", "silu") },
  { name = "mamba2", about = "Mamba-2; Dao 2024", attention = { "mamba2" } },
  { name = "delta_net", about = "DeltaNet over length; Yang 2024",
    attention = { GATED, heads = 4, decay = "none", gate = "none" } },
  { name = "gated_delta", about = "Gated DeltaNet; Yang 2024; Qwen3-Next", attention = { GATED } },
  { name = "kda", about = "Kimi Delta Attention; Kimi 2025 (Kimi Linear)", ranks = "value_dim",
    attention = { GATED, heads = 4, decay = { "softplus", per = "channel", rank = 32, least = 1 },
                  gate = { "element", rank = 32, bias = true } } },
  { name = "kda_bounded", about = "its decay bounded, its gate of full rank, as Kimi K3 is said to have them",
    ranks = "value_dim",
    attention = { GATED, heads = 4, decay = { "softplus", per = "channel", rank = 32, bound = 5 },
                  gate = { "element", bias = true } } },
}
