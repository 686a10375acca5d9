-- Models: what sl.model says, and the changes that sl.extend makes to it. Values that are functions of the layer stay
-- functions until a study is made, so that a variant may change the number of layers.
local host = ...
local tree = require "sluice.tree"
local model = {}

local MOST_LAYERS = 4096
local PER_LAYER = { "position", "residual", "memory", "block", "ple", "conv", "attention", "ffn" }
local PER_LAYER_ONLY = ("only %s may be functions of the layer"):format(tree.join(PER_LAYER))
local content = setmetatable({}, { __mode = "k" })  -- model -> { spec, changes = { { path, value, site } }, sites }

local meta = {
  __metatable = false,
  __tostring = function(m) return ("sluice.model (%d changes)"):format(#content[m].changes) end,
  __index = function(_, key)
    error(("a model cannot be read: keep '%s' in a variable, or change it with sl.extend"):format(key), 2)
  end,
  __newindex = function(_, key)
    error(("a model cannot be assigned to: sl.extend(model, { %s = ... }) gives a changed one"):format(key), 2)
  end,
}

local function wrap(spec, changes, sites)
  local m = setmetatable({}, meta)
  content[m] = { spec = spec, changes = changes, sites = sites }
  return m
end

function model.is(value) return content[value] ~= nil end
function model.sites(m) return content[m].sites end

function model.new(site, spec)
  if type(spec) ~= "table" then host.fail(site, "", "sl.model takes a table of keys") end
  if rawlen(spec) > 0 then host.fail(site, "", "sl.model takes keys only: 'layers = 4, attention = { ... }'") end
  return wrap(tree.normal(spec, site, "") or {}, {}, { site })
end

function model.preset(site, name)
  for _, known in ipairs(host.presets) do
    if known == name then return wrap(tree.normal(require("sluice.presets." .. name), site, ""), {}, { site }) end
  end
  host.fail(site, "", ("no preset '%s'"):format(name) .. tree.suggest(tostring(name), host.presets))
end

local function copy(value)
  if type(value) ~= "table" then return value end
  local out = {}
  for key, item in next, value do out[key] = copy(item) end
  return out
end

local function names_of(rows)
  local names = {}
  for i, row in ipairs(rows) do names[i] = row.name end
  return names
end

local function row_of(site, what, rows, name)
  for _, row in ipairs(rows) do
    if row.name == name then return row end
  end
  host.fail(site, "", ("no %s '%s'"):format(what, name) .. tree.suggest(tostring(name), names_of(rows)))
end

-- Names of the published routers, and of the mixers in linear time, in order of time.
function model.routers() return names_of(require "sluice.routers") end
function model.mixers() return names_of(require "sluice.mixers") end

-- A published mixer as what fills the slot attention; `keys` replace some of its own.
function model.mixer(site, name, keys)
  local row = row_of(site, "mixer", require "sluice.mixers", name)
  if keys ~= nil and type(keys) ~= "table" then
    host.fail(site, "", "sl.mixer takes a table of the mixer's keys second")
  end
  local attention, width = copy(row.attention), (keys or {})[row.ranks]
  for _, part in next, attention do
    if width and type(part) == "table" and part.rank then part.rank = width end
  end
  for key, value in next, keys or {} do attention[key] = copy(value) end
  return attention
end

-- A published router as changes of the ffn, or of attention's experts; `keys` replace some of the router's own.
function model.router(site, name, keys, of)
  local row = row_of(site, "router", require "sluice.routers", name)
  if keys ~= nil and type(keys) ~= "table" then
    host.fail(site, "", "sl.router takes a table of the router's keys second")
  end
  of = of == nil and "ffn" or of
  if of ~= "ffn" and of ~= "attention.experts" then
    host.fail(site, "", 'sl.router takes "ffn" or "attention.experts" third: whose router it is')
  end
  local router = copy(row.router)
  for key, value in next, keys or {} do router[key] = copy(value) end
  return {
    [of .. ".router"] = router, [of .. ".balance"] = copy(row.balance), [of .. ".dispatch"] = copy(row.dispatch),
  }
end

-- { path, value, site } for each dotted path, in sorted order.
function model.changes(site, settings, where)
  local list = {}
  for _, path in ipairs(tree.sorted(settings)) do
    local value = tree.normal(settings[path], site, where .. path)
    if value ~= nil then list[#list + 1] = { path = path, value = value, site = site, where = where .. path } end
  end
  if rawlen(settings) > 0 then host.problem(site, where, "changes are written [\"dotted.path\"] = value") end
  return list
end

local function appended(a, b)
  local out = table.move(a, 1, #a, 1, {})
  return table.move(b, 1, #b, #out + 1, out)
end

function model.extend(site, base, settings)
  if not model.is(base) then host.fail(site, "", "sl.extend takes a model first: what sl.model or sl.preset gives") end
  if type(settings) ~= "table" then host.fail(site, "", "sl.extend takes a table of changes second") end
  local c = content[base]
  return wrap(c.spec, appended(c.changes, model.changes(site, settings, "")), appended(c.sites, { site }))
end

local function root_of(path) return path:match "^[^.]*" end

local function refuse(change, why) host.problem(change.site, change.where, ("%s: %s"):format(change.path, why)) end

-- The per-layer slots of a model that hold functions, or get one from the changes.
local function varying(spec, changes)
  local roots = {}
  for _, root in ipairs(PER_LAYER) do
    local varies = tree.has_function(spec[root])
    for _, change in ipairs(changes) do
      varies = varies or root_of(change.path) == root and tree.has_function(change.value)
    end
    if varies then roots[root] = true end
  end
  return roots
end

local function number_of_layers(spec, changes)
  local layers = spec.layers
  for _, change in ipairs(changes) do
    if change.path == "layers" then layers = change.value end
  end
  return math.tointeger(layers)
end

-- Settings of layers, for layers that are copies of others: layer i is told, or given, what layer of[i] was.
local function carried(value, of, layers)
  if type(value) == "function" then
    return function(layer) return of[layer] and value(of[layer]) end
  end
  if type(value) ~= "table" then return value end
  local out, list = {}, value.layers
  for key, item in next, value do out[key] = carried(item, of, layers) end
  if type(list) == "table" and #list == layers then
    for i, layer in ipairs(of) do out.layers[i] = carried(list[layer], of, layers) end
  end
  return out
end

-- sl.extend by changes whose `init` says of which layers the model's are copies: what these are set to comes along.
function model.deepen(site, base, settings)
  if not model.is(base) then host.fail(site, "", "sl.deepen takes a model first: what sl.model or sl.preset gives") end
  if type(settings) ~= "table" or settings.init == nil then
    host.fail(site, "", 'sl.deepen takes changes second, with init = { "from", run = ..., map = ... } among them')
  end
  local c, layers = content[base], number_of_layers(content[base].spec, content[base].changes)
  if not (layers and layers >= 1 and layers <= MOST_LAYERS) then
    host.fail(site, "", ("sl.deepen needs 'layers' in sl.model: a number from 1 to %d"):format(MOST_LAYERS))
  end
  local of, why = host.layers_of({ init = tree.normal(settings.init, site, "init") }, layers)
  if not of then host.fail(site, "init", "sl.deepen: " .. why) end
  local changes, order = {}, c.spec.order
  for i, change in ipairs(c.changes) do
    changes[i] = copy(change)
    changes[i].value = carried(change.value, of, layers)
    order = order or change.path == "order"
  end
  if order then host.fail(site, "", "sl.deepen: `order` of the model names layers by their old numbers") end
  changes[#changes + 1] = { path = "layers", value = #of, site = site, where = "layers" }
  changes = appended(changes, model.changes(site, settings, ""))
  return wrap(carried(c.spec, of, layers), changes, appended(c.sites, { site }))
end

-- One slot for every layer: { layers = { ... } }. A change must fit at least one layer, as in a list of C's.
local function unrolled(c, root, changes, layers)
  local list, fits, why = {}, {}, {}
  for layer = 1, layers do
    local slot = { [root] = tree.at(c.spec[root], layer, c.sites[1], root) }
    for i, change in ipairs(changes) do
      if root_of(change.path) == root then
        local changed, problem = host.set("model", slot, change.path,
                                          tree.at(change.value, layer, change.site, change.where))
        if changed then slot, fits[i] = changed, true else why[i] = problem end
      end
    end
    list[layer] = slot[root] == nil and {} or slot[root]
  end
  for i in ipairs(changes) do
    if why[i] and not fits[i] then refuse(changes[i], why[i]) end
  end
  return { layers = list }
end

-- The plain tree of a model after its own and more changes, and the set of slots that were unrolled.
function model.plain(m, more)
  local c = content[m]
  local changes = appended(c.changes, more)
  local roots, out = varying(c.spec, changes), {}
  local layers = next(roots) and number_of_layers(c.spec, changes)
  if next(roots) and not (layers and layers >= 1 and layers <= MOST_LAYERS) then
    host.fail(c.sites[1], "",
              ("a function of the layer needs 'layers' in sl.model: a number from 1 to %d"):format(MOST_LAYERS))
  end
  for _, key in ipairs(tree.sorted(c.spec)) do
    if not roots[key] then
      if tree.has_function(c.spec[key]) then
        host.problem(c.sites[1], key, ("%s: %s"):format(key, PER_LAYER_ONLY))
      else
        out[key] = c.spec[key]
      end
    end
  end
  for _, change in ipairs(changes) do
    if not roots[root_of(change.path)] then
      local changed, why
      if tree.has_function(change.value) then why = PER_LAYER_ONLY
      else changed, why = host.set("model", out, change.path, change.value) end
      if changed then out = changed else refuse(change, why) end
    end
  end
  for _, root in ipairs(PER_LAYER) do
    if roots[root] then out[root] = unrolled(c, root, changes, layers) end
  end
  return out, roots
end

-- What a variant sets, as path -> plain value. Where functions of the layer meet it, whole slots are set instead.
function model.settings(m, common, changes)
  local roots = varying(content[m].spec, appended(content[m].changes, appended(common, changes)))
  local of_model, out, whole = {}, {}, false
  for _, change in ipairs(changes) do
    local root, varies = root_of(change.path), tree.has_function(change.value)
    if root ~= "train" then of_model[#of_model + 1] = change end
    if varies and not roots[root] then refuse(change, PER_LAYER_ONLY) else out[change.path] = change.value end
    whole = whole or varies or next(roots) and change.path == "layers"
  end
  if not whole then return out end
  for path in next, out do
    if roots[root_of(path)] then out[path] = nil end
  end
  local plain = model.plain(m, appended(common, of_model))
  for root in next, roots do out[root] = plain[root] end
  return out
end

-- A whole model as what a variant sets. It must say all that the base says, or keys of the base would stay.
function model.replacement(m, common, base, site, where)
  local out = model.plain(m, common)
  for _, key in ipairs(tree.sorted(base)) do
    if out[key] == nil then
      host.problem(site, where, ("%s: the model says nothing of '%s', which the base sets"):format(where, key))
    end
  end
  for _, key in ipairs(tree.sorted(out)) do
    local value = out[key]
    if type(value) == "table" and not value.module and not value.layers and #value == 0 and next(value) then
      host.problem(site, where, ("%s: %s must name its module, to replace that of the base"):format(where, key))
    end
  end
  return out
end

-- Pairs of a KV mirror: the last n layers read the first n, deepest from shallowest. With multi-token prediction its
-- block counts as the layer after the last. Layers from 0, as in attention.kv.pairs.
function model.u_mirror(site, layers, n, with_mtp)
  if math.type(layers) ~= "integer" or layers < 2 or layers > MOST_LAYERS then
    host.fail(site, "",
              ("sl.u_mirror(layers, n, with_mtp): layers must be an integer from 2 to %d"):format(MOST_LAYERS))
  end
  local deepest = with_mtp and layers or layers - 1
  n = n or (deepest + 1) // 3
  if math.type(n) ~= "integer" or n < 1 or n > (deepest + 1) // 2 then
    host.fail(site, "", ("sl.u_mirror(%d, %s): n must be from 1 to %d"):format(layers, n, (deepest + 1) // 2))
  end
  local pairs_list = {}
  for source = 0, n - 1 do
    pairs_list[#pairs_list + 1] = deepest - source
    pairs_list[#pairs_list + 1] = source
  end
  return pairs_list
end

return model
