#!/bin/sh
# Who may include what: one direction between rooms, few doors into each, and one home for every library.
set -eu
export LC_ALL=C
sources="runtime modules lua analysis cuda"
work=$(mktemp)
trap 'rm -f "$work"' EXIT
bad=0

# A room, what it may include of others (a room that stands above it, or one header of any), and its headers that others
# may include; a second line has more of them.
cat >"$work" <<'TABLE'
base | | base child draw file float_log fp8 level memory mesh moments nf4 object param process regular
base | | hashing shape terminal text
graph    | base                      | attributes elementwise filled graph ops signature stages
comm     | base                      | comm
backend  | base graph comm           | backend codes kernel placement quintic rounds
cpu      | base graph backend        | gemm isa pool seen sort values vec_math
cpu      |                           | isa/attend_decode isa/attend_entropy isa/attend_narrow isa/attend_sink
cpu      |                           | isa/delta_rows isa/vector
ops      | base graph comm backend cpu |
plan     | base graph backend        | pipeline plan simulate
model    | base graph plan modules/list | build config inputs mapping model module registry training_graph
data     | base model                | bytes data item task
store    | base                      | store
study    | base backend model data   | study
train    | base cpu plan model store study | averaged checkpoint coords decoder disk generate look metrics
train    |                           | model_file routes run safetensors speculate start texts train trained trunk
tasks    | base cpu model data train | exam judge passages questions score
modules  | model/module plan/pipeline data/task | list
lua      | base graph model study    | bind embedded graph
analysis | base store study train    | answer declared export metric plot runs shares stats views
analysis |                           | views_write
cli      | base graph comm backend cpu plan model data store study train tasks lua analysis | cli
main     | cli                       |
cuda     | base graph comm backend   |
TABLE

# Rooms are folders of runtime/ or beside it; a header of one's own folder goes without saying.
grep -rE '^#include "' $sources --include='*.[ch]' --include='*.cu' --include='*.cuh' | awk -v table="$work" '
    function say(text) { print "cli_includes.sh: " text; bad = 1 }
    function there(path,  line, is) { is = (getline line <path) >= 0; close(path); return is }
    function among(word, list) { return index(" " list " ", " " word " ") }
    BEGIN {
        while ((getline line <table) > 0) {
            split(line, cell, / *\| */)
            may[cell[1]] = may[cell[1]] cell[2]; door[cell[1]] = door[cell[1]] " " cell[3]
            for (i = split(cell[2], word, " "); i > 0; i--)
                if (word[i] !~ /\// && !(word[i] in may))
                    say("the table: " cell[1] " may not include " word[i] ", which stands below it")
        }
    }
    {
        file = header = $0
        sub(/:.*/, "", file); sub(/^[^"]*"/, "", header); sub(/".*/, "", header)
        n = split(file, part, "/")
        room = part[1] != "runtime" ? part[1] : n > 2 ? part[2] : "main"
        folder = file; sub(/[^\/]*$/, "", folder)
        if (there(folder header)) next
        of = header; sub(/\/.*/, "", of)
        if (header !~ /\//)
            of = there("lua/" header) ? "lua" : there("analysis/" header) ? "analysis" : \
                 there("modules/" header) ? "modules" : ""
        name = header; sub("^" of "/", "", name); sub(/\.h$/, "", name)
        if (of == room) next
        if (!(room in may)) say(file ": " room " is no room of the table")
        else if (!(of in may)) say(file " includes \"" header "\", which is in no room")
        else if (!among(of, may[room]) && !among(of "/" name, may[room]))
            say(file " includes \"" header "\"; " room " may include: " may[room])
        else if (!among(name, door[of]))
            say(file " includes \"" header "\", which is private to " of "; open are: " door[of])
    }
    END { exit bad }' >&2 || bad=1

# A library's headers have one home.
home() {
    found=$(grep -rlE "#include [<\"]$1" $sources --include='*.c' --include='*.h' | grep -vE "^($2)" || true)
    [ -z "$found" ] || { echo "cli_includes.sh: $1 has its home in $2, but is included by:" $found >&2; bad=1; }
}
home 'hdf5' 'runtime/store/'
home '(lua|lualib|lauxlib)\.h' 'lua/'
home 'mpi\.h' 'runtime/comm/mpi\.c'
home 'nccl' 'cuda/exchange\.h'
home 'cuda' 'cuda/'
home 'xxhash' 'runtime/base/(base|hashing)\.c'
home 'z(lib|std)\.h' 'runtime/data/inflate\.c'
home 'Random123' 'runtime/base/draw\.h'
home 'jansson' 'runtime/(model|data|train|tasks|cli)/'

[ $bad = 0 ] && echo "includes: one direction"
exit $bad
