#!/bin/sh
# How does the time of a step grow? With experts, sequence length, layers, threads, tokens a step, and against a dense
# model that is as wide. Every point of a table is measured once in each round, so ratios are of neighbours in time.
# Prints Markdown.
set -eu

usage() {
    cat <<'END_OF_USAGE'
usage: sh bench/scaling.sh [TABLE...] [option value]...
  TABLE           experts seq layers threads tokens dense (all of them)
  --rounds N      measurements of each point (5)
  --steps N       timed steps of one, after 2 that warm up (5)
  --precision P   fp32 or bf16 (fp32)
  --threads N     (2)
  --cpus LIST     processors, as taskset takes them (the first N)
SLUICE: the program (build/sluice).
END_OF_USAGE
}
. "$(dirname "$0")/options.sh"
rounds=5 steps=5 precision=fp32 threads=2 cpus=
take "rounds steps precision threads cpus" "$@"
tables=${words:-experts seq layers threads tokens dense}
: "${cpus:=0-$((threads - 1))}"

# The points of a table: a variant of models.lua, then how it is run. What others are held against comes first.
points() {
    case $1 in
    experts) echo "tiny,experts=8 tiny tiny,experts=32 tiny,experts=64" ;;
    seq) echo "tiny,seq=256 tiny tiny,seq=1024" ;;
    layers) echo "tiny,layers=3 tiny tiny,layers=12" ;;
    threads) echo "tiny:threads=1 tiny:threads=$threads" ;;
    tokens) echo "tiny tiny:batch=1 tiny:batch=2 tiny:batch=8 tiny:batch=16" ;;
    dense) echo "tiny-dense tiny small-dense small" ;;
    *) fail "no table $1 (experts seq layers threads tokens dense)" ;;
    esac
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# measure POINT ROUND
measure() {
    how=
    case $1 in *:*) how="--${1#*:}" ;; esac
    case $how in *threads*) ;; *) how="$how --threads=$threads" ;; esac
    taskset -c "$cpus" "$sluice" bench --script "$here/models.lua" --variant "${1%%:*}" $how --precision "$precision" \
        --steps "$steps" --json >"$work/$1.$2" 2>"$work/said" ||
        fail "$1: $(cat "$work/said")"
}

for name in $tables; do points "$name" >/dev/null; done
for name in $tables; do
    for round in $(seq "$rounds"); do
        echo "$name: round $round of $rounds" >&2
        for point in $(points "$name"); do measure "$point" "$round"; done
    done
    python3 "$here/tables.py" "$name" "$work" $(points "$name")
    rm -f "$work"/*
done
