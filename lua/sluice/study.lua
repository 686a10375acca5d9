-- Studies: what varies, how often, against what. Names and order come from sorted keys: nothing depends on pairs.
local host = ...
local tree = require "sluice.tree"
local model = require "sluice.model"
local study = {}

local COMMON = { "base", "baseline", "choices", "data", "horizons", "match", "name", "primary", "replicates", "seed",
                 "test", "train" }
local MOST_VARIANTS, LONGEST_NAME = 4096, host.longest_name

local function with(...)
  local keys = { ... }
  table.move(COMMON, 1, #COMMON, #keys + 1, keys)
  table.sort(keys)
  return keys
end

local function check_keys(site, spec, where, known, what)
  local legal = {}
  for _, key in ipairs(known) do legal[key] = true end
  for _, key in ipairs(tree.sorted(spec)) do
    if not legal[key] then
      host.problem(site, where .. key, ("%s has no key '%s'"):format(what, key) .. tree.suggest(key, known))
    end
  end
end

local NOUN = { string = "a text", integer = "an integer", number = "a number", table = "a table",
               ["function"] = "a function" }

-- The value of a key when it has the right type, else (after telling) the default. 2.0 is the integer 2.
local function take(site, spec, key, kind, default)
  local value = spec[key]
  if value == nil then return default end
  if kind == "integer" then value = math.tointeger(value) or value end
  if type(value) == kind or math.type(value) == kind then return value end
  local given = type(value) == "string" and "'" .. value .. "'" or tostring(value)
  host.problem(site, key, ("%s: must be %s, not %s"):format(key, NOUN[kind], given))
  return default
end

local function take_count(site, spec, key, default, least, most)
  local value = take(site, spec, key, "integer", default)
  if value >= least and value <= most then return value end
  host.problem(site, key, ("%s: %d is out of range: %d to %d"):format(key, value, least, most))
  return default
end

-- Names become folders, as they are: what cannot stand there is refused, not changed, so that no two names share one.
local function check_name(site, where, name, cure)
  if host.is_name(name) then return end
  host.problem(site, where, ("'%s': %s%s"):format(name:sub(1, LONGEST_NAME), host.name_rule, cure or ""))
end

-- A study is called like its script, when that is a name.
local function name_of_script(site, spec)
  if spec.name ~= nil then return end
  local near = host.script:gsub("[^%w._=,+-]+", "_"):gsub("^[^%w_]+", ""):sub(1, LONGEST_NAME)
  if not near:find "%w" then near = "study" end
  check_name(site, "", host.script,
             ("\n  the study is called like its script: say name = \"%s\" in it, or --set name=%s"):format(near, near))
  spec.name = host.is_name(host.script) and host.script or near
end

local function short(path) return path:match "[^.]*$" end

-- Short names of paths, whole paths where two would be the same.
local function labels(paths)
  local count, out = {}, {}
  for _, path in ipairs(paths) do count[short(path)] = (count[short(path)] or 0) + 1 end
  for _, path in ipairs(paths) do out[path] = count[short(path)] > 1 and path or short(path) end
  return out
end

-- A value as part of a name; functions have none, so they get their number in the axis.
local function word(value, number)
  if type(value) == "function" then return "v" .. number end
  if type(value) ~= "table" then
    return (math.type(value) == "float" and ("%.6g"):format(value) or tostring(value)):gsub("[^%w._+-]", "_")
  end
  local parts = { value.module and word(value.module, number) }
  for _, item in ipairs(value) do parts[#parts + 1] = word(item, number) end
  for _, key in ipairs(tree.sorted(value)) do
    if key ~= "module" then parts[#parts + 1] = key .. "=" .. word(value[key], number) end
  end
  return #parts == 0 and "none" or table.concat(parts, value.module and "-" or "+")
end

-- A variant is { name, settings = path -> the script's value, where = its path in the call's table }.

local function named_variants(site, variants)
  local list = {}
  for _, name in ipairs(tree.sorted(variants)) do
    local where = "variants." .. name
    check_name(site, where, name)
    local settings = variants[name]
    if type(settings) == "table" then
      list[#list + 1] = { name = name, settings = settings, where = model.is(settings) and where or where .. "." }
    else
      host.problem(site, where, ("%s: must be a table of [\"dotted.path\"] = value, or a model"):format(where))
    end
  end
  if rawlen(variants) > 0 then host.problem(site, "variants", "variants: each needs a name: 'gated = { ... }'") end
  return list
end

-- The values of an axis as { part = of the variant's name, value }: { value, ... } or { NAME = value, ... }, by name.
local function read_axis(site, path, label, given)
  local where, names, list, seen = "axes." .. path, type(given) == "table" and tree.sorted(given) or {}, {}, {}
  local count = type(given) == "table" and rawlen(given) or 0
  if count == 0 and #names == 0 or count > 0 and #names > 0 then
    host.problem(site, where, where .. ": must be a list of values, { \"softmax\", \"sigmoid\" }, " ..
                 "or values with names, { soft = \"softmax\", sharp = \"sigmoid\" }")
    return list
  end
  if math.max(count, #names) > MOST_VARIANTS then
    host.fail(site, where, ("%s: more than %d values"):format(where, MOST_VARIANTS))
  end
  for i = 1, count do
    local as_word = word(tree.normal(given[i], site, where), i)
    if seen[as_word] then
      host.problem(site, where,
                   ("%s: '%s' is listed twice; values that are written alike need names: { NAME = value, ... }")
                     :format(where, as_word))
    end
    seen[as_word] = true
    list[i] = { part = label .. "=" .. as_word, value = given[i] }
  end
  for i, name in ipairs(names) do
    check_name(site, where .. "." .. name, name)
    list[i] = { part = name, value = given[name] }
  end
  return list
end

-- The values of every axis, and the number of combinations.
local function read_axes(site, axes, paths)
  local values, total, label = {}, 1, labels(paths)
  for _, path in ipairs(paths) do
    values[path] = read_axis(site, path, label[path], axes[path])
    total = total * math.max(1, #values[path])
    if total > MOST_VARIANTS then
      host.fail(site, "axes", ("the axes give more than %d variants"):format(MOST_VARIANTS))
    end
  end
  return values, total
end

-- What is wrong with the names of a grid, once.
local function check_grid(site, paths, list)
  local seen = {}
  for _, variant in ipairs(list) do
    if #variant.name > LONGEST_NAME then
      return host.problem(site, "axes",
                          ("axes: '%s' has %d characters, a name has at most %d; give values short names: " ..
                           "axes = { [\"%s\"] = { NAME = value, ... }, ... }"):format(
        variant.name, #variant.name, LONGEST_NAME, paths[1]))
    end
    if seen[variant.name] then
      return host.problem(site, "axes", ("axes: two combinations are called '%s'"):format(variant.name))
    end
    seen[variant.name] = true
    check_name(site, "axes", variant.name)
  end
end

-- The product of the axes; the last axis varies fastest.
local function product(site, axes)
  local paths, list = tree.sorted(axes), {}
  local values, total = read_axes(site, axes, paths)
  for number = 0, total - 1 do
    local settings, parts, rest = {}, {}, number
    for p = #paths, 1, -1 do
      local path = paths[p]
      local count = #values[path]
      if count > 0 then
        local chosen = values[path][rest % count + 1]
        rest = rest // count
        settings[path] = chosen.value
        table.insert(parts, 1, chosen.part)
      end
    end
    list[#list + 1] = { name = table.concat(parts, ","), settings = settings, where = "axes." }
  end
  check_grid(site, paths, list)
  return list
end

local function filtered(site, list, keep)
  local out = {}
  for _, variant in ipairs(list) do
    local copy = {}
    for path, value in next, variant.settings do copy[path] = value end
    local answer = keep(copy)
    if type(answer) ~= "boolean" then
      host.fail(site, "filter",
                ("filter: must give true or false, gave %s for '%s'"):format(tostring(answer), variant.name))
    end
    if answer then out[#out + 1] = variant end
  end
  if #out == 0 then host.problem(site, "filter", "filter: no variant is left") end
  return out
end

-- Named: it must exist. Not named: the one that changes nothing, or the first combination of axes.
local function find_baseline(site, spec, list, default)
  local names, empty = {}, {}
  for _, variant in ipairs(list) do
    names[#names + 1] = variant.name
    if next(variant.settings) == nil and not model.is(variant.settings) then empty[#empty + 1] = variant.name end
  end
  local name = take(site, spec, "baseline", "string", default or #empty == 1 and empty[1])
  for _, known in ipairs(names) do
    if known == name then return name end
  end
  if name then host.problem(site, "baseline", ("baseline: no variant '%s'"):format(name) .. tree.suggest(name, names))
  elseif #list > 0 then
    host.problem(site, "baseline",
                 "baseline: which variant are the others compared with?\n  known: " .. tree.join(names))
  end
end

local function read_match(site, spec)
  local match = take(site, spec, "match", "table")
  if not match then return nil end
  check_keys(site, match, "match.", { "adjust", "tolerance" }, "match")
  if rawlen(match) ~= 1 or type(match[1]) ~= "string" or type(match.adjust) ~= "string" then
    host.problem(site, "match", "match: must be like { \"active_params\", adjust = \"ffn.d_ff\", tolerance = 0.01 }")
    return nil
  end
  local tolerance = match.tolerance == nil and 0.01 or match.tolerance
  if type(tolerance) ~= "number" or not (tolerance >= 0 and tolerance < 1) then
    host.problem(site, "match.tolerance",
                 ("match.tolerance: %s is out of range: from 0 to less than 1"):format(tolerance))
    return nil
  end
  return { quantity = match[1], adjust = match.adjust, tolerance = tolerance }
end

-- Numbers of steps that every variant is trained for, each a run of its own; nil: train.steps alone.
local function read_horizons(site, spec)
  local given, list = take(site, spec, "horizons", "table"), {}
  if not given then return nil end
  for i, steps in ipairs(given) do list[i] = math.tointeger(steps) end
  for i = 1, math.max(1, rawlen(given)) do
    if next(given, #list > 0 and #list or nil) or not list[i] or list[i] <= (list[i - 1] or 0) then
      host.fail(site, "horizons", "horizons: must be a list of steps that ascend: { 100, 200, 400 }")
    end
  end
  return list
end

local FAMILIES = { "holm", "none", "sidak" }

local function read_test(site, spec)
  local test = take(site, spec, "test", "table")
  if not test then return nil end
  check_keys(site, test, "test.", { "family" }, "test")
  local family, known = take(site, test, "family", "string", "sidak"), false
  for _, name in ipairs(FAMILIES) do known = known or name == family end
  if not known then
    host.problem(site, "test.family", ("test.family: no family '%s'"):format(family) .. tree.suggest(family, FAMILIES))
  end
  return { family = family }
end

-- What a task generates is named by a text, as a file is by its path: "task:mqar:length=64:pairs=8".
local function read_data(site, spec)
  if type(spec.data) ~= "table" then return take(site, spec, "data", "string", "synthetic") end
  local task = tree.normal(spec.data, site, "data") or {}
  if type(task.module) ~= "string" then
    host.problem(site, "data", "data: a table names a task, then its keys: { \"mqar\", pairs = 8 }")
    return "synthetic"
  end
  local words = { "task", task.module }
  for _, key in ipairs(tree.sorted(task)) do
    if key ~= "module" then words[#words + 1] = key .. "=" .. tostring(task[key]) end
  end
  return table.concat(words, ":")
end

local STUDY_KEYS = { choices = "string", data = "string", horizons = "table", name = "string", primary = "string",
                     baseline = "string", replicates = "integer", seed = "integer" }

-- The value that --set gives to a path; where a text is wanted, digits and all else that is not quoted is the text.
local function value_of(site, set)
  if STUDY_KEYS[set.path] == "string" and not set.text:find "^[\"']" then return set.text end
  local value, why = host.literal(set.text)
  if value == nil then return host.problem(site, set.path, ("%s: %s"):format(set.path, why)) end
  return tree.normal(value, site, set.path)
end

-- --set on the command line: keys of the study.
local function override_study(site, spec)
  for _, set in ipairs(host.overrides) do
    if STUDY_KEYS[set.path] then spec[set.path] = value_of(site, set) end
  end
end

-- Of train, which is given back changed, or else of the model, as changes of it.
local function override_rest(site, train)
  local changes = {}
  for _, set in ipairs(host.overrides) do
    local path, value, changed, why = set.path, nil, nil, nil
    if not STUDY_KEYS[path] then value = value_of(site, set) end
    if value ~= nil and path:find "^train%." then
      changed, why = host.set("train", train, path:sub(7), value)
      train = changed or train
    elseif value ~= nil then
      if not path:find("%.") then changed, why = host.set("model", {}, path, false) end     -- is it a key of anything?
      if why then why = why .. "\n  of the study: " .. tree.join(tree.sorted(STUDY_KEYS)) .. "; of training: train.KEY"
      else changes[#changes + 1] = { path = path, value = value, site = site, where = path } end
    end
    if why then host.problem(site, path, ("%s: %s"):format(path, why)) end
  end
  return train, changes
end

local function check_texts(site, d)
  check_name(site, "name", d.name)
  if not d.primary:gsub(":%a+$", "", 1):find "^%a[%w_]*%.[%w_]+$" then
    host.problem(site, "primary",
                 ("primary: '%s': must be a group and a metric, as \"eval.loss\" or \"train.max_vio:mean\"")
                   :format(d.primary))
  end
end

local function name_at(name, steps) return steps and ("%s,steps=%d"):format(name, steps) or name end

-- What a variant sets, at each horizon, where it is compared with the baseline at that one.
local function add_variant(site, d, horizons, variant, set, baseline)
  if horizons and set["train.steps"] then
    host.problem(site, variant.where, ("'%s' sets train.steps, and horizons do too"):format(variant.name))
  end
  for _, steps in ipairs(horizons or { false }) do
    local its = {}
    for path, value in next, set do its[path] = value end
    its["train.steps"] = steps or set["train.steps"]
    d.variants[#d.variants + 1] = { name = name_at(variant.name, steps), set = its,
                                    baseline = steps and baseline and name_at(baseline, steps) or nil }
  end
end

local function description(site, spec, list, default_baseline)
  override_study(site, spec)
  name_of_script(site, spec)
  local train, changes = override_rest(site, tree.normal(take(site, spec, "train", "table", {}), site, "train") or {})
  local horizons = read_horizons(site, spec)
  local longest = horizons and horizons[#horizons]
  local baseline = find_baseline(site, spec, list, default_baseline)
  local d = {
    name = take(site, spec, "name", "string", "study"),
    data = read_data(site, spec),
    choices = take(site, spec, "choices", "string"),
    primary = take(site, spec, "primary", "string", "eval.loss"),
    replicates = take_count(site, spec, "replicates", #list < 3 and 5 or 8, 1, 1000),
    seed = take_count(site, spec, "seed", 0, 0, 1 << 53),
    baseline = baseline and name_at(baseline, longest),
    match = read_match(site, spec), test = read_test(site, spec), train = train, variants = {},
  }
  check_texts(site, d)
  if tree.has_function(train) then host.problem(site, "train", "train: functions are for the model's layers") end
  if horizons and train.steps then
    host.problem(site, "horizons", "horizons: train.steps is what they say: give one of the two")
  end
  train.steps = longest or train.steps
  if not model.is(spec.base) then
    host.problem(site, "base", spec.base == nil and "base is missing: a model, from sl.model or sl.preset"
                 or "base: must be a model: what sl.model, sl.preset or sl.extend gives")
    return d, {}
  end
  d.base = model.plain(spec.base, changes)
  for _, variant in ipairs(list) do
    local set = variant.settings
    if model.is(set) then set = model.replacement(set, changes, d.base, site, variant.where)
    else set = model.settings(spec.base, changes, model.changes(site, set, variant.where)) end
    add_variant(site, d, horizons, variant, set, baseline)
  end
  return d, model.sites(spec.base)
end

local function finish(site, spec, list, default_baseline)
  local d, sites = description(site, spec, list, default_baseline)
  if #d.variants > MOST_VARIANTS then
    host.fail(site, "", ("%d variants: at most %d"):format(#d.variants, MOST_VARIANTS))
  end
  return host.study(site, d, sites)
end

local function copy_of(site, spec, what)
  if type(spec) ~= "table" then host.fail(site, "", what .. " takes a table of keys") end
  if rawlen(spec) > 0 then host.problem(site, "", what .. " takes keys only: 'base = ..., variants = { ... }'") end
  local out = {}
  for _, key in ipairs(tree.sorted(spec)) do out[key] = spec[key] end
  return out
end

function study.new(site, spec)
  spec = copy_of(site, spec, "sl.study")
  check_keys(site, spec, "", with("axes", "filter", "variants"), "sl.study")
  local variants, axes = take(site, spec, "variants", "table"), take(site, spec, "axes", "table")
  local keep = take(site, spec, "filter", "function")
  if spec.variants == nil and spec.axes == nil then
    host.problem(site, "", "sl.study needs variants or axes: what is compared?")
  end
  if variants and axes then host.problem(site, "axes", "sl.study takes variants or axes, not both") end
  local list = variants and named_variants(site, variants) or axes and product(site, axes) or {}
  if (variants or axes) and #list == 0 then
    host.problem(site, variants and "variants" or "axes", "there is nothing to compare: no variant is given")
  end
  local first = axes and list[1] and list[1].name
  if keep and #list > 0 then list = filtered(site, list, keep) end
  return finish(site, spec, list, first)
end

-- What a slot that has no "none" holds when its feature is off.
local PLAIN = { embed = "plain", residual = "pre", kv = "own", mask = "causal", logits = "linear" }

-- One variant with everything, and one for each feature that is left out.
function study.leave_one_out(site, spec)
  spec = copy_of(site, spec, "sl.leave_one_out")
  check_keys(site, spec, "", with("drop"), "sl.leave_one_out")
  local drop = take(site, spec, "drop", "table", {})
  local off = {}
  for _, path in ipairs(tree.sorted(drop)) do off[path] = drop[path] end
  for _, path in ipairs(drop) do
    if type(path) ~= "string" then
      host.fail(site, "drop", "drop: must be a list of paths, or [\"path\"] = value without the feature")
    end
    off[path] = PLAIN[short(path)] or "none"
  end
  local paths = tree.sorted(off)
  if #paths == 0 then
    host.problem(site, "drop", "sl.leave_one_out needs drop: the paths of the features to leave out")
  end
  local label, list = labels(paths), { { name = "full", settings = {}, where = "" } }
  for _, path in ipairs(paths) do
    list[#list + 1] = { name = "no_" .. label[path], settings = { [path] = off[path] }, where = "drop." }
  end
  return finish(site, spec, list, "full")
end

-- Every subset of the toggles: main effects and interactions.
function study.factorial(site, spec)
  spec = copy_of(site, spec, "sl.factorial")
  check_keys(site, spec, "", with("toggles"), "sl.factorial")
  local toggles = take(site, spec, "toggles", "table", {})
  local paths, list = tree.sorted(toggles), {}
  local label = labels(paths)
  if #paths == 0 or #paths > 8 then
    host.fail(site, "toggles", "sl.factorial needs toggles: from 1 to 8 of [\"path\"] = value")
  end
  for subset = 0, (1 << #paths) - 1 do
    local settings, names = {}, {}
    for i, path in ipairs(paths) do
      if subset >> (i - 1) & 1 == 1 then
        settings[path] = toggles[path]
        names[#names + 1] = label[path]
      end
    end
    list[#list + 1] = { name = subset == 0 and "base" or table.concat(names, "+"), settings = settings,
                        where = "toggles." }
  end
  return finish(site, spec, list, "base")
end

return study
