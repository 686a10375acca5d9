#!/bin/sh
# What a plan says that a run takes is what it takes, within 5 %, with each of what saves memory: activations computed
# again, moments of 8 bits, activations in bf16; and with what needs more.
set -eu

sluice=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export TMPDIR="$work"
cd "$work"

(ulimit -v 400000; "$sluice" --version >/dev/null 2>&1) || { echo "a sanitizer's own memory would be counted"; exit 0; }

while read -r name keys; do
    cat >"$name.lua" <<LUA
local sl = require "sluice"
return sl.study {
  name = "memory", data = "synthetic", replicates = 1, variants = { base = {} },
  train = { steps = 10, batch = 192, $keys },
  base = sl.extend(sl.preset "baseline-nano", { layers = 12, d_model = 32, ["ffn.d_ff"] = 32, ["ffn.experts"] = 4 }),
}
LUA
    "$sluice" bench --script "$name.lua" --steps 1 --json >"$name.json" 2>said || { cat said >&2; exit 1; }
    python3 - "$name" <<'END'
import json, sys
run = json.load(open(sys.argv[1] + ".json"))[0]
predicted, measured = run["memory_predicted"] / 2**20, run["memory_measured"] / 2**20
print(f"{sys.argv[1]:10} {predicted:7.1f} MiB planned, {measured:7.1f} taken: {measured / predicted:.3f}")
assert abs(measured / predicted - 1) < 0.05
END
done <<'END'
none
selective recompute = "selective"
full recompute = "full", batch = 512
halves precision = "bf16"
moments optim = { "adamw", state = "int8" }
averages average = "ema"
END
python3 - <<'END'
import json
runs = [json.load(open(name + ".json"))[0] for name in ("none", "selective", "full")]
none, selective, full = (run["memory_measured"] / run["batch"] for run in runs)
assert full < 0.3 * none and full < selective < 0.8 * none, (none, selective, full)
END
