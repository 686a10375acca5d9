-- The feed-forward of a published mixture of experts, for presets: the router of that name, and in `keys` how many
-- experts there are, how wide, and what is otherwise than in the router's row.
local routers = require "sluice.routers"

return function(name, keys)
  for _, row in ipairs(routers) do
    if row.name == name then
      local ffn = { "moe", router = row.router, balance = row.balance, dispatch = row.dispatch }
      for key, value in next, keys do ffn[key] = value end
      return ffn
    end
  end
  error("no router '" .. name .. "'")
end
