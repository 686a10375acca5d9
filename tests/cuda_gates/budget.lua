-- Holds a build against cuda/budget.txt: what ptxas says of each kernel, and what a training step launches.
--
--   lua5.4 budget.lua kernels BUILD
--   lua5.4 budget.lua launches BUILD        trains on the emulated GPU
--   lua5.4 budget.lua --write BUILD         writes the budget anew, from both
local here = arg[0]:match("^(.*/)") or "./"
package.path = here .. "?.lua;" .. package.path
local resources, launches = require "resources", require "launches"
local path = here .. "../../cuda/budget.txt"
local PTX_SLACK = 0.05                  -- other versions of nvcc move instructions about

---- tables ----

local function sorted(t, before)
    local keys = {}
    for key in pairs(t) do keys[#keys + 1] = key end
    table.sort(keys, before and function(a, b) return before(t[a], t[b], a, b) end)
    return keys
end

local function by_file(a, b, name, other)
    if a.file ~= b.file then return a.file < b.file end
    return name < other
end

-- Rows of words as lines whose columns align: the first `left` to the left, numbers to the right.
local function lines(rows, left)
    local width, text = {}, {}
    for _, row in ipairs(rows) do for c,
        cell in ipairs(row) do width[c] = math.max(width[c] or 0, #tostring(cell)) end end
    for i, row in ipairs(rows) do
        local cells = {}
        for c, cell in ipairs(row) do cells[c] = ("%" .. (c <= left and "-" or "") .. width[c] .. "s"):format(cell) end
        text[i] = table.concat(cells, "  ")
    end
    return table.concat(text, "\n") .. "\n"
end

local function append(to, ...) for _,
    list in ipairs { ... } do table.move(list, 1, #list, #to + 1, to) end return to end

local function names_of(prefix, list)
    local names = {}
    for i, item in ipairs(list) do names[i] = prefix .. item end
    return names
end

local function sum(list)
    local total = 0
    for _, n in ipairs(list) do total = total + n end
    return total
end

local function kernel_rows(kernels, all)
    local extra = all and { "spills", "stack" } or {}
    local rows = { append({ "file", "kernel" }, names_of("sm_", resources.targets), { "shared", "ptx" }, extra) }
    for _, name in ipairs(sorted(kernels, by_file)) do
        local k = kernels[name]
        rows[#rows + 1] = append({ k.file, name }, k.registers, { k.shared, k.ptx },
                                 all and { sum(k.spills), sum(k.stack) } or {})
    end
    return rows
end

local function launch_rows(counts)
    local rows = { append({ "kind", "name" }, launches.presets) }
    for _, what in ipairs(sorted(counts)) do
        local kind, name = what:match("^(%S+) (.*)$")
        rows[#rows + 1] = append({ kind, name }, counts[what])
    end
    return rows
end

---- the file ----

local function read()
    local kernels, counts, section = {}, {}, nil
    for line in io.lines(path) do
        local words = {}
        for word in line:gmatch("%S+") do words[#words + 1] = tonumber(word) or word end
        if line:find("^%[") then section = line:match("%w+")
        elseif line == "" or line:find("^#") or words[1] == "file" or words[1] == "kind" then goto continue
        elseif section == "kernels" then
            local n = #resources.targets
            kernels[words[2]] = { file = words[1], registers = table.move(words, 3, n + 2, 1, {}),
                                  shared = words[n + 3], ptx = words[n + 4] }
        else counts[words[1] .. " " .. words[2]] = table.move(words, 3, #words, 1, {}) end
        ::continue::
    end
    return kernels, counts
end

local HEADER = [[
# What kernels, and a training step on the GPU, may use at most. Tests hold the build against it; after a change that
# is meant to need more, write it anew: lua5.4 tests/cuda_gates/budget.lua --write BUILD

# Registers of a thread at each target, bytes of static shared memory, and instructions in PTX, of which 5 % more are
# let through.
# Spills and stack frames have no budget: there are none.
[kernels]
]]
local MIDDLE = [[

# How often each is run in a step of bf16 in one micro-batch.
[launches]
]]

local function write(build)
    local kernels, counts = resources.read(build), launches.count(build)
    local handle = assert(io.open(path, "w"))
    handle:write(HEADER, lines(kernel_rows(kernels), 2), MIDDLE, lines(launch_rows(counts), 2))
    handle:close()
end

---- holding against it ----

local problems = 0
local function problem(...)
    problems = problems + 1
    io.stderr:write(string.format(...), "\n")
end

local function hold(name, what, used, budget)
    if used > budget then
        problem("%s: %d %s, %d more than its budget of %d", name, used, what, used - budget, budget)
    end
end

local function hold_kernel(name, k, budget)
    for i, target in ipairs(resources.targets) do
        if not k.registers[i] then problem("%s: nothing is said of it for sm_%d", name, target)
        else
            if k.spills[i] > 0 then
                problem("%s: spills %d bytes of registers at sm_%d: no kernel may", name, k.spills[i], target)
            end
            if k.stack[i] > 0 then
                problem("%s: has a stack frame of %d bytes at sm_%d: no kernel may", name, k.stack[i], target)
            end
            if budget then hold(name, "registers at sm_" .. target, k.registers[i], budget.registers[i]) end
        end
    end
    if not budget then problem("%s: %s.cu has the kernel, the budget has not", name, k.file) return end
    if k.file ~= budget.file then problem("%s: is in %s.cu, in the budget in %s.cu", name, k.file, budget.file) end
    hold(name, "bytes of static shared memory", k.shared, budget.shared)
    hold(name, "instructions in PTX", k.ptx, math.floor(budget.ptx * (1 + PTX_SLACK)))
end

local function hold_kernels(build)
    local kernels, twice = resources.read(build)
    local budget = read()
    io.write(lines(kernel_rows(kernels, true), 2))
    for _, name in ipairs(sorted(kernels, by_file)) do hold_kernel(name, kernels[name], budget[name]) end
    for _, name in ipairs(sorted(budget, by_file)) do
        if not kernels[name] then problem("%s: the budget has the kernel, %s.cu has not", name, budget[name].file) end
    end
    for _, text in ipairs(twice) do problem("%s: names of kernels are unique", text) end
end

local function hold_launches(build)
    local counts = launches.count(build)
    local _, budget = read()
    local all = {}
    for _, what in ipairs(sorted(counts)) do
        for k, preset in ipairs(launches.presets) do
            all[k] = (all[k] or 0) + counts[what][k]
            hold(what, "times in a step of " .. preset, counts[what][k], (budget[what] or {})[k] or 0)
        end
    end
    io.write(lines(append(launch_rows(counts), { append({ "all", "" }, all) }), 2))
end

local modes = { kernels = hold_kernels, launches = hold_launches, ["--write"] = write }
local mode = assert(#arg == 2 and modes[arg[1]], "budget.lua kernels|launches|--write BUILD")
mode(arg[2])
if problems > 0 then
    io.stderr:write("if this is meant: lua5.4 tests/cuda_gates/budget.lua --write ", arg[2],
                    ", and say why in the commit\n")
end
os.exit(problems == 0)
