-- Reads the PTX that a build left: its files, its kernels by readable names, its instructions with their places in the
-- CUDA source.
local ptx = {}

-- { name = "rmsnorm", path = "BUILD/ptx/rmsnorm/rmsnorm.ptx" }, ...
function ptx.files(build)
    local files = {}
    for path in io.lines(build .. "/ptx/list.txt") do
        files[#files + 1] = { name = path:match("([^/]+)/[^/]+$"), path = path }
    end
    return files
end

-- Mangled names to those of a reader: "_Z11embed_headsILi4EEv6pieces3sum" is "embed_heads<4>".
function ptx.readable(mangled)
    if #mangled == 0 then return {} end
    local pipe = assert(io.popen("c++filt '" .. table.concat(mangled, "' '") .. "'"))
    local names, i = {}, 0
    for full in pipe:lines() do
        i = i + 1
        names[mangled[i]] = full:gsub("^void ", ""):gsub("%b()$", ""):gsub(", ", ","):gsub(" ", "_")
    end
    assert(pipe:close() and i == #mangled, "c++filt failed")
    return names
end

-- Calls visit(instruction) for each instruction of a file's kernels, and outside(line, number) for each line that is in
-- none.
-- instruction: { kernel = mangled name, opcode, text = all of it, line = in the PTX, source = "cuda/rmsnorm.cu:31" }
function ptx.each(path, visit, outside)
    local handle = assert(io.open(path))
    local text = handle:read("a")
    handle:close()
    local files = {}
    for number, file in text:gmatch('\n%s*%.file%s+(%d+)%s+"([^"]+)"') do
        files[number] = file:match("cuda/[^/]+$") or file
    end
    local kernel, depth, number, pending, begun, source = nil, 0, 0, "", 0, path
    for line in text:gmatch("([^\n]*)\n") do
        number = number + 1
        line = line:gsub("//.*", "")
        local file, at = line:match("^%s*%.loc%s+(%d+)%s+(%d+)")
        if line:find("^[%w. ]*%.entry ") then kernel = line:match("%.entry%s+([%w_$]+)") end
        if not kernel then
            if outside then outside(line, number) end
        elseif file then
            -- A helper of the toolkit's headers is not the place: its caller was named just before.
            local header = files[file]:find("/include/", 1, true) and line:find("inlined_at", 1, true)
            if at ~= "0" and not header then source = files[file] .. ":" .. at end
        else
            local _, opened = line:gsub("{", "")
            local _, closed = line:gsub("}", "")
            if depth == 0 then pending = line:match("^%s*{(.*)$") or "" else pending = pending .. line .. " " end
            depth = depth + opened - closed
            repeat
                pending = pending:gsub("^[%s{}]+", ""):gsub("^[%w_$]+:%f[^:]%s*", "")
                if begun == 0 and pending ~= "" then begun = number end
                local statement, after = pending:match("^([^;]+);(.*)$")
                if statement then
                    local opcode = statement:match("^@!?%S+%s+([%w._:]+)") or statement:match("^[%w._:]+")
                    visit { kernel = kernel, opcode = opcode, text = statement, line = begun, source = source }
                    pending, begun = after, 0
                end
            until not statement
            if depth == 0 and closed > 0 then kernel = nil end
        end
    end
end

return ptx
