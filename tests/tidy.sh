#!/bin/sh
# clang-tidy finds no mistake, by the checks of .clang-tidy: in a fixed sample of files, or in all with SLUICE_FULL=1.
# tidy.sh BUILD FILE..    these files instead
set -eu

command -v clang-tidy >/dev/null || { echo "tidy: clang-tidy is not here"; exit 77; }
build=$1; shift
[ -e "$build/compile_commands.json" ] || { echo "tidy: $build has no compile_commands.json" >&2; exit 1; }

sample="runtime/base/base.c runtime/base/file.c runtime/graph/graph.c runtime/model/registry.c runtime/store/writer.c
  lua/literal.c modules/ffn_moe.c analysis/stats.c"
files=${*:-$sample}
[ -z "${SLUICE_FULL:-}" ] || [ $# -gt 0 ] || files=$(ls runtime/*/*.c modules/*.c lua/*.c analysis/*.c)

# What it takes for a mistake and is none: it does not see that HDF5 or a config_of_ function that succeeds has written
# its result, nor that whole windows are meant, that key_normals fills what it is given, that a matrix has a row; and
# keep(beta, x) passes by an x that was never written where beta is 0.
known='runtime/ops/.*CallAndMessage|runtime/cpu/fill.c:.*UndefinedBinaryOperatorResult'
known="$known|runtime/ops/mix_streams.c:.*NullDereference|runtime/ops/sinkhorn.c:.*UndefinedBinaryOperatorResult"
known="$known|runtime/store/files.c:.*NullDereference|runtime/cli/bench.c:.*CallAndMessage"
known="$known|runtime/cli/plan.c:.*integer-division"

bad=0
for file in $files; do
    [ -e "$file" ] || { echo "tidy: there is no $file" >&2; bad=1; continue; }
    grep -q "/$file\"" "$build/compile_commands.json" || continue       # what is not built here
    found=$(clang-tidy --quiet -p "$build" "$file" 2>/dev/null |
        grep -E '(warning|error): ' | grep -vE "$known" | sort -u) || true
    [ -z "$found" ] || { printf '%s\n' "$found" >&2; bad=1; }
done
[ $bad = 0 ] && echo "tidy: nothing found"
exit $bad
