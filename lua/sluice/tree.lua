-- Values of a configuration as plain trees: { "gqa", heads = 8 } becomes { module = "gqa", heads = 8 }.
local host = ...
local tree = {}

local DEEPEST = 16
local MOST_VALUES = 100000

function tree.sorted(t)
  local keys = {}
  for key in next, t do
    if type(key) == "string" then keys[#keys + 1] = key end
  end
  table.sort(keys)
  return keys
end

local function inside(path, key) return path == "" and key or path .. "." .. key end

local function tell(site, path, text) return host.problem(site, path, path == "" and text or path .. ": " .. text) end

-- walk: the number of values so far, the depth, and the tables that the value stands in.
local function normal(value, site, path, walk)
  walk.values = walk.values + 1
  if walk.values > MOST_VALUES then host.fail(site, path, ("%s: more than %d values"):format(path, MOST_VALUES)) end
  local kind = type(value)
  if kind == "string" or kind == "boolean" or kind == "function" or math.type(value) == "integer" then return value end
  if kind == "number" then
    if value - value == 0 then return value end
    return tell(site, path, ("%s is no number to compute with"):format(value))
  end
  if kind ~= "table" then return tell(site, path, ("a %s is no value"):format(kind)) end
  if getmetatable(value) ~= nil then return tell(site, path, "an object is no value: plain tables are") end
  if walk[value] then return tell(site, path, "a table contains itself") end
  if walk.depth == DEEPEST then host.fail(site, path, path .. ": tables nest too deeply") end

  local count, strange = 0, false
  for key in next, value do
    if math.type(key) == "integer" then count = count + 1 elseif type(key) ~= "string" then strange = true end
  end
  local names, out = tree.sorted(value), {}
  local names_module = count == 1 and type(value[1]) == "string"
  if strange then tell(site, path, "keys are names") end
  if count ~= rawlen(value) then return tell(site, path, "the list has a hole") end
  if count > 0 and #names > 0 and not names_module then
    return tell(site, path, "a table is a list, or a module's name first and then its keys; this mixes them")
  end

  walk[value], walk.depth = true, walk.depth + 1
  for _, name in ipairs(names) do out[name] = normal(value[name], site, inside(path, name), walk) end
  if names_module then
    if out.module ~= nil then tell(site, path, "the module is named twice") end
    out.module = value[1]
  else
    for i = 1, count do out[i] = normal(value[i], site, path, walk) end
  end
  walk[value], walk.depth = nil, walk.depth - 1
  return out
end

-- A mistake is told at `path` in the table of the call `site`, and the value is left out.
function tree.normal(value, site, path) return normal(value, site, path, { values = 0, depth = 0 }) end

function tree.has_function(value)
  if type(value) ~= "table" then return type(value) == "function" end
  for _, item in next, value do
    if tree.has_function(item) then return true end
  end
  return false
end

-- A copy in which functions are replaced by what they give for the layer.
function tree.at(value, layer, site, path)
  if type(value) == "function" then
    local given = value(layer)
    if given == nil then host.fail(site, path, ("%s: the function gives nothing for layer %d"):format(path, layer)) end
    return tree.at(tree.normal(given, site, path), layer, site, path)
  end
  if type(value) ~= "table" then return value end
  local out = {}
  for key, item in next, value do out[key] = tree.at(item, layer, site, path) end
  return out
end

function tree.join(names) return table.concat(names, ", ") end

-- " (did you mean 'x'?)" and the known names.
function tree.suggest(name, known)
  local near = host.nearest(name, known)
  return (near and (" (did you mean '%s'?)"):format(near) or "") .. "\n  known: " .. tree.join(known)
end

return tree
