#!/bin/sh
# The study of all published routers: each trains, is evaluated and keeps its metrics.
set -eu

sluice=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$sluice" run experiments/routers.lua --data synthetic --replicates 1 --set train.steps=2 --set train.eval_tokens=2048 \
    --set train.schedule.warmup=1 --out "$work" --progress none >"$work/said" 2>&1 || { cat "$work/said" >&2; exit 1; }
"$sluice" ls "$work/routers" >"$work/runs"
finished=$(grep -c finished "$work/runs")
[ "$finished" -ge 30 ] && [ "$finished" = "$(grep -c /0 "$work/runs")" ] || { cat "$work/runs" >&2; exit 1; }
echo "routers: $finished trained"
