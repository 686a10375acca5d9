-- Writes experiment scripts that mean harm: lua5.4 hostile.lua SEED N DIR makes DIR/1.lua ... DIR/N.lua, and what they
-- require.
local seed, count, folder = tonumber(arg[1]), tonumber(arg[2]), arg[3]
math.randomseed(seed)
local random = math.random

local function pick(list) return list[random(#list)] end
local function save(name, text)
  local file = assert(io.open(folder .. "/" .. name, "wb"))
  file:write(text)
  file:close()
end

local HEAD = "local sl = require 'sluice'\nlocal base = sl.preset 'baseline-nano'\n"
local STUDY = "return sl.study { base = base, replicates = 2, train = { steps = 2 }, " ..
              "variants = { a = {}, b = { layers = 3 } } }\n"

-- Values that no key wants.
local ODD = {
  "0/0", "1/0", "-1/0", "math.maxinteger", "math.mininteger", "2^53 + 1", "-1", "1e308 * 10", "0.5", "''", "'\\0'",
  "'a\\0b'", "'\\255\\254'", "'\\27]0;x\\7'",
  "'\\u{202e}abc'", "('x'):rep(1000000)", "{}", "{ {} }", "{ 1, nil, 3 }", "{ [1.5] = 2 }", "{ [true] = 1 }",
  "{ [{}] = 1 }", "print", "function() end",
  "function() error({}) end", "function() while true do end end",
  "setmetatable({}, { __index = function(t, k) return k end })", "sl", "sl.study", "base", "true", "false",
  "setmetatable({}, { __len = function() return 1 << 60 end })",
  "setmetatable({}, { __pairs = function() return error end })", "'../../x'", "'a/b'", "'%s%n'",
  "setmetatable({}, { __tostring = function() return 3 end, __name = ('y'):rep(1e5) })",
  "{ 'moe', 'moe', moe = 'moe' }", "1 << 63", "-0.0", "'\\n1 mistake; nothing was run.\\n'",
}
local KEYS = {
  "base", "baseline", "data", "match", "name", "primary", "replicates", "seed", "test", "train", "variants", "axes",
  "filter", "drop", "toggles", "layers", "ffn", "attention",
  "['ffn.router.top_k']", "['a.b.c']", "['']", "['.']", "['..']", "['train.steps']", "['\\0']", "['\\255']",
  "['\\27[2J']", "['variants.a']", "steps", "optim", "module",
}
-- A block that may return before the end of a script.
local function block(text) return text:find "^return" and "do " .. text .. " end" or text end

local function odd_table(n)
  local parts = {}
  for i = 1, n do parts[i] = pick(KEYS) .. " = " .. pick(ODD) end
  return "{ " .. table.concat(parts, ", ") .. " }"
end

-- A table that names itself, nests, or is shared, at a place where a value is read.
local function tangle()
  local made = pick {
    "local t = {} t.t = t", "local t = {} for i = 1, 9 do t['k' .. i] = t end",
    "local t = { 1 } for i = 1, 300 do t = { t } end",
    "local t = {} for i = 1, 20 do local n = {} for k = 1, 8 do n['k' .. k] = t end t = n end",
    "local t = {} for i = 1, 200000 do t['k' .. i] = i end",
    "local t = {} for i = 1, 300000 do t[i] = i end", "local t, u = {}, {} t.u, u.t, t[1], u[1] = u, t, 'moe', 'moe'",
  }
  return HEAD .. made .. "\n" .. block(pick {
    "base = sl.model(t)", "base = sl.model { ffn = t }", "base = sl.extend(base, t)",
    "base = sl.extend(base, { ffn = t, ['ffn.router'] = t })", "base = sl.study(t)",
    "return sl.study { base = base, variants = t }", "return sl.study { base = base, axes = t }",
    "return sl.study { base = base, axes = { ffn = t } }",
    "return sl.study { base = base, variants = { a = {}, b = t } }",
    "return sl.leave_one_out { base = base, drop = t }", "return sl.factorial { base = base, toggles = t }",
    "return sl.study { base = base, train = t, variants = { a = {} } }",
    "return sl.study { base = base, match = t, test = t, variants = { a = {} } }", "error(t)", "return t",
    "base = sl.model { layers = 8, ffn = function() return t end }",
    "return sl.study { base = base, axes = { layers = { 1, 2 } }, filter = function() return t end }",
  }) .. "\n" .. STUDY
end

-- Text in which finding a key's place is hard.
local function maze()
  local name, n = pick { "a", "ffn", "router" }, random(2, 8)
  local entries = ("%s = %s, "):format(name, name):rep(n)
  local path = (name .. "."):rep(random(5, 60)) .. name
  return ("local sl = require 'sluice'\nlocal %s\nif %s then %s = { %s } %s = { %s } end\n")
           :format(name, name, name, entries, name, entries) ..
    ("local base = sl.extend(\n sl.preset 'baseline-nano', { %s = %s,\n ['%s'] = 1, [ [==[%s]==] ] = 2 })\n")
      :format(name, name, path, path) ..
    pick { STUDY, "local s = '\\z\n" .. ("{"):rep(5000) .. "'\n" .. STUDY,
           ("local _ = " .. ("{"):rep(150) .. ("}"):rep(150) .. "\n") .. STUDY,
           ("-- { [ ( \n"):rep(100000) .. STUDY,
           ("local _ = { " .. ("a = a, "):rep(100000) .. "}\n"):gsub("= a", "= 1", 1):gsub("= a,", "= 1,") .. STUDY }
end

local function odd_values()
  return HEAD .. block(pick {
    "base = sl.model " .. odd_table(random(6)), "base = sl.extend(base, " .. odd_table(random(6)) .. ")",
    "return sl." .. pick { "study", "leave_one_out", "factorial" } .. " " .. odd_table(random(8)),
    "return sl.study { base = base, " .. pick { "variants", "axes", "train", "match", "test" } .. " = " ..
      odd_table(random(5)) .. ", name = " .. pick(ODD) .. " }",
    "return sl.study { base = base, variants = { a = {}, b = " .. odd_table(3) .. ", [" .. pick(ODD) .. "] = {} } }",
    "sl." .. pick { "model", "preset", "extend", "deepen", "study", "u_mirror", "factorial" } .. "(" .. pick(ODD) ..
    ", " ..
      pick(ODD) .. ", " .. pick(ODD) .. ")",
    "error(" .. pick(ODD) .. ")", "print(" .. pick(ODD) .. ") error(tostring(" .. pick(ODD) .. "))",
    "require(" .. pick(ODD) .. ")", "return " .. pick(ODD),
  }) .. "\n" .. STUDY
end

-- Reaching into the library that scripts share with it.
local function meddle()
  return HEAD .. "local tree, study, model = require 'sluice.tree', require 'sluice.study', require 'sluice.model'\n" ..
    pick {
    "tree.normal = function(v) return v end local t = {} t.t = t base = sl.model { ffn = t }",
    "tree.sorted = function() return setmetatable({}, { __index = function(_, i) return i end }) end",
    "tree.has_function = nil", "study.new(0, {})", "study.new(-1, {})", "study.new(1 << 40, {})", "study.new({}, {})",
    "model.new(0, setmetatable({}, { __index = error }))",
    "model.is = function() return true end", "model.sites = function() return 'abc' end",
    "model.sites = function() return { -5, 1 << 40, 'x' } end", "tree.suggest('x', 'y')",
    "string.find = function() return 1 end base = sl.study { base = base, name = '../../x', variants = { a = {} } } " ..
      "do return base end",
    "string.find = function() return 1 end " ..
      "do return sl.study { base = base, variants = { a = {}, ['../x'] = { layers = 2 } } } end",
    "ipairs = nil", "pcall(tree.suggest, 1, 2)", "sl.study = function() return {} end",
    "string.rep = nil table.sort = nil", "rawset(_G, 'require', nil) rawset(_G, 'ipairs', error)",
    "model.plain(base, { { path = 'ffn', value = base, site = 0 } })", "model.settings(base, {}, {})",
    "tree.at(function() return tree end, 1, 0, 'x')", "tree.suggest(nil, nil)",
    "for k in pairs(sl) do sl[k] = sl.study end", "math.tointeger = function() return 1 << 62 end",
    "tree.join = function() return ('x'):rep(1e7) end base = sl.preset 'x'",
  } .. "\n" .. STUDY
end

local function noise()
  return pick {
    (HEAD .. STUDY):sub(1, random(#(HEAD .. STUDY))), ("("):rep(random(10000)), ("{"):rep(random(10000)),
    ("return "):rep(10), "\xef\xbb\xbf\xef\xbb\xbf" .. HEAD .. STUDY, "\xff\xfe",
    "\27Lua", "#!" .. ("x"):rep(10000), "", "\n\n\n", "return " .. ("-"):rep(20000) .. "1",
    "local a = '" .. ("\\z\n"):rep(1000), "--[==[", "return '" .. ("x"):rep(4000000) .. "'",
    ("a"):rep(5 << 20), "local x = " .. ("1 .. "):rep(10000) .. "1\n", "return " .. ("not "):rep(5000) .. "1", "goto x",
    "::a:: goto a", ("local a\n"):rep(300), "require 'loop'", "require 'pipe'",
    (HEAD .. STUDY):gsub("[%w_]+", function(w) return random(6) == 1 and pick { "end", "=", "x", "{", "nil" } or w end),
  }
end

local function chatter()
  return "print('\\27[2J\\r\\255')\n" .. ("for i = 1, %d do print(%s, i) end\n"):format(random(1, 5000), pick(ODD)) ..
    HEAD .. pick { STUDY, "print(('\\27[31m'):rep(1e5))", "error(('\\27[31m\\n'):rep(500))", "x = 1" }
end

-- What takes time or memory without end.
local function gluttony()
  return pick {
    "while true do end", "local function f() return f() end f()", "while true do pcall(error) end",
    "repeat local _ = ('x'):rep(1e6) until false", "for i = 1, 1e18 do end",
    "local t = {} while true do t[#t + 1] = t end", "local s = 'x' while true do s = s .. s end",
    "local t = {} for i = 1, 1e5 do t[i] = ('x'):rep(1e4) .. i end table.sort(t)",
    "local t, x = {}, ('x'):rep(1e7) for i = 1, 20 do t[i] = x .. i end " ..
      "local u = {} for i = 1, 1e6 do u[i] = t[i % 20 + 1] end table.sort(u)",
    "local s = ('x'):rep(1e7) while true do utf8.len(s) end",
    "local s = ('ab'):rep(5e6) while true do s:upper() s:reverse() s:byte(1, 1) end",
    "local t = {} for i = 1, 1e6 do t[i] = 'x' end while true do table.concat(t) end",
    "local t = {} while true do table.unpack(t, 1, 2e5) end",
    "local s = ('x'):rep(1e6) while true do s:gsub('x', 'yy') end",
    "local m = setmetatable({}, {}) getmetatable(m).__index = function(t, k) return t[k + 1] end return m[1]",
    "local t <close> = setmetatable({}, { __close = function() while true do end end }) error('x')",
    "setmetatable(_ENV, {}) local function f(...) return f(1, ...) end f()",
    "for i = 1, 1e9 do string.format('%99.99f', 1e308) end",
    "local tree = require 'sluice.tree' tree.normal = function(v) return v end\n" .. HEAD ..
    "local t = {} for i = 1, 30 do local n = {} for k = 1, 9 do n['k' .. k] = t end t = n end " ..
      "base = sl.model { ffn = t }\n" .. STUDY,
  }
end

-- Studies that are too large.
local function bulk()
  return HEAD .. block(pick {
    "local v = {} for i = 1, 5000 do v['v' .. i] = { layers = i } end return sl.study { base = base, variants = v }",
    "local a = {} for i = 1, 64 do a[i] = i end " ..
      "return sl.study { base = base, axes = { layers = a, d_model = a, seq = a } }",
    "local a = {} for i = 1, 40 do a['k' .. i] = { 1 } end return sl.study { base = base, axes = a }",
    "local v = { a = {} } for i = 1, 300 do v['v' .. i] = { ['x' .. i] = i } end " ..
      "return sl.study { base = base, variants = v }",
    "local k = { base = base, variants = { a = {} } } for i = 1, 2000 do k['k' .. i] = i end return sl.study(k)",
    "local t = {} for i = 1, 9 do t['ffn.x' .. i] = i end return sl.factorial { base = base, toggles = t }",
    "return sl.study { base = base, replicates = math.maxinteger, seed = math.maxinteger, variants = { a = {} } }",
    "return sl.study { base = base, replicates = 1000, seed = 1 << 53, variants = { a = {} }, " ..
      "train = { steps = 1e15 } }",
    "base = sl.model { layers = 4096, ffn = function(l) return { 'moe', d_ff = l } end }",
    "base = sl.model { layers = 1 << 40, d_model = 1 << 50 }",
    "base = sl.extend(base, { ['attention.kv'] = { 'mirror', pairs = sl.u_mirror(4096) } })",
    "sl.u_mirror(math.maxinteger)",
    "sl.deepen(sl.model { layers = math.maxinteger }, { init = { 'from', run = 'a', map = 'cycle' } })",
  }) .. "\n" .. STUDY
end

local KINDS = { tangle, tangle, maze, odd_values, odd_values, odd_values, meddle, meddle, noise, noise, chatter, bulk }
save("loop.lua", "return require 'loop'")
os.execute("mkfifo '" .. folder .. "/pipe.lua'")
for i = 1, count do
  local kind = i % 20 == 0 and gluttony or pick(KINDS)
  local text = kind()
  save(i .. ".lua", text)
end
