-- What a training step runs on the GPU: a preset trains on the emulated one for two steps and for three; the difference
-- is a step.
local ptx = require "ptx"
local launches = { presets = { "baseline-nano", "welm-nano" } }

local study = [[
local sl = require "sluice"
return sl.study { name = "s", base = sl.preset "%s", replicates = 1, baseline = "base", data = "synthetic",
                  variants = { base = {} },
  train = { backend = "cuda", precision = "bf16", steps = %d, batch = 2, eval_every = 100, eval_tokens = 256,
            checkpoint_every = 100 } }
]]

local function run(build, folder, preset, steps)
    local script = ("%s/%s-%d.lua"):format(folder, preset, steps)
    local handle = assert(io.open(script, "w"))
    handle:write(study:format(preset, steps))
    handle:close()
    local pipe = assert(io.popen(("LD_LIBRARY_PATH=%s/ptxhost PTXHOST_KERNELS=%s/ptxhost/sluice-fast.so " ..
        "PTXHOST_TRACE=1 %s/sluice run %s --out %s/%s-%d -p none 2>&1")
        :format(build, build, build, script, folder, preset, steps)))
    local runs, said = {}, {}
    for line in pipe:lines() do
        local what = line:match("^ptxhost: run (%l+ %S+)")
        if what then runs[what] = (runs[what] or 0) + 1
        elseif not line:find("^ptxhost: ") then said[#said + 1] = line end
    end
    if not pipe:close() then
      error(("training %s on the emulated GPU failed:\n%s"):format(preset, table.concat(said, "\n")), 0)
    end
    return runs
end

-- { ["kernel rmsnorm_forward<true>"] = { 12, 17 }, ["copy cudaMemcpyAsync"] = ... }: a number for each preset.
function launches.count(build)
    local folder = io.popen("mktemp -d"):read()
    local counts, mangled = {}, {}
    for k, preset in ipairs(launches.presets) do
        local two, three = run(build, folder, preset, 2), run(build, folder, preset, 3)
        for what, n in pairs(three) do
            local more = n - (two[what] or 0)
            if more > 0 then
                if not counts[what] then counts[what] = {} end
                counts[what][k] = more
                mangled[#mangled + 1] = what:match("^kernel (.*)")
            end
        end
    end
    os.execute("rm -r " .. folder)
    local names, readable = ptx.readable(mangled), {}
    for what, n in pairs(counts) do
        for k = 1, #launches.presets do n[k] = n[k] or 0 end
        readable[(what:gsub("^kernel (.*)", function(name) return "kernel " .. names[name] end))] = n
    end
    return readable
end

return launches
