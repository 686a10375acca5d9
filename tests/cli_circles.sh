#!/bin/sh
# No two C files call each other, by whatever way round: what the objects of this build define and use, put in order by
# tsort.
set -eu
export LC_ALL=C

objects=$(dirname "$1")/CMakeFiles
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bad=0

# FILE USED SYMBOL, for each symbol that one file of these targets has from another. Objects of files that are gone stay
# in a build.
edges() {
    (cd "$objects" && find $* -name '*.c.o' -exec nm -A {} +) | sed 's/^[^:]*\.dir\/\([^:]*\)\.o:/\1 /' | awk '
        !($1 in there) { there[$1] = (getline line <$1) >= 0; close($1) }
        !there[$1]     { next }
        $(NF-1) == "U" { use[$1 " " $NF] }
        $(NF-1) ~ /^[TDRBVW]$/ { home[$NF] = $1 }
        END { for (u in use) {
            split(u, p, " "); if (p[2] in home && home[p[2]] != p[1]) print p[1], home[p[2]], p[2] } }' | sort
}

# circles WHAT TARGETS: of one program or library, within which names are unique.
circles() {
    what=$1
    edges "$2" >"$work/edges"
    [ -s "$work/edges" ] || { echo "cli_circles.sh: $what: no objects in $objects" >&2; bad=1; return; }
    cut -d' ' -f1,2 "$work/edges" | tsort >/dev/null 2>"$work/loops" && return
    bad=1
    echo "cli_circles.sh: $what: files that call each other; move what both need into a third, below them:" >&2
    awk 'NR == FNR { if (/contains a loop/) n++; else loop[n, $2]; next }
         { for (i = 1; i <= n; i++)
               if ((i, $1) in loop && (i, $2) in loop) { print "  " $1 " -> " $2 ": " $3; next } }' \
        "$work/loops" "$work/edges" >&2
}

circles sluice 'core_float.dir isa_float_*.dir app.dir sluice.dir'
for library in sluice_cuda sluice_mpi; do                   # where they are built
    [ ! -d "$objects/$library.dir" ] || circles $library $library.dir
done

[ $bad = 0 ] && echo "files: one direction"
exit $bad
