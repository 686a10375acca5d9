#!/bin/sh
# The main job in one command: installs what is missing, builds, packs a real English corpus, trains the quickstart
# study, prints its answer and draws its plots.
# sh scripts/demo.sh
set -eu
cd "$(dirname "$0")/.."

sh scripts/deps.sh
cmake -S . -B build -G Ninja -DCMAKE_BUILD_TYPE=Release >build.log 2>&1 || { cat build.log >&2; exit 1; }
cmake --build build --target sluice -j "$(nproc)" >>build.log 2>&1 || { tail -n 60 build.log >&2; exit 1; }
sluice=build/sluice
out=runs/quickstart

data=corpus.tok
if [ ! -f "$data" ]; then
    status=0
    SLUICE=$sluice sh scripts/corpus.sh "$data" || status=$?
    case $status in
    0) ;;
    3) echo "demo: no network for the corpus; the built-in synthetic language is used instead." >&2; data=synthetic ;;
    *) exit "$status" ;;
    esac
fi
echo "demo: training on $data" >&2

$sluice run experiments/quickstart.lua --data "$data"
$sluice compare "$out"
$sluice plot "$out" --kind loss -m train.loss -o "$out/loss.png"
$sluice plot "$out" --kind final -o "$out/final.png"
$sluice plot "$out" --kind pairs -o "$out/pairs.png"
$sluice plot "$out"/base-*/0 --kind load -o "$out/load.png"
echo "The runs, their curves and plots: $out. Ask again: $sluice compare $out; $sluice --help"
