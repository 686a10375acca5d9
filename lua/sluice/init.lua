-- Sluice for experiment scripts: describe a model, describe a study of it, return the study.
local host = ...
local model = require "sluice.model"
local study = require "sluice.study"

-- Every function is called with the place of its caller first.
return {
  _NAME = "sluice",
  model = host.entry("model", model.new),
  preset = host.entry("preset", model.preset),
  extend = host.entry("extend", model.extend),
  deepen = host.entry("deepen", model.deepen),
  study = host.entry("study", study.new),
  leave_one_out = host.entry("leave_one_out", study.leave_one_out),
  factorial = host.entry("factorial", study.factorial),
  router = host.entry("router", model.router),
  routers = host.entry("routers", model.routers),
  mixer = host.entry("mixer", model.mixer),
  mixers = host.entry("mixers", model.mixers),
  u_mirror = host.entry("u_mirror", model.u_mirror),
}
