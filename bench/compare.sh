#!/bin/sh
# How much faster does Sluice train than PyTorch on this machine? Both by turns on the same models, processors and
# threads; what counts is the ratio within a pair. Prints Markdown.
set -eu

usage() {
    cat <<'END_OF_USAGE'
usage: sh bench/compare.sh [MODEL...] [option value]...
  MODEL                a variant of bench/models.lua (micro tiny small medium dense-124m)
  --pairs N            runs of each (5)
  --steps N            timed steps of a run, after 2 that warm up (by the model's size: 20 to 2)
  --precision P        fp32 or bf16 (fp32)
  --peer-precision P   of PyTorch, when it is to be another one
  --dispatch D         of PyTorch: sort, or padded, which drops tokens and is its fastest in bf16 (sort)
  --threads N          of both (2)
  --cpus LIST          processors of both, as taskset takes them (the first N)
  --clock C            wall, or processor: the time that other programs did not take; for --threads 1 (wall)
  --json FILE          write all figures there as well
SLUICE: the program (build/sluice). PEER_PYTHON: a python with another PyTorch (/usr/bin/python3).
END_OF_USAGE
}
. "$(dirname "$0")/options.sh"
python=${PEER_PYTHON:-/usr/bin/python3}
pairs=5 steps= precision=fp32 peer_precision= dispatch=sort threads=2 cpus= clock=wall json=
take "pairs steps precision peer-precision dispatch threads cpus clock json" "$@"
models=${words:-micro tiny small medium dense-124m}
: "${peer_precision:=$precision}" "${cpus:=0-$((threads - 1))}"

"$python" -c 'import torch' 2>/dev/null || fail "$python has no PyTorch: apt-get install python3-torch \
libopenblas0-openmp, or name another: PEER_PYTHON=.../python"
[ -n "${PEER_PYTHON:-}${PEER_PLAIN:-}" ] || [ -d "/usr/lib/$(uname -m)-linux-gnu/openblas-openmp" ] ||
    fail "Debian's PyTorch is half as fast as it could be: apt-get install libopenblas0-openmp (PEER_PLAIN=1: compare \
as it is)"

# So that a run takes some seconds; large models vary less.
steps_of() {
    case $1 in
    micro*) echo 20 ;;
    tiny*) echo 8 ;;
    small*) echo 3 ;;
    *) echo 2 ;;
    esac
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# sluice_run MODEL PAIR
sluice_run() {
    taskset -c "$cpus" "$sluice" bench --script "$here/models.lua" --variant "$1" --precision "$precision" \
        --threads "$threads" --steps "$n" --json >"$work/$1.$2.sluice"
}
peer_run() {
    taskset -c "$cpus" sh "$here/peer/run.sh" "$work/$1.config" --precision "$peer_precision" --dispatch "$dispatch" \
        --threads "$threads" --steps "$n" >"$work/$1.$2.peer"
}

for model in $models; do
    n=${steps:-$(steps_of "$model")}
    "$sluice" plan "$here/models.lua" --config "$model" >"$work/$model.config"
    for pair in $(seq "$pairs"); do
        echo "$model: pair $pair of $pairs" >&2
        if [ $((pair % 2)) = 1 ]; then first=sluice_run second=peer_run; else first=peer_run second=sluice_run; fi
        $first "$model" "$pair" 2>"$work/said" || fail "$model: $(cat "$work/said")"
        $second "$model" "$pair" 2>"$work/said" || fail "$model: $(cat "$work/said")"
    done
done
python3 "$here/tables.py" compare "$work" "$clock" "$json" $models
