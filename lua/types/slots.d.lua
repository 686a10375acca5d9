---@meta _
-- Written by `sluice reference lua`. What every slot takes, and the presets; the functions are in sluice.d.lua.

---@alias sluice.preset
---| "arctic-480b" # Snowflake Arctic, published size, to plan and count (480 G parameters, 17 G active). Snowflake 2024. A mixture of experts that reads each layer's input stands beside attention and a dense feed-forward; its balance is not public.
---| "baseline-medium" # A mixture of experts as most are built today, 272 M parameters with a vocabulary of 16384.
---| "baseline-micro" # A mixture of experts as most are built today, 2 M parameters.
---| "baseline-nano" # A mixture of experts as most are built today, 0.4 M parameters.
---| "baseline-small" # A mixture of experts as most are built today, 114 M parameters with a vocabulary of 8192.
---| "baseline-tiny" # A mixture of experts as most are built today, 12 M parameters.
---| "dbrx" # DBRX, published size, to plan and count (131,596,523,520 parameters). Databricks 2024; its LayerNorm is an RMSNorm here, and what it clips queries, keys and values to is left out.
---| "deepseek-v2-lite" # DeepSeek-V2-Lite, published size, to plan and count (15,706,484,224 parameters). DeepSeek-AI 2024 (arXiv 2405.04434); queries are made of no latent. YaRN is left out.
---| "deepseek-v2" # DeepSeek-V2, published size, to plan and count (235,741,434,880 parameters; 34,560 values a token in caches). DeepSeek-AI 2024 (arXiv 2405.04434); YaRN is left out.
---| "deepseek-v3" # DeepSeek-V3, published size without its block of multi-token prediction, to plan and count (671,026,404,352 parameters, and 14,848 biases of experts, which are none here; caches of 70,272 bytes a token in bf16). DeepSeek-AI 2024 (arXiv 2412.19437); YaRN is left out.
---| "deepseekmoe-16b" # DeepSeekMoE-16B, published size, to plan and count (16,375,728,128 parameters). Dai 2024 (arXiv 2401.06066).
---| "dense-124m" # A dense model at the size of GPT-2 small, 124 M parameters with its vocabulary, built as most are today.
---| "gemma-2-9b" # Gemma 2 9B, published size, to plan and count (9,241,705,984 parameters). Gemma Team 2024 (arXiv 2408.00118). Every second layer sees all; the cap of the head's logits, 30, is left out.
---| "gemma-3-27b" # Gemma 3 27B, published size of its text model, to plan and count (27,009,346,304 parameters). Gemma Team 2025 (arXiv 2503.19786). Of six layers five see 1024 tokens, and the sixth all, with slower positions of an eightfold context.
---| "glm-4.5-air" # GLM-4.5-Air, published size without its block of multi-token prediction, to plan and count (106,852,245,504 parameters). Zeng 2025 (arXiv 2508.06471).
---| "glm-4.5" # GLM-4.5, published size without its block of multi-token prediction, to plan and count (352,797,814,784 parameters). Zeng 2025 (arXiv 2508.06471).
---| "gpt-oss-120b" # gpt-oss-120b, published size, to plan and count (116,829,156,672 parameters). OpenAI 2025; its balance is not public.
---| "gpt-oss-20b" # gpt-oss-20b, published size, to plan and count (20,914,757,184 parameters). OpenAI 2025; its balance is not public.
---| "grok-1" # Grok-1, published size, to plan and count (315,684,820,992 parameters). xAI 2024; its balance and the scale of its logits are not here.
---| "jetmoe-8b" # JetMoE-8B, published size, to plan and count (8,522,139,648 parameters; it has 98,304 more, biases of what experts write). Shen 2024 (arXiv 2404.07413). Attention's experts have 16 heads each, of which a token uses 32.
---| "kimi-k2" # Kimi K2, published size, to plan and count (1,026,408,209,408 parameters, and 23,040 biases of experts, which are none here). Moonshot AI 2025 (arXiv 2507.20534): fewer heads and more experts than DeepSeek-V3, and QK-clip; YaRN is left out.
---| "kimi-linear-nano" # Kimi Linear scaled down, 0.4 M parameters: three layers of Kimi Delta Attention to one of attention, of shared key heads where the published model compresses them, and no position encoding: order is the memories' alone.
---| "llama-4-maverick" # Llama 4 Maverick, published size of its text model, to plan and count (400,711,848,960 parameters). Meta 2025; every other layer is dense, every fourth has no positions. Its balance is not public.
---| "llama-4-scout" # Llama 4 Scout, published size of its text model, to plan and count (107,769,861,120 parameters). Meta 2025; every fourth layer has no positions. Its balance is not public, and how its contexts were stretched is left out.
---| "minicpm-moe-8x2b" # MiniCPM-MoE 8x2B, published size, to plan and count (13,873,291,776 parameters). Hu 2024 (arXiv 2404.06395), whose scale of logits is left out.
---| "mixtral-8x22b" # Mixtral 8x22B, published size, to plan and count (140,620,634,112 parameters). Mistral AI 2024.
---| "mixtral-8x7b" # Mixtral 8x7B, published size, to plan and count (46,702,792,704 parameters). Jiang 2024 (arXiv 2401.04088).
---| "moonlight" # Moonlight-16B-A3B, published size, to plan and count (15,960,108,544 parameters, and 1,664 biases of experts, which are none here). Liu 2025 (arXiv 2502.16982): DeepSeek-V3's layers at the size of V2-Lite.
---| "olmo-2-7b" # OLMo 2 7B, published size, to plan and count (7,298,617,344 parameters). OLMo 2025 (arXiv 2501.00656). Norms stand behind what branches write, queries and keys are normalised over all their heads together.
---| "olmoe-1b-7b" # OLMoE-1B-7B, published size, to plan and count (6,919,161,856 parameters). Muennighoff 2024 (arXiv 2409.02060). Queries and keys are normalised over all their heads together.
---| "qwen1.5-moe-a2.7b" # Qwen1.5-MoE-A2.7B, published size, to plan and count (14,315,784,192 parameters). Qwen 2024.
---| "qwen3-235b-a22b" # Qwen3-235B-A22B, published size, to plan and count (235,093,634,560 parameters). Yang 2025 (arXiv 2505.09388); the balance is global there.
---| "qwen3-30b-a3b" # Qwen3-30B-A3B, published size, to plan and count (30,532,122,624 parameters). Yang 2025 (arXiv 2505.09388); the balance is global there.
---| "qwen3-next-80b-a3b" # Qwen3-Next-80B-A3B, published size without its block of multi-token prediction, to plan and count (79,674,391,296 parameters). Qwen 2025. Three layers of a gated delta rule to one of gated attention; the balance is that of Qwen3.
---| "qwen3-next-nano" # Qwen3-Next scaled down, 0.4 M parameters: three layers of a gated delta rule to one of gated attention.
---| "smollm3-3b" # SmolLM3 3B, published size, to plan and count (3,075,098,624 parameters). Hugging Face 2025. Every fourth layer has no positions.
---| "welm-80b" # WeLM-80B-A3B at its size, to plan and count (trunk 78.82 B, active 3.02 B), as its serving code and parameter counts tell; rows of the n-gram tables, vocabulary and rates are not public: what fits 6.1 B embedding parameters stands here.
---| "welm-micro" # WeLM's architecture at the size of baseline-micro: the same width, depth, experts and key-value heads.
---| "welm-nano" # WeLM's architecture at the size of baseline-nano: the same width, depth, experts and key-value heads.
---| "welm-tiny" # WeLM's architecture at the size of baseline-tiny: the same width, depth, experts and key-value heads.

---@alias sluice.router_name
---| "switch" # Switch Transformer; Fedus 2021
---| "noisy-top-k" # sparsely-gated mixture of experts; Shazeer 2017
---| "v-moe" # vision mixture of experts; Riquelme 2021
---| "gshard" # GShard: a second expert by chance; Lepikhin 2020
---| "hash" # hash layers: experts by the token's id, no router; Roller 2021
---| "expert-choice" # experts choose tokens; not causal; Zhou 2022
---| "base" # BASE layers; not causal in training; Lewis 2021
---| "s-base" # S-BASE of the scaling laws of routing; not causal in training; Clark 2022
---| "rl-r" # experts are drawn, and what predicts well is rewarded; Clark 2022
---| "moduleformer" # ModuleFormer, its feed-forwards; Shen 2023
---| "remoe" # ReMoE: as many experts as have a score, one in the mean; Wang 2024
---| "x-moe" # cosine router; Chi 2022
---| "skywork-moe" # standardised logits; Wei 2024; its balance loss adapts its weight
---| "mixtral" # Mixtral 8x7B; Jiang 2024
---| "grok-1" # Grok-1; xAI 2024; its balance is not public
---| "dbrx" # DBRX; Databricks 2024
---| "minicpm-moe" # MiniCPM-MoE 8x2B; Hu 2024
---| "jetmoe" # JetMoE-8B, of its feed-forwards and of its attention; Shen 2024
---| "olmoe" # OLMoE-1B-7B; Muennighoff 2024
---| "qwen1.5-moe" # Qwen1.5-MoE-A2.7B; Qwen 2024
---| "qwen3" # Qwen3-30B-A3B and 235B-A22B; Yang 2025
---| "qwen3-next" # Qwen3-Next-80B-A3B; Qwen 2025
---| "gpt-oss" # gpt-oss-120b and 20b, whose balance is not public; OpenAI 2025
---| "llama-4" # Llama 4 Scout and Maverick, whose balance is not public; Meta 2025
---| "deepseekmoe" # DeepSeekMoE-16B; Dai 2024
---| "deepseek-v2" # DeepSeek-V2; 2024
---| "deepseek-v2-lite" # DeepSeek-V2-Lite; 2024
---| "deepseek-v3" # DeepSeek-V3; 2024
---| "deepseek-v4" # DeepSeek-V4; its first 3 layers choose by select = "hash", without balance; 2026
---| "moonlight" # Moonlight-16B-A3B; Liu 2025
---| "kimi-k2" # Kimi K2; Moonshot 2025
---| "glm-4.5" # GLM-4.5; Zeng 2025
---| "glm-4.5-air" # GLM-4.5-Air; Zeng 2025
---| "welm" # WeLM-80B-A3B; gates are not normalised

---@alias sluice.mixer_name
---| "linear" # linear attention without a feature map, normed (Katharopoulos 2020; Qin 2022)
---| "retnet" # RetNet, its rotation left out; Sun 2023
---| "lightning" # Lightning Attention of MiniMax-01, SiLU on queries, keys and values left out; 2025
---| "gla" # gated linear attention; Yang 2023
---| "mamba2" # Mamba-2; Dao 2024
---| "delta_net" # DeltaNet over length; Yang 2024
---| "gated_delta" # Gated DeltaNet; Yang 2024; Qwen3-Next
---| "kda" # Kimi Delta Attention; Kimi 2025 (Kimi Linear)
---| "kda_bounded" # its decay bounded, its gate of full rank, as Kimi K3 is said to have them

---the architecture
---@class sluice.model_keys
---@field layers? integer blocks of attention and ffn; default 4, 1 … 1024
---@field d_model? integer width of the residual stream; default 128, 2 … 65536
---@field seq? integer length of a training sequence; default 256, 1 … 1048576
---@field vocab? integer size of the vocabulary; at least the data's; default 256, 2 … 1048576
---@field order? integer[] layers from 0 as they run, any of them more than once, with the same weights; empty: each once; default {}, 0 … 1023
---@field init? sluice.init how weights are drawn; default normal
---@field parametrization? sluice.parametrization how initial values, rates and logits go with the model's width; default standard
---@field embed? sluice.embed from token ids to vectors; default plain
---@field norm? sluice.norm the normalisation that residual, head and blocks use; default rms
---@field head? sluice.head from vectors to losses; default lm
---@field adapter? sluice.adapter what is trained where weights are frozen; default none
---@field position? sluice.position|fun(layer: integer): sluice.position how queries and keys know where they are; default rope
---@field residual? sluice.residual|fun(layer: integer): sluice.residual how branches read and write the residual stream, where norms stand; default pre
---@field memory? sluice.memory|fun(layer: integer): sluice.memory what is looked up and added to the stream before a block; default none
---@field ple? sluice.ple|fun(layer: integer): sluice.ple what a layer adds behind its block for the token itself; default none
---@field block? sluice.block|fun(layer: integer): sluice.block how a layer's attention and ffn follow each other; default sequential
---@field conv? sluice.conv|fun(layer: integer): sluice.conv short convolutions along the sequence, where a layer has them; default none
---@field attention? sluice.attention|fun(layer: integer): sluice.attention mixing along the sequence; default gqa
---@field ffn? sluice.ffn|fun(layer: integer): sluice.ffn mixing along the width, dense or mixture of experts; default dense

---the training run
---@class sluice.train_keys
---@field steps? integer optimizer steps; default 400, ≥ 1
---@field batch? integer sequences in a step; default 16, 1 … 1000000
---@field micro? integer micro-batches that a step's batch is cut into; default 1, 1 … 1000000
---@field clip? number largest global gradient norm; 0: no clipping; default 1, ≥ 0
---@field backend? "cpu"|"cuda" what computes: the processor, or an NVIDIA GPU; default cpu
---@field precision? "fp32"|"bf16" of activations; weights, scores and sums stay fp32; default fp32
---@field recompute? "none"|"selective"|"full" what is computed again for backward rather than kept, to the same bits. selective: norms, gathered expert rows and gated activations, a little more time; full: all that a layer makes, but for what others read of it, about a third more time; default none
---@field rounding? "none"|"nearest"|"stochastic" of weights to values of bf16 after each step, as without copies of them in fp32; default none
---@field offload? boolean what an optimizer remembers, and averages of weights, lie in the host's memory, to the same bits; for a GPU; default false
---@field ranks? sluice.ranks how several ranks divide the model and its batches; default grid
---@field fp8? sluice.fp8 products of operands in FP8, in training; default none
---@field optim? sluice.optim the optimizer; default adamw
---@field rates? sluice.rates|sluice.rates[] factors on the learning rate, of layers or kinds of weights; default {}
---@field constraint? sluice.constraint what weights are held to after each step; default none
---@field schedule? sluice.schedule the learning rate over the run; default wsd
---@field decay_schedule? sluice.schedule the optimizer's decay over the run, beside what the rate makes of it; default constant
---@field momentum_schedule? sluice.schedule its momentum over the run: of AdamW and Lion beta1, of SGD and Muon momentum; default constant
---@field batch_schedule? sluice.schedule the batch over the run, as a share of `batch`, in whole micro-batches; default constant
---@field seq_schedule? sluice.schedule how long sequences may be over the run, as a share of the model's seq; what is longer is cut into documents; default constant
---@field guard? sluice.guard steps that are left out; default none
---@field average? sluice.average averages of the weights, for evaluation and sampling; default none
---@field monitors? sluice.monitors|sluice.monitors[] further metrics of weights, the residual stream, attention; default {}
---@field eval_every? integer steps between evaluations; the last step always evaluates; default 100, ≥ 1
---@field eval_tokens? integer held-out tokens that an evaluation measures, the same for all variants; 0: all there are; default 32768, ≥ 0
---@field eval_seq? integer length of an evaluation's sequences, a multiple of the model's seq; 0: that; default 0, 0 … 1048576
---@field record? boolean the experts that each token goes to are kept in the run file, for other runs to replay; default false
---@field checkpoint_every? integer steps between checkpoints; default 100, ≥ 1
---@field keep? integer checkpoints kept; 0: the newest while the run goes on, none when it is over; default 2, 0 … 1000
---@field stop_window? integer trailing steps that a loss spike is measured against; so many without a target end a run; default 50, 5 … 1000000
---@field stop_sigma? number stop as diverged when the loss stays this many standard deviations above the window for 10 steps; 0: never; default 0, 0 … 1000000
---@field stop_dead? number stop when this share of experts got no token for a window; 0: never; default 0, 0 … 1
---@field stop_seconds? number stop after so much training time; 0: never; default 0, ≥ 0

