#!/bin/sh
# sluice coordcheck: where rates are as they are set, steps change more the wider a model is; with muP they do not.
set -eu
. "$(dirname "$0")/study.sh"

cat >widths.lua <<'LUA'
local sl = require "sluice"
local function wide(width, parametrization)
  return { d_model = width, parametrization = parametrization, ["attention.heads"] = width // 8,
           ["attention.kv_heads"] = width // 16, ["ffn.d_ff"] = width }
end
local variants = {}
for _, width in ipairs { 32, 64, 128 } do
  variants["standard_" .. width] = wide(width, "standard")
  variants["mup_" .. width] = wide(width, { "mup", base_d_model = 16 })
end
return sl.study {
  base = sl.model { layers = 2, seq = 32, attention = { "gqa", head_dim = 8 },
                    ffn = { "moe", experts = 8, router = { top_k = 2 }, balance = { { "switch_aux", alpha = 0.1 } } } },
  variants = variants, baseline = "standard_32", replicates = 2, data = "synthetic",
  train = { steps = 10, batch = 4, optim = { "adamw", lr = 1e-2 } },
}
LUA
leaves 0 "$sluice" coordcheck widths.lua
says 'mup base_d_model=16: all are flat'
says 'standard: 9 grow with the width'
leaves 0 "$sluice" coordcheck widths.lua --json
/usr/bin/python3 - <<'PY' || fail "slopes"
import json
for line in json.load(open("log")):
    assert line["d_model"] == [32, 64, 128]
    assert [c["after"] for c in line["changes"]] == [1, 3, 10] * 3
    for c in line["changes"]:
        flat = line["parametrization"] != "standard"
        assert (abs(c["slope"]) < 0.1) == flat and (c["verdict"] == "flat") == flat, c
PY

# ---- what cannot be asked ----
sed 's/{ 32, 64, 128 }/{ 64 }/; s/standard_32/standard_64/' widths.lua >one.lua
leaves 3 "$sluice" coordcheck one.lua
says "has one width, d_model = 64"
sed 's/variants = variants/axes = { d_model = { 32, 64 }, ["ffn.d_ff"] = { 16, 32 } }/
     s/baseline = .standard_32.,/baseline = "d_model=32,d_ff=16",/' widths.lua >twice.lua
leaves 3 "$sluice" coordcheck twice.lua
says "are both 32 wide"
