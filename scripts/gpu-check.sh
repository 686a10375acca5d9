#!/bin/sh
# On a machine with an NVIDIA GPU: holds the hardware against what the tests know of it, then measures; 12 minutes at
# most.
#
#   gpu-check.sh [--small] BUNDLE OUT     BUNDLE: sluice-VERSION-linux-x86_64.tar.gz, or the folder that it unpacks to
#   gpu-check.sh --list                   every check and the seconds that it may take
#
# --small: models and batches that the emulated GPU can train. OUT, a new folder, gets results.tsv, a line for each
# check as it ends; log.txt, what they printed; bench.jsonl, what they measured. bench/gpu_results.py makes a page
# of it.
# Exit code: 0 all is well (or was not measured), 1 something differs, failed, crashed or hung, 77 there is no GPU.
# Needs sh and what every Linux has: coreutils, grep, sed, tar, gzip.
set -u
export LC_ALL=C

minutes=12
self=$0
list='' small='' started=''
fail() { echo "gpu-check.sh: $*" >&2; exit 2; }
now() { echo $(($(date +%s%N) / 1000000)); }                # in milliseconds

# ---- what checks do: gpu-check.sh --step FUNCTION ARGUMENT.., a process of its own so that it can be stopped ----

# Variables of a step: BUNDLE, WORK, JSON (a file for what it measures, one value a line), SMALL.
sluice() { "$BUNDLE/sluice" "$@"; }
in_environment() { . "$BUNDLE/lib/cuda.sh" && "$@"; }

# Where the backend finds no GPU, the kit, which needs fewer libraries, says whether there is none.
machine() {
    printf '{"date": "%s", "revision": "%s", "small": %s, "doctor": %s}\n' "$(date -u +%Y-%m-%d)" \
        "$(cat "$BUNDLE/REVISION")" "${SMALL:-false}" \
        "$(sluice doctor --json | tr -d '\n')" >"$JSON"
    ! command -v nvidia-smi >/dev/null || nvidia-smi
    doctor=$(sluice doctor) && echo "$doctor" || return
    echo "$doctor" | grep '^GPU 0' && return
    in_environment "$BUNDLE/check/ptxhost_conformance" | grep 'forms passed' &&
        { echo "$doctor" | grep '^CUDA'; return 1; }
    echo 'no GPU'
    return 77
}

# bench PRESET OPTION..
bench() {
    preset=$1
    shift
    set -- --backend cuda --json "$@"
    if [ -n "$SMALL" ]; then
        cat >"$WORK/$preset.lua" <<END
local sl = require "sluice"
return sl.study { base = sl.preset "$preset", data = "synthetic", replicates = 1, baseline = "$preset",
                  variants = { ["$preset"] = { layers = 2, d_model = 32, ["ffn.d_ff"] = 16, seq = 16, vocab = 256 } } }
END
        set -- --script "$WORK/$preset.lua" --batch 2 --steps 1 "$@"
    else
        set -- "$preset" --batch 64 "$@"
    fi
    sluice bench "$@" >"$JSON.lines" && tr -d '\n' <"$JSON.lines" >"$JSON" && echo >>"$JSON" &&
        sed -n 's|.*"tokens_per_second": \([0-9]*\).*|\1 tokens/s|p' "$JSON.lines"
}

# train FOLDER OPTION..: the check's own study.
train() {
    folder=$1
    shift
    [ -z "$SMALL" ] || set -- "$@" --set layers=2 --set d_model=32 --set seq=16 --set train.batch=2 \
        --set train.steps=4 --set train.eval_tokens=32
    sluice run "$WORK/study.lua" --out "$WORK/$folder" --progress none "$@"
}
state() { cat "$WORK/$1"/study/*/0/checkpoints/*/state.safetensors; }

# same_bits PRECISION HOW NAME=VALUE: the checkpoint of the check "training", trained again.
same_bits() {
    state "$1" >"$WORK/first" || { echo 'the first training left no checkpoint'; return 77; }
    export "$3"
    { train "$1 $2" --replicates 1 --set train.precision="$1" && state "$1 $2" >"$WORK/second"; } || return 7
    cmp "$WORK/first" "$WORK/second" && echo "$(wc -c <"$WORK/first") equal bytes"
}

# together JOBS: four runs, so many at once.
together() {
    begun=$(now)
    train "together $1" --jobs "$1" --set train.precision=bf16 --set train.steps=300 || return
    took=$(($(now) - begun))
    printf '{"jobs": %d, "runs": 4, "seconds": %d.%03d}\n' "$1" $((took / 1000)) $((took % 1000)) >"$JSON"
    echo "$((4 * 60000 / took)) runs a minute"
}

