-- Translates the PTX that nvcc makes of one .cu to C++: a function a kernel, a statement an instruction (ptxhost.h, ptx.hpp).
--
--   lua5.4 translate.lua IN.ptx OUT.cpp
--   lua5.4 translate.lua --contract IN.ptx OUT.cpp      with products and sums fused that ptxas may fuse
--   lua5.4 translate.lua --contractions IN.ptx          how many sums that are
--   lua5.4 translate.lua --list             every form of forms.lua
--   lua5.4 translate.lua --untested         those of them that are not on standard input; exit code 1 if there are some
--   lua5.4 translate.lua --forms IN.ptx     the forms that this PTX uses
--
-- Registers become locals, branches goto, guards if. An instruction that forms.lua lacks ends the translation with exit code 1.

local here = arg[0]:match("^(.*/)") or ""
local forms = dofile(here .. "forms.lua")

local ctype = { pred = "bool", f32 = "f32", f64 = "f64" }
for _, t in ipairs { "u8", "s8", "u16", "s16", "u32", "s32", "u64", "s64" } do ctype[t] = t end
for t, c in pairs { b8 = "u8", b16 = "u16", f16 = "u16", bf16 = "u16", b32 = "u32", f16x2 = "u32", bf16x2 = "u32", b64 = "u64" } do ctype[t] = c end
local width = { bool = 1, u8 = 1, s8 = 1, u16 = 2, s16 = 2, u32 = 4, s32 = 4, f32 = 4, u64 = 8, s64 = 8, f64 = 8 }
local wider = { u16 = "u32", s16 = "s32", u32 = "u64", s32 = "s64" }

local special = { ["%laneid"] = "ph_now->lane", ["%warpid"] = "ph_now->warp", ["%nwarpid"] = "(ph_here.threads + 31) / 32", WARP_SZ = "32u",
    ["%clock"] = "(u32)clock_now()", ["%clock_hi"] = "(u32)(clock_now() >> 32)", ["%clock64"] = "clock_now()", ["%globaltimer"] = "clock_now()",
    ["%smid"] = "(u32)(ph_here.linear % (u64)ph_profile()->multiprocessors)", ["%nsmid"] = "(u32)ph_profile()->multiprocessors",
    ["%lanemask_eq"] = "(1u << ph_now->lane)", ["%lanemask_lt"] = "((1u << ph_now->lane) - 1)", ["%lanemask_le"] = "((2u << ph_now->lane) - 1)",
    ["%lanemask_ge"] = "(~0u << ph_now->lane)", ["%lanemask_gt"] = "(~1u << ph_now->lane)",
    ["%dynamic_smem_size"] = "(ph_here.shared_bytes - ph_here.kernel->shared_bytes)", ["%total_smem_size"] = "ph_here.shared_bytes" }
for name, value in pairs { tid = "ph_now->tid", ntid = "ph_here.block", ctaid = "ph_here.id", nctaid = "ph_here.grid" } do
    for axis in ("xyz"):gmatch(".") do special["%" .. name .. "." .. axis] = value .. "." .. axis end
end

local RED_ZONE = 64     -- bytes behind each static shared array that belong to none

---- one translation ----

local input, errors, used = nil, 0, {}
local files, sites, site_of = {}, {}, {}
local globals = {}                      -- module-scope symbols: { kind = "global" | "shared" | "func", ... }
local variables, kernels, text = {}, {}, {}
local arch = 0
local at = { file = 0, line = 0 }       -- the place in the CUDA source, from .loc
local contracting, contractions = false, 0

local function complain(line, what, why)
    io.stderr:write(("%s:%d: %s:%d: %s: %s\n"):format(input, line, files[at.file] or "?", at.line, (what:gsub("%s+", " ")), why))
    errors = errors + 1
end

local function identifier(name) return name:sub(1, 1) == "%" and (name:gsub("[^%w]", "_")) or (name:gsub("[^%w_]", "_")) .. "_" end
local function align_up(n, to) return (n + to - 1) // to * to end
local function quoted(s) return '"' .. s:gsub('[\\"]', "\\%0") .. '"' end

