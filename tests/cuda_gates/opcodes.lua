-- Holds the PTX of the kernels against what kernels may use. tests/ptxhost/forms.lua is what can be executed without a
-- GPU; this is less.
--
--   lua5.4 opcodes.lua BUILD
local here = arg[0]:match("^(.*/)") or ""
package.path = here .. "?.lua;" .. package.path
local ptx = require "ptx"

-- Opcodes, and the modifiers and types that may follow. Not here, on purpose:
--   what one target alone has, and what waits for other threads but at a barrier of the block: wgmma, tcgen05,
--     cp.async.bulk, mbarrier
--   what puts values into local memory: call, .local
--   what makes bits depend on more than shapes: atomics of floating point, loads that look for what another block has
--     written
--   what rounds otherwise than the processor: .ftz, .approx and tf32, but where the list has them; IEEE division of
--     f32, a call that spills
local INT, BITS = " u16 s16 u32 s32 u64 s64 ", " b16 b32 b64 "
local allowed = {}
local function allow(opcodes, modifiers)
    for opcode in opcodes:gmatch("%S+") do
        assert(not allowed[opcode], opcode)
        allowed[opcode] = {}
        for modifier in modifiers:gmatch("%S+") do allowed[opcode][modifier] = true end
    end
end

allow("add sub", "rn f32 f64" .. INT)
allow("mul mad", "lo hi wide rn f32 f64" .. INT)
allow("min max abs neg rem", "f32 f64" .. INT)
allow("div", "approx f32 rn f64" .. INT)
allow("and or xor not shl shr", "pred" .. BITS .. INT)
allow("popc clz brev bfind bfe bfi prmt lop3 shf", "shiftamt l r wrap clamp" .. BITS .. INT)
allow("fma", "rn f32 f64")
allow("sqrt rcp", "rn f32 f64")
allow("rsqrt lg2", "approx f32")
allow("ex2", "approx ftz f32")
allow("mov selp", "pred f32 f64" .. BITS .. INT)
allow("setp", "eq ne lt le gt ge lo ls hi hs num nan equ neu ltu leu gtu geu and or f32 f64" .. BITS .. INT)
allow("cvt", "rn rz rm rp rni rzi rmi rpi sat f32 f64 bf16 bf16x2 u8 s8" .. INT)
allow("cvta", "to global shared u64")
allow("ld", "param global shared nc v2 v4 f32 f64 u8 s8 b8" .. BITS .. INT)
allow("st", "global shared v2 v4 f32 f64 u8 b8" .. BITS .. INT)
allow("cp", "async ca cg shared global commit_group wait_group wait_all L2::128B")
allow("ldmatrix", "sync aligned m8n8 x1 x2 x4 trans shared b16")
allow("mma", "sync aligned m16n8k16 row col f32 bf16")
allow("atom", "global shared add min max cas" .. BITS .. INT)
allow("bar", "sync warp")
allow("shfl vote match redux", "sync up down bfly idx all any ballot add min max and or xor pred" .. BITS .. INT)
allow("bra ret", "uni")

-- What is on the list for some kernels alone.
local exceptions = {
    { what = "double precision", applies = function(i) return i.opcode:find("%.f64%f[^%w]") end, kernels = [[
        adafactor_bound adafactor_direction adamw_coded adamw_coded_direction adamw_direction adamw_span amsgrad_coded
        amsgrad_span bias_step_experts changes_fold choice_mean clip_norm_values collision_rate_count copies_place
        cv2_backward cv2_forward drop_share global_norm_blocks global_norm_fold lion_coded lion_span load_forward
        mul_scalar_backward mul_scalar_finish muon_coded muon_even muon_lengthen muon_momentum muon_neurons
        muon_squares reduce_finish reduce_parts schedule_free_mean schedule_free_span sgd_coded sgd_span soap_pace
        step_fold step_lengths step_move step_radius step_tangent step_turn sum_by_position update_ratio_sums ]] },
    { what = "an atomic instruction", applies = function(i) return i.opcode:find("^atom") end, kernels = [[
        assign_forward cache_rows choose_tokens collision_rate_insert conv1d_past count_group cross_entropy_rows
        delta_rule_forward drop_pairs embed_forward ngram_rows nodes_choose ranks_count sort_count sort_scatter
        threshold_forward ]] },
    { what = "a division of 64 bits", applies = function(i) return i.opcode:find("^div%.[us]64")
      or i.opcode:find("^rem%.[us]64") end, kernels = [[
        carry_on choice_mean dion_gradient drop_weightless fill_constant fill_diagonal hash_experts
        join_pooled_back join_pooled_index join_pooled_keys pack_weight place_values pool_windows_backward
        reduce_parts round_up_or_down soap_direction soap_factor soap_followed soap_gradient soap_moments
        sort_scan ]] },
}
for _, e in ipairs(exceptions) do
    e.used = {}
    for kernel in e.kernels:gmatch("%S+") do e.used[kernel] = false end
