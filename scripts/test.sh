#!/bin/sh
# Passes the tests: installs what is missing, builds, runs the suite, then the suite again under sanitizers.
# sh scripts/test.sh [--full]      --full: longer kill, fuzz and training loops
set -eu
cd "$(dirname "$0")/.."

for word in "$@"; do
    case $word in
    --full) export SLUICE_FULL=1 ;;
    *) echo "test.sh: unknown option $word (known: --full)" >&2; exit 2 ;;
    esac
done

sh scripts/deps.sh
jobs=$(nproc)

suite() {                       # folder, options of cmake
    folder=$1; shift
    cmake -S . -B "$folder" -G Ninja "$@" >"$folder.log" 2>&1 || { cat "$folder.log" >&2; exit 1; }
    cmake --build "$folder" -j "$jobs" >>"$folder.log" 2>&1 || { tail -n 60 "$folder.log" >&2; exit 1; }
    echo "== $folder: $*"
    ctest --test-dir "$folder" --output-on-failure -j "$jobs"
}

suite build -DCMAKE_BUILD_TYPE=Release
suite build-sanitize -DCMAKE_BUILD_TYPE=Debug -DSLUICE_SANITIZE=ON -DSLUICE_CUDA=OFF
