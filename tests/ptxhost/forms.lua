-- The PTX that the emulator knows: every opcode with all its modifiers and types, its operands, and the C++ that computes it.
-- What is not here is a build error. Each form has its test in conformance/.
--
--   form(opcode, operands, code)
--
-- opcode     "(.rn|).(f32|f64)": alternatives in parentheses, expanded here; the i-th group is what `i` stands for below.
-- operands   one word each. A source: its type. A destination: "=type"; behind a statement "=type:where the value lies",
--            and "=type:a|pred:b" for the pair d|p. A type: as in PTX, or a group's number, "T" the last; "u1" is the unsigned one, "w1" the one
--            twice as wide; "*4": a vector of four, whose index in a destination is "@". "&global": an address. "0": the literal.
-- code       $n the n-th operand, <n> a type's C++ name, {n} a group's text, {E} the element of a pair, $site the place in the source.
--            An expression is assigned to the destination; a statement, which ends in ";", stands before the assignments.
--            Or a function (groups, operands) that returns one of them.

local forms, order = {}, {}

local function expand(pattern, groups, done)
    local before, choices, after = pattern:match("^(.-)%((.-)%)(.*)$")
    if not before then return done(pattern, groups) end
    for choice in (choices .. "|"):gmatch("(.-)|") do
        local more = table.move(groups, 1, #groups, 1, {})
        more[#more + 1] = choice
        expand(before .. choice .. after, more, done)
    end
end

-- What tells two forms of one opcode apart: how many operands, and which are vectors or pairs.
local function shape(words)
    local parts = {}
    for i, word in ipairs(words) do parts[i] = word:match("%*(%d+)") or word:find("|", 1, true) and "pair" or "1" end
    return table.concat(parts, ",")
end

local function shape_of(operands)
    local parts = {}
    for i, operand in ipairs(operands) do
        local _, commas = operand:gsub(",", "")
        parts[i] = operand:sub(1, 1) == "{" and tostring(commas + 1) or operand:find("|", 1, true) and "pair" or "1"
    end
    return table.concat(parts, ",")
end

local function form(pattern, operands, code)
    local words = {}
    for word in operands:gmatch("%S+") do words[#words + 1] = word:gsub("%*1%f[%D]", "") end
    expand(pattern, {}, function(opcode, groups)
        if not forms[opcode] then forms[opcode] = {}; order[#order + 1] = opcode end
        assert(not forms[opcode][shape(words)], "two forms of " .. opcode)
        forms[opcode][shape(words)] = { groups = groups, operands = words, code = code }
    end)
end

---- integers ----

local INT = "(u16|s16|u32|s32|u64|s64)"
local BITS = "(b16|b32|b64)"

form("add." .. INT, "=1 u1 u1", "$2 + $3")
form("sub." .. INT, "=1 u1 u1", "$2 - $3")
form("add.sat.s32", "=s32 s32 s32", "clamp<s32>((s64)$2 + $3)")
form("sub.sat.s32", "=s32 s32 s32", "clamp<s32>((s64)$2 - $3)")
form("mul.lo." .. INT, "=1 u1 u1", "1u * $2 * $3")
form("mul.hi." .. INT, "=1 1 1", "mul_hi($2, $3)")
form("mul.wide.(u16|s16|u32|s32)", "=w1 1 1", "(<w1>)$2 * $3")
form("mad.lo." .. INT, "=1 u1 u1 u1", "1u * $2 * $3 + $4")
form("mad.hi." .. INT, "=1 1 1 u1", "mul_hi($2, $3) + $4")
form("mad.wide.(u16|s16|u32|s32)", "=w1 1 1 uw1", "(<uw1>)((<w1>)$2 * $3) + $4")
form("div." .. INT, "=1 1 1", "quotient($2, $3)")
form("rem." .. INT, "=1 1 1", "residue($2, $3)")
form("min." .. INT, "=1 1 1", "$2 < $3 ? $2 : $3")
form("max." .. INT, "=1 1 1", "$2 > $3 ? $2 : $3")
form("abs.(s16|s32|s64)", "=1 1", "$2 < 0 ? 0u - (<u1>)$2 : (<u1>)$2")
form("neg.(s16|s32|s64)", "=1 u1", "0u - $2")
form("sad." .. INT, "=1 1 1 u1", "($2 < $3 ? (<u1>)$3 - (<u1>)$2 : (<u1>)$2 - (<u1>)$3) + $4")
form("dp4a.(u32|s32).(u32|s32)", "=b32 b32 b32 b32", "dp4a<<1>, <2>>($2, $3, $4)")

---- bits ----

form("and.(pred|b16|b32|b64)", "=1 1 1", "$2 & $3")
form("or.(pred|b16|b32|b64)", "=1 1 1", "$2 | $3")
form("xor.(pred|b16|b32|b64)", "=1 1 1", "$2 ^ $3")
form("not.pred", "=pred pred", "!$2")
form("not." .. BITS, "=1 1", "~$2")
form("cnot." .. BITS, "=1 1", "$2 == 0")
form("shl." .. BITS, "=1 1 b32", "shl($2, $3)")
form("shr.(b16|b32|b64|u16|s16|u32|s32|u64|s64)", "=1 1 b32", "shr($2, $3)")
form("shf.l.(wrap|clamp).b32", "=b32 b32 b32 b32", function(g, x) return ("funnel_left(%s, %s, %s)"):format(x[2], x[3], g[1] == "wrap" and x[4] .. " & 31" or "at_most_32(" .. x[4] .. ")") end)
form("shf.r.(wrap|clamp).b32", "=b32 b32 b32 b32", function(g, x) return ("funnel_right(%s, %s, %s)"):format(x[2], x[3], g[1] == "wrap" and x[4] .. " & 31" or "at_most_32(" .. x[4] .. ")") end)
form("popc.(b32|b64)", "=b32 1", "(u32)__builtin_popcountll($2)")
form("clz.(b32|b64)", "=b32 1", "leading_zeros($2)")
form("brev.(b32|b64)", "=1 1", "reversed($2)")
form("bfind.(u32|s32|u64|s64)", "=b32 1", "top_bit($2)")
form("bfind.shiftamt.(u32|s32|u64|s64)", "=b32 1", "top_bit_shift($2)")
form("bfe.(u32|s32|u64|s64)", "=1 1 b32 b32", "extract($2, $3, $4)")
form("bfi.(b32|b64)", "=1 1 1 b32 b32", "insert($2, $3, $4, $5)")
form("bmsk.(clamp|wrap).b32", "=b32 b32 b32", function(g, x) return ("bit_mask_%s(%s, %s)"):format(g[1], x[2], x[3]) end)
form("prmt.b32", "=b32 b32 b32 b32", "permute($2, $3, $4)")
form("lop3.b32", "=b32 b32 b32 b32 b32", function(_, x)
    local terms, table_bits = {}, assert(tonumber(x[5]:match("^%w+"):gsub("u$", ""), nil), "lop3 wants a literal")
    for i = 0, 7 do
        if table_bits >> i & 1 == 1 then
            terms[#terms + 1] = (i & 4 == 0 and "~" or "") .. x[2] .. " & " .. (i & 2 == 0 and "~" or "") .. x[3] .. " & " .. (i & 1 == 0 and "~" or "") .. x[4]
        end
    end
    return #terms == 0 and "0" or "(" .. table.concat(terms, ") | (") .. ")"
end)

---- moves, selection, comparison ----

form("mov.(pred|b16|u16|s16|b32|u32|s32|b64|u64|s64|f32|f64)", "=1 1", "$2")
form("mov.b32", "=b32 b16*2", "joined($2)")
form("mov.b64", "=b64 b32*2", "joined($2)")
form("mov.b64", "=b64 b16*4", "joined($2)")
form("mov.b32", "=b16*2:v>>16*@ b32", "u32 v = $2;")
form("mov.b64", "=b32*2:v>>32*@ b64", "u64 v = $2;")
form("mov.b64", "=b16*4:v>>16*@ b64", "u64 v = $2;")
form("selp.(b16|u16|s16|b32|u32|s32|b64|u64|s64|f32|f64)", "=1 1 1 pred", "$4 ? $2 : $3")
form("slct.(b32|u32|s32|b64|u64|s64|f32|f64).s32", "=1 1 1 s32", "$4 >= 0 ? $2 : $3")
form("cvta(.to|).(global|const|local).u64", "=u64 u64", "$2")
form("cvta.shared.u64", "=u64 u64", "PH_SHARED + $2")
form("cvta.to.shared.u64", "=u64 u64", "$2 - PH_SHARED")

-- The last two of each list: what is true of a NaN.
local ordered = { eq = "A == B", lt = "A < B", le = "A <= B", gt = "A > B", ge = "A >= B", ne = "(A < B || A > B)", num = "(A == A && B == B)" }
local unordered = { equ = "!(A < B || A > B)", ltu = "!(A >= B)", leu = "!(A > B)", gtu = "!(A <= B)", geu = "!(A < B)", neu = "A != B", nan = "(A != A || B != B)" }
local whole = { eq = "A == B", ne = "A != B", lt = "A < B", le = "A <= B", gt = "A > B", ge = "A >= B", lo = "A < B", ls = "A <= B", hi = "A > B", hs = "A >= B" }
local FLOAT_RELATION = "(eq|ne|lt|le|gt|ge|num|equ|neu|ltu|leu|gtu|geu|nan)"

local function relation(name, a, b, integer)
    local text = integer and whole[name] or ordered[name] or unordered[name]
    return (text:gsub("[AB]", { A = a, B = b }))
end

local function compares(relations, types, ftz)
    local integer = not ftz
    local flush = ftz == ".ftz" and "ftz(%s)" or ftz == "widen" and "widen_<type>(%s)" or "%s"
    local modifier = ftz == ".ftz" and ".ftz" or ""
    local function test(g, x, type)
        local wrap = flush:gsub("<type>", type)
        return "(" .. relation(g[1], wrap:format(x[2]), wrap:format(x[3]), integer) .. ")"
    end
    form("setp." .. relations .. modifier .. "." .. types, "=pred 2 2", function(g, x) return test(g, x, g[2]) end)
    form("setp." .. relations .. ".(and|or|xor)" .. modifier .. "." .. types, "=pred 3 3 pred", function(g, x)
        return test(g, x, g[3]) .. ({ ["and"] = " & ", ["or"] = " | ", ["xor"] = " ^ " })[g[2]] .. x[4]
    end)
end

compares("(eq|ne)", "(b16|b32|b64)")
compares("(eq|ne|lt|le|gt|ge)", "(s16|s32|s64)")
compares("(eq|ne|lt|le|gt|ge|lo|ls|hi|hs)", "(u16|u32|u64)")
compares(FLOAT_RELATION, "(f32|f64)", "")
compares(FLOAT_RELATION, "(f32)", ".ftz")
compares(FLOAT_RELATION, "(f16|bf16)", "widen")
form("set." .. FLOAT_RELATION .. ".(u32|s32).(f32|f64)", "=2 3 3", function(g, x) return "(" .. relation(g[1], x[2], x[3]) .. ") ? ~0u : 0u" end)
form("set." .. FLOAT_RELATION .. ".f32.(f32|f64)", "=f32 2 2", function(g, x) return "(" .. relation(g[1], x[2], x[3]) .. ") ? 1.0f : 0.0f" end)
form("set.(eq|ne|lt|le|gt|ge).(u32|s32).(u32|s32)", "=2 3 3", function(g, x) return "(" .. relation(g[1], x[2], x[3], true) .. ") ? ~0u : 0u" end)

---- floating point ----

-- The operation with operands flushed, directed, flushed and saturated as the modifiers ask.
local direction = { [".rz"] = "TO_ZERO", [".rm"] = "DOWN", [".rp"] = "UP" }

local function rounded(name, plain, round, ftz, sat, x)
    local v = {}
    for i = 2, #x do v[i - 1] = ftz == ".ftz" and "ftz(" .. x[i] .. ")" or x[i] end
    local text
    if direction[round] then text = ("%s(%s, %s)"):format(name, table.concat(v, ", "), direction[round])
    else text = plain:gsub("[ABC]", { A = v[1], B = v[2], C = v[3] }) end
    text = "num(" .. text .. ")"
    if ftz == ".ftz" then text = "ftz(" .. text .. ")" end
    return sat == ".sat" and "unit(" .. text .. ")" or text
end

local function arithmetic(name, plain, sources, nearest)
    form(name .. "(" .. nearest .. ".rz|.rm|.rp)(.ftz|)(.sat|).f32", "=f32" .. (" f32"):rep(sources), function(g, x) return rounded(name, plain, g[1], g[2], g[3], x) end)
    form(name .. "(" .. nearest .. ".rz|.rm|.rp).f64", "=f64" .. (" f64"):rep(sources), function(g, x) return rounded(name, plain, g[1], "", "", x) end)
end

arithmetic("add", "A + B", 2, ".rn||")
arithmetic("sub", "A - B", 2, ".rn||")
arithmetic("mul", "A * B", 2, ".rn||")
arithmetic("fma", "fused(A, B, C)", 3, ".rn|")

for name, plain in pairs { div = "A / B", rcp = "1 / A", sqrt = "root(A)" } do
    local sources = name == "div" and 2 or 1
    form(name .. "(.rn|.rz|.rm|.rp)(.ftz|).f32", "=f32" .. (" f32"):rep(sources), function(g, x) return rounded(name, plain, g[1], g[2], "", x) end)
    form(name .. "(.rn|.rz|.rm|.rp).f64", "=f64" .. (" f64"):rep(sources), function(g, x) return rounded(name, plain, g[1], "", "", x) end)
end

local function flushed(name, ftz, x)
    local v = {}
    for i = 2, #x do v[i - 1] = ftz == ".ftz" and "ftz(" .. x[i] .. ")" or x[i] end
    local text = ("%s(%s)"):format(name, table.concat(v, ", "))
    return ftz == ".ftz" and "ftz(" .. text .. ")" or text
end

for _, name in ipairs { "ex2", "lg2", "rcp", "rsqrt", "sqrt", "sin", "cos" } do
    form(name .. ".approx(.ftz|).f32", "=f32 f32", function(g, x) return flushed(name .. "_approx", g[1], x) end)
end
form("tanh.approx.f32", "=f32 f32", "tanh_approx($2)")
form("div.(approx|full)(.ftz|).f32", "=f32 f32 f32", function(g, x) return flushed("div_" .. g[1], g[2], x) end)
form("(min|max)(.ftz|)(.NaN|).f32", "=f32 f32 f32", function(g, x) return flushed(g[1] .. (g[3] == ".NaN" and "_nan" or "_num"), g[2], x) end)
form("(min|max).f64", "=f64 f64 f64", function(g, x) return ("%s_num(%s, %s)"):format(g[1], x[2], x[3]) end)
form("abs(.ftz|).f32", "=f32 f32", function(g, x) return flushed("magnitude", g[1], x) end)
form("neg(.ftz|).f32", "=f32 f32", function(g, x) return flushed("-", g[1], x) end)
form("abs.f64", "=f64 f64", "magnitude($2)")
form("neg.f64", "=f64 f64", "-$2")
form("copysign.(f32|f64)", "=1 1 1", "std::copysign($3, $2)")
form("testp.(finite|infinite|number|notanumber|normal|subnormal).(f32|f64)", "=pred 2", function(g, x) return ("is_%s(%s)"):format(g[1], x[2]) end)

---- half precision ----

local HALF, PAIR = "(f16|bf16)", "(f16x2|bf16x2)"
local function element(pair) return (pair:gsub("x2$", "")) end

for _, name in ipairs { "add", "sub", "mul" } do
    form(name .. "(.rn|)." .. HALF, "=2 2 2", function(g, x) return ("half_%s<%s>(%s, %s)"):format(name, g[2], x[2], x[3]) end)
    form(name .. "(.rn|)." .. PAIR, "=2 2 2", function(g, x) return ("in_pairs(half_%s<%s>, %s, %s)"):format(name, element(g[2]), x[2], x[3]) end)
end
form("fma.rn(.relu|)." .. HALF, "=2 2 2 2", function(g, x) return ("half_fma%s<%s>(%s, %s, %s)"):format(g[1] == "" and "" or "_relu", g[2], x[2], x[3], x[4]) end)
form("fma.rn(.relu|)." .. PAIR, "=2 2 2 2", function(g, x)
    return ("in_pairs(half_fma%s<%s>, %s, %s, %s)"):format(g[1] == "" and "" or "_relu", element(g[2]), x[2], x[3], x[4])
end)
form("(min|max)(.NaN|)." .. HALF, "=3 3 3", function(g, x) return ("half_%s%s<%s>(%s, %s)"):format(g[1], g[2] == "" and "" or "_nan", g[3], x[2], x[3]) end)
form("(min|max)(.NaN|)." .. PAIR, "=3 3 3", function(g, x)
    return ("in_pairs(half_%s%s<%s>, %s, %s)"):format(g[1], g[2] == "" and "" or "_nan", element(g[3]), x[2], x[3])
end)
form("neg." .. HALF, "=1 1", "$2 ^ 0x8000")
form("neg." .. PAIR, "=1 1", "$2 ^ 0x80008000u")
form("abs." .. HALF, "=1 1", "$2 & 0x7fff")
form("abs." .. PAIR, "=1 1", "$2 & 0x7fff7fffu")

---- conversion ----

local SMALL_INT = "(u8|s8|u16|s16|u32|s32|u64|s64)"
local to_integral = { [".rni"] = "nearest", [".rzi"] = "truncated", [".rmi"] = "floor_of", [".rpi"] = "ceiling_of" }

form("cvt." .. SMALL_INT .. "." .. SMALL_INT, "=1 2", "(<1>)$2")
-- Saturation only where the source can lie outside of the result's range.
for to in SMALL_INT:gmatch("%w+") do
    for from in SMALL_INT:gmatch("%w+") do
        local to_bits, from_bits = tonumber(to:sub(2)), tonumber(from:sub(2))
        local holds = to:sub(1, 1) == from:sub(1, 1) and to_bits >= from_bits or to:sub(1, 1) == "s" and to_bits > from_bits
        if not holds then form("cvt.sat." .. to .. "." .. from, "=" .. to .. " " .. from, "clamp<" .. to .. ">($2)") end
    end
end
form("cvt(.rn|.rz|.rm|.rp).(f32|f64)." .. SMALL_INT, "=2 3", function(g, x)
    return direction[g[1]] and ("from_integer<%s>(%s, %s)"):format(g[2], x[2], direction[g[1]]) or ("(%s)%s"):format(g[2], x[2])
end)
form("cvt(.rni|.rzi|.rmi|.rpi)(.ftz|)." .. SMALL_INT .. ".f32", "=3 f32", function(g, x)
    return ("to_integer<%s>(%s(%s))"):format(g[3], to_integral[g[1]], g[2] == "" and x[2] or "ftz(" .. x[2] .. ")")
end)
form("cvt(.rni|.rzi|.rmi|.rpi)." .. SMALL_INT .. ".f64", "=2 f64", function(g, x) return ("to_integer<%s>(%s(%s))"):format(g[2], to_integral[g[1]], x[2]) end)
form("cvt(.rni|.rzi|.rmi|.rpi)(.ftz|)(.sat|).f32.f32", "=f32 f32", function(g, x)
    return (g[3] == "" and "%s" or "unit(%s)"):format(flushed(to_integral[g[1]], g[2], x))
end)
form("cvt(.rni|.rzi|.rmi|.rpi).f64.f64", "=f64 f64", function(g, x) return ("%s(%s)"):format(to_integral[g[1]], x[2]) end)
form("cvt(.ftz|).sat.f32.f32", "=f32 f32", function(g, x) return g[1] == "" and ("unit(%s)"):format(x[2]) or ("unit(ftz(%s))"):format(x[2]) end)
form("cvt.ftz.f32.f32", "=f32 f32", "ftz($2)")
form("cvt(.ftz|).f64.f32", "=f64 f32", function(g, x) return "(f64)" .. (g[1] == "" and x[2] or "ftz(" .. x[2] .. ")") end)
form("cvt(.rn|.rz|.rm|.rp)(.ftz|)(.sat|).f32.f64", "=f32 f64", function(g, x)
    local text = direction[g[1]] and ("narrow(%s, %s)"):format(x[2], direction[g[1]]) or ("num((f32)%s)"):format(x[2])
    if g[2] == ".ftz" then text = "ftz(" .. text .. ")" end
    return g[3] == ".sat" and "unit(" .. text .. ")" or text
end)
form("cvt.f32.f16", "=f32 f16", "widen_f16($2)")
form("cvt.f32.bf16", "=f32 bf16", "widen_bf16($2)")
form("cvt.f64.f16", "=f64 f16", "(f64)widen_f16($2)")
form("cvt(.rn|.rz)(.relu|)." .. HALF .. ".f32", "=3 f32", function(g, x) return ("to_%s%s(%s%s)"):format(g[3], g[2] == "" and "" or "_relu", x[2], direction[g[1]] and ", TO_ZERO" or "") end)
form("cvt(.rn|.rz)(.relu|)." .. PAIR .. ".f32", "=3 f32 f32", function(g, x)
    local to = "to_" .. element(g[3]) .. (g[2] == "" and "" or "_relu")
    local mode = direction[g[1]] and ", TO_ZERO" or ""
    return ("joined(%s(%s%s), %s(%s%s))"):format(to, x[3], mode, to, x[2], mode)
end)
form("cvt(.rn|.rz).f16." .. SMALL_INT, "=f16 2", function(g, x) return ("integer_to<f16>(%s, %s)"):format(x[2], direction[g[1]] or "NEAREST") end)
form("cvt(.rni|.rzi|.rmi|.rpi)." .. SMALL_INT .. ".f16", "=2 f16", function(g, x) return ("to_integer<%s>(%s(widen_f16(%s)))"):format(g[2], to_integral[g[1]], x[2]) end)
form("cvt.rn.satfinite(.relu|).(e4m3x2|e5m2x2).f32", "=b16 f32 f32", function(g, x)
    return ("fp8_pair<%s>(%s, %s, %s)"):format(element(g[2]), x[2], x[3], g[1] == ".relu" and "true" or "false")
end)
form("cvt.rn.satfinite(.relu|).(e4m3x2|e5m2x2).f16x2", "=b16 f16x2", function(g, x)
    return ("fp8_pair<%s>(widen_f16(%s >> 16), widen_f16(%s & 0xffff), %s)"):format(element(g[2]), x[2], x[2], g[1] == ".relu" and "true" or "false")
end)
form("cvt.rn(.relu|).f16x2.(e4m3x2|e5m2x2)", "=f16x2 b16", function(g, x)
    return ("fp8_to_f16x2<%s>(%s, %s)"):format(element(g[2]), x[2], g[1] == ".relu" and "true" or "false")
end)
form("cvt.rna.tf32.f32", "=b32 f32", "to_tf32($2, AWAY)")
form("cvt.rn(.relu|).tf32.f32", "=b32 f32", function(g, x) return ("to_tf32(%s, NEAREST)"):format(g[1] == "" and x[2] or "max_nan(" .. x[2] .. ", 0.0f)") end)

---- memory ----

local SPACES = { global = ".global", shared = ".shared", generic = "", ["local"] = ".local", const = ".const" }

local function load(prefix, where, types, n)
    local vector = n == 1 and "" or ".v" .. n
    form("ld" .. prefix .. vector .. "." .. types, ("=T*%d:get<<T>>(m,@) &%s"):format(n, where),
        ("const char *m = %s($2, %d * sizeof(<T>), PH_READ, $site);"):format(where == "const" and "global" or where, n))
end

local function store(prefix, where, types, n)
    local vector = n == 1 and "" or ".v" .. n
    form("st" .. prefix .. vector .. "." .. types, ("&%s T*%d"):format(where, n),
        ("put<<T>>(%s($1, %d * sizeof(<T>), PH_WRITE, $site), $2);"):format(where, n))
end

for _, n in ipairs { 1, 2, 4 } do
    local types = "(b8|u8|s8|b16|u16|s16|b32|u32|s32|f32" .. (n < 4 and "|b64|u64|s64|f64)" or ")")
    for where, modifier in pairs(SPACES) do
        load(modifier, where, types, n)
        if where ~= "const" then store(modifier, where, types, n) end
    end
    load(".global.nc", "global", types, n)
    form("ld.param" .. (n == 1 and "" or ".v" .. n) .. "." .. types, ("=T*%d:get<<T>>(m,@) &param"):format(n), "const unsigned char *m = $2;")
    form("st.param" .. (n == 1 and "" or ".v" .. n) .. "." .. types, ("&param T*%d"):format(n), "put<<T>>($1, $2);")
end

form("prefetch.(L1|L2)", "&generic", ";")
form("prefetch.global.(L1|L2)", "&global", ";")
form("prefetchu.L1", "&generic", ";")

-- Threads run one after the other, so that an atomic instruction is a plain one.
local function atomic(name, types, compute, sources)
    for _, where in ipairs { "global", "shared", "generic" } do
        local suffix = SPACES[where] .. "." .. name .. "." .. types
        local function update(at, a, b)
            return ("atomic<<T>>(%s(%s, sizeof(<T>), PH_ATOMIC, $site), [&](<T> old) -> <T> { return %s; })")
                :format(where, at, (compute:gsub("%f[%w][AB]%f[%W]", { A = a, B = b })))
        end
        form("atom" .. suffix, "=T &" .. where .. (" T"):rep(sources or 1), function(_, x) return update(x[2], x[3], x[4]) end)
        if name ~= "exch" and name ~= "cas" then
            form("red" .. suffix, "&" .. where .. " T", function(_, x) return update(x[1], x[2]) .. ";" end)
        end
    end
end

atomic("add", "(u32|s32|u64)", "(<uT>)old + (<uT>)A")
atomic("add", "(f32|f64)", "num(old + A)")
atomic("add.noftz", "(f16|bf16)", "half_add<{T}>(old, A)")
atomic("add.noftz", "(f16x2|bf16x2)", "in_pairs(half_add<{E}>, old, A)")
atomic("min", "(u32|s32|u64|s64)", "old < A ? old : A")
atomic("max", "(u32|s32|u64|s64)", "old > A ? old : A")
atomic("inc", "(u32)", "old >= A ? 0 : old + 1")
atomic("dec", "(u32)", "old == 0 || old > A ? A : old - 1")
atomic("and", "(b32|b64)", "old & A")
atomic("or", "(b32|b64)", "old | A")
atomic("xor", "(b32|b64)", "old ^ A")
atomic("exch", "(b32|b64)", "A")
atomic("cas", "(b16|b32|b64)", "old == A ? B : old", 2)

form("membar.(cta|gl|sys)", "", ";")
form("fence(.sc|.acq_rel|)(.cta|.gpu|.sys)", "", ";")

-- An asynchronous copy arrives with the wait that covers it, as late as the language allows.
form("cp.async.ca.shared.global", "&shared &global #", "copies.start($1, $2, $3, $3, $site);")
form("cp.async.ca.shared.global", "&shared &global # b32", "copies.start($1, $2, $3, $4, $site);")
form("cp.async.cg.shared.global", "&shared &global 16", "copies.start($1, $2, 16, 16, $site);")
form("cp.async.cg.shared.global", "&shared &global 16 b32", "copies.start($1, $2, 16, $4, $site);")
form("cp.async.commit_group", "", "copies.commit();")
form("cp.async.wait_group", "#", "copies.wait($1, $site);")
form("cp.async.wait_all", "", "copies.wait_all($site);")

---- barriers and the warp ----

form("bar(.cta|).sync", "0", "ph_barrier($site);")
form("barrier(.cta|).sync(.aligned|)", "0", "ph_barrier($site);")
form("bar(.cta|).red.popc.u32", "=u32 0 pred", "ph_barrier_reduce($3, PH_POPC, $site)")
form("barrier(.cta|).red.popc(.aligned|).u32", "=u32 0 pred", "ph_barrier_reduce($3, PH_POPC, $site)")
for name, how in pairs { ["and"] = "PH_AND", ["or"] = "PH_OR" } do
    form("bar(.cta|).red." .. name .. ".pred", "=pred 0 pred", "ph_barrier_reduce($3, " .. how .. ", $site)")
    form("barrier(.cta|).red." .. name .. "(.aligned|).pred", "=pred 0 pred", "ph_barrier_reduce($3, " .. how .. ", $site)")
end
form("bar.warp.sync", "b32", "ph_warp_sync($1, $site);")

form("shfl.sync.(up|down|bfly|idx).b32", "=b32:v.value b32 b32 b32 b32", "shuffle v = { $2, $3, $4 }; ph_warp($5, shuffle_{1}, &v, $site);")
form("shfl.sync.(up|down|bfly|idx).b32", "=b32:v.value|pred:v.valid b32 b32 b32 b32", "shuffle v = { $2, $3, $4 }; ph_warp($5, shuffle_{1}, &v, $site);")
form("vote.sync.(all|any|uni).pred", "=pred:v pred b32", "u32 v = $2; ph_warp($3, vote_{1}, &v, $site);")
form("vote.sync.ballot.b32", "=b32:v pred b32", "u32 v = $2; ph_warp($3, vote_ballot, &v, $site);")
form("match.any.sync.(b32|b64)", "=b32:v.lanes 1 b32", "match v = { $2 }; ph_warp($3, match_any, &v, $site);")
form("match.all.sync.(b32|b64)", "=b32:v.lanes 1 b32", "match v = { $2 }; ph_warp($3, match_all, &v, $site);")
form("match.all.sync.(b32|b64)", "=b32:v.lanes|pred:v.lanes!=0 1 b32", "match v = { $2 }; ph_warp($3, match_all, &v, $site);")
form("redux.sync.(add|min|max).(u32|s32)", "=2:v 2 b32", "<2> v = $2; ph_warp($3, redux_{1}<<2>>, &v, $site);")
form("redux.sync.(and|or|xor).b32", "=b32:v b32 b32", "u32 v = $2; ph_warp($3, redux_{1}<u32>, &v, $site);")
-- A thread may be alone at any time: the only answer that a program can rely on.
form("activemask.b32", "=b32", "1u << ph_now->lane")

---- matrices ----

for _, n in ipairs { 1, 2, 4 } do
    form("ldmatrix.sync.aligned.m8n8.x" .. n .. "(.trans|).shared.b16", ("=b32*%d:v.row[@] &shared"):format(n), function(g, x)
        return ("matrices v = {}; v.address = shared_rows(%s, %d, $site); ph_warp(~0u, load_matrices<%d, %s>, &v, $site);")
            :format(x[2], n, n, g[1] == ".trans" and "true" or "false")
    end)
end
form("mma.sync.aligned.m16n8k16.row.col.f32.(bf16.bf16|f16.f16).f32", "=f32*4:v.d[@] b32*4 b32*2 f32*4",
     "product v = { { $2 }, { $3 }, { $4 } }; ph_warp(~0u, multiply_16<{1}>, &v, $site);")
form("mma.sync.aligned.m16n8k8.row.col.f32.(bf16.bf16|f16.f16).f32", "=f32*4:v.d[@] b32*2 b32*1 f32*4",
     "product8 v = { { $2 }, { $3 }, { $4 } }; ph_warp(~0u, multiply_8<{1}>, &v, $site);")
form("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", "=f32*4:v.d[@] b32*4 b32*2 f32*4",
     "product v = { { $2 }, { $3 }, { $4 } }; ph_warp(~0u, multiply_tf32<8, product>, &v, $site);")
form("mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32", "=f32*4:v.d[@] b32*2 b32*1 f32*4",
     "product8 v = { { $2 }, { $3 }, { $4 } }; ph_warp(~0u, multiply_tf32<4, product8>, &v, $site);")

---- control ----

form("bra(.uni|)", "label", "goto $1;")
form("brx.idx(.uni|)", "b32 targets", "switch ($1) { $2 }")
form("ret(.uni|)", "", "return;")
form("exit", "", "return;")
form("trap", "", "ph_now->site = $site; ph_report(\"trap\"); return;")
form("brkpt", "", ";")
form("nanosleep.u32", "b32", ";")

-- Modifiers that nothing here can see, and the opcodes in which they may stand: order and scope, as threads run one after the other; how long
-- a line stays in which cache. The forms are those without them.
local ORDER, SCOPE = { ".relaxed", ".acquire", ".release", ".acq_rel" }, { ".cta", ".gpu", ".sys" }
local LIFE = { ".L1::evict_normal", ".L1::evict_unchanged", ".L1::evict_first", ".L1::evict_last", ".L1::no_allocate" }
local FETCH = { ".L2::64B", ".L2::128B", ".L2::256B" }
local unseen = {
    { "ld", { ".volatile", ".relaxed", ".acquire" } }, { "ld", SCOPE }, { "st", { ".volatile", ".relaxed", ".release" } }, { "st", SCOPE },
    { "atom", ORDER }, { "atom", SCOPE }, { "red", { ".relaxed", ".release" } }, { "red", SCOPE },
    { "ld.global", { ".ca", ".cg", ".cs", ".lu", ".cv" } }, { "ld.global", LIFE }, { "ld.global", FETCH },
    { "st.global", { ".wb", ".cg", ".cs", ".wt" } }, { "st.global", LIFE }, { "cp.async.ca", FETCH }, { "cp.async.cg", FETCH },
}
for _, opcode in ipairs { "ld.shared", "st.shared", "atom.shared", "red.shared", "cp.async", "ldmatrix" } do unseen[#unseen + 1] = { opcode, { "::cta" } } end

local function escaped(s) return (s:gsub("%.", "%%.")) end

-- The opcode without its unseen modifiers, and these: "ld.global .cs".
local function plain(opcode)
    local found = {}
    for _, rule in ipairs(unseen) do
        for _, modifier in ipairs(rule[2]) do
            local before, after = opcode:match("^(" .. escaped(rule[1]) .. "%f[.:].-)" .. escaped(modifier) .. "(%f[.\0].*)$")
            if before then
                opcode = before .. after
                found[#found + 1] = rule[1] .. " " .. modifier
                break
            end
        end
    end
    return opcode, found
end

-- The form of an instruction; or nil, and why not.
local function find(opcode, operands)
    local name = forms[opcode] and opcode or plain(opcode)
    if not forms[name] then return nil, "no such form" end
    return forms[name][shape_of(operands)], "no such operands", name
end

-- What a test of the forms has to cover: each, and each modifier that may be left out.
local function list()
    local all = table.move(order, 1, #order, 1, {})
    for _, rule in ipairs(unseen) do for _, modifier in ipairs(rule[2]) do all[#all + 1] = rule[1] .. " " .. modifier end end
    return all
end

return { find = find, plain = plain, list = list }