---@alias sluice.init
---| "normal" # truncated normal, branch outputs scaled by depth
---| sluice.init.normal
---| "llama" # wide embeddings, what writes to the stream narrower by depth
---| sluice.init.llama
---| "fan" # as wide as keeps the size of what goes through: fan-in, Xavier
---| sluice.init.fan
---| "from" # the weights of another run, taken over or mapped
---| sluice.init.from

---truncated normal, branch outputs scaled by depth
---@class sluice.init.normal
---@field [1]? "normal"
---@field std? number standard deviation; default 0.02, 0.0001 … 1
---@field cut? number draws beyond it are drawn again; 0: not truncated; default 3, 0 … 10
---@field depth_scale? boolean divide by sqrt(2 layers) where a branch writes to an un-normalised residual; default true

---wide embeddings, what writes to the stream narrower by depth
---@class sluice.init.llama
---@field [1]? "llama"
---@field std? number standard deviation of matrices; default 0.02, 0.0001 … 1
---@field cut? number draws beyond it are drawn again; 0: not truncated; default 3, 0 … 10
---@field embed? number standard deviation of embeddings; 0: 1, or 1 / sqrt(d_model) where they are the head too; default 0, 0 … 100
---@field depth? "model"|"layer" narrower by sqrt(2 layers), or in layer l, counted from 0, by sqrt(2 (l + 1)); default model

---as wide as keeps the size of what goes through: fan-in, Xavier
---@class sluice.init.fan
---@field [1]? "fan"
---@field fan? "in"|"both" what a matrix' width goes by: its inputs, or these and its outputs; default in
---@field gain? number of the variance; default 1, 0.0001 … 100
---@field cut? number draws beyond it are drawn again; 0: not truncated; default 3, 0 … 10
---@field embed? number standard deviation of embeddings; 0: 1, or 1 / sqrt(d_model) where they are the head too; default 0, 0 … 100

---the weights of another run, taken over or mapped
---@class sluice.init.from
---@field [1]? "from"
---@field run? string whose weights: a variant of the study, "runs/NAME/VARIANT", or a file; default 
---@field step? integer of its checkpoint; 0: the last; default 0, ≥ 0
---@field replicate? integer of its runs; -1: the one of the same number; default -1, -1 … 999
---@field average? boolean the averages of its weights, as it is evaluated; default false
---@field map? sluice.map what becomes of each tensor; default same
---@field fresh? string patterns of weights that begin as `rest` says, with spaces between; default 
---@field left? string patterns of the other model's tensors that have no place in this one; default 
---@field rest? sluice.init how what is not taken over begins; default normal

---@alias sluice.map
---| "same" # each tensor from that of the same name
---| sluice.map.same
---| "layers" # layers are copies of others, by a list
---| sluice.map.layers
---| "cycle" # a run of layers occurs several times (WeLM, stacking)
---| sluice.map.cycle
---| "overlap" # two copies of all layers that overlap (SOLAR)
---| sluice.map.overlap
---| "upcycle" # dense feed-forwards become experts
---| sluice.map.upcycle
---| "split" # experts are cut into several narrower ones
---| sluice.map.split
---| "merge" # experts become fewer: several are made one
---| sluice.map.merge
---| "prune" # some of the experts stay, by a list, their load or their norm
---| sluice.map.prune
---| "widen" # a wider model of the same function
---| sluice.map.widen

---each tensor from that of the same name
---@class sluice.map.same
---@field [1]? "same"

---layers are copies of others, by a list
---@class sluice.map.layers
---@field [1]? "layers"
---@field of? integer[] the other model's layer that each of this model's is a copy of, from 0; default {}, 0 … 4095
---@field identity? boolean what repeats a layer adds nothing to the stream at first; default false

---a run of layers occurs several times (WeLM, stacking)
---@class sluice.map.cycle
---@field [1]? "cycle"
---@field from? integer first layer that is repeated, from 0; default 0, 0 … 4095
---@field to? integer last one; default 0, 0 … 4095
---@field times? integer how often they occur, one copy being the first; default 2, 1 … 64
---@field identity? boolean what repeats a layer adds nothing to the stream at first; default false

---two copies of all layers that overlap (SOLAR)
---@class sluice.map.overlap
---@field [1]? "overlap"
---@field removed? integer layers that the first copy lacks at its end, the second at its start; default 1, 0 … 4095
---@field identity? boolean what repeats a layer adds nothing to the stream at first; default false

---dense feed-forwards become experts
---@class sluice.map.upcycle
---@field [1]? "upcycle"
---@field reinit? number share of the hidden neurons of each expert that are drawn anew; default 0, 0 … 1
---@field shuffle? boolean each copy's neurons are in an order of their own before it is cut; default false
---@field compensate? boolean the projection down makes up for what gates take from the sum; default true
---@field tie? boolean the parts of one copy have one row of the router; default true

---experts are cut into several narrower ones
---@class sluice.map.split
---@field [1]? "split"
---@field parts? integer experts that each becomes; default 2, 2 … 64

---experts become fewer: several are made one
---@class sluice.map.merge
---@field [1]? "merge"
---@field experts? integer[] the other model's experts, from 0, in the order in which they are grouped; {}: as they stand; default {}, 0 … 4095

---some of the experts stay, by a list, their load or their norm
---@class sluice.map.prune
---@field [1]? "prune"
---@field experts? integer[] those that stay, from 0, in ascending order; default {}, 0 … 4095
---@field by? "list"|"load"|"norm" which stay: the list `experts`; those of most tokens in the last evaluation, or step where there was none; those whose weights have the largest norm; default list

---a wider model of the same function
---@class sluice.map.widen
---@field [1]? "widen"
---@field noise? number share by which the weights of copies differ; default 0.1, 0 … 1

---@alias sluice.parametrization
---| "standard" # as they are set, whatever the width
---| sluice.parametrization.standard
---| "mup" # for a base width, so that they hold at others
---| sluice.parametrization.mup

---as they are set, whatever the width
---@class sluice.parametrization.standard
---@field [1]? "standard"

---for a base width, so that they hold at others
---@class sluice.parametrization.mup
---@field [1]? "mup"
---@field base_d_model? integer d_model of the model for which init and rates are set; default 64, 1 … 65536
---@field base_d_ff? integer width of its feed-forwards and experts; 0: in proportion to d_model; default 0, 0 … 1048576

---@alias sluice.embed
---| "plain" # one vector a token
---| sluice.embed.plain
---| "over_encoding" # hashed n-gram tables beside the token's vector
---| sluice.embed.over_encoding

---one vector a token
---@class sluice.embed.plain
---@field [1]? "plain"
---@field scale? number factor on the vectors; Gemma: sqrt(d_model); default 1, 0.01 … 1000
---@field rank? integer width of a token's own vector, from which a matrix leads to d_model; 0: d_model; default 0, 0 … 65536

---hashed n-gram tables beside the token's vector
---@class sluice.embed.over_encoding
---@field [1]? "over_encoding"
---@field grams? integer[] tokens in the n-grams of each table; empty: 2 2 3 3; default {}, 2 … 4
---@field rows? integer rows of the smallest table; each table takes the next prime; default 4096, 2 … 268435456
---@field width? integer width of a row; default 32, 1 … 8192
---@field hash? "mul32"|"mod" 32-bit multiplicative hash, or the exact n-gram number modulo rows; default mul32
---@field combine? "welm"|"paper"|"normsum" how token and n-grams are added; default welm

---@alias sluice.position
---| "none" # no position encoding
---| sluice.position.none
---| "rope" # rotary positions on a share of each head
---| sluice.position.rope
---| "relative" # learned logits of distance
---| sluice.position.relative

---no position encoding
---@class sluice.position.none
---@field [1]? "none"

---rotary positions on a share of each head
---@class sluice.position.rope
---@field [1]? "rope"
---@field base? number|fun(layer: integer): number ratio of the slowest to the fastest frequency; default 10000, ≥ 2
---@field fraction? number|fun(layer: integer): number share of each head that rotates; default 1, 0.0078125 … 1
---@field where? "first"|"last"|"proportional"|fun(layer: integer): "first"|"last"|"proportional" which dimensions of the head rotate; default last
---@field pairs? "halves"|"neighbours"|fun(layer: integer): "halves"|"neighbours" which two dimensions are a pair; default halves
---@field stretch? "none"|"linear"|"yarn"|fun(layer: integer): "none"|"linear"|"yarn" which frequencies factor divides; default none
---@field factor? number|fun(layer: integer): number how much longer the context becomes by `stretch`; default 4, 1 … 10000
---@field fast? number|fun(layer: integer): number yarn: in `original` tokens, from which a pair is not divided; default 32, 0.001 … 1000000
---@field slow? number|fun(layer: integer): number yarn: up to which it is divided by all of factor; default 1, 0.001 … 1000000
---@field original? integer|fun(layer: integer): integer yarn: context of the training before; default 4096, ≥ 1
---@field rounded? boolean|fun(layer: integer): boolean yarn: the two bounds are whole pairs; gpt-oss: they are not; default true
---@field temperature? "none"|"rotated"|"scores"|fun(layer: integer): "none"|"rotated"|"scores" how attention is made sharper for factor; default none

---learned logits of distance
---@class sluice.position.relative
---@field [1]? "relative"
---@field features? integer|fun(layer: integer): integer width of r; default 16, 1 … 1024
---@field extent? integer|fun(layer: integer): integer distances that have a profile, the own position's included; default 1024, 1 … 65536

---@alias sluice.norm
---| "rms" # root mean square
---| sluice.norm.rms
---| "layer" # mean taken out, then root mean square
---| sluice.norm.layer
---| "dynamic_tanh" # no norm: values are bent one by one
---| sluice.norm.dynamic_tanh

---root mean square
---@class sluice.norm.rms
---@field [1]? "rms"
---@field eps? number added to the mean square; default 1e-06, 1e-12 … 0.01
---@field zero_centred? boolean keep the gain as its distance from 1, to which it then decays where train.optim.decay_gains is set; default false
---@field gain? number initial gain, times what a place asks for; default 1, 0.001 … 100

---mean taken out, then root mean square
---@class sluice.norm.layer
---@field [1]? "layer"
---@field eps? number added to the variance; default 1e-05, 1e-12 … 0.01
---@field bias? boolean a learned bias, 0 at first; default true

---no norm: values are bent one by one
---@class sluice.norm.dynamic_tanh
---@field [1]? "dynamic_tanh"
---@field alpha? number alpha at first; default 0.5, 0.001 … 100
---@field bias? boolean a learned bias, 0 at first; default true

---@alias sluice.residual
---| "pre" # norm on the branch's input
---| sluice.residual.pre
---| "post" # norm after the sum
---| sluice.residual.post
---| "sandwich" # norm on both sides of the branch
---| sluice.residual.sandwich
---| "partial_post" # PostNorm once a block, PreNorm before the ffn (WeLM)
---| sluice.residual.partial_post
---| "hyper" # hyper-connections: several streams, learnt mixtures
---| sluice.residual.hyper
---| "mhc" # hyper-connections whose mixing keeps the sum of the streams
---| sluice.residual.mhc
---| "reordered" # norm on what a branch writes (OLMo 2)
---| sluice.residual.reordered
---| "lambdas" # learned factors on the stream and on its past, around another
---| sluice.residual.lambdas
---| "attn_res" # attention residuals: a mixture of what sublayers wrote
---| sluice.residual.attn_res

---norm on the branch's input
---@class sluice.residual.pre
---@field [1]? "pre"
---@field scale? number|fun(layer: integer): number factor on what a branch writes; default 1, 0 … 100
---@field by_depth? boolean|fun(layer: integer): boolean that factor over the root of the number of layers; default false
---@field norm_by_depth? boolean|fun(layer: integer): boolean what a branch reads over the root of its layer's number, from 1; default false

---norm after the sum
---@class sluice.residual.post
---@field [1]? "post"
---@field deep? boolean|fun(layer: integer): boolean a larger stream and narrower branches, by the number of layers: DeepNorm; default false
---@field final_norm? boolean|fun(layer: integer): boolean norm once more between the last block and the head; default false

---norm on both sides of the branch
---@class sluice.residual.sandwich
---@field [1]? "sandwich"
---@field embed_norm? boolean|fun(layer: integer): boolean the stream begins with a norm; default false

---PostNorm once a block, PreNorm before the ffn (WeLM)
---@class sluice.residual.partial_post
---@field [1]? "partial_post"
---@field output_norm? boolean|fun(layer: integer): boolean normalise what attention writes; default true
---@field gain_init? number|fun(layer: integer): number initial gain of the output norm; default 1, 0.01 … 10
---@field prenorm_layers? integer[]|fun(layer: integer): integer[] layers that are plain PreNorm, without output norm; default {}, 0 … 4095

---hyper-connections: several streams, learnt mixtures
---@class sluice.residual.hyper
---@field [1]? "hyper"
---@field streams? integer|fun(layer: integer): integer residual streams; default 4, 1 … 8
---@field dynamic? boolean|fun(layer: integer): boolean tokens have a say in how streams are read, mixed and written to; default true

---hyper-connections whose mixing keeps the sum of the streams
---@class sluice.residual.mhc
---@field [1]? "mhc"
---@field streams? integer|fun(layer: integer): integer residual streams; default 4, 1 … 8
---@field iterations? integer|fun(layer: integer): integer Sinkhorn's, of rows and columns; 0: streams are not mixed; default 20, 0 … 128

---norm on what a branch writes (OLMo 2)
---@class sluice.residual.reordered
---@field [1]? "reordered"

---learned factors on the stream and on its past, around another
---@class sluice.residual.lambdas
---@field [1]? "lambdas"
---@field residual? sluice.residual|fun(layer: integer): sluice.residual how branches read and write the stream; default pre
---@field x0? boolean|fun(layer: integer): boolean each block begins with a mixture of the stream and of what `embed` gave; default true
---@field unet? boolean|fun(layer: integer): boolean blocks of the second half get what those of the first left, the last the first's; default false
---@field backout? boolean|fun(layer: integer): boolean what the first half left is taken out of what the head reads; default false
---@field stream_init? number|fun(layer: integer): number factor on the stream, at first; default 1, -10 … 10
---@field x0_init? number|fun(layer: integer): number factor on what `embed` gave, at first; nanochat: 0.2 to 0.05; default 0, -10 … 10
---@field unet_init? number|fun(layer: integer): number factor on what an earlier block left, at first; later: 0.18; default 1, -10 … 10
---@field backout_init? number|fun(layer: integer): number factor on what is taken out, at first; default 0.2, -10 … 10