torch() {
    for python in python3 python; do
        command -v $python >/dev/null && $python -c 'import torch' 2>/dev/null &&
            exec $python "$BUNDLE/check/torch_gpu.py" "$@" >"$JSON"
    done
    echo "no PyTorch"
    return 77
}

# sanitized TOOL COMMAND..
sanitized() {
    tool=$1
    shift
    for sanitizer in "$(command -v compute-sanitizer)" /usr/local/cuda*/bin/compute-sanitizer; do
        [ -x "$sanitizer" ] || continue
        export SLUICE_CUDA_MEMORY=apart                     # so that every tensor's end is an allocation's
        in_environment "$sanitizer" --tool "$tool" --error-exitcode 1 --target-processes all "$@"
        return
    done
    echo "no compute-sanitizer"
    return 77
}

# ---- lines of the report ----

# result NAME VERDICT MILLISECONDS LIMIT DETAIL
result() {
    printf '%s\t%s\t%d.%d\t%d\t%s\n' "$1" "$2" $(($3 / 1000)) $(($3 % 1000 / 100)) "$4" "$5" >>"$out/results.tsv"
    printf '%-12s %6d.%d s  %s%s\n' "$2" $(($3 / 1000)) $(($3 % 1000 / 100)) "$1" "${5:+: $5}"
}

# judge CODE MILLISECONDS GIVEN: sets $verdict and $detail. Exit codes 1 to 6, in which tests count what failed, mean
# $wrong; 7 is a failure of the device.
judge() {
    detail=$(tail -n 1 "$said")
    case $1 in
    0) verdict=ok ;;
    77) verdict='not measured' ;;
    [1-6]) verdict=$wrong ;;
    124) verdict=hung ;;
    126 | 127) verdict=FAILED ;;
    *)  if [ "$1" -le 128 ]; then verdict=FAILED
        elif [ "$1" = 137 ] && [ "$2" -ge $(($3 * 1000)) ]; then verdict=hung
        else verdict=crashed; fi ;;
    esac
    case $verdict in
    crashed) detail="signal $(($1 - 128)): $detail" ;;
    hung) detail="stopped after $3 s"
        [ "$3" = "$limit" ] || verdict='not measured' detail="no time left: $detail" ;;
    FAILED | DIFFERS)
        ! grep -q 'cannot be loaded' "$said" || verdict=FAILED
        why=$(grep -iE 'error|apart|differ|fail|cannot|not found|unknown' "$said" || cat "$said")
        detail="exit code $1: $(echo "$why" | head -n 1)" ;;
    esac
    detail=$(echo "$detail" | tr -s '\t ' ' ' | cut -c 1-160)
}

# The part of a long output that matters: how it began and how it ended.
excerpt() {
    if [ "$(wc -c <"$said")" -le 24000 ]; then cat "$said"
    else head -c 8000 "$said"; echo; echo '[...]'; tail -c 16000 "$said"; fi
}

# check NAME LIMIT FUNCTION ARGUMENT..
check() {
    name=$1 limit=$2
    shift 2
    [ -z "$list" ] || { printf '%s\t%d\n' "$name" "$limit"; return; }
    given=$(((deadline - $(now)) / 1000))
    [ "$given" -gt 0 ] || { result "$name" 'not measured' 0 "$limit" 'no time left'; return; }
    [ "$given" -lt "$limit" ] || given=$limit
    said=$(mktemp "$WORK/said.XXXXXX") JSON=$said.json
    export JSON
    begun=$(now) code=0
    timeout -k 5 "$given" sh "$self" --step "$@" >"$said" 2>&1 </dev/null &
    started=$!
    wait $! || code=$?
    took=$(($(now) - begun))
    judge $code $took "$given"
    { printf '==== %s: %s, exit code %d, %d ms ====\n' "$name" "$verdict" $code $took; excerpt; echo; } >"$said.log"
    cat "$said.log" >>"$out/log.txt"                        # at once: others may write too
    [ ! -e "$JSON" ] || while read -r value; do
        printf '{"check": "%s", "result": %s}\n' "$name" "$value"
    done <"$JSON" >>"$out/bench.jsonl"
    result "$name" "$verdict" $took "$limit" "$detail"
}
differs() { wrong=DIFFERS; check "$@"; }
measures() { wrong=FAILED; check "$@"; }

# parallel NAME LIMIT FUNCTION ARGUMENT..: a comparison beside others, as many at once as there are cores.
parallel() {
    [ -z "$list" ] || { differs "$@"; return; }
    { trap stop INT TERM; started=''; read -r _ <&3; differs "$@"; echo >&3; } &
    started="$started $!"
}

