-- What is every experiment here compared with? A model small enough that a study of it takes minutes on two cores.
local sl = require "sluice"

return sl.preset "baseline-nano"