---attention residuals: a mixture of what sublayers wrote
---@class sluice.residual.attn_res
---@field [1]? "attn_res"
---@field block? integer|fun(layer: integer): integer sublayers whose sum is one source; 1: each is; default 1, 1 … 2048
---@field eps? number|fun(layer: integer): number added to the mean square; default 1e-06, 1e-12 … 0.01

---@alias sluice.memory
---| "none" # no look-up
---| sluice.memory.none
---| "bigram" # hashed bigrams, added to the stream before attention
---| sluice.memory.bigram
---| "smear" # the token before, behind a gate
---| sluice.memory.smear
---| "conv" # a short convolution of what `embed` gave
---| sluice.memory.conv
---| "engram" # hashed n-grams behind a gate that the stream sets (Engram)
---| sluice.memory.engram

---no look-up
---@class sluice.memory.none
---@field [1]? "none"

---hashed bigrams, added to the stream before attention
---@class sluice.memory.bigram
---@field [1]? "bigram"
---@field rows? integer|fun(layer: integer): integer rows of the table; default 4096, 2 … 268435456
---@field factor? number|fun(layer: integer): number initial factor; default 0.1, -10 … 10

---the token before, behind a gate
---@class sluice.memory.smear
---@field [1]? "smear"
---@field channels? integer|fun(layer: integer): integer values of x that the gate reads; default 24, 1 … 65536
---@field factor? number|fun(layer: integer): number initial factor; default 0, -10 … 10

---a short convolution of what `embed` gave
---@class sluice.memory.conv
---@field [1]? "conv"
---@field taps? integer|fun(layer: integer): integer how far it reaches, its own token included; default 4, 2 … 64
---@field zero? boolean|fun(layer: integer): boolean taps are 0 at first, not even within 1 / sqrt(taps); default false

---hashed n-grams behind a gate that the stream sets (Engram)
---@class sluice.memory.engram
---@field [1]? "engram"
---@field order? integer|fun(layer: integer): integer the longest n-grams; there are tables of all from pairs on; default 3, 2 … 4
---@field heads? integer|fun(layer: integer): integer tables of each order; default 4, 1 … 16
---@field width? integer|fun(layer: integer): integer width of a row; default 16, 1 … 8192
---@field rows? integer|fun(layer: integer): integer rows of the smallest table; each table takes the next prime; default 4096, 2 … 268435456
---@field conv? integer|fun(layer: integer): integer taps of a convolution of what is added, `order` tokens apart; 0: none; default 0, 0 … 16
---@field zero? boolean|fun(layer: integer): boolean V and the taps are 0 at first, so that nothing is added; default false
---@field eps? number|fun(layer: integer): number added to mean squares; default 1e-06, 1e-12 … 0.01

---@alias sluice.block
---| "sequential" # attention, then ffn
---| sluice.block.sequential
---| "parallel" # attention and ffn of one input
---| sluice.block.parallel
---| "shortcut" # a dense feed-forward in place, the ffn on a path around it
---| sluice.block.shortcut
---| "depths" # another block on some of the tokens (Mixture-of-Depths)
---| sluice.block.depths

---attention, then ffn
---@class sluice.block.sequential
---@field [1]? "sequential"

---attention and ffn of one input
---@class sluice.block.parallel
---@field [1]? "parallel"

---a dense feed-forward in place, the ffn on a path around it
---@class sluice.block.shortcut
---@field [1]? "shortcut"
---@field dense? sluice.ffn|fun(layer: integer): sluice.ffn the feed-forward in the usual place; it or ffn may have experts; default dense
---@field reads? "dense"|"block"|fun(layer: integer): "dense"|"block" what ffn reads: what `dense` does, or the layer's input, by a norm of its own; default dense
---@field joins? "next"|"here"|fun(layer: integer): "next"|"here" where it is added: to the next layer's feed-forward, in the last layer and in multi-token prediction to `dense`; or there always; default next

---another block on some of the tokens (Mixture-of-Depths)
---@class sluice.block.depths
---@field [1]? "depths"
---@field block? sluice.block|fun(layer: integer): sluice.block what runs on the tokens that are taken; default sequential
---@field capacity? number|fun(layer: integer): number share of a sequence's tokens that is taken; default 0.125, 0.001 … 1
---@field gate? "raw"|"sigmoid"|fun(layer: integer): "raw"|"sigmoid" the factor on what the block adds: r, or its sigmoid; default raw

---@alias sluice.ple
---| "none" # no per-layer embedding
---| sluice.ple.none
---| "gated" # a token's own vector in each layer, behind a gate (Gemma 3n)
---| sluice.ple.gated

---no per-layer embedding
---@class sluice.ple.none
---@field [1]? "none"

---a token's own vector in each layer, behind a gate (Gemma 3n)
---@class sluice.ple.gated
---@field [1]? "gated"
---@field width? integer|fun(layer: integer): integer width of a row, and of the gate; default 16, 1 … 8192
---@field eps? number|fun(layer: integer): number added to the mean square of x_0 W_p; default 1e-06, 1e-12 … 0.01

---@alias sluice.conv
---| "none" # none
---| sluice.conv.none
---| "short" # each channel's last tokens, added
---| sluice.conv.short

---none
---@class sluice.conv.none
---@field [1]? "none"

---each channel's last tokens, added
---@class sluice.conv.short
---@field [1]? "short"
---@field taps? integer|fun(layer: integer): integer how far each reaches, its own token included; default 4, 1 … 64
---@field zero? boolean|fun(layer: integer): boolean taps are 0 at first, not even within 1 / sqrt(taps); default false
---@field keys? boolean|fun(layer: integer): boolean on keys, before norm and position; default true
---@field values? boolean|fun(layer: integer): boolean on values; default true
---@field queries? boolean|fun(layer: integer): boolean on queries, before norm and position; default false
---@field reads_attention? boolean|fun(layer: integer): boolean on what attention reads, behind the norm; default false
---@field reads_ffn? boolean|fun(layer: integer): boolean on what the feed-forward reads, behind the norm; default false
---@field hidden? boolean|fun(layer: integer): boolean on a dense feed-forward's hidden values, before the activation; default false
---@field written? boolean|fun(layer: integer): boolean on what attention and feed-forward write, before the residual's sum; default false

---@alias sluice.attention
---| "gqa" # multi-head attention with shared key and value heads
---| sluice.attention.gqa
---| "mla" # keys and values of a latent, which alone is cached (DeepSeek-V2)
---| sluice.attention.mla
---| "gated_delta" # a gated delta rule on a memory of fixed size (Qwen3-Next)
---| sluice.attention.gated_delta
---| "mamba2" # a state space model (Mamba-2)
---| sluice.attention.mamba2
---| "compressed" # a window of tokens, and older ones as one entry each (DeepSeek-V4)
---| sluice.attention.compressed

---multi-head attention with shared key and value heads
---@class sluice.attention.gqa
---@field [1]? "gqa"
---@field heads? integer|fun(layer: integer): integer query heads; default 4, 1 … 1024
---@field kv_heads? integer|fun(layer: integer): integer key and value heads; default 2, 1 … 1024
---@field head_dim? integer|fun(layer: integer): integer width of a head; default 32, 2 … 1024
---@field mask? sluice.mask|fun(layer: integer): sluice.mask what a position may look at; default causal
---@field keys? sluice.keys|fun(layer: integer): sluice.keys which of those a query looks at; default all
---@field kv? sluice.kv|fun(layer: integer): sluice.kv where keys and values come from; default own
---@field value? sluice.value|fun(layer: integer): sluice.value what is mixed into values; default none
---@field qk_norm? sluice.qk_norm|fun(layer: integer): sluice.qk_norm norm on queries and keys; default none
---@field temperature? sluice.temperature|fun(layer: integer): sluice.temperature how sharp attention is at a position; default none
---@field gate? sluice.gate|fun(layer: integer): sluice.gate gate on the heads' outputs, or on what they are made of; default none
---@field experts? sluice.experts|fun(layer: integer): sluice.experts who makes queries and reads heads; default none
---@field sink? "none"|"head"|"token"|fun(layer: integer): "none"|"head"|"token" attention to nothing: a learned logit of each head, or one that each token makes; default none
---@field bias? "none"|"qkv"|"all"|fun(layer: integer): "none"|"qkv"|"all" biases on queries, keys and values (Qwen2), on the output too (gpt-oss); default none
---@field scale? number|fun(layer: integer): number factor on q.k; 0: 1 / sqrt(head_dim). Gemma 2-27B: sqrt(heads / d_model); Gemma 3n: 1; default 0, 0 … 100
---@field softcap? number|fun(layer: integer): number logits are kept within it by tanh; Gemma 2: 50; default 0, 0 … 1000
---@field qk_clip? number|fun(layer: integer): number after a step in which a head's largest logit was above it, its queries and keys shrink (QK-clip); default 0, 0 … 1000000

---keys and values of a latent, which alone is cached (DeepSeek-V2)
---@class sluice.attention.mla
---@field [1]? "mla"
---@field heads? integer|fun(layer: integer): integer heads, each with keys and values of its own; default 4, 1 … 1024
---@field nope_dim? integer|fun(layer: integer): integer width of a head's queries and keys without positions; default 32, 1 … 1024
---@field rope_dim? integer|fun(layer: integer): integer width of a head's queries with positions, and of their key; default 16, 0 … 1024
---@field value_dim? integer|fun(layer: integer): integer width of a head's values; default 32, 1 … 1024
---@field kv_rank? integer|fun(layer: integer): integer width of the latent that keys and values are made of; default 64, 1 … 1024
---@field q_rank? integer|fun(layer: integer): integer width of the latent that queries are made of; 0: of the input itself; default 0, 0 … 65536
---@field mask? sluice.mask|fun(layer: integer): sluice.mask what a position may look at; default causal
---@field keys? sluice.keys|fun(layer: integer): sluice.keys which of them it looks at; default all
---@field kv? sluice.kv|fun(layer: integer): sluice.kv where latents and rotary keys come from; default own
---@field gate? sluice.gate|fun(layer: integer): sluice.gate gate on the heads' outputs; default none
---@field sink? "none"|"head"|"token"|fun(layer: integer): "none"|"head"|"token" attention to nothing: a learned logit of each head, or one that each token makes; default none
---@field eps? number|fun(layer: integer): number added to the mean square of a latent; default 1e-06, 1e-12 … 0.01
---@field softcap? number|fun(layer: integer): number logits are kept within it by tanh; default 0, 0 … 1000
---@field qk_clip? number|fun(layer: integer): number after a step in which a head's largest logit was above it, W_q, W_qr and W_uk shrink (QK-clip; K2: 100); default 0, 0 … 1000000

---a gated delta rule on a memory of fixed size (Qwen3-Next)
---@class sluice.attention.gated_delta
---@field [1]? "gated_delta"
---@field heads? integer|fun(layer: integer): integer query and key heads; default 2, 1 … 1024
---@field value_heads? integer|fun(layer: integer): integer value heads, each a memory of its own; default 4, 1 … 1024
---@field key_dim? integer|fun(layer: integer): integer width of a query or key head; default 32, 1 … 512
---@field value_dim? integer|fun(layer: integer): integer width of a value head; default 32, 1 … 1024
---@field conv? integer|fun(layer: integer): integer taps of the convolutions; 1: no token but its own; 0: none, nor SiLU; default 4, 0 … 64
---@field delta? boolean|fun(layer: integer): boolean what a memory knows of a key is not stored again; else values add up; default true
---@field unit? boolean|fun(layer: integer): boolean queries and keys on the unit sphere; default true
---@field beta? boolean|fun(layer: integer): boolean each token says how strongly it writes; else all write with 1; default true
---@field negative_eigenvalues? boolean|fun(layer: integer): boolean beta in (0, 2): a memory may flip its sign along a key (Grazzi 2024, arXiv 2411.12537); default false
---@field decay? sluice.decay|fun(layer: integer): sluice.decay what fades of a memory at each token; default softplus
---@field gate? sluice.gate|fun(layer: integer): sluice.gate gate on what is read, after its norm; default silu

---a state space model (Mamba-2)
---@class sluice.attention.mamba2
---@field [1]? "mamba2"
---@field heads? integer|fun(layer: integer): integer heads of x, each a memory of its own; default 4, 1 … 1024
---@field head_dim? integer|fun(layer: integer): integer width of a head; default 32, 1 … 1024
---@field state? integer|fun(layer: integer): integer rows of a memory: width of B and C; default 32, 1 … 512
---@field groups? integer|fun(layer: integer): integer of heads, each with its B and C; default 1, 1 … 1024
---@field conv? integer|fun(layer: integer): integer taps of the convolution; 1: no token but its own; default 4, 1 … 64

---a window of tokens, and older ones as one entry each (DeepSeek-V4)
---@class sluice.attention.compressed
---@field [1]? "compressed"
---@field pool? integer|fun(layer: integer): integer of a window that becomes an entry; V4: 4 (CSA), 128 (HCA); default 4, 1 … 4096
---@field window? integer|fun(layer: integer): integer tokens that are seen themselves, the own one too; V4: 128; default 32, 1 … 4096
---@field heads? integer|fun(layer: integer): integer query heads; default 4, 1 … 1024
---@field head_dim? integer|fun(layer: integer): integer width of a head, and of what is kept of a token or a window; default 32, 2 … 1024
---@field q_rank? integer|fun(layer: integer): integer rank of the queries; default 64, 1 … 65536
---@field groups? integer|fun(layer: integer): integer groups of heads on the way out; default 2, 1 … 1024
---@field out_rank? integer|fun(layer: integer): integer values that a group comes to; default 64, 1 … 65536
---@field overlap? boolean|fun(layer: integer): boolean entries are of two windows, half of the channels each (CSA); default false
---@field top_k? integer|fun(layer: integer): integer entries that a token looks at (CSA); 0: all (HCA); default 0, 0 … 4096
---@field index_heads? integer|fun(layer: integer): integer index heads, where entries are chosen; default 4, 1 … 64
---@field index_dim? integer|fun(layer: integer): integer width of an index head; default 16, 2 … 512
---@field index_weight? number|fun(layer: integer): number weight of the indexer's loss; default 1, 0 … 1000

---@alias sluice.mask
---| "causal" # all of the past
---| sluice.mask.causal
---| "window" # the last positions
---| sluice.mask.window
---| "chunk" # the chunk of the document
---| sluice.mask.chunk

---all of the past
---@class sluice.mask.causal
---@field [1]? "causal"

---the last positions
---@class sluice.mask.window
---@field [1]? "window"
---@field size? integer|fun(layer: integer): integer positions that are seen, the own one included; default 64, 1 … 1048576