local function site()
    local key = at.file .. ":" .. at.line
    if not site_of[key] then
        sites[#sites + 1] = ("{ %s, %d }"):format(quoted(files[at.file] or "?"), at.line)
        site_of[key] = #sites - 1
    end
    return "&sites[" .. site_of[key] .. "]"
end

-- Splits at the commas that stand outside of brackets.
local function split(list)
    local parts, depth, from = {}, 0, 1
    for pos, c in list:gmatch("()([,%[%]{}()])") do
        if c == "," then
            if depth == 0 then parts[#parts + 1] = list:sub(from, pos - 1); from = pos + 1 end
        elseif c:find("[%[{(]") then depth = depth + 1 else depth = depth - 1 end
    end
    if list:find("%S", from) then parts[#parts + 1] = list:sub(from) end
    for i, part in ipairs(parts) do parts[i] = part:match("^%s*(.-)%s*$") end
    return parts
end

-- The bits of a literal and whether it was written as "f32", "f64" or "int".
local function literal(s)
    local hex = s:match("^0[fF](%x%x%x%x%x%x%x%x)$")
    if hex then return math.tointeger(tonumber(hex, 16)), "f32" end
    hex = s:match("^0[dD](%x+)$")
    if hex and #hex == 16 then return math.tointeger(tonumber(hex:sub(1, 8), 16)) << 32 | tonumber(hex:sub(9), 16), "f64" end
    local sign, digits = s:match("^(%-?)([%w]+)U?$")
    digits = digits and digits:gsub("U$", "")
    local value = digits and (digits:match("^0[xX]%x+$") and math.tointeger(tonumber(digits)) or digits:match("^0[bB]([01]+)$") and tonumber(digits:sub(3), 2))
    if not value and digits and digits:match("^%d+$") then
        value = 0
        for d in digits:gmatch("%d") do value = value * 10 + tonumber(d) end
    end
    if value then return sign == "-" and -value or value, "int" end
    if s:match("^%-?%d+%.%d*$") then return string.unpack("<i8", string.pack("<d", tonumber(s))), "f64" end
end

local function constant(bits, kind, to)
    if to == "bool" then return bits ~= 0 and "true" or "false" end
    if kind == "f64" and to == "f32" then return ("(f32)f64_of(0x%xull)"):format(bits) end
    if kind == "int" and (to == "f32" or to == "f64") then return nil end
    if to == "f32" then return ("f32_of(0x%xu)"):format(bits & 0xffffffff) end
    if to == "f64" then return kind == "f32" and ("(f64)f32_of(0x%xu)"):format(bits) or ("f64_of(0x%xull)"):format(bits) end
    if width[to] == 8 then return ("(%s)0x%xull"):format(to, bits) end
    local masked = ("0x%xu"):format(bits & ((1 << 8 * width[to]) - 1))
    return to == "u32" and masked or ("(%s)%s"):format(to, masked)
end

-- An expression of type `from` read as type `to`: the low bits, reinterpreted.
local function as(expression, from, to)
    if from == to then return expression end
    if from == "bool" or to == "bool" or width[from] < width[to] then return nil end
    if from == "f32" or from == "f64" then expression = "bits(" .. expression .. ")" end
    if (to == "f32" or to == "f64") then return width[from] == width[to] and ("%s_of(%s)"):format(to, expression) or nil end
    return ("(%s)%s"):format(to, expression)
end

---- one function ----

local body = {}         -- the function being translated: scopes, registers used, text
local function lookup(name)
    for i = #body.scopes, 1, -1 do
        local found = body.scopes[i][name]
        if found then
            if i == 1 and found.kind == "register" then body.used[name] = found end
            return found
        end
    end
    return globals[name]
end

-- Storage of a shared symbol in this kernel. What many kernels share has its place in each of them.
local function shared_offset(name, symbol)
    if not symbol.bytes then body.dynamic_align = math.max(body.dynamic_align, symbol.align); return "dynamic_shared" end
    local offset = body.shared[name]
    if not offset then
        if not body.is_kernel then error("static shared memory in a function that is not inlined", 0) end
        offset = align_up(body.shared_bytes, symbol.align)
        body.shared[name] = offset
        body.arrays[#body.arrays + 1] = ("{ %d, %d }"):format(offset, offset + symbol.bytes)
        body.shared_bytes = offset + symbol.bytes + RED_ZONE
    end
    return offset .. "u"
end

-- The address of a symbol, as a number in its own space.
local function symbol_address(name, symbol)
    if symbol.kind == "shared" then return shared_offset(name, symbol), "u32" end
    if symbol.kind == "global" then return "address_" .. identifier(name), "u64" end
    if symbol.kind == "local" or symbol.kind == "param" then return "(u64)(uintptr_t)" .. symbol.expression, "u64" end
    error("the address of " .. name .. " cannot be taken", 0)
end

local function source(operand, to)
    if operand:sub(1, 1) == "{" then
        local parts = split(operand:sub(2, -2))
        for i, part in ipairs(parts) do parts[i] = source(part, to) end
        return table.concat(parts, ", ")
    end
    if operand:sub(1, 1) == "!" then return "!" .. source(operand:sub(2), to) end
    if operand:sub(1, 1) == "-" and (to == "f32" or to == "f64") then return "-" .. source(operand:sub(2), to) end
    local bits, kind = literal(operand)
    local expression, from
    if bits then return constant(bits, kind, to) or error("literal " .. operand, 0) end
    if special[operand] then
        expression, from = special[operand], special[operand]:find("^clock") and "u64" or "u32"
        if to == "u64" and from == "u32" then expression, from = "(u64)" .. expression, "u64" end
        expression = "(" .. expression .. ")"
    else
        local name, offset = operand:match("^(.-)%s*(%+%-?%w+)$")
        local symbol = lookup(name or operand) or error("unknown operand " .. operand, 0)
        if symbol.kind == "register" and not name then expression, from = symbol.expression, symbol.type
        else
            expression, from = symbol_address(name or operand, symbol)
            if from == "u32" and to == "u64" then expression, from = "(u64)" .. expression, "u64" end
            if offset then expression = "(" .. expression .. " " .. offset .. ")" end
        end
    end
    return as(expression, from, to) or error(("operand %s of type %s as %s"):format(operand, from, to), 0)
end

local function assign(operand, from, expression)
    if operand == "_" then return ("(void)(%s);"):format(expression) end
    local symbol = lookup(operand)
    if not symbol or symbol.kind ~= "register" then error("destination " .. operand, 0) end
    local to = symbol.type
    if from == to then return ("%s = %s;"):format(symbol.expression, expression) end
    if from == "bool" or to == "bool" or width[from] > width[to] then error(("destination %s of type %s for %s"):format(operand, to, from), 0) end
    if to == "f32" or to == "f64" then expression = ("%s_of((u%d)(%s))"):format(to, 8 * width[to], expression)
    elseif from == "f32" or from == "f64" then expression = ("bits(%s)"):format(expression)
    else expression = ("(%s)(%s)"):format(from, expression) end
    return ("%s = %s;"):format(symbol.expression, expression)
end

-- "[base+offset]" as an address of that space.
local function address(operand, space)
    local base, sign, offset = operand:match("^%[%s*([%%%w_$.]+)%s*([+-]?)%s*(%-?%w*)%s*%]$")
    if not base then error("address " .. operand, 0) end
    local distance = offset ~= "" and literal(offset) or 0
    if sign == "-" then distance = -distance end
    local plus = distance == 0 and "" or distance < 0 and (" - %d"):format(-distance) or (" + %d"):format(distance)
    local symbol, expression, type = lookup(base), nil, nil
    local number = not symbol and literal(base)
    if number then expression, type = ("%dull"):format(number), "u64"
    elseif not symbol then error("address " .. operand, 0)
    elseif symbol.kind == "register" then expression, type = symbol.expression, symbol.type
    elseif space == "param" and symbol.kind == "param" then return "(" .. symbol.expression .. plus .. ")"
    else expression, type = symbol_address(base, symbol) end
    expression = expression .. plus
    if space == "param" then return ("(unsigned char *)(uintptr_t)(%s)"):format(expression) end
    if space == "shared" then return type == "u32" and expression or ("(u32)(%s)"):format(expression) end
    if type ~= "u64" then error("an address of 32 bits", 0) end
    return expression
end

local function label(name) return "L_" .. name:gsub("[^%w_]", "_") end

---- instructions ----

-- The PTX type a word of `operands` names, and its C++ type.
local function type_of(word, groups)
    local prefix, index = word:match("^([uw]*)([%dT])$")
    local name = index and groups[index == "T" and #groups or tonumber(index)] or word
    local c = ctype[name] or error("no type " .. word, 0)
    if prefix and prefix:find("w") then c = wider[c] end
    if prefix and prefix:find("u") then c = c:gsub("^s", "u") end
    return c
end

local function destinations(form, words, operand, from)
    local text_of = {}
    local places = split(operand:sub(1, 1) == "{" and operand:sub(2, -2) or operand:gsub("|", ","))
    local i = 0
    for word in words:sub(2):gmatch("[^|]+") do
        local type, count, where = word:match("^(%w+)%*?(%d*):?(.*)$")
        local c = type_of(type, form.groups)
        for k = 0, (tonumber(count) or 1) - 1 do
            i = i + 1
            text_of[i] = assign(places[i], c, from or (where:gsub("@", k)))
        end
    end
    if i ~= #places then error("destination " .. operand, 0) end
    return table.concat(text_of, " ")
end

local function expression_of(form, operands)
    local x = {}
    for i, word in ipairs(form.operands) do
        local operand = operands[i]
        if word:sub(1, 1) == "=" then x[i] = ""
        elseif word:sub(1, 1) == "&" then x[i] = address(operand, word:sub(2))
        elseif word == "#" then x[i] = literal(operand) and operand or error("not a literal: " .. operand, 0)
        elseif word:match("^%d+$") and #word ~= 1 or word == "0" then
            if operand ~= word then error(("operand %s: only %s"):format(operand, word), 0) end
            x[i] = word
        elseif word == "label" then x[i] = label(operand)
        elseif word == "targets" then
            local cases = {}
            for k, target in ipairs(body.targets[operand] or error("no targets " .. operand, 0)) do cases[k] = ("case %d: goto %s;"):format(k - 1, label(target)) end
            x[i] = table.concat(cases, " ")
        else x[i] = source(operand, type_of(word:match("^%w+"), form.groups)) end
    end
    local code = type(form.code) == "function" and form.code(form.groups, x) or form.code
    code = code:gsub("%$(%d)", function(i) return x[tonumber(i)] end)
    return code
end

local function types_filled(code, groups)
    code = code:gsub("<([uw]*[%dT])>", function(word) return not ctype[word] and type_of(word, groups) or nil end)
    return (code:gsub("{([%dTE])}", function(i)
        local name = groups[i:find("%a") and #groups or tonumber(i)]
        if i == "E" then name = name:gsub("x2$", "") end
        return (name:gsub("^%.", ""):gsub("%..*", ""))
    end))
end

local function instruction(statement)
    local opcode, rest = statement:match("^([%w_.:]+)%s*(.*)$")
    local operands = split(rest)
    local form, why, plain = forms.find(opcode, operands)
    if not form then error(why, 0) end
    used[plain] = true
    local code = types_filled(expression_of(form, operands), form.groups):gsub("%$site", site)
    local words = form.operands[1] or ""
    if words:sub(1, 1) ~= "=" then return code end
    if code:sub(-1) ~= ";" then return destinations(form, types_filled(words, form.groups), operands[1], code) end
    return code .. " " .. destinations(form, types_filled(words, form.groups), operands[1])
end

-- call (result), name, (arguments)
local function call(statement)
    local rest = statement:match("^call%.uni%s*(.*)$") or statement:match("^call%s*(.*)$") or error("no such form", 0)
    local parts, arguments, name = split(rest), {}, nil
    for _, part in ipairs(parts) do
        if part:sub(1, 1) == "(" then
            for _, argument in ipairs(split(part:sub(2, -2))) do
                arguments[#arguments + 1] = (lookup(argument) or error("unknown argument " .. argument, 0)).expression
            end
        elseif not name then name = part
        else error("an indirect call", 0) end
    end
    local callee = globals[name]
    if not callee or callee.kind ~= "func" then error("unknown function " .. name, 0) end
    if name == "__assertfail" then return ("ph_now->site = %s; assertion_failed(%s); return;"):format(site(), table.concat(arguments, ", ")) end
    if not callee.defined and name ~= "vprintf" then error("undefined function " .. name, 0) end
    return ("%s(%s);"):format(identifier(name), table.concat(arguments, ", "))
end

---- contraction ----

local function forget(written)
    for register in written:gmatch("[%w_$%%]+") do
        body.products[register] = nil
        for name, of in pairs(body.products) do if of[1] == register or of[2] == register then body.products[name] = nil end end
    end
end

-- A product and a sum without a rounding modifier, and no label between them: the sum becomes a multiply-add. The product stays, for who
-- else reads it.
local function contracted(statement, guard)
    local opcode, rest = statement:match("^([%w_.:]+)%s*(.*)$")
    local name, type = opcode:match("^(%l+)%.(f[36][24])$")
    local to, a, b = table.unpack(split(rest))
    if name == "add" or name == "sub" then
        local left, right, minus = body.products[a], body.products[b], name == "sub" and "-" or ""
        if left then statement = ("fma.rn.%s %s, %s, %s, %s%s"):format(type, to, left[1], left[2], minus, b)
        elseif right then statement = ("fma.rn.%s %s, %s%s, %s, %s"):format(type, to, minus, right[1], right[2], a) end
        if left or right then contractions = contractions + 1 end
    end
    forget(to or "")
    if name == "mul" and to ~= a and to ~= b and not guard then body.products[to] = { a, b } end
    return statement
end

---- declarations ----

-- ".align 8 .b8 name[40]" (also without align or bounds): name, bytes of one, count, alignment
local function declaration(s)
    local alignment = tonumber(s:match("%.align%s+(%d+)"))
    s = s:gsub("%.ptr%f[%W]", ""):gsub("%.align%s+%d+", "")
    for _, state in ipairs { "global", "shared", "const", "local" } do s = s:gsub("%." .. state .. "%f[%s]", "") end
    local type, name, bounds = s:match("^%s*%.(%w+)%s+([%w_$%%]+)%s*(%[?%d*%]?)%s*$")
    local size = type and ctype[type] and width[ctype[type]]
    if not size then error("declaration", 0) end
    local count = bounds == "" and 1 or tonumber(bounds:match("%d+"))
    return name, size, count, alignment or size
end

local function registers(statement, scope, nested)
    local type, names = statement:match("^%.reg%s*%.(%w+)%s+(.*)$")
    local c = ctype[type] or error("registers of type " .. tostring(type), 0)
    for _, name in ipairs(split(names)) do
        local stem, count = name:match("^(%S-)<(%d+)>$")
        for i = 0, stem and tonumber(count) - 1 or 0 do
            local full = stem and stem .. i or name
            scope[full] = { kind = "register", type = c, expression = identifier(full) }
            if nested then body.text[#body.text + 1] = ("%s %s;"):format(c, identifier(full)) end
        end
    end
end

local function directive(statement, scope, nested)
    local kind = statement:match("^%.(%w+)")
    if kind == "reg" then registers(statement, scope, nested)
    elseif kind == "pragma" then return
    elseif kind == "shared" or kind == "local" or kind == "param" then
        local name, size, count, alignment = declaration(statement:gsub("^%.%w+", ""))
        if kind == "shared" then scope[name] = { kind = "shared", bytes = size * count, align = alignment }; return end
        scope[name] = { kind = kind, expression = identifier(name) }
        local line = ("alignas(%d) unsigned char %s[%d];"):format(math.max(alignment, 8), identifier(name), size * count)
        local where = nested and body.text or body.head
        where[#where + 1] = line
    else error("directive", 0) end
end

---- functions ----

-- Calls each(kind, text, line) for the labels, braces, .loc and statements of a body.
local function statements(s, line, each)
    local pos = 1
    while true do
        local from = s:find("%S", pos)
        if not from then return end
        for _ in s:sub(pos, from):gmatch("\n") do line = line + 1 end
        local c = s:sub(from, from)
        local name, after = s:match("^([%w_$%%]+):()[^:]", from)
        if c == "{" or c == "}" then each(c, c, line); pos = from + 1
        elseif s:find("^%.loc%s", from) then
            local stop = s:find("\n", from, true) or #s
            each("loc", s:sub(from, stop - 1), line); pos = stop
        elseif name then each("label", name, line); pos = after
        else
            local stop = s:find(";", from, true) or error(("%s:%d: no semicolon"):format(input, line), 0)
            local statement = s:sub(from, stop - 1)
            each("statement", statement, line)
            for _ in statement:gmatch("\n") do line = line + 1 end
            pos = stop + 1
        end
    end
end

-- A helper of the toolkit's headers is not the place to show: keep that of its caller, which was named just before.
local function place(loc)
    local file, line = loc:match("^%.loc%s+(%d+)%s+(%d+)")
    file, line = tonumber(file), tonumber(line)
    if line == 0 or loc:find("inlined_at", 1, true) and files[file]:find("/include/", 1, true) then return end
    if at.file == file and at.line == line then return end
    at.file, at.line = file, line
    body.text[#body.text + 1] = ('\n#line %d %s\n'):format(line, quoted(files[file]))
end

local function guarded(statement)
    local guard, rest = statement:match("^@(!?[%%%w_$]+)%s+(.*)$")
    statement = rest or statement
    if contracting then statement = contracted(statement, guard) end
    local code = statement:find("^call[%s.]") and call(statement) or instruction(statement)
    if guard then return ("if (%s) { %s }"):format(source(guard, "bool"), code) end
    return code:find("^goto") and code or "{ " .. code .. " }"
end

local function translate_body(s, line)
    for name, list in s:gmatch("([%w_$]+):%s*%.branchtargets%s+([^;]+);") do body.targets[name] = split(list) end
    statements(s, line, function(kind, what, line_number)
        if kind == "label" or kind == "{" or kind == "}" then body.products = {} end
        local ok, why = pcall(function()
            if kind == "loc" then place(what)
            elseif kind == "label" then body.text[#body.text + 1] = label(what) .. ":;"
            elseif kind == "{" then body.scopes[#body.scopes + 1] = {}; body.text[#body.text + 1] = "{"
            elseif kind == "}" then body.scopes[#body.scopes] = nil; body.text[#body.text + 1] = "}"
            elseif what:find("^%.branchtargets") then return
            elseif what:sub(1, 1) == "." then directive(what, body.scopes[#body.scopes], #body.scopes > 1)
            else body.text[#body.text + 1] = guarded(what) end
        end)
        if not ok then complain(line_number, what, why) end
    end)
end

local function declared_registers()
    local by_type, lines = {}, {}
    for _, register in pairs(body.used) do
        by_type[register.type] = by_type[register.type] or {}
        table.insert(by_type[register.type], register.expression)
    end
    for _, type in ipairs { "bool", "u8", "u16", "u32", "u64", "s16", "s32", "s64", "f32", "f64" } do
        if by_type[type] then
            table.sort(by_type[type])
            lines[#lines + 1] = ("%s %s;"):format(type, table.concat(by_type[type], ", "))
        end
    end
    return table.concat(lines, "\n")
end

local function begin(name, is_kernel)
    at = { file = 0, line = 0 }
    body = { name = name, is_kernel = is_kernel, scopes = { {} }, used = {}, products = {}, text = {}, head = {}, targets = {},
             shared = {}, arrays = {}, shared_bytes = 0, dynamic_align = 16 }
end

local function finish(signature, s)
    if s:find("cp%.async") then
        if not body.is_kernel then error(input .. ": cp.async in a function that is not inlined: " .. body.name, 0) end
        body.head[#body.head + 1] = "pending_copies copies;"
    end
    local dynamic = align_up(body.shared_bytes, body.dynamic_align)
    text[#text + 1] = ("static void %s\n{\nconst u32 dynamic_shared = %d;\n%s\n%s\n%s\n}\n")
        :format(signature, dynamic, declared_registers(), table.concat(body.head, "\n"), table.concat(body.text, " "))
    return dynamic
end

local function kernel(name, parameters, directives, s, line)
    begin(name, true)
    local offset, params = 0, {}
    for i, parameter in ipairs(split(parameters)) do
        local param, size, count, alignment = declaration((parameter:gsub("%.ptr%s+%.%w+%s+%.align%s+%d+", ""):gsub("%.ptr%s+%.align%s+%d+", ""):gsub("^%s*%.param", "")))
        offset = align_up(offset, alignment)
        params[i] = ("{ %d, %d }"):format(offset, size * count)
        body.scopes[1][param] = { kind = "param", expression = ("(params + %d)"):format(offset) }
        offset = offset + size * count
    end
    translate_body(s, line)
    local id = identifier(name)
    local shared = finish(("run_%s(const unsigned char *params)"):format(id), s)
    local threads = 1
    for n in (directives:match("%.maxntid%s+([%d,%s]+)") or directives:match("%.reqntid%s+([%d,%s]+)") or "0"):gmatch("%d+") do threads = threads * tonumber(n) end
    text[#text + 1] = ("#line 1 \"tables\"\n%s%s"):format(
        #params > 0 and ("static const ph_param params_%s[] = { %s };\n"):format(id, table.concat(params, ", ")) or "",
        #body.arrays > 0 and ("static const ph_range arrays_%s[] = { %s };\n"):format(id, table.concat(body.arrays, ", ")) or "")
    kernels[#kernels + 1] = ("{ %s, run_%s, %d, %d, %s, %d, %d, %s, %d, sites },"):format(quoted(name), id, offset, #params, #params > 0 and "params_" .. id or "nullptr",
        shared, #body.arrays, #body.arrays > 0 and "arrays_" .. id or "nullptr", threads)
end

-- A function that nvcc did not inline: results and arguments lie in the caller's memory.
local function device_function(name, results, parameters, s, line)
    begin(name, false)
    local pointers = {}
    for _, list in ipairs { results, parameters } do
        for _, parameter in ipairs(split(list)) do
            local param = declaration((parameter:gsub("^%s*%.param", "")))
            body.scopes[1][param] = { kind = "param", expression = identifier(param) }
            pointers[#pointers + 1] = "unsigned char *" .. identifier(param)
        end
    end
    local signature = ("%s(%s)"):format(identifier(name), table.concat(pointers, ", "))
    local known = globals[name]
    globals[name] = { kind = "func", defined = true }
    if not known then text[#text + 1] = ("static void %s;\n"):format(signature) end
    if not s then return end
    if s:find("%f[%w]exit;") or s:find("%f[%w]trap;") then error(("%s: exit or trap in the function %s, which is not inlined"):format(input, name), 0) end
    translate_body(s, line)
    finish(signature, s)
end

---- module ----

local function variable(linkage, state, s)
    local left, init = s:match("^(.-)=(.*)$")
    local name, size, count, alignment = declaration(left or s)
    if state == "shared" then globals[name] = { kind = "shared", bytes = count and size * count, align = count and alignment or math.max(16, alignment) }; return end
    if linkage:find("extern") then error("an external variable", 0) end
    globals[name] = { kind = "global" }
    local id, values = identifier(name), {}
    if init then
        for i, value in ipairs(split(init:match("{(.*)}") or init)) do
            values[i] = ("0x%x"):format((literal(value) or error("an initial value that is no number: " .. value, 0)) & (size == 8 and -1 or (1 << 8 * size) - 1))
        end
        text[#text + 1] = ("alignas(16) static const u%d init_%s[%d] = { %s };\n"):format(8 * size, id, count, table.concat(values, ", "))
    end
    text[#text + 1] = ("static u64 address_%s;\n"):format(id)
    variables[#variables + 1] = ("{ %s, %d, %d, %s, %s, &address_%s },"):format(quoted(name), size * count, alignment, init and "init_" .. id or "nullptr",
        state == "const" and "true" or "false", id)
end

-- One declaration of the module at `pos`; returns where the next begins.
local function top_level(s, pos, line)
    if s:find("^%.file%s", pos) then
        local number, name = s:match('^%.file%s+(%d+)%s+"([^"]*)"', pos)
        files[tonumber(number)] = name
        return s:find("\n", pos, true)
    end
    if s:find("^%.section", pos) then return s:match("^[^{]*%b{}()", pos) end
    if s:find("^%.version", pos) or s:find("^%.target", pos) or s:find("^%.address_size", pos) then
        arch = tonumber(s:match("^%.target%s+sm_(%d+)", pos)) or arch
        return s:find("\n", pos, true)
    end
    local linkage, start = "", pos
    for word, after in s:gmatch("(%.%l+)%s+()", pos) do
        if not word:find("^%.visible$") and not word:find("^%.extern$") and not word:find("^%.weak$") and not word:find("^%.common$") then break end
        linkage, start = linkage .. word, after
    end
    if s:find("^%.entry", start) then
        local name, parameters, directives, block, after = s:match("^%.entry%s+([%w_$]+)%s*(%b())([^{;]*)(%b{})()", start)
        if not name then name, directives, block, after = s:match("^%.entry%s+([%w_$]+)()([^{;(]*)(%b{})()", start) end
        local _, lines = s:sub(pos, after - 1 - #block):gsub("\n", "")
        kernel(name, parameters and parameters:sub(2, -2) or "", directives or "", block:sub(2, -2), line + lines)
        return after
    end
    if s:find("^%.func", start) then
        local results, name, parameters, after = s:match("^%.func%s*(%b())%s*([%w_$]+)%s*(%b())()", start)
        if not name then results, name, parameters, after = "()", s:match("^%.func%s+([%w_$]+)%s*(%b())()", start) end
        local block, next_one = s:match("^[^{;]*(%b{})()", after)
        if linkage:find("extern") then globals[name] = { kind = "func", defined = false }; return s:find(";", after, true) + 1 end
        local _, lines = s:sub(pos, after):gsub("\n", "")
        device_function(name, results:sub(2, -2), parameters:sub(2, -2), block and block:sub(2, -2), line + lines)
        return next_one or s:find(";", after, true) + 1
    end
    local stop = s:find(";", start, true) or error(("%s:%d: unknown declaration"):format(input, line), 0)
    local state = s:match("^%.(%l+)", start)
    if state == "global" or state == "const" or state == "shared" then
        local ok, why = pcall(variable, linkage, state, s:sub(start, stop - 1):gsub("%.attribute%b()", ""))
        if not ok then complain(line, s:sub(start, math.min(stop, start + 80)), why) end
    elseif state ~= "pragma" then complain(line, s:sub(start, math.min(stop, start + 80)), "unknown declaration") end
    return stop + 1
end

local function without_comments(s)
    s = s:gsub("/%*.-%*/", function(comment) return (comment:gsub("[^\n]", "")) end)
    return (s:gsub("[^\n]+", function(line) return not line:find("^%s*%.file") and line:gsub("//.*", "") or nil end))
end

local function translate(path)
    input = path
    local file = assert(io.open(path))
    local s = without_comments(file:read("a"))
    file:close()
    local pos, line = s:find("%S"), 1
    for number, name in s:gmatch('\n%s*%.file%s+(%d+)%s+"([^"]*)"') do files[tonumber(number)] = name end    -- they stand at the end
    local counted = 1
    while pos do
        for _ in s:sub(counted, pos - 1):gmatch("\n") do line = line + 1 end
        counted = pos
        pos = s:find("%S", (top_level(s, pos, line)))
    end
    if errors > 0 then os.exit(1) end
end

local function write(path)
    local function list(type, name, rows) return #rows == 0 and "" or ("static const %s %s[] = {\n%s\n};\n"):format(type, name, table.concat(rows, "\n")) end
    local name = input:match("([^/]+)%.ptx$") or input
    local file = assert(io.open(path, "w"))
    if #sites == 0 then sites[1] = '{ "?", 0 }' end
    for i, row in ipairs(sites) do sites[i] = row .. "," end
    file:write('#include "ptx.hpp"\n', list("ph_site", "sites", sites), table.concat(text), '#line 1 "tables"\n',
        list("ph_kernel", "kernel_table", kernels), list("ph_variable", "variable_table", variables),
        ("static const ph_module module = { %s, %d, PH_CHECKED, %d, %s, %d, %s };\n"):format(quoted(name), arch, #kernels, #kernels > 0 and "kernel_table" or "nullptr",
            #variables, #variables > 0 and "variable_table" or "nullptr"),
        "__attribute__((constructor)) static void announce() { ph_register(&module); }\n")
    assert(file:close())
end

-- What of the list no line of standard input tests: opcodes, one a line.
local function untested()
    local tested, missing = {}, 0
    for opcode in io.lines() do
        local plain, modifiers = forms.plain(opcode)
        tested[plain] = true
        for _, modifier in ipairs(modifiers) do tested[modifier] = true end
    end
    for _, name in ipairs(forms.list()) do
        if not tested[name] then print(name); missing = missing + 1 end
    end
    os.exit(missing == 0)
end

if arg[1] == "--contract" then contracting = true; table.remove(arg, 1) end
if arg[1] == "--list" then
    print(table.concat(forms.list(), "\n"))
elseif arg[1] == "--untested" then
    untested()
elseif arg[1] == "--forms" and arg[2] then
    translate(arg[2])
    local names = {}
    for name in pairs(used) do names[#names + 1] = name end
    table.sort(names)
    print(table.concat(names, "\n"))
elseif arg[1] == "--contractions" and arg[2] then
    contracting = true
    translate(arg[2])
    print(contractions)
elseif arg[1] and arg[2] then
    translate(arg[1])
    write(arg[2])
else
    io.stderr:write("usage: translate.lua [--contract] IN.ptx OUT.cpp | --list | --untested | --forms IN.ptx | --contractions IN.ptx\n")
    os.exit(2)
end
