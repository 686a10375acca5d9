#!/bin/sh
# Prints the tables of docs/figures.md: what the house measures, room by room.
# sh scripts/figures.sh [FOLDER]     FOLDER: a build with SLUICE_COVERAGE whose tests have run, for what they reach
# Needs universal-ctags; gcovr and jq for coverage.
set -eu
cd "$(dirname "$0")/.."
[ $# -le 1 ] || { echo "usage: sh scripts/figures.sh [FOLDER]" >&2; exit 2; }
coverage=${1:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Lines of "room file"; a room is a folder of runtime/, or a folder at the top.
git ls-files -- '*.c' '*.h' '*.cu' '*.cuh' '*.hpp' '*.lua' '*.sh' '*.py' '*.cmake' CMakeLists.txt | awk '{
    n = split($0, part, "/")
    room = part[1] == "runtime" && n > 2 ? part[2] : n > 1 ? part[1] : "."
    print room, $0
}' >"$work/files"
cut -d' ' -f2 "$work/files" | xargs wc -l | awk '$2 != "total" { print $2, $1 }' >"$work/lines"
# "file function length" of what is compiled.
cut -d' ' -f2 "$work/files" | grep -E '\.(c|h|cu|cuh|hpp)$' |
    ctags --languages=C,C++ --langmap=C++:+.cu.cuh --kinds-C=f --kinds-C++=f --fields=+ne --sort=no -L - -f - |
    awk -F'\t' '{ from = to = 0
        for (i = 4; i <= NF; i++) { if ($i ~ /^line:/) from = substr($i, 6); if ($i ~ /^end:/) to = substr($i, 5) }
        if (to) print $2, $1, to - from + 1 }' >"$work/functions"

rooms="base graph comm backend cpu ops plan model data store study train cli"
rooms="$rooms modules lua analysis cuda tests bench experiments scripts"

echo "| room | files | lines | functions | median length | longest |"
echo "|---|---|---|---|---|---|"
for room in $rooms; do
    awk -v room="$room" '$1 == room { print $2 }' "$work/files" >"$work/room"
    lines=$(awk 'NR == FNR { mine[$1]; next } $1 in mine { n += $2 } END { print n + 0 }' "$work/room" "$work/lines")
    awk 'NR == FNR { mine[$1]; next } $1 in mine { print $3, $2 }' "$work/room" "$work/functions" | sort -n |
        awk -v head="| \`$room\` | $(wc -l <"$work/room") | $lines |" '
            { length_of[NR] = $1; name = $2 }
            END {
                if (!NR) print head " | | |"
                else printf "%s %d | %d | `%s`, %d |\n", head, NR, length_of[int((NR + 1) / 2)], name, length_of[NR]
            }'
done
awk '{ n += $2 } END { printf "| all | %d | %d | | | |\n", NR, n }' "$work/lines"

echo
echo "| lines | file |"
echo "|---|---|"
awk '$2 > 400 { print $2, $1 }' "$work/lines" | sort -rn | awk '{ printf "| %d | `%s` |\n", $1, $2 }'

count() { git grep -hoE "$1" -- "$2" | wc -l; }
echo
echo "| of | number |"
echo "|---|---|"
echo "| modules | $(git ls-files 'modules/*.c' | wc -l) |"
echo "| ops | $(count '^OP\(' runtime/ops) |"
echo "| CUDA kernels bound to ops | $(count '^TWIN\(' cuda) |"
echo "| presets | $(git ls-files 'lua/sluice/presets/*' | wc -l) |"
echo "| commands | $(git ls-files 'docs/commands.md' | xargs grep -c '^## ') |"
echo "| test programs in C | $(git ls-files 'tests/test_*.c' 'tests/grad_*.c' | wc -l) |"
echo "| cases in them | $(count 'cmocka_unit_test' tests) |"
echo "| tests of the program in shell | $(git ls-files 'tests/cli_*.sh' | wc -l) |"

[ -n "$coverage" ] || exit 0
gcovr --root . --object-directory "$coverage" --filter '(runtime|modules|lua|analysis)/' --gcov-ignore-parse-errors \
    --json-summary "$work/coverage.json" "$coverage" >"$work/gcovr" 2>&1 || { cat "$work/gcovr" >&2; exit 1; }
echo
echo "| room | lines | of them run | branches | of them taken |"
echo "|---|---|---|---|---|"
for room in $rooms; do
    jq -r --arg room "$room" '
        def room: split("/") | if .[0] == "runtime" and length > 2 then .[1] else .[0] end;
        def percent(part; whole): if whole == 0 then "" else "\(part / whole * 1000 | round / 10) %" end;
        [.files[] | select((.filename | room) == $room) |
            [.line_total, .line_covered, .branch_total, .branch_covered]] |
        select(length > 0) | transpose | map(add) |
        "| `\($room)` | \(.[0]) | \(percent(.[1]; .[0])) | \(.[2]) | \(percent(.[3]; .[2])) |"
    ' "$work/coverage.json"
done