---the chunk of the document
---@class sluice.mask.chunk
---@field [1]? "chunk"
---@field size? integer|fun(layer: integer): integer length of a chunk, counted from where the document begins; default 64, 1 … 1048576

---@alias sluice.keys
---| "all" # all that the mask leaves
---| sluice.keys.all
---| "dsa" # those that a small indexer scores highest (DeepSeek-V3.2)
---| sluice.keys.dsa
---| "moba" # blocks whose mean key suits a head's query best (MoBA)
---| sluice.keys.moba

---all that the mask leaves
---@class sluice.keys.all
---@field [1]? "all"

---those that a small indexer scores highest (DeepSeek-V3.2)
---@class sluice.keys.dsa
---@field [1]? "dsa"
---@field top_k? integer|fun(layer: integer): integer keys that a token looks at; default 64, 1 … 4096
---@field heads? integer|fun(layer: integer): integer index heads; default 4, 1 … 64
---@field dim? integer|fun(layer: integer): integer width of an index head; default 32, 2 … 512
---@field share? integer|fun(layer: integer): integer layers that look where the first of them chose; default 1, 1 … 1024
---@field relu? boolean|fun(layer: integer): boolean of each product; false: GLM-5; default true
---@field weight? number|fun(layer: integer): number weight of the loss, from which nobody but the indexer learns; default 1, 0 … 1000
---@field dense? number|fun(layer: integer): number share of the run, its first, that looks at all keys; above 0 training has room for them throughout, and plan counts FLOPs of all; default 0.1, 0 … 1

---blocks whose mean key suits a head's query best (MoBA)
---@class sluice.keys.moba
---@field [1]? "moba"
---@field size? integer|fun(layer: integer): integer keys of a block; default 64, 1 … 4096
---@field blocks? integer|fun(layer: integer): integer blocks that a head looks at, its own among them; 1: chunks; default 3, 1 … 4096

---@alias sluice.kv
---| "own" # from the layer's own input
---| sluice.kv.own
---| "mirror" # deep layers read shallow layers' inputs (WeLM)
---| sluice.kv.mirror
---| "cla" # groups of layers share keys and values
---| sluice.kv.cla
---| "yoco" # the upper layers read one layer's keys and values
---| sluice.kv.yoco
---| "tail" # the last layers read earlier ones' keys and values (Gemma 3n)
---| sluice.kv.tail

---from the layer's own input
---@class sluice.kv.own
---@field [1]? "own"

---deep layers read shallow layers' inputs (WeLM)
---@class sluice.kv.mirror
---@field [1]? "mirror"
---@field pairs? integer[]|fun(layer: integer): integer[] layers from 0: reader, source, reader, source, ...; empty: last third reads first third; default {}, 0 … 4095

---groups of layers share keys and values
---@class sluice.kv.cla
---@field [1]? "cla"
---@field share? integer|fun(layer: integer): integer layers that read the same keys and values; 1: each its own; default 2, 1 … 1024

---the upper layers read one layer's keys and values
---@class sluice.kv.yoco
---@field [1]? "yoco"
---@field cross? integer|fun(layer: integer): integer last layers that read the same keys and values; -1: half of all; default -1, -1 … 1024

---the last layers read earlier ones' keys and values (Gemma 3n)
---@class sluice.kv.tail
---@field [1]? "tail"
---@field shared? integer|fun(layer: integer): integer last layers that read earlier ones' keys; -1: half of all; default -1, -1 … 1024

---@alias sluice.value
---| "none" # as projected
---| sluice.value.none
---| "residual" # the first layer's values beside the layer's own
---| sluice.value.residual
---| "first" # the first layer's in all layers
---| sluice.value.first
---| "embed" # a vector of the token's own beside its values
---| sluice.value.embed

---as projected
---@class sluice.value.none
---@field [1]? "none"

---the first layer's values beside the layer's own
---@class sluice.value.residual
---@field [1]? "residual"
---@field own? number|fun(layer: integer): number initial factor on the layer's own values; default 0.5, 0 … 2
---@field first? number|fun(layer: integer): number initial factor on the first layer's; default 0.5, 0 … 2
---@field learned? boolean|fun(layer: integer): boolean both factors are learned; default true
---@field per_head? boolean|fun(layer: integer): boolean each value head has factors of its own; default false

---the first layer's in all layers
---@class sluice.value.first
---@field [1]? "first"

---a vector of the token's own beside its values
---@class sluice.value.embed
---@field [1]? "embed"
---@field mult? number|fun(layer: integer): number the most that a gate is; modded-nanogpt: 2; default 3, 0.01 … 100
---@field channels? integer|fun(layer: integer): integer values of u that gates read; default 12, 1 … 65536

---@alias sluice.qk_norm
---| "none" # no norm
---| sluice.qk_norm.none
---| "k" # norm on each key head
---| sluice.qk_norm.k
---| "qk" # norm on queries and keys
---| sluice.qk_norm.qk

---no norm
---@class sluice.qk_norm.none
---@field [1]? "none"

---norm on each key head
---@class sluice.qk_norm.k
---@field [1]? "k"
---@field eps? number|fun(layer: integer): number added to the mean square; default 1e-06, 1e-12 … 0.01

---norm on queries and keys
---@class sluice.qk_norm.qk
---@field [1]? "qk"
---@field eps? number|fun(layer: integer): number added to the mean square; default 1e-06, 1e-12 … 0.01
---@field over? "head"|"all"|fun(layer: integer): "head"|"all" what is a row: each head, or all of a token; default head
---@field gain? boolean|fun(layer: integer): boolean a learned gain for each value of a row; default true
---@field zero_centred? boolean|fun(layer: integer): boolean keep gains as their distance from 1, as norm = rms does; default false
---@field behind? boolean|fun(layer: integer): boolean after positions, not before; default false
---@field values? boolean|fun(layer: integer): boolean each value head is normalised, without gain; default false

---@alias sluice.temperature
---| "none" # the same everywhere
---| sluice.temperature.none
---| "log" # logits grow with the logarithm of the position
---| sluice.temperature.log

---the same everywhere
---@class sluice.temperature.none
---@field [1]? "none"

---logits grow with the logarithm of the position
---@class sluice.temperature.log
---@field [1]? "log"
---@field rate? number|fun(layer: integer): number factor on the logarithm; default 0.1, 0 … 10
---@field length? integer|fun(layer: integer): integer the length of documents, at first and of a step; default 8192, ≥ 1
---@field rises? "steps"|"evenly"|fun(layer: integer): "steps"|"evenly" with each whole length, or with each token beyond the first; default steps

---@alias sluice.gate
---| "none" # no gate
---| sluice.gate.none
---| "head" # one sigmoid gate per head
---| sluice.gate.head
---| "element" # one gate per dimension
---| sluice.gate.element
---| "silu" # one SiLU gate per dimension
---| sluice.gate.silu
---| "xsa" # without the part along the token's own value
---| sluice.gate.xsa

---no gate
---@class sluice.gate.none
---@field [1]? "none"

---one sigmoid gate per head
---@class sluice.gate.head
---@field [1]? "head"
---@field mult? number|fun(layer: integer): number factor on the sigmoid; default 1, 0.5 … 2
---@field on? "heads"|"values"|fun(layer: integer): "heads"|"values" what is gated: heads' outputs, or values that they read; default heads
---@field zero? boolean|fun(layer: integer): boolean W is 0 at first, and each gate mult / 2; default false

---one gate per dimension
---@class sluice.gate.element
---@field [1]? "element"
---@field mult? number|fun(layer: integer): number factor on f, the most that a sigmoid lets through; default 1, 0.5 … 2
---@field least? number|fun(layer: integer): number the least that it lets through; default 0, 0 … 1
---@field on? "heads"|"values"|"keys"|"queries"|"output"|fun(layer: integer): "heads"|"values"|"keys"|"queries"|"output" what is gated; default heads
---@field silu? boolean|fun(layer: integer): boolean f(z) = z sigmoid(z); default false
---@field adds? boolean|fun(layer: integer): boolean the gate is added, rather than a factor; default false
---@field shared? boolean|fun(layer: integer): boolean heads share the gates of their dimensions; default false
---@field blind? boolean|fun(layer: integer): boolean f of learned numbers in place of u W; default false
---@field zero? boolean|fun(layer: integer): boolean W is 0 at first; default false
---@field rank? integer|fun(layer: integer): integer of W as a product of two; 0: one matrix; default 0, 0 … 4096
---@field bias? boolean|fun(layer: integer): boolean b, added to u W; default false

---one SiLU gate per dimension
---@class sluice.gate.silu
---@field [1]? "silu"

---without the part along the token's own value
---@class sluice.gate.xsa
---@field [1]? "xsa"
---@field learned? boolean|fun(layer: integer): boolean alpha = tanh(u W), a number of each token and head; default false
---@field gate? sluice.gate|fun(layer: integer): sluice.gate gate on what is left; default none

---@alias sluice.decay
---| "none" # nothing fades
---| sluice.decay.none
---| "fixed" # one for each head, not learned (RetNet, Lightning)
---| sluice.decay.fixed
---| "softplus" # a learned rate times a step (Gated DeltaNet, Kimi Linear)
---| sluice.decay.softplus
---| "log_sigmoid" # a gate for each row of a memory (GLA)
---| sluice.decay.log_sigmoid

---nothing fades
---@class sluice.decay.none
---@field [1]? "none"

---one for each head, not learned (RetNet, Lightning)
---@class sluice.decay.fixed
---@field [1]? "fixed"
---@field by? "retnet"|"slopes"|fun(layer: integer): "retnet"|"slopes" the rule that gives each head its decay; default retnet

---a learned rate times a step (Gated DeltaNet, Kimi Linear)
---@class sluice.decay.softplus
---@field [1]? "softplus"
---@field per? "head"|"channel"|fun(layer: integer): "head"|"channel" what has a decay of its own: a memory, or each row of it; default head
---@field rank? integer|fun(layer: integer): integer of W as a product of two; 0: one matrix; default 0, 0 … 4096
---@field least? number|fun(layer: integer): number least e^A at first; Kimi Linear: 1; default 0, 0 … 15
---@field bound? number|fun(layer: integer): number g stays above its negative; Kimi K3: 5; default 0, 0 … 100

---a gate for each row of a memory (GLA)
---@class sluice.decay.log_sigmoid
---@field [1]? "log_sigmoid"
---@field rank? integer|fun(layer: integer): integer of W1 W2; 0: one matrix; default 16, 0 … 4096
---@field temperature? number|fun(layer: integer): number the larger it is, the less is forgotten; default 16, 1 … 1000

---@alias sluice.experts
---| "none" # one projection for all tokens
---| sluice.experts.none
---| "routed" # mixture of attention heads; keys and values are shared (MoA)
---| sluice.experts.routed

---one projection for all tokens
---@class sluice.experts.none
---@field [1]? "none"

---mixture of attention heads; keys and values are shared (MoA)
---@class sluice.experts.routed
---@field [1]? "routed"
---@field n? integer|fun(layer: integer): integer experts; default 8, 1 … 4096
---@field router? sluice.router|fun(layer: integer): sluice.router who goes where; default staged
---@field balance? sluice.balance|sluice.balance[]|fun(layer: integer): sluice.balance|sluice.balance[] what keeps the load even; default {}
---@field dispatch? sluice.dispatch|fun(layer: integer): sluice.dispatch how tokens reach their experts; default dropless

---@alias sluice.ffn
---| "dense" # one feed-forward for all tokens
---| sluice.ffn.dense
---| "moe" # mixture of experts
---| sluice.ffn.moe

---one feed-forward for all tokens
---@class sluice.ffn.dense
---@field [1]? "dense"
---@field d_ff? integer|fun(layer: integer): integer hidden width; default 256, 1 … 1048576
---@field activation? sluice.activation|fun(layer: integer): sluice.activation what makes hidden values of projections; default swiglu
---@field bias? boolean|fun(layer: integer): boolean biases on each product; default false

---mixture of experts
---@class sluice.ffn.moe
---@field [1]? "moe"
---@field experts? integer|fun(layer: integer): integer routed experts; default 8, 1 … 4096
---@field d_ff? integer|fun(layer: integer): integer hidden width of an expert; default 64, 1 … 1048576
---@field copy? integer|fun(layer: integer): integer idle experts that give back what they get; default 0, 0 … 4096
---@field constant? integer|fun(layer: integer): integer idle experts that mix it with a learned vector; default 0, 0 … 4096
---@field zero? integer|fun(layer: integer): integer idle experts that give nothing; default 0, 0 … 4096
---@field activation? sluice.activation|fun(layer: integer): sluice.activation of experts, shared ones too; default swiglu
---@field bias? boolean|fun(layer: integer): boolean biases on each product of an expert, shared ones too; default false
---@field router? sluice.router|fun(layer: integer): sluice.router who goes where; default staged
---@field balance? sluice.balance|sluice.balance[]|fun(layer: integer): sluice.balance|sluice.balance[] what keeps the load even; default {}
---@field dispatch? sluice.dispatch|fun(layer: integer): sluice.dispatch how tokens reach their experts; default dropless
---@field latent? sluice.latent|fun(layer: integer): sluice.latent what routed experts read and write; default none
---@field shared? sluice.shared|fun(layer: integer): sluice.shared experts that every token uses; default none

---@alias sluice.activation
---| "swiglu" # silu of a gate, times a second projection
---| sluice.activation.swiglu
---| "geglu" # gelu of a gate, times a second projection
---| sluice.activation.geglu
---| "reglu" # relu of a gate, times a second projection
---| sluice.activation.reglu
---| "gelu" # gelu, without a gate
---| sluice.activation.gelu
---| "relu2" # squared relu, without a gate
---| sluice.activation.relu2
---| "swiglu_clamped" # swiglu of clamped projections
---| sluice.activation.swiglu_clamped
---| "swiglu_oss" # clamped swiglu of gpt-oss, whose second factor is u + 1
---| sluice.activation.swiglu_oss
---| "situ" # swiglu of factors that saturate smoothly
---| sluice.activation.situ

---silu of a gate, times a second projection
---@class sluice.activation.swiglu
---@field [1]? "swiglu"

---gelu of a gate, times a second projection
---@class sluice.activation.geglu
---@field [1]? "geglu"

---relu of a gate, times a second projection
---@class sluice.activation.reglu
---@field [1]? "reglu"

---gelu, without a gate
---@class sluice.activation.gelu
---@field [1]? "gelu"

---squared relu, without a gate
---@class sluice.activation.relu2
---@field [1]? "relu2"

---swiglu of clamped projections
---@class sluice.activation.swiglu_clamped
---@field [1]? "swiglu_clamped"
---@field limit? number|fun(layer: integer): number largest of either projection; default 10, 0.001 … 1000000

---clamped swiglu of gpt-oss, whose second factor is u + 1
---@class sluice.activation.swiglu_oss
---@field [1]? "swiglu_oss"
---@field limit? number|fun(layer: integer): number largest of either projection; default 7, 0.001 … 1000000
---@field alpha? number|fun(layer: integer): number steepness of the sigmoid; default 1.702, 0.001 … 100

