#!/bin/sh
# Steps in which no target counts, as each lies in another document than its token: they are skipped by name and the run
# goes on; where every step is like that, it ends.
set -eu
export LC_ALL=C

sluice=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
    echo "cli_no_target.sh: $*" >&2
    [ ! -s "$work/said" ] || cat "$work/said" >&2
    exit 1
}

# corpus NAME ONES LONGS: so many documents of one token, and of some 40
corpus() {
    awk -v ones="$2" -v longs="$3" 'BEGIN {
        for (i = 0; i < ones; i++) printf "{\"text\": \"%c\"}\n", 97 + i % 26
        for (i = 0; i < longs; i++) printf "{\"text\": \"%d quick brown foxes jump over %d lazy dogs\"}\n", i * 7919, i
    }' >"$work/$1.jsonl"
    "$sluice" data pack "$work/$1.jsonl" -o "$work/$1.tok" >/dev/null 2>&1
}

# trains NAME CODE: its study, which leaves with this code
trains() {
    cat >"$work/$1.lua" <<END
local sl = require "sluice"
return sl.study {
  name = "$1", data = "$work/$1.tok", replicates = 1, baseline = "base", variants = { base = {} },
  base = sl.model { layers = 1, d_model = 16, seq = 16, attention = { "gqa", heads = 2, kv_heads = 1, head_dim = 8 },
    ffn = { "moe", experts = 4, d_ff = 16, balance = { "bias", "z_loss" } } },
  train = { steps = 60, batch = 2, micro = 2, eval_every = 60, eval_tokens = 50, stop_window = 30,
            optim = { "adamw", lr = 0.01 } },
}
END
    got=0
    "$sluice" run "$work/$1.lua" --out "$work" -p none >"$work/said" 2>&1 || got=$?
    [ "$got" = "$2" ] || fail "$1: exit code $got, not $2"
}

# series NAME METRIC: step and value of each row
series() { "$sluice" export "$work/$1" --csv -m "train.$2" | sed 1d | awk -F, '{ print $3, $NF }'; }

corpus mixed 2400 40
trains mixed 0
for metric in targets skipped loss update_ratio router_bias_range; do
    series mixed $metric | cut -d' ' -f2 >"$work/$metric"
done
# A range is that before its step: it stays where the step before was skipped.
paste -d' ' "$work/targets" "$work/skipped" "$work/loss" "$work/update_ratio" "$work/router_bias_range" | awk '
    { empty = $1 == 0; empties += empty
      bad += $2 != empty || ($3 == "nan") != empty || ($4 == 0) != empty || (was_empty && $5 != range)
      moved += !was_empty && $5 != range; was_empty = empty; range = $5 }
    END { printf "%d of %d steps are empty, %d rows are wrong, %d moved the bias\n", empties, NR, bad, moved
          exit !(NR == 60 && empties > 5 && empties < 55 && bad == 0 && moved > 0) }' >"$work/said" ||
    fail "rows of steps without a target"

corpus only 2000 0
trains only 5
"$sluice" show "$work/only"/*/0 >"$work/said"
grep -q 'diverged.*stop_window: no target counted' "$work/said" || fail "does not say why the run ended"
[ "$(series only skipped | sort -u -k2 | wc -l)" = 1 ] && [ "$(series only skipped | wc -l)" = 30 ] ||
    fail "not 30 rows of skipped steps"
