#!/bin/sh
# Layouts that sluice plan simulates: sorted, as large as what is planned, as long as what is measured; and what cannot
# be had is refused with its reason.
set -eu
export LC_ALL=C
sluice=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "cli_scale.sh: $*" >&2; exit 1; }

cat >"$work/study.lua" <<'END'
local sl = require "sluice"
return sl.study { base = sl.preset "welm-nano", replicates = 1, baseline = "base", data = "synthetic",
                  variants = { base = {} }, train = { steps = 1, batch = 16, micro = 2 } }
END
sed 's/train = {/train = { ranks = { overlap = false },/' "$work/study.lua" >"$work/apart.lua"
cat >"$work/cluster.json" <<'END'
{ "name": "slow", "node": 2, "fp32_gflops": 2, "bf16_gflops": 2, "memory_gb_s": 1000, "memory_gib": 0.02, "call_us": 0,
  "inside_gb_s": 0.5, "inside_us": 200, "between_gb_s": 0.05, "between_us": 1000 }
END
plan() { "$sluice" plan "$work/study.lua" "$@"; }
on() { plan --cluster "$work/cluster.json" "$@"; }

# ---- a table, sorted; JSON and a drawing that can be read ----

on --devices 4 --json --timeline "$work/step.svg" >"$work/all.json"
on --devices 1 --json >"$work/one.json"
plan --json >"$work/plan.json"
python3 - "$work" <<'END' || fail "what is simulated is not what is planned"
import json, sys, xml.dom.minidom
work = sys.argv[1]
all, one, plan = (json.load(open(f"{work}/{name}.json")) for name in ("all", "one", "plan"))
fates = [t["fate"] for t in all["layouts"]]
assert fates == sorted(fates, key=["fits", "memory", "refused"].index) and set(fates) == {"fits", "memory", "refused"}
fits = [t for t in all["layouts"] if t["fate"] == "fits"]
seconds = [t["step_seconds"] for t in fits]
assert len(seconds) > 20 and seconds == sorted(seconds)
for t in fits:
    assert max(t["memory_bytes"]) <= all["device_memory_bytes"] and len(t["memory_bytes"]) == t["ranks"]["pp"]
    assert 0 <= t["idle_share"] < 1 and 0 <= t["exposed_seconds"] < t["step_seconds"]
    product = 1
    for size in t["ranks"].values(): product *= size
    assert product == 4
for t in all["layouts"]:
    if t["fate"] == "memory": assert max(t["memory_bytes"]) > all["device_memory_bytes"]
    if t["fate"] == "refused": assert t["why"]
# Of 1 rank nothing is told and nothing waits, and it needs what the plan says.
two, = (t for t in one["layouts"] if t["micro"] == 2)
assert two["memory_bytes"] == [plan["variants"][0]["memory_bytes"]]
assert two["exposed_seconds"] == 0 and abs(two["idle_share"]) < 1e-9
# All arithmetic at 2 GFLOP/s, but for what moves bytes alone.
flops = plan["variants"][0]["train_flops_per_token"] * one["tokens_per_step"]
assert 1 <= two["step_seconds"] / (flops / 2e9) < 1.1
assert len(xml.dom.minidom.parse(f"{work}/step.svg").getElementsByTagName("rect")) > 20
END
on --devices 4 --layout 'pp=4 schedule=1f1b zero=1 micro=8' >"$work/table"
grep -q 'model, not measured' "$work/table" || fail "nothing says that it is a model"
grep -q '^pp4 1f1b micro 8 zero 1 ' "$work/table" || fail "the layout that is asked for is not there"

# ---- messages beside computation: they hide, and the step is shorter ----

for layout in 'ep=4 micro=2' 'dp=4 zero=3 micro=2' 'pp=2 ep=2 schedule=dualpipev micro=4'; do
    on --devices 4 --json --layout "$layout" >"$work/beside.json"
    "$sluice" plan "$work/apart.lua" --cluster "$work/cluster.json" --devices 4 --json --layout "$layout" \
        >"$work/apart.json"
    python3 - "$work" <<'END' || fail "$layout: messages do not go beside computation"
import json, sys
beside, apart = (json.load(open(f"{sys.argv[1]}/{name}.json"))["layouts"][0] for name in ("beside", "apart"))
assert apart["hidden_seconds"] < 0.1 * beside["hidden_seconds"], (apart, beside)
assert beside["step_seconds"] < apart["step_seconds"]
END
done

# ---- this machine: as long as a step is ----

plan --devices 1 --json --layout micro=2 >"$work/here.json"
plan --time --json >"$work/time.json"
python3 - "$work" <<'END' || fail "a rank alone takes another time than a step that is measured"
import json, sys
here, time = (json.load(open(f"{sys.argv[1]}/{name}.json")) for name in ("here", "time"))
ratio = here["layouts"][0]["step_seconds"] / time["time"]["baseline_step_seconds"]
assert 1 / 2 < ratio < 2, ratio
END

# ---- the page has every key of a cluster's file ----

for key in $(sed -n 's/^    [A-Z_]*(struct conf, \([a-z0-9_]*\), .*/\1/p' runtime/cli/cluster.c); do
    grep -q "^|.*\`$key\`" docs/scale.md || fail "docs/scale.md does not name the key $key"
done

# ---- refused ----

refused() {
    code=$1 words=$2
    shift 2
    set +e
    "$@" >"$work/out" 2>"$work/error"
    got=$?
    set -e
    [ $got = "$code" ] && grep -q "$words" "$work/error" || fail "$*: code $got: $(cat "$work/error")"
}
sed 's/memory_gib/memry_gib/' "$work/cluster.json" >"$work/misspelt.json"
refused 4 "memry_gib: .*did you mean 'memory_gib'" plan --devices 4 --cluster "$work/misspelt.json"
echo '{ "gpu": "h900" }' >"$work/unknown.json"
refused 4 "gpu.*did you mean 'h[12]00'" plan --devices 4 --cluster "$work/unknown.json"
echo '{ "node": 8 }' >"$work/empty.json"
refused 4 'memory_gb_s: 0: must be above 0' plan --devices 4 --cluster "$work/empty.json"
echo '{ "node": 8' >"$work/broken.json"
refused 4 'broken.json:2' plan --devices 4 --cluster "$work/broken.json"
refused 2 "did you mean 'zero'" on --devices 4 --layout zeros=2
refused 2 "did you mean 'zb_h1'" on --devices 4 --layout schedule=zb_h2
refused 3 '4 devices: no layout has what --layout says as its factors' on --devices 4 --layout ep=3
refused 3 'no layout can be had' on --devices 7 --layout dp=7
refused 2 'of --devices N, which is not given' on --layout ep=2
refused 2 '\-\-devices show one variant' on --devices 4 --time
echo "scale: layouts are sorted, as large as planned, as long as measured; what cannot be had says why"