---swiglu of factors that saturate smoothly
---@class sluice.activation.situ
---@field [1]? "situ"
---@field gate_cap? number|fun(layer: integer): number what the gate's factor saturates at; default 4, 0.001 … 1000000
---@field up_cap? number|fun(layer: integer): number what the second factor saturates at; default 25, 0.001 … 1000000

---@alias sluice.router
---| "staged" # score, select, gate, each as set
---| sluice.router.staged

---score, select, gate, each as set
---@class sluice.router.staged
---@field [1]? "staged"
---@field score? "softmax"|"sigmoid"|"sqrt_softplus"|"relu"|fun(layer: integer): "softmax"|"sigmoid"|"sqrt_softplus"|"relu" experts compete for a token, or are scored one by one; with relu those that score 0 are not used; default softmax
---@field top_k? integer|fun(layer: integer): integer experts for each token; where experts choose, in the mean; default 2, 1 … 256
---@field logits? sluice.logits|fun(layer: integer): sluice.logits what a token says to each expert; default linear
---@field bias? boolean|fun(layer: integer): boolean a learned number is added to the logits of each expert, for choice and gates; default false
---@field bias_start? number|fun(layer: integer): number that number at first: below 0, with relu, fewer experts have a score; default 0, -100 … 0
---@field logit_norm? number|fun(layer: integer): number logits of a token get mean 0 and this standard deviation; 0: stay; default 0, 0 … 100
---@field anneal? sluice.anneal|fun(layer: integer): sluice.anneal how the router begins a run; default none
---@field noise? sluice.noise|fun(layer: integer): sluice.noise on the logits or what they are made of, in training; default none
---@field select? sluice.select|fun(layer: integer): sluice.select who chooses whom; default top_k
---@field revise? sluice.revise|fun(layer: integer): sluice.revise what becomes of the choice once there are gates; default none
---@field normalize? "none"|"before"|"after"|"even"|fun(layer: integer): "none"|"before"|"after"|"even" divide scores by their sum: over all experts, or over the chosen; even: of those each has the same gate; default none
---@field gate_on? "output"|"input"|"hidden"|fun(layer: integer): "output"|"input"|"hidden" what of an expert the gate is a factor on; hidden: on what its last product reads, the same function, for which what experts write need not be kept (WeLM); default output
---@field scale? number|fun(layer: integer): number factor on the gates; 0: with which a sum of unlike experts keeps the size of one (Moonlight); default 1, 0 … 100

---@alias sluice.logits
---| "linear" # a vector of each expert times the token's
---| sluice.logits.linear
---| "cosine" # cosine of token and expert over a learned temperature
---| sluice.logits.cosine
---| "mlp" # two layers
---| sluice.logits.mlp
---| "running_mean" # of the mean of the document's tokens so far: branches
---| sluice.logits.running_mean
---| "none" # nothing: for choices that need none
---| sluice.logits.none

---a vector of each expert times the token's
---@class sluice.logits.linear
---@field [1]? "linear"

---cosine of token and expert over a learned temperature
---@class sluice.logits.cosine
---@field [1]? "cosine"
---@field width? integer|fun(layer: integer): integer dimensions in which angles are taken; 0: half the number of experts; default 0, 0 … 65536
---@field temperature? number|fun(layer: integer): number tau at first; default 0.3, 0.01 … 100

---two layers
---@class sluice.logits.mlp
---@field [1]? "mlp"
---@field hidden? integer|fun(layer: integer): integer hidden width; default 256, 1 … 65536

---of the mean of the document's tokens so far: branches
---@class sluice.logits.running_mean
---@field [1]? "running_mean"

---nothing: for choices that need none
---@class sluice.logits.none
---@field [1]? "none"

---@alias sluice.anneal
---| "none" # the same from the first step on
---| sluice.anneal.none
---| "cold_start" # high temperature and few experts first
---| sluice.anneal.cold_start

---the same from the first step on
---@class sluice.anneal.none
---@field [1]? "none"

---high temperature and few experts first
---@class sluice.anneal.cold_start
---@field [1]? "cold_start"
---@field temperature? number|fun(layer: integer): number tau at first; default 2, 0.01 … 100
---@field experts? number|fun(layer: integer): number share of the top_k experts that is used at first, and at least one; default 0.5, 0 … 1
---@field length? number|fun(layer: integer): number share of the run, after which the router is as without; default 0.05, 0 … 1
---@field beneath_noise? boolean|fun(layer: integer): boolean noise is added after the division: beside logits it is wider by tau; default true

---@alias sluice.noise
---| "none" # no noise
---| sluice.noise.none
---| "learned" # normal, as wide as the router learns (noisy top-k)
---| sluice.noise.learned
---| "normal" # normal, of one width (V-MoE)
---| sluice.noise.normal
---| "gumbel" # experts are sampled by their probabilities
---| sluice.noise.gumbel
---| "jitter" # factors on what the router reads
---| sluice.noise.jitter

---no noise
---@class sluice.noise.none
---@field [1]? "none"

---normal, as wide as the router learns (noisy top-k)
---@class sluice.noise.learned
---@field [1]? "learned"
---@field floor? number|fun(layer: integer): number least standard deviation; default 0.01, 0 … 10

---normal, of one width (V-MoE)
---@class sluice.noise.normal
---@field [1]? "normal"
---@field std? number|fun(layer: integer): number standard deviation; 0: 1 / experts; default 0, 0 … 10

---experts are sampled by their probabilities
---@class sluice.noise.gumbel
---@field [1]? "gumbel"
---@field temperature? number|fun(layer: integer): number factor on the noise: below 1 likelier experts are drawn more often; default 1, 0 … 100

---factors on what the router reads
---@class sluice.noise.jitter
---@field [1]? "jitter"
---@field eps? number|fun(layer: integer): number how far from 1 factors go; default 0.01, 0 … 1

---@alias sluice.select
---| "top_k" # each token its best experts
---| sluice.select.top_k
---| "top_p" # each token as many of its best experts as hold p together
---| sluice.select.top_p
---| "expert_choice" # each expert its best tokens; not causal
---| sluice.select.expert_choice
---| "sinkhorn" # each token its best experts of a plan that loads all alike (S-BASE); not causal in training
---| sluice.select.sinkhorn
---| "base" # tokens are assigned to experts, as many to each (BASE); not causal in training
---| sluice.select.base
---| "hash" # experts by the token's id
---| sluice.select.hash
---| "forced" # experts at random, in turn or always the same; for benchmarks
---| sluice.select.forced
---| "replayed" # the experts that another run chose, which the study's choices names
---| sluice.select.replayed

---each token its best experts
---@class sluice.select.top_k
---@field [1]? "top_k"
---@field groups? integer|fun(layer: integer): integer of neighbouring experts, all of one size; default 1, 1 … 4096
---@field limit? integer|fun(layer: integer): integer groups that a token goes to; as many as there are: any; default 1, 1 … 4096
---@field rule? "max"|"sum"|fun(layer: integer): "max"|"sum" score of a group: its largest key, or the sum of its top_k / limit largest; default max
---@field most? integer|fun(layer: integer): integer experts that a token may have where scores may be 0: of these top_k is the aim in the mean; 0: top_k; default 0, 0 … 4096

---each token as many of its best experts as hold p together
---@class sluice.select.top_p
---@field [1]? "top_p"
---@field p? number|fun(layer: integer): number probability that a token's experts hold together; 1: top_k experts; default 0.4, 0.001 … 1

---each expert its best tokens; not causal
---@class sluice.select.expert_choice
---@field [1]? "expert_choice"
---@field capacity? number|fun(layer: integer): number tokens of an expert, in those of an even share; default 1, 0.001 … 1000
---@field cap? integer|fun(layer: integer): integer experts that a token has at most, top_k or more; 0: any number; default 0, 0 … 4096
---@field temperature? number|fun(layer: integer): number of the plan that keeps the cap; default 0.001, 0.0001 … 1
---@field iterations? integer|fun(layer: integer): integer over the plan's constraints at most; default 100, 1 … 10000

---each token its best experts of a plan that loads all alike (S-BASE); not causal in training
---@class sluice.select.sinkhorn
---@field [1]? "sinkhorn"
---@field scope? "batch"|"sequence"|fun(layer: integer): "batch"|"sequence" whose tokens have a plan together: the micro-batch's, a sequence's; default batch
---@field temperature? number|fun(layer: integer): number of the plan; the smaller, the more it is a choice; default 1, 0.001 … 1000
---@field iterations? integer|fun(layer: integer): integer divisions by sums of tokens and of experts at most; default 100, 1 … 10000
---@field tolerance? number|fun(layer: integer): number they end when no expert's mass was off by this share; default 0.0001, 0 … 1

---tokens are assigned to experts, as many to each (BASE); not causal in training
---@class sluice.select.base
---@field [1]? "base"
---@field scope? "batch"|"sequence"|fun(layer: integer): "batch"|"sequence" whose tokens are assigned together: the micro-batch's, a sequence's; default batch
---@field eps? number|fun(layer: integer): number least raise of a bid, in shares of the largest range of a token's logits; default 0.02, 0.0001 … 1
---@field rounds? integer|fun(layer: integer): integer of bids at most; who is left over takes the best expert that has room, token after token; default 1000, 0 … 1000000

---experts by the token's id
---@class sluice.select.hash
---@field [1]? "hash"
---@field of? "token"|"bigram"|fun(layer: integer): "token"|"bigram" whose experts: the token's, or those of it and the one before; default token
---@field per_layer? boolean|fun(layer: integer): boolean each layer has a table of its own; default false

---experts at random, in turn or always the same; for benchmarks
---@class sluice.select.forced
---@field [1]? "forced"
---@field pattern? "random"|"uniform"|"constant"|fun(layer: integer): "random"|"uniform"|"constant" any experts; one after the other; the first ones always; default random
---@field skew? number|fun(layer: integer): number of random: expert e is drawn as (e + 1)^-skew; 0: all alike; default 0, 0 … 10

---the experts that another run chose, which the study's choices names
---@class sluice.select.replayed
---@field [1]? "replayed"

---@alias sluice.revise
---| "none" # the choice stands
---| sluice.revise.none
---| "chance" # later choices are taken by chance (GShard)
---| sluice.revise.chance
---| "tiles" # the tokens of an expert fill whole tiles (SonicMoE)
---| sluice.revise.tiles

---the choice stands
---@class sluice.revise.none
---@field [1]? "none"

---later choices are taken by chance (GShard)
---@class sluice.revise.chance
---@field [1]? "chance"
---@field factor? number|fun(layer: integer): number on a choice's gate, which gives its probability; default 2, 0.001 … 1000

---the tokens of an expert fill whole tiles (SonicMoE)
---@class sluice.revise.tiles
---@field [1]? "tiles"
---@field round? "down"|"up"|"nearest"|fun(layer: integer): "down"|"up"|"nearest" to which multiple; of two that are as near, to the even one; default nearest
---@field tile? integer|fun(layer: integer): integer of what an expert computes at once; default 128, 2 … 65536

---@alias sluice.balance
---| "none" # no balancing
---| sluice.balance.none
---| "switch_aux" # loss on load times probability
---| sluice.balance.switch_aux
---| "bias" # bias on the selection, moved by counts (loss-free)
---| sluice.balance.bias
---| "z_loss" # keeps router logits small
---| sluice.balance.z_loss
---| "importance" # loss on uneven sums of gates
---| sluice.balance.importance
---| "load" # loss on uneven expected load, under noise
---| sluice.balance.load
---| "entropy" # loss on how sure and how even choices are
---| sluice.balance.entropy
---| "orthogonal" # loss on router rows that are alike
---| sluice.balance.orthogonal
---| "gate_pro" # of two experts that are alike the weaker is less likely
---| sluice.balance.gate_pro
---| "quantile" # a price on each expert, from quantiles of a step
---| sluice.balance.quantile
---| "reinforce" # what was drawn and predicts well becomes likelier (RL-R)
---| sluice.balance.reinforce
---| "l1" # loss on scores that adapts to how many are 0 (ReMoE)
---| sluice.balance.l1

---no balancing
---@class sluice.balance.none
---@field [1]? "none"

---loss on load times probability
---@class sluice.balance.switch_aux
---@field [1]? "switch_aux"
---@field alpha? number|fun(layer: integer): number weight of the loss of experts, in the convention of Switch, DeepSeek and Megatron: 1 at even load in each of L layers, and their sum; of a coefficient for transformers (K at even load, a mean over layers) take K / L; default 0.01, 0 … 10
---@field device? number|fun(layer: integer): number weight of the loss of devices, likewise; default 0, 0 … 10
---@field communication? number|fun(layer: integer): number weight of the loss of what devices are sent, likewise; default 0, 0 … 10
---@field scope? "micro"|"sequence"|"global"|fun(layer: integer): "micro"|"sequence"|"global" what is to be even: each micro-batch, each sequence, the batch of a whole step; default micro
---@field counts? "chosen"|"first"|"unbiased"|fun(layer: integer): "chosen"|"first"|"unbiased" which choices count: all; the largest key's alone; those that a key without bias would make; default chosen
---@field groups? integer|fun(layer: integer): integer devices, which hold experts in equal numbers; default 1, 1 … 4096
---@field per_token? integer|fun(layer: integer): integer devices that a token may use (M); default 1, 1 … 4096

---bias on the selection, moved by counts (loss-free)
---@class sluice.balance.bias
---@field [1]? "bias"
---@field gamma? number|fun(layer: integer): number step of the bias; default 0.001, 0 … 1
---@field rule? "sign"|"proportional"|fun(layer: integer): "sign"|"proportional" every step is gamma; or as large as what is lacking; default sign
---@field form? "add"|"multiply"|fun(layer: integer): "add"|"multiply" what a bias is to a key: a summand, or a factor, at first 1; default add
---@field centred? boolean|fun(layer: integer): boolean steps of all experts sum to 0; default false
---@field ema? number|fun(layer: integer): number what a step keeps of the average of counts; 0: its own counts alone; default 0, 0 … 0.9999
---@field clip? number|fun(layer: integer): number how far a bias goes from where it began; 0: any; default 0, 0 … 100
---@field length? number|fun(layer: integer): number share of the run in which biases move; default 1, 0 … 1
---@field computed? number|fun(layer: integer): number experts that compute that a token is to have in the mean, beside idle ones; 0: all experts are alike; default 0, 0 … 256

---keeps router logits small
---@class sluice.balance.z_loss
---@field [1]? "z_loss"
---@field coef? number|fun(layer: integer): number weight of the loss; default 0.001, 0 … 10

---loss on uneven sums of gates
---@class sluice.balance.importance
---@field [1]? "importance"
---@field weight? number|fun(layer: integer): number weight of the loss; default 0.1, 0 … 10

---loss on uneven expected load, under noise
---@class sluice.balance.load
---@field [1]? "load"
---@field weight? number|fun(layer: integer): number weight of the loss; default 0.1, 0 … 10
---@field detach? boolean|fun(layer: integer): boolean no gradient goes through theta, to the logits of others; default false