end

-- Registers that a kernel need not declare: where a thread is. Not the clock, not the multiprocessor.
local special = { ["%tid"] = true, ["%ntid"] = true, ["%ctaid"] = true, ["%nctaid"] = true, ["%laneid"] = true }
local declared = {}

-- ".reg .b64 %rd<41>" declares %rd0 to %rd40
local function declare(registers)
    for name in registers:gmatch("%%[%w_]+") do declared[name] = true end
end
local function known(register)
    return declared[register] or declared[register:match("^(.-)%d+$")] or special[register:match("^[^.]+")]
end

local problems = 0
local function problem(where, ...)
    problems = problems + 1
    io.stderr:write(where, ": ", string.format(...), "\n")
end

-- Why an instruction may not stand in a kernel; nil: it may.
local function mistake(i, kernel)
    if i.opcode:sub(1, 1) == "." then
        if i.opcode == ".reg" then declare(i.text) end
        return not (i.opcode:find("^%.reg") or i.opcode:find("^%.shared") or i.opcode:find("^%.pragma"))
            and "the directive is not on the list"
    end
    local name, rest = i.opcode:match("^(%w+)(.*)$")
    if not allowed[name] then return "the opcode is not on the list" end
    for modifier in rest:gmatch("%.([^.]+)") do
        if not allowed[name][modifier] then return ("'.%s' of %s is not on the list"):format(modifier, name) end
    end
    for register in i.text:gmatch("%%[%a_][%w_.]*") do
        if not known(register) then return register .. " is not on the list" end
    end
    for _, e in ipairs(exceptions) do
        if e.applies(i) then
            if e.used[kernel] == nil then return e.what .. ": not on the list for this kernel" end
            e.used[kernel] = true
        end
    end
end

local count, kernels = 0, {}
for _, file in ipairs(ptx.files(arg[1])) do
    local found, mangled = {}, {}
    ptx.each(file.path, function(i)
        found[#found + 1] = i
        if not found[i.kernel] then found[i.kernel] = true; mangled[#mangled + 1] = i.kernel end
    end, function(line, number)
        if line:find("%.func%f[%W]") then
            problem(file.path .. ":" .. number, "a function that is not inlined: %s", line)
        end
        if line:find("^%.target") and not line:find("^%.target sm_%d+%s*$") then
            problem(file.path .. ":" .. number, "%s: for one target alone", line)
        end
    end)
    local names = ptx.readable(mangled)
    for _, name in pairs(names) do kernels[name:match("^[^<]+")] = true end
    for _, i in ipairs(found) do
        local why = mistake(i, names[i.kernel]:match("^[^<]+"))
        local key = i.source .. i.opcode .. i.kernel .. (why or "")
        if why and not found[key] then
            problem(i.source, "%s in %s: %s (%s:%d)", i.opcode, names[i.kernel], why, file.path, i.line)
        end
        found[key] = true
    end
    count = count + #found
end
for _, e in ipairs(exceptions) do
    for kernel, used in pairs(e.used) do
        if not used then
            problem(arg[0], "%s is on the list for %s: %s", e.what, kernel,
                    kernels[kernel] and "it does without" or "there is no such kernel")
        end
    end
end
if problems == 0 then print(("%d instructions of the kernels, all on the list"):format(count)) end
os.exit(problems == 0)
