-- What the kernels of a build use, by ptxas and by their PTX.
local ptx = require "ptx"
local resources = { targets = { 80, 90, 100, 120 } }

local function read_log(path, k, kernels)
    local now
    for line in io.lines(path) do
        local name = line:match("Compiling entry function '(%S+)'")
        now = name and kernels[name] or now
        local frame = "(%d+) bytes stack frame, (%d+) bytes spill stores, (%d+) bytes spill loads"
        local stack, stores, loads = line:match(frame)
        if stack then
            now.stack[k] = tonumber(stack)
            now.spills[k] = stores + loads
        end
        local registers = line:match("Used (%d+) registers")
        if registers then
            now.registers[k] = tonumber(registers)
            now.shared = math.max(now.shared, tonumber(line:match("(%d+) bytes smem") or 0))
        end
    end
end

-- { ["rmsnorm_forward<true>"] = { file, registers, spills, stack (each a number a target), shared = most bytes of any
-- target, ptx = instructions } }, and a text for each name that two files have.
function resources.read(build)
    local all, twice = {}, {}
    for _, file in ipairs(ptx.files(build)) do
        local kernels, mangled = {}, {}
        ptx.each(file.path, function(i)
            if not kernels[i.kernel] then
                mangled[#mangled + 1] = i.kernel
                kernels[i.kernel] = { file = file.name, registers = {}, spills = {}, stack = {}, shared = 0, ptx = 0 }
            end
            if i.opcode:sub(1, 1) ~= "." then kernels[i.kernel].ptx = kernels[i.kernel].ptx + 1 end
        end)
        for k, target in ipairs(resources.targets) do
            read_log(("%s/sm_%d.txt"):format(file.path:match("^(.*)/"), target), k, kernels)
        end
        for name, readable in pairs(ptx.readable(mangled)) do
            if all[readable] then
                twice[#twice + 1] = ("%s is in %s.cu and in %s.cu"):format(readable, all[readable].file, file.name)
            end
            all[readable] = kernels[name]
        end
    end
    return all, twice
end

return resources