---loss on how sure and how even choices are
---@class sluice.balance.entropy
---@field [1]? "entropy"
---@field token? number|fun(layer: integer): number weight of the mean entropy of a token; below 0 rewards it; default 0.001, -10 … 10
---@field marginal? number|fun(layer: integer): number weight of the entropy of the mean; below 0 rewards it; default -0.001, -10 … 10

---loss on router rows that are alike
---@class sluice.balance.orthogonal
---@field [1]? "orthogonal"
---@field weight? number|fun(layer: integer): number weight of the loss, a mean over pairs of experts; default 0.001, 0 … 10

---of two experts that are alike the weaker is less likely
---@class sluice.balance.gate_pro
---@field [1]? "gate_pro"
---@field penalty? number|fun(layer: integer): number what the key of the weaker loses; default 0.1, 0 … 1000000

---a price on each expert, from quantiles of a step
---@class sluice.balance.quantile
---@field [1]? "quantile"
---@field ema? number|fun(layer: integer): number what a step keeps of the prices; default 0, 0 … 0.9999

---what was drawn and predicts well becomes likelier (RL-R)
---@class sluice.balance.reinforce
---@field [1]? "reinforce"
---@field weight? number|fun(layer: integer): number weight of the loss: the mean over tokens, summed over layers; default 0.01, 0 … 10
---@field baseline? "value"|"mean"|fun(layer: integer): "value"|"mean" V: learned of the token; the mean reward of the steps before; default value
---@field value? number|fun(layer: integer): number weight of the loss of a learned V; default 0.01, 0 … 10
---@field standardize? boolean|fun(layer: integer): boolean A is divided by its root mean square in the steps before; default false
---@field ema? number|fun(layer: integer): number what a step keeps of the means of those before; default 0.9, 0 … 0.9999

---loss on scores that adapts to how many are 0 (ReMoE)
---@class sluice.balance.l1
---@field [1]? "l1"
---@field start? number|fun(layer: integer): number lambda at first; default 1e-08, 1e-10 … 100
---@field alpha? number|fun(layer: integer): number factor by which a step moves it; 1: it stays; default 1.2, 1 … 10
---@field balance? boolean|fun(layer: integer): boolean what has many tokens costs more: f of loads, not 1; default true

---@alias sluice.dispatch
---| "dropless" # every chosen pair is computed
---| sluice.dispatch.dropless
---| "capacity" # an expert computes what it has room for
---| sluice.dispatch.capacity

---every chosen pair is computed
---@class sluice.dispatch.dropless
---@field [1]? "dropless"

---an expert computes what it has room for
---@class sluice.dispatch.capacity
---@field [1]? "capacity"
---@field factor? number|fun(layer: integer): number room of an expert, in shares of an even load; default 1.25, 0.01 … 1024
---@field start? number|fun(layer: integer): number the factor at first; 0: as it stays; default 0, 0 … 1024
---@field hold? number|fun(layer: integer): number share of the run's steps in which the factor stays at start; default 0, 0 … 1
---@field until? number|fun(layer: integer): number share of the run's steps at whose end it has come to its own; where that is before hold ends: at once then; default 0.1, 0 … 1
---@field eval_factor? number|fun(layer: integer): number the factor in evaluation; 0: nothing is dropped; default 0, 0 … 1024
---@field first? "token"|"choice"|"gate"|"random"|fun(layer: integer): "token"|"choice"|"gate"|"random" who finds room first: earlier tokens, all first choices, the largest gates, who is drawn, outside training earlier tokens; default token

---@alias sluice.latent
---| "none" # experts of the model's width
---| sluice.latent.none
---| "projected" # experts of a width of their own (LatentMoE)
---| sluice.latent.projected

---experts of the model's width
---@class sluice.latent.none
---@field [1]? "none"

---experts of a width of their own (LatentMoE)
---@class sluice.latent.projected
---@field [1]? "projected"
---@field width? integer|fun(layer: integer): integer of what routed experts read and write; default 64, 1 … 65536
---@field norm? boolean|fun(layer: integer): boolean norm on the sum of the experts; default false

---@alias sluice.shared
---| "none" # no shared expert
---| sluice.shared.none
---| "dense" # experts that every token uses
---| sluice.shared.dense
---| "adjugate" # small experts that groups of routed ones share (Grove)
---| sluice.shared.adjugate

---no shared expert
---@class sluice.shared.none
---@field [1]? "none"

---experts that every token uses
---@class sluice.shared.dense
---@field [1]? "dense"
---@field n? integer|fun(layer: integer): integer shared experts; default 1, 1 … 64
---@field d_ff? integer|fun(layer: integer): integer hidden width of each; 0: that of a routed one; default 0, 0 … 1048576
---@field gated? boolean|fun(layer: integer): boolean times a sigmoid that each token makes; default false

---small experts that groups of routed ones share (Grove)
---@class sluice.shared.adjugate
---@field [1]? "adjugate"
---@field size? integer|fun(layer: integer): integer routed experts of a group; default 2, 1 … 4096
---@field d_ff? integer|fun(layer: integer): integer hidden width of a group's expert; default 16, 1 … 1048576
---@field scale? number|fun(layer: integer): number factor on what they give; default 0.05, 0 … 100

---@alias sluice.head
---| "lm" # next-token prediction
---| sluice.head.lm

---next-token prediction
---@class sluice.head.lm
---@field [1]? "lm"
---@field tied? boolean use the embedding's matrix; default true
---@field softcap? number largest logit; Gemma 2: 30; default 0, 0 … 10000
---@field z_loss? number weight of the squared log of the sum of exponentials; PaLM: 1e-4; default 0, 0 … 1
---@field smoothing? number share of the target's probability that all others share; default 0, 0 … 0.9
---@field focal? number power of 1 - p that a token's loss is weighted with; default 0, 0 … 10
---@field mtp? sluice.mtp prediction of tokens further on; default none

---@alias sluice.mtp
---| "none" # next token only
---| sluice.mtp.none
---| "sequential" # further tokens, one after the other
---| sluice.mtp.sequential
---| "parallel" # further tokens, each by a head of its own
---| sluice.mtp.parallel

---next token only
---@class sluice.mtp.none
---@field [1]? "none"

---further tokens, one after the other
---@class sluice.mtp.sequential
---@field [1]? "sequential"
---@field depth? integer tokens predicted beyond the next; default 1, 1 … 8
---@field weight? number weight of the loss, shared by the depths; default 0.3, 0 … 10

---further tokens, each by a head of its own
---@class sluice.mtp.parallel
---@field [1]? "parallel"
---@field heads? integer heads beyond the next token's; 0: that alone; default 3, 0 … 8
---@field weight? number weight of the loss of each; default 1, 0 … 10

---@alias sluice.adapter
---| "none" # none: all weights are trained
---| sluice.adapter.none
---| "lora" # products of two thin matrices beside frozen ones (LoRA)
---| sluice.adapter.lora

---none: all weights are trained
---@class sluice.adapter.none
---@field [1]? "none"

---products of two thin matrices beside frozen ones (LoRA)
---@class sluice.adapter.lora
---@field [1]? "lora"
---@field roles? string of weights that have an adapter, with spaces between; "": the matrices of attention and of feed-forwards; default 
---@field rank? integer rows of A, columns of B; default 8, 1 … 4096
---@field alpha? number what s goes by; default 16, 0.001 … 1000000
---@field scale? "alpha_over_rank"|"alpha_over_sqrt_rank" what s is; default alpha_over_rank
---@field dropout? number share of the values that A reads that are 0 in training; default 0, 0 … 0.5
---@field also? string roles of weights that are trained themselves, as "router gain"; default 
---@field base? sluice.base what weights with adapters are kept as; default float

---@alias sluice.base
---| "float" # as floats
---| sluice.base.float
---| "nf4" # in NF4, 4 bits with a size for each block (QLoRA)
---| sluice.base.nf4

---as floats
---@class sluice.base.float
---@field [1]? "float"

---in NF4, 4 bits with a size for each block (QLoRA)
---@class sluice.base.nf4
---@field [1]? "nf4"
---@field double_quant? boolean sizes of blocks are bytes, not floats: 4.127 bits a value, not 4.5; default true

---@alias sluice.ranks
---| "grid" # ranks by axes: data, experts, heads, tokens, layers
---| sluice.ranks.grid

---ranks by axes: data, experts, heads, tokens, layers
---@class sluice.ranks.grid
---@field [1]? "grid"
---@field dp? integer among which sequences are divided, whose weights are alike; 0: what other axes leave of those that are here; default 0, 0 … 65536
---@field ep? integer among which the experts of feed-forwards are divided, and sequences once more: tokens go to the ranks of their experts and come back; default 1, 1 … 65536
---@field nodes? integer that the ranks of ep are on, as many on each: a token goes once to each node that has some of its experts, and from there to them; default 1, 1 … 65536
---@field tp? integer among which heads of attention and hidden values of dense and shared feed-forwards are divided, of the same tokens; default 1, 1 … 65536
---@field cp? integer among which the tokens of each sequence are divided, in parts that follow each other: keys and values of all of it go to all of them; default 1, 1 … 65536
---@field pp? integer among which layers are divided, by what they cost: micro-batches pass through them (pipeline); default 1, 1 … 1024
---@field schedule? "gpipe"|"1f1b"|"interleaved"|"zb_h1"|"zb_v"|"dualpipe"|"dualpipev" the order in which a pipeline's ranks do them; default 1f1b
---@field chunks? integer of layers that a rank has where the schedule is interleaved; default 2, 2 … 64
---@field zero? integer what ranks with other sequences divide among them: 1: what an optimizer remembers (ZeRO-1); 2: gradients of matrices too, the matrices being gathered once a step; 3: these matrices too, gathered where they are used. Stacks of experts' are divided by expert, others by rows where the optimizer takes values one by one, and stay whole where it does not come out even; default 1, 1 … 3
---@field room? number rows that may come to a rank's experts, times those that it sends; more are an error. 0: for any choice of experts; default 0, 0 … 65536
---@field spare? integer of each layer that a rank computes beside its own, in training: copies of those of its node that were the busiest, which take turns with these; default 0, 0 … 4096
---@field spare_every? integer after which copies are of the experts that were the busiest in the last of these; default 10, ≥ 1
---@field pieces? integer of a micro-batch's tokens in the trunk, which go to experts one after the other: rows of one travel while experts compute those of another; default 1, 1 … 64
---@field overlap? boolean what ranks tell each other within a layer goes beside what can be computed meanwhile; default true

---@alias sluice.fp8
---| "none" # no product in FP8
---| sluice.fp8.none
---| "tile" # a scale for each 128 values (DeepSeek-V3)
---| sluice.fp8.tile
---| "tensor" # a scale for each tensor, by its largest value now
---| sluice.fp8.tensor
---| "delayed" # a scale for each tensor, by its past (TransformerEngine)
---| sluice.fp8.delayed

---no product in FP8
---@class sluice.fp8.none
---@field [1]? "none"

---a scale for each 128 values (DeepSeek-V3)
---@class sluice.fp8.tile
---@field [1]? "tile"
---@field roles? string of weights whose products are FP8, with spaces between; "": the matrices of attention and of feed-forwards; default 
---@field forward? "none"|"e4m3"|"e5m2" format of activations and weights; default e4m3
---@field gradient? "none"|"e4m3"|"e5m2" format of the gradients of what products give; default e4m3
---@field power_of_two? boolean scales are powers of two; default false

---a scale for each tensor, by its largest value now
---@class sluice.fp8.tensor
---@field [1]? "tensor"
---@field roles? string of weights whose products are FP8, with spaces between; "": the matrices of attention and of feed-forwards; default 
---@field forward? "none"|"e4m3"|"e5m2" format of activations and weights; default e4m3
---@field gradient? "none"|"e4m3"|"e5m2" format of the gradients of what products give; default e4m3
---@field power_of_two? boolean scales are powers of two; default false

---a scale for each tensor, by its past (TransformerEngine)
---@class sluice.fp8.delayed
---@field [1]? "delayed"
---@field roles? string of weights whose products are FP8, with spaces between; "": the matrices of attention and of feed-forwards; default 
---@field forward? "none"|"e4m3"|"e5m2" format of activations and weights; default e4m3
---@field gradient? "none"|"e4m3"|"e5m2" format of the gradients of what products give; default e4m3
---@field power_of_two? boolean scales are powers of two; default false
---@field history? integer how many steps before; default 16, 1 … 1024

---@alias sluice.optim
---| "adafactor" # second moments of rows and columns in place of values
---| sluice.optim.adafactor
---| "adamw" # Adam with decoupled weight decay
---| sluice.optim.adamw
---| "dion" # momentum orthogonalised in its strongest directions
---| sluice.optim.dion
---| "lion" # the sign of the momentum
---| sluice.optim.lion
---| "muon" # orthogonalised momentum for hidden matrices
---| sluice.optim.muon
---| "normalized_momentum" # momentum of which the direction alone counts
---| sluice.optim.normalized_momentum
---| "schedule_free" # AdamW with a mean of the weights in place of a schedule
---| sluice.optim.schedule_free
---| "sgd" # gradient descent with momentum
---| sluice.optim.sgd
---| "soap" # Adam in the eigenbasis of Shampoo's factors
---| sluice.optim.soap

---second moments of rows and columns in place of values
---@class sluice.optim.adafactor
---@field [1]? "adafactor"
---@field lr? number peak learning rate; default 0.01, 0 … 10
---@field decay? number weight decay; default 0.01, 0 … 10
---@field decay_gains? boolean the gains of norms decay too: to 0, zero-centred ones to 1; default false
---@field decay_tables? boolean the vectors of tokens and the rows of tables decay too; default false
---@field power? number of a step's number, which moments decay by; default 0.8, 0.1 … 2
---@field most? number the largest root mean square of a step; default 1, 0.001 … 1000
---@field relative? boolean steps are in proportion to the size of the weight; default true
---@field least? number the smallest such size; default 0.001, 0 … 1
---@field tiny? number added to squares of gradients; default 1e-30, 1e-30 … 1e-06
---@field beta1? number decay of a momentum of steps; 0: there is none; default 0, 0 … 0.99

---Adam with decoupled weight decay
---@class sluice.optim.adamw
---@field [1]? "adamw"
---@field lr? number peak learning rate; default 0.001, 0 … 10
---@field decay? number weight decay; default 0.1, 0 … 10
---@field decay_gains? boolean the gains of norms decay too: to 0, zero-centred ones to 1; default false
---@field decay_tables? boolean the vectors of tokens and the rows of tables decay too; default false
---@field beta1? number decay of the first moment; default 0.9, 0 … 0.9999
---@field beta2? number decay of the second moment; default 0.95, 0 … 0.99999
---@field eps? number added to the root; default 1e-08, 1e-16 … 1
---@field state? "float"|"bf16"|"int8" what moments are kept as; int8: codes in blocks of 256; default float
---@field nesterov? boolean look one step ahead; default false
---@field eps_inside? boolean eps is added to the second moment, under the root; default false
---@field amsgrad? boolean steps go by the largest second moment so far; default false
---@field cautious? boolean weights decay only where that goes the way of the step; default false
---@field cautious_step? boolean what would go against its gradient rests, and the others of a matrix go as much further (C-AdamW); default false
---@field lazy? boolean where a gradient is 0, as of an expert without tokens, nothing moves or decays; default false
---@field sphere? boolean hidden matrices keep their norm, and do not decay, but for those that begin at zero; default false