stop() { kill $started 2>/dev/null; exit 130; }

# ---- all checks: what is worth most comes first ----

presets='baseline-nano baseline-micro baseline-tiny baseline-small baseline-medium welm-nano welm-tiny dense-124m'

hold() {
    kit=$BUNDLE/check
    parallel 'conformance of instructions' 120 in_environment "$kit/ptxhost_conformance"
    for test in ops edges fill fused modules training; do
        parallel "parity: $test" 200 in_environment "$kit/test_cuda_$test"
    done
    for test in ops fill; do
        parallel "parity: $test, several waves" 200 in_environment "$kit/test_cuda_$test" waves
    done
    parallel 'parity: grouped_matmul by the library' 100 in_environment env SLUICE_CUDA_GROUPED=library \
        SLUICE_CUDA_GRAPH=off "$kit/test_cuda_ops" grouped_matmul
    wait
    for precision in fp32 bf16; do
        measures "training: $precision" 40 train $precision --replicates 1 --set train.precision=$precision
        differs "same bits: $precision, again" 40 same_bits $precision again SLUICE_CUDA_GRAPH=on
        differs "same bits: $precision, graph off" 40 same_bits $precision graph SLUICE_CUDA_GRAPH=off
        differs "same bits: $precision, memory apart" 40 same_bits $precision memory SLUICE_CUDA_MEMORY=apart
    done
}

measure() {
    for precision in bf16 fp32; do
        for preset in $presets; do
            measures "throughput: $preset $precision" 40 bench $preset --precision $precision
        done
    done
    for preset in baseline-medium dense-124m; do
        measures "ceilings: $preset" 60 bench $preset --ceilings --precision bf16
    done
    for preset in welm-tiny baseline-medium dense-124m; do
        measures "time by op: $preset" 45 bench $preset --ops --precision bf16
    done
    for jobs in 1 2 4; do measures "runs on one GPU: $jobs at once" 60 together $jobs; done
    for what in product copy grouped attention; do measures "PyTorch: $what" 45 torch $what; done
}

sanitize() {
    tiny='--replicates 1 --set layers=2 --set seq=16 --set train.batch=2 --set train.steps=2 --set train.eval_tokens=32'
    for tool in memcheck racecheck; do
        differs "$tool: ops" 90 sanitized $tool "$BUNDLE/check/test_cuda_ops" rmsnorm rope dispatch
        differs "$tool: training" 90 sanitized $tool "$BUNDLE/bin/sluice" run "$WORK/study.lua" --out "$WORK/$tool" \
            --progress none $tiny
    done
}

# ---- the command ----

case ${1:-} in
--step) shift; "$@"; exit ;;
--list) list=1 BUNDLE='' WORK=''; measures machine 60 machine; hold; measure; sanitize; exit ;;
--small) small=true; shift ;;
-*) fail "unknown option $1 (known: --small, --list)" ;;
esac
[ $# = 2 ] || fail "usage: gpu-check.sh [--small] BUNDLE OUT"
deadline=$(($(now) + minutes * 60000 - 10000))              # what hangs at the end takes some seconds to stop

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap stop INT TERM
self=$(readlink -f "$0")
SMALL=$small WORK=$work
[ ! -e "$2" ] || fail "$2 is there already: name a new folder"
mkdir "$2" && out=$(readlink -f "$2") || exit 2
if [ -d "$1" ]; then BUNDLE=$(readlink -f "$1"); else
    tar -xzf "$1" -C "$work" || fail "$1 is no bundle: scripts/gpu-bundle.sh makes one"
    BUNDLE=$(echo "$work"/sluice-*)
fi
[ -x "$BUNDLE/sluice" ] || fail "$1 has no program sluice: it is no bundle"
export SMALL WORK BUNDLE
cat >"$work/study.lua" <<'END'
local sl = require "sluice"
return sl.study {
  base = sl.preset "welm-nano", data = "synthetic", replicates = 4, baseline = "base", variants = { base = {} },
  train = { backend = "cuda", steps = 20, batch = 64, eval_every = 20, eval_tokens = 8192 },
}
END
mkfifo "$work/places"                                       # for what runs at the same time
exec 3<>"$work/places"
seq "$(nproc)" >&3

measures machine 60 machine
[ "$verdict" != 'not measured' ] || { echo 'gpu-check.sh: no GPU here' >&2; exit 77; }
hold
measure
sanitize
! cut -f 2 "$out/results.tsv" | grep -qE '^(FAILED|DIFFERS|hung|crashed)$'
