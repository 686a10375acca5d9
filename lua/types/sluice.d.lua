---@meta sluice
-- Types of `require "sluice"` for the Lua language server. What the slots take is in slots.d.lua.

---Dotted paths of keys and their values: { ["attention.gate"] = "head", layers = 6 }
---@alias sluice.changes table<string, any>

---@class sluice.model
---@class sluice.study

---@class sluice.match
---@field [1] "active_params"|"total_params"|"train_flops"|"total_flops" what every variant shares with the baseline
---@field adjust string path of the whole number that is changed to get there
---@field tolerance? number relative; default 0.01

---@class sluice.test
---@field family? "sidak"|"holm"|"none" how the variants share the 5 % of false claims; default "sidak"

---Keys of every kind of study.
---@class sluice.study_keys
---@field base sluice.model what variants are changes of
---@field baseline? string the variant that the others are compared with
---@field choices? string the variant whose choices are replayed, "runs/NAME/VARIANT"; needs select = "replayed"
---@field data? string|sluice.task token file, beside the script or in the working folder, "synthetic", or a task as a table; default "synthetic"
---@field horizons? integer[] steps: every variant is trained for each, and compared with the baseline of as many
---@field match? sluice.match
---@field name? string folder of the study; default the script's name
---@field primary? string the metric that answers, with ":mean", ":max" or ":min" where it has layers or experts; default "eval.loss"
---@field replicates? integer runs of each variant; default 5, from three variants on 8
---@field seed? integer of the first replicate; default 0
---@field test? sluice.test
---@field train? sluice.train_keys

---@class sluice.variants_keys: sluice.study_keys
---@field variants? table<string, sluice.changes|sluice.model> by name
---@field axes? table<string, any[]|table<string, any>> every combination of these values; with names of their own: { NAME = value }
---@field filter? fun(settings: sluice.changes): boolean which combinations to keep

---@class sluice.leave_one_out_keys: sluice.study_keys
---@field drop table<integer|string, any> paths, or [path] = the value without the feature

---@class sluice.factorial_keys: sluice.study_keys
---@field toggles sluice.changes every subset of these changes

local sl = {}

---A model: every key of it has a default.
---@param keys sluice.model_keys
---@return sluice.model
function sl.model(keys) end

---A model that Sluice brings along.
---@param name sluice.preset
---@return sluice.model
function sl.preset(name) end

---A model with changes.
---@param base sluice.model
---@param changes sluice.changes
---@return sluice.model
function sl.extend(base, changes) end

---A deeper model that begins with a run of the model: changes, of which `init` says whose copies its layers are. What
---layers are set to comes along.
---@param base sluice.model
---@param changes sluice.changes
---@return sluice.model
function sl.deepen(base, changes) end

---A study of named variants, or of all combinations of axes. A script returns it.
---@param keys sluice.variants_keys
---@return sluice.study
function sl.study(keys) end

---One variant with everything, and one for each feature without it.
---@param keys sluice.leave_one_out_keys
---@return sluice.study
function sl.leave_one_out(keys) end

---Every subset of 1 to 8 toggles.
---@param keys sluice.factorial_keys
---@return sluice.study
function sl.factorial(keys) end

---A published router as a plain table of changes: the router, its balance, its dispatch.
---@param name sluice.router_name
---@param keys? sluice.router.staged what is said otherwise
---@param of? "ffn"|"attention.experts" whose router it is; default "ffn"
---@return sluice.changes
function sl.router(name, keys, of) end

---Names of the published routers, for a study of all.
---@return string[]
function sl.routers() end

---A published mixer in linear time, as what fills the slot attention.
---@param name sluice.mixer_name
---@param keys? sluice.attention.gated_delta|sluice.attention.mamba2 what is said otherwise
---@return table
function sl.mixer(name, keys) end

---Names of the published mixers, for a study of all.
---@return string[]
function sl.mixers() end

---Pairs for attention.kv = { "mirror", pairs = ... }: the last n layers read the first n. Layers count from 0.
---@param layers integer
---@param n? integer default a third
---@param with_mtp? boolean the block of multi-token prediction is the deepest layer
---@return integer[]
function sl.u_mirror(layers, n, with_mtp) end

return sl