---momentum orthogonalised in its strongest directions
---@class sluice.optim.dion
---@field [1]? "dion"
---@field lr? number peak learning rate; default 0.01, 0 … 10
---@field decay? number weight decay; default 0.01, 0 … 10
---@field decay_gains? boolean the gains of norms decay too: to 0, zero-centred ones to 1; default false
---@field decay_tables? boolean the vectors of tokens and the rows of tables decay too; default false
---@field momentum? number what stays of what a step takes of the momentum; default 0.95, 0 … 0.9999
---@field rank? number of a step, as a share of the smaller side, one at least; default 0.25, 1e-06 … 1
---@field beta1? number AdamW: decay of the first moment; default 0.9, 0 … 0.9999
---@field beta2? number AdamW: decay of the second moment; default 0.95, 0 … 0.99999
---@field eps? number AdamW: added to the root; default 1e-08, 1e-16 … 1
---@field state? "float"|"bf16"|"int8" AdamW: what moments are kept as; int8: codes in blocks of 256; default float

---the sign of the momentum
---@class sluice.optim.lion
---@field [1]? "lion"
---@field lr? number peak learning rate; default 0.0002, 0 … 10
---@field decay? number weight decay; default 0.5, 0 … 10
---@field decay_gains? boolean the gains of norms decay too: to 0, zero-centred ones to 1; default false
---@field decay_tables? boolean the vectors of tokens and the rows of tables decay too; default false
---@field beta1? number share of the momentum in what the step goes by; default 0.9, 0 … 0.9999
---@field beta2? number decay of the momentum; default 0.99, 0 … 0.99999
---@field state? "float"|"bf16"|"int8" what moments are kept as; int8: codes in blocks of 256; default float

---orthogonalised momentum for hidden matrices
---@class sluice.optim.muon
---@field [1]? "muon"
---@field lr? number peak learning rate; default 0.001, 0 … 10
---@field decay? number weight decay; default 0.1, 0 … 10
---@field decay_gains? boolean the gains of norms decay too: to 0, zero-centred ones to 1; default false
---@field decay_tables? boolean the vectors of tokens and the rows of tables decay too; default false
---@field momentum? number decay of the momentum; default 0.95, 0 … 0.9999
---@field nesterov? boolean look one step ahead; default true
---@field scale? "rms"|"spectral"|"jordan" length of the step by the matrix's shape; default rms
---@field rms? number of rms: how large the values of an orthogonal step are; default 0.2, 0.001 … 10
---@field steps? integer Newton-Schulz steps; default 5, 1 … 20
---@field quintics? "jordan"|"tuned"|"polar"|"exact" their polynomials: one; five in a row; Polar Express; jordan's, the last two of which go to 1; default jordan
---@field even_rows? boolean rows of the momentum become equally long before the steps (MuonEq); default false
---@field neurons? "none"|"row"|"short" whose size is kept, and evened out: nobody's; each row's; each row's or column's, whichever is shorter; default none
---@field neurons_beta? number decay of these sizes; default 0.95, 0 … 0.99999
---@field snap? boolean the step gets the Frobenius norm of an orthogonal matrix (Muon+); default false
---@field heads? boolean each head of queries, keys and values is a matrix by itself; default false
---@field cautious? boolean weights decay only where that goes the way of the step; default false
---@field sphere? boolean hidden matrices keep their norm, and do not decay, but for those that begin at zero; default false
---@field router? "muon"|"adamw" what moves the weights of routers; default muon
---@field beta1? number AdamW: decay of the first moment; default 0.9, 0 … 0.9999
---@field beta2? number AdamW: decay of the second moment; default 0.95, 0 … 0.99999
---@field eps? number AdamW: added to the root; default 1e-08, 1e-16 … 1
---@field state? "float"|"bf16"|"int8" momentum and AdamW: what moments are kept as; int8: codes in blocks of 256; default float

---momentum of which the direction alone counts
---@class sluice.optim.normalized_momentum
---@field [1]? "normalized_momentum"
---@field lr? number peak learning rate; default 0.01, 0 … 10
---@field decay? number weight decay; default 0.1, 0 … 10
---@field decay_gains? boolean the gains of norms decay too: to 0, zero-centred ones to 1; default false
---@field decay_tables? boolean the vectors of tokens and the rows of tables decay too; default false
---@field momentum? number decay of the momentum; default 0.95, 0 … 0.9999
---@field nesterov? boolean look one step ahead; default false
---@field scale? "none"|"rms" length of the step by how many values a matrix has; default none
---@field state? "float"|"bf16"|"int8" what moments are kept as; int8: codes in blocks of 256; default float

---AdamW with a mean of the weights in place of a schedule
---@class sluice.optim.schedule_free
---@field [1]? "schedule_free"
---@field lr? number peak learning rate; default 0.0025, 0 … 10
---@field decay? number weight decay; default 0.1, 0 … 10
---@field decay_gains? boolean the gains of norms decay too: to 0, zero-centred ones to 1; default false
---@field decay_tables? boolean the vectors of tokens and the rows of tables decay too; default false
---@field beta1? number decay of the first moment; default 0.9, 0 … 0.9999
---@field beta2? number decay of the second moment; default 0.95, 0 … 0.99999
---@field eps? number added to the root; default 1e-08, 1e-16 … 1
---@field power? number of a step's number in its share of the mean; default 0, 0 … 8

---gradient descent with momentum
---@class sluice.optim.sgd
---@field [1]? "sgd"
---@field lr? number peak learning rate; default 0.1, 0 … 10
---@field decay? number weight decay; default 0.0001, 0 … 10
---@field decay_gains? boolean the gains of norms decay too: to 0, zero-centred ones to 1; default false
---@field decay_tables? boolean the vectors of tokens and the rows of tables decay too; default false
---@field momentum? number decay of the momentum; 0: none; default 0.9, 0 … 0.9999
---@field nesterov? boolean look one step ahead; default false
---@field coupled? boolean decay is a part of the gradient; default false
---@field state? "float"|"bf16"|"int8" what moments are kept as; int8: codes in blocks of 256; default float

---Adam in the eigenbasis of Shampoo's factors
---@class sluice.optim.soap
---@field [1]? "soap"
---@field lr? number peak learning rate; default 0.003, 0 … 10
---@field decay? number weight decay; default 0.01, 0 … 10
---@field decay_gains? boolean the gains of norms decay too: to 0, zero-centred ones to 1; default false
---@field decay_tables? boolean the vectors of tokens and the rows of tables decay too; default false
---@field beta1? number decay of the first moment; default 0.95, 0 … 0.9999
---@field beta2? number decay of the second moment; default 0.95, 0 … 0.99999
---@field eps? number added to the root; default 1e-08, 1e-16 … 1
---@field state? "float"|"bf16"|"int8" AdamW: what moments are kept as; int8: codes in blocks of 256; default float
---@field factor_beta? number decay of the factors; default 0.95, 0 … 0.9999
---@field every? integer between power steps of the bases; default 10, 1 … 1048576
---@field longest? integer of the sides that are rotated; default 2048, 1 … 16384

---@alias sluice.rates
---| "layers" # by layer, from the first to the last
---| sluice.rates.layers
---| "roles" # by what a weight is
---| sluice.rates.roles

---by layer, from the first to the last
---@class sluice.rates.layers
---@field [1]? "layers"
---@field first? number factor of the first layer; default 1, 1e-06 … 1000000
---@field last? number factor of the last layer; default 1, 1e-06 … 1000000

---by what a weight is
---@class sluice.rates.roles
---@field [1]? "roles"
---@field embed? number vectors of tokens, also where the head is tied to them; default 1, 0 … 1000000
---@field head? number an untied head; default 1, 0 … 1000000
---@field q? number projection to queries; default 1, 0 … 1000000
---@field k? number projection to keys; default 1, 0 … 1000000
---@field v? number projection to values; default 1, 0 … 1000000
---@field out? number projection of attention's heads; default 1, 0 … 1000000
---@field gate? number gates of attention's heads and of shared experts; default 1, 0 … 1000000
---@field ffn_gate? number gate of a feed-forward, of shared experts or of each expert; default 1, 0 … 1000000
---@field ffn_up? number its projection up; default 1, 0 … 1000000
---@field ffn_down? number its projection down; default 1, 0 … 1000000
---@field router? number scores of experts; default 1, 0 … 1000000
---@field stream? number residual streams to how they are read, written and mixed; default 1, 0 … 1000000
---@field table? number rows of hashed n-grams; default 1, 0 … 1000000
---@field mix? number n-grams to the model's width; what joins token and trunk in multi-token prediction; default 1, 0 … 1000000
---@field gain? number gains of norms; default 1, 0 … 1000000
---@field taps? number short convolutions, of each channel its own; default 1, 0 … 1000000
---@field scalar? number factors on streams, branches and values; offsets; rates of a memory's decay; default 1, 0 … 1000000
---@field latent_down? number from the model's width to that of routed experts, or of attention's latents; default 1, 0 … 1000000
---@field latent_up? number back from it; default 1, 0 … 1000000
---@field lora_a? number of an adapter: from what its weight reads to the adapter's rank; default 1, 0 … 1000000
---@field lora_b? number of an adapter: from its rank to what its weight writes; default 1, 0 … 1000000

---@alias sluice.constraint
---| "none" # no constraint
---| sluice.constraint.none
---| "unit_norm" # vectors of matrices along the stream have length 1 (nGPT)
---| sluice.constraint.unit_norm

---no constraint
---@class sluice.constraint.none
---@field [1]? "none"

---vectors of matrices along the stream have length 1 (nGPT)
---@class sluice.constraint.unit_norm
---@field [1]? "unit_norm"

---@alias sluice.schedule
---| "constant" # warm-up, then constant
---| sluice.schedule.constant
---| "cosine" # warm-up, then half a cosine
---| sluice.schedule.cosine
---| "linear" # warm-up, then a line down
---| sluice.schedule.linear
---| "inverse_sqrt" # warm-up, then as one over the root of the step
---| sluice.schedule.inverse_sqrt
---| "step" # warm-up, constant, two falls
---| sluice.schedule.step
---| "wsd" # warm-up, stable, decay
---| sluice.schedule.wsd
---| "wsds" # warm-up, and several decays in one run, each back to the peak
---| sluice.schedule.wsds

---warm-up, then constant
---@class sluice.schedule.constant
---@field [1]? "constant"
---@field warmup? integer steps of linear warm-up; default 0, ≥ 0
---@field warmup_tokens? integer the same as a number of tokens, rounded up to whole steps; 0: as `warmup` says; default 0, ≥ 0
---@field warmup_from? number share of the peak that the warm-up begins at; default 0, 0 … 1

---warm-up, then half a cosine
---@class sluice.schedule.cosine
---@field [1]? "cosine"
---@field warmup? integer steps of linear warm-up; default 0, ≥ 0
---@field warmup_tokens? integer the same as a number of tokens, rounded up to whole steps; 0: as `warmup` says; default 0, ≥ 0
---@field warmup_from? number share of the peak that the warm-up begins at; default 0, 0 … 1
---@field final? number share of the peak that the cosine ends at, where the step after the last would be; default 0.1, 0 … 1

---warm-up, then a line down
---@class sluice.schedule.linear
---@field [1]? "linear"
---@field warmup? integer steps of linear warm-up; default 0, ≥ 0
---@field warmup_tokens? integer the same as a number of tokens, rounded up to whole steps; 0: as `warmup` says; default 0, ≥ 0
---@field warmup_from? number share of the peak that the warm-up begins at; default 0, 0 … 1
---@field final? number share of the peak that the line ends at, where the step after the last would be; default 0, 0 … 1

---warm-up, then as one over the root of the step
---@class sluice.schedule.inverse_sqrt
---@field [1]? "inverse_sqrt"
---@field warmup? integer steps of linear warm-up; default 0, ≥ 0
---@field warmup_tokens? integer the same as a number of tokens, rounded up to whole steps; 0: as `warmup` says; default 0, ≥ 0
---@field warmup_from? number share of the peak that the warm-up begins at; default 0, 0 … 1

---warm-up, constant, two falls
---@class sluice.schedule.step
---@field [1]? "step"
---@field warmup? integer steps of linear warm-up; default 0, ≥ 0
---@field warmup_tokens? integer the same as a number of tokens, rounded up to whole steps; 0: as `warmup` says; default 0, ≥ 0
---@field warmup_from? number share of the peak that the warm-up begins at; default 0, 0 … 1
---@field first? number share of the run after which the rate falls; default 0.8, 0 … 1
---@field second? number and falls again; default 0.9, 0 … 1
---@field factor? number what the rate is multiplied by, each time; default 0.316, 1e-06 … 1

---warm-up, stable, decay
---@class sluice.schedule.wsd
---@field [1]? "wsd"
---@field warmup? integer steps of linear warm-up; default 0, ≥ 0
---@field warmup_tokens? integer the same as a number of tokens, rounded up to whole steps; 0: as `warmup` says; default 0, ≥ 0
---@field warmup_from? number share of the peak that the warm-up begins at; default 0, 0 … 1
---@field decay? number share of the run that decays; its end is where the step after the last would be; default 0.2, 0 … 1
---@field shape? "sqrt"|"linear"|"cosine"|"exponential" how it decays; default sqrt
---@field final? number share of the peak that it ends at; default 0, 0 … 0.99

---warm-up, and several decays in one run, each back to the peak
---@class sluice.schedule.wsds
---@field [1]? "wsds"
---@field warmup? integer steps of linear warm-up; default 0, ≥ 0
---@field warmup_tokens? integer the same as a number of tokens, rounded up to whole steps; 0: as `warmup` says; default 0, ≥ 0
---@field warmup_from? number share of the peak that the warm-up begins at; default 0, 0 … 1
---@field horizons? integer ends of a decay: of 3 at a quarter, at half and at the end of the run; default 3, 1 … 30
---@field decay? number share of a horizon's own steps that decays; default 0.1, 0 … 1
---@field shape? "sqrt"|"linear"|"cosine"|"exponential" how it decays; default linear
---@field final? number share of the peak that it ends at; default 0, 0 … 0.99

---@alias sluice.guard
---| "none" # no guard
---| sluice.guard.none
---| "outliers" # leaves out steps far above those before
---| sluice.guard.outliers
---| "rollback" # goes back to a checkpoint after a step far above those before
---| sluice.guard.rollback

---no guard
---@class sluice.guard.none
---@field [1]? "none"

---leaves out steps far above those before
---@class sluice.guard.outliers
---@field [1]? "outliers"
---@field window? integer steps that one is measured against; default 128, 4 … 65536
---@field sigma? number standard deviations above their mean that are too many; default 6, 0.1 … 1000000

