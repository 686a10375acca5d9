# Sourced by tests that run studies: a folder of their own, and what the program leaves there held against what it
# should.
sluice=$(realpath "$1")
here=$(realpath "$(dirname "$0")")
test=$(basename "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

skip() { echo "$test: $*"; exit 77; }
fail() { echo "$test: $*" >&2; cat log >&2; exit 1; }
look() { /usr/bin/python3 "$here/run_file.py" "$@" || fail "run_file.py $*"; }

# leaves CODE COMMAND..: runs it, keeps what it says in log.
leaves() {
    code=$1 got=0
    shift
    "$@" >log 2>&1 || got=$?
    [ "$got" = "$code" ] || fail "exit code $got, not $code: $*"
}
says() { grep -qF -- "$1" log || fail "nothing says '$1'"; }

# tiny: a mixture of experts for scripts to begin with, base = require "tiny".
tiny() {
    cat >tiny.lua <<'END'
local sl = require "sluice"
return sl.model { layers = 2, d_model = 32, seq = 32, attention = { "gqa", heads = 2, kv_heads = 1, head_dim = 16 },
                  ffn = { "moe", experts = 4, d_ff = 24, router = { top_k = 2 } } }
END
}

# reaches PATTERNS SECONDS: waits until a file of one of them is there, as a checkpoint of a run in the background.
reaches() {
    waited=0
    until ls -d $1 2>/dev/null | grep -q .; do
        waited=$((waited + 1))
        [ $waited -lt $(($2 * 100)) ] || fail "$1 never came"
        sleep 0.01
    done
}

# tears SCRIPT STUDY KILLS: trains it below torn by two processes at a time, of which all are killed so often, and then
# to its end.
tears() {
    i=0
    while [ $i -lt "$3" ]; do
        i=$((i + 1))
        how="run $1 --out torn"
        [ ! -f "torn/$2/study.json" ] || how="resume torn/$2"
        setsid "$sluice" $how --jobs 2 --progress none 2>>log &
        first=$!
        sleep 0.$((i * 37 % 10))$((i * 7 % 10))
        kill -9 -$first 2>/dev/null || :
        wait $first 2>/dev/null || :
    done
    [ -f "torn/$2/study.json" ] || leaves 0 "$sluice" run "$1" --out torn --progress none
    leaves 0 "$sluice" resume "torn/$2" --jobs 2 --progress none
}

needs_ranks() {
    command -v mpirun >/dev/null || skip "no mpirun here"
    [ -e "$(dirname "$sluice")/libsluice_mpi.so" ] || skip "built without MPI"
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
}