---goes back to a checkpoint after a step far above those before
---@class sluice.guard.rollback
---@field [1]? "rollback"
---@field window? integer steps that one is measured against; default 128, 4 … 65536
---@field sigma? number standard deviations above their mean that are too many; default 6, 0.1 … 1000000

---@alias sluice.average
---| "none" # no averages
---| sluice.average.none
---| "ema" # exponential average of the weights, which evaluation reads
---| sluice.average.ema
---| "lawa" # mean of the weights of several times, which evaluation reads
---| sluice.average.lawa

---no averages
---@class sluice.average.none
---@field [1]? "none"

---exponential average of the weights, which evaluation reads
---@class sluice.average.ema
---@field [1]? "ema"
---@field decay? number what a step keeps of the average; 1: the mean of all steps; default 0.999, 0 … 1
---@field from? integer steps before it begins, in which averages are the weights; default 0, ≥ 0

---mean of the weights of several times, which evaluation reads
---@class sluice.average.lawa
---@field [1]? "lawa"
---@field every? integer steps from one to the next that is averaged; default 5, ≥ 1
---@field latest? integer how many are; default 5, 2 … 64

---@alias sluice.monitors
---| "weights" # size, gradient and change of each weight
---| sluice.monitors.weights
---| "spectral" # largest singular value and stable rank of each matrix
---| sluice.monitors.spectral
---| "stream" # similarity, outliers and rank of the residual stream
---| sluice.monitors.stream
---| "attention" # entropy of attention
---| sluice.monitors.attention
---| "ranks" # how evenly ranks compute experts, what goes between nodes
---| sluice.monitors.ranks

---size, gradient and change of each weight
---@class sluice.monitors.weights
---@field [1]? "weights"
---@field match? string which, by their names within a layer: * any text, ? any letter, [abc] one of these; default *

---largest singular value and stable rank of each matrix
---@class sluice.monitors.spectral
---@field [1]? "spectral"
---@field match? string which, by their names within a layer: * any text, ? any letter, [abc] one of these; default *
---@field iterations? integer of power; s comes from below; default 20, 1 … 10000

---similarity, outliers and rank of the residual stream
---@class sluice.monitors.stream
---@field [1]? "stream"
---@field tokens? integer of a micro-batch, the first, whose rank is taken; default 256, 2 … 4096

---entropy of attention
---@class sluice.monitors.attention
---@field [1]? "attention"

---how evenly ranks compute experts, what goes between nodes
---@class sluice.monitors.ranks
---@field [1]? "ranks"

---@alias sluice.task
---| "mqar" # recall of many pairs, asked at many places
---| sluice.task.mqar
---| "recall" # recall of a key's value each time that the key comes again
---| sluice.task.recall
---| "fuzzy" # recall of keys and values of several tokens
---| sluice.task.fuzzy
---| "selcopy" # copying of what stands among blanks
---| sluice.task.selcopy
---| "memorize" # facts that weights alone can know
---| sluice.task.memorize
---| "induction" # what followed a mark
---| sluice.task.induction
---| "repeat" # random symbols, said twice
---| sluice.task.repeat
---| "copy" # copying of as many symbols as there are
---| sluice.task.copy
---| "markov" # a chain that each sample has of its own
---| sluice.task.markov
---| "regular" # strings of an automaton that each sample has of its own
---| sluice.task.regular
---| "dyck" # brackets of several kinds, nested
---| sluice.task.dyck
---| "modadd" # addition modulo p, of pairs not seen before
---| sluice.task.modadd
---| "addition" # addition of numbers, digit by digit
---| sluice.task.addition
---| "sorting" # random symbols in ascending order
---| sluice.task.sorting
---| "track" # the product of all elements of a group so far
---| sluice.task.track

---recall of many pairs, asked at many places
---@class sluice.task.mqar
---@field [1]? "mqar"
---@field length? integer of a sample, behind the token that begins it; default 64, 1 … 1048576
---@field pairs? integer keys, each with its value; default 8, 1 … 65536
---@field symbols? integer different ones, half of them keys, half values; default 512, 2 … 524288
---@field fill? "pad"|"random" what stands between the questions; default pad
---@field seed? integer of all samples; default 1, ≥ 0
---@field samples? integer different ones to train on, which then come again; 0: as many as there are; default 0, ≥ 0
---@field held_out? integer other ones to measure on; default 512, 1 … 1048576
---@field form? "stream"|"blind" whether a model reads answers as it goes, as those of text, or blanks in their place; default stream
---@field loss? "answers"|"all" what counts in training: answers, or every token; default answers

---recall of a key's value each time that the key comes again
---@class sluice.task.recall
---@field [1]? "recall"
---@field length? integer of a sample, behind the token that begins it; default 128, 1 … 1048576
---@field keys? integer different ones; default 8, 1 … 262144
---@field values? integer different ones; default 8, 1 … 262144
---@field noise? number share of the pairs that are of noise; default 0, 0 … 1
---@field noise_values? integer different symbols of noise; default 16, 1 … 262144
---@field seed? integer of all samples; default 1, ≥ 0
---@field samples? integer different ones to train on, which then come again; 0: as many as there are; default 0, ≥ 0
---@field held_out? integer other ones to measure on; default 512, 1 … 1048576
---@field form? "stream"|"blind" whether a model reads answers as it goes, as those of text, or blanks in their place; default stream
---@field loss? "answers"|"all" what counts in training: answers, or every token; default answers

---recall of keys and values of several tokens
---@class sluice.task.fuzzy
---@field [1]? "fuzzy"
---@field length? integer of a sample, behind the token that begins it; default 128, 1 … 1048576
---@field keys? integer symbols that keys are made of; default 7, 1 … 262144
---@field values? integer symbols that values are made of; default 8, 1 … 262144
---@field key_tokens? integer most of a key; default 3, 1 … 16
---@field value_tokens? integer most of a value; default 3, 1 … 16
---@field whole? boolean whether held-out keys have as many tokens as a key may have; default false
---@field seed? integer of all samples; default 1, ≥ 0
---@field samples? integer different ones to train on, which then come again; 0: as many as there are; default 0, ≥ 0
---@field held_out? integer other ones to measure on; default 512, 1 … 1048576
---@field form? "stream"|"blind" whether a model reads answers as it goes, as those of text, or blanks in their place; default stream
---@field loss? "answers"|"all" what counts in training: answers, or every token; default answers

---copying of what stands among blanks
---@class sluice.task.selcopy
---@field [1]? "selcopy"
---@field length? integer of a sample, behind the token that begins it; default 256, 1 … 1048576
---@field tokens? integer that are copied; default 16, 1 … 65536
---@field symbols? integer different ones; default 14, 1 … 524288
---@field seed? integer of all samples; default 1, ≥ 0
---@field samples? integer different ones to train on, which then come again; 0: as many as there are; default 0, ≥ 0
---@field held_out? integer other ones to measure on; default 512, 1 … 1048576
---@field form? "stream"|"blind" whether a model reads answers as it goes, as those of text, or blanks in their place; default stream
---@field loss? "answers"|"all" what counts in training: answers, or every token; default answers

---facts that weights alone can know
---@class sluice.task.memorize
---@field [1]? "memorize"
---@field length? integer of a sample, behind the token that begins it; default 32, 1 … 1048576
---@field symbols? integer half of them keys, the others values; default 255, 2 … 524288
---@field seed? integer of all samples; default 1, ≥ 0
---@field samples? integer different ones to train on, which then come again; 0: as many as there are; default 0, ≥ 0
---@field held_out? integer other ones to measure on; default 512, 1 … 1048576
---@field form? "stream"|"blind" whether a model reads answers as it goes, as those of text, or blanks in their place; default stream
---@field loss? "answers"|"all" what counts in training: answers, or every token; default answers

---what followed a mark
---@class sluice.task.induction
---@field [1]? "induction"
---@field length? integer of a sample, behind the token that begins it; default 64, 1 … 1048576
---@field symbols? integer different ones; default 14, 1 … 524288
---@field seed? integer of all samples; default 1, ≥ 0
---@field samples? integer different ones to train on, which then come again; 0: as many as there are; default 0, ≥ 0
---@field held_out? integer other ones to measure on; default 512, 1 … 1048576
---@field form? "stream"|"blind" whether a model reads answers as it goes, as those of text, or blanks in their place; default stream
---@field loss? "answers"|"all" what counts in training: answers, or every token; default answers

---random symbols, said twice
---@class sluice.task.repeat
---@field [1]? "repeat"
---@field length? integer of a sample, behind the token that begins it; default 64, 1 … 1048576
---@field symbols? integer different ones; default 64, 1 … 524288
---@field seed? integer of all samples; default 1, ≥ 0
---@field samples? integer different ones to train on, which then come again; 0: as many as there are; default 0, ≥ 0
---@field held_out? integer other ones to measure on; default 512, 1 … 1048576
---@field form? "stream"|"blind" whether a model reads answers as it goes, as those of text, or blanks in their place; default stream
---@field loss? "answers"|"all" what counts in training: answers, or every token; default answers

---copying of as many symbols as there are
---@class sluice.task.copy
---@field [1]? "copy"
---@field length? integer of a sample, behind the token that begins it; default 64, 1 … 1048576
---@field least? integer fewest that are copied; default 1, 1 … 262144
---@field most? integer most that are copied; default 31, 1 … 262144
---@field symbols? integer different ones; default 26, 1 … 524288
---@field seed? integer of all samples; default 1, ≥ 0
---@field samples? integer different ones to train on, which then come again; 0: as many as there are; default 0, ≥ 0
---@field held_out? integer other ones to measure on; default 512, 1 … 1048576
---@field form? "stream"|"blind" whether a model reads answers as it goes, as those of text, or blanks in their place; default stream
---@field loss? "answers"|"all" what counts in training: answers, or every token; default answers

---a chain that each sample has of its own
---@class sluice.task.markov
---@field [1]? "markov"
---@field length? integer of a sample, behind the token that begins it; default 128, 1 … 1048576
---@field symbols? integer different ones; default 8, 2 … 1024
---@field order? integer of context that the next symbol depends on; default 1, 1 … 8
---@field seed? integer of all samples; default 1, ≥ 0
---@field samples? integer different ones to train on, which then come again; 0: as many as there are; default 0, ≥ 0
---@field held_out? integer other ones to measure on; default 512, 1 … 1048576
---@field form? "stream"|"blind" whether a model reads answers as it goes, as those of text, or blanks in their place; default stream
---@field loss? "answers"|"all" what counts in training: answers, or every token; default answers

---strings of an automaton that each sample has of its own
---@class sluice.task.regular
---@field [1]? "regular"
---@field length? integer of a sample, behind the token that begins it; default 256, 1 … 1048576
---@field symbols? integer most of an automaton; at least 4; default 18, 4 … 1024
---@field states? integer most of an automaton; at least 4; default 12, 4 … 64
---@field edges? integer most out of a state, all of different symbols to different states; default 3, 1 … 16
---@field longest? integer most of a string; default 49, 1 … 65536
---@field seed? integer of all samples; default 1, ≥ 0
---@field samples? integer different ones to train on, which then come again; 0: as many as there are; default 0, ≥ 0
---@field held_out? integer other ones to measure on; default 512, 1 … 1048576
---@field form? "stream"|"blind" whether a model reads answers as it goes, as those of text, or blanks in their place; default stream
---@field loss? "answers"|"all" what counts in training: answers, or every token; default answers

---brackets of several kinds, nested
---@class sluice.task.dyck
---@field [1]? "dyck"
---@field length? integer of a sample, behind the token that begins it; default 128, 1 … 1048576
---@field kinds? integer of brackets; default 8, 1 … 262144
---@field depth? integer deepest nesting; default 6, 1 … 65536
---@field seed? integer of all samples; default 1, ≥ 0
---@field samples? integer different ones to train on, which then come again; 0: as many as there are; default 0, ≥ 0
---@field held_out? integer other ones to measure on; default 512, 1 … 1048576
---@field form? "stream"|"blind" whether a model reads answers as it goes, as those of text, or blanks in their place; default stream
---@field loss? "answers"|"all" what counts in training: answers, or every token; default answers

---addition modulo p, of pairs not seen before
---@class sluice.task.modadd
---@field [1]? "modadd"
---@field modulus? integer p; default 97, 2 … 4096
---@field share? number of the pairs that are trained on; default 0.5, 0.01 … 0.99
---@field seed? integer of all samples; default 1, ≥ 0
---@field samples? integer different ones to train on, which then come again; 0: as many as there are; default 0, ≥ 0
---@field held_out? integer other ones to measure on; default 512, 1 … 1048576
---@field form? "stream"|"blind" whether a model reads answers as it goes, as those of text, or blanks in their place; default stream
---@field loss? "answers"|"all" what counts in training: answers, or every token; default answers

---addition of numbers, digit by digit
---@class sluice.task.addition
---@field [1]? "addition"
---@field length? integer of a sample, behind the token that begins it; default 32, 1 … 1048576
---@field least? integer fewest of a number; default 1, 1 … 512
---@field most? integer most of a number; default 6, 1 … 512
---@field reverse? boolean whether the least digit comes first; default true
---@field seed? integer of all samples; default 1, ≥ 0
---@field samples? integer different ones to train on, which then come again; 0: as many as there are; default 0, ≥ 0
---@field held_out? integer other ones to measure on; default 512, 1 … 1048576
---@field form? "stream"|"blind" whether a model reads answers as it goes, as those of text, or blanks in their place; default stream
---@field loss? "answers"|"all" what counts in training: answers, or every token; default answers

---random symbols in ascending order
---@class sluice.task.sorting
---@field [1]? "sorting"
---@field length? integer of a sample, behind the token that begins it; default 32, 1 … 1048576
---@field least? integer fewest that are sorted; default 2, 1 … 262144
---@field most? integer most that are sorted; default 14, 1 … 262144
---@field symbols? integer different ones; default 64, 1 … 524288
---@field seed? integer of all samples; default 1, ≥ 0
---@field samples? integer different ones to train on, which then come again; 0: as many as there are; default 0, ≥ 0
---@field held_out? integer other ones to measure on; default 512, 1 … 1048576
---@field form? "stream"|"blind" whether a model reads answers as it goes, as those of text, or blanks in their place; default stream
---@field loss? "answers"|"all" what counts in training: answers, or every token; default answers

---the product of all elements of a group so far
---@class sluice.task.track
---@field [1]? "track"
---@field length? integer of a sample, behind the token that begins it; default 64, 1 … 1048576
---@field group? "parity"|"s3"|"s4"|"s5" whose elements are multiplied; default parity
---@field seed? integer of all samples; default 1, ≥ 0
---@field samples? integer different ones to train on, which then come again; 0: as many as there are; default 0, ≥ 0
---@field held_out? integer other ones to measure on; default 512, 1 … 1048576
---@field form? "stream"|"blind" whether a model reads answers as it goes, as those of text, or blanks in their place; default stream
---@field loss? "answers"|"all" what counts in training: answers, or every token; default answers
