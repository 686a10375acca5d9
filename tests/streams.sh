# Sourced by tests of what the program prints: a folder of their own, and its streams in out and err.
sluice=$(realpath "$1")
test=$(basename "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

fail() {
    echo "$test: $*" >&2
    cat out err >&2
    exit 1
}

# leaves CODE ARGUMENTS..: runs sluice, keeps its streams in out and err
leaves() {
    code=$1 got=0
    shift
    "$sluice" "$@" >out 2>err </dev/null || got=$?
    [ "$got" = "$code" ] || fail "exit code $got, not $code: sluice $*"
}

# says FILE WORDS: the stream holds the words; matches FILE PATTERN: a line of it is like that
says() { grep -qF -- "$2" "$1" || fail "$1 does not say '$2'"; }
matches() { grep -q -- "$2" "$1" || fail "$1 has no line like '$2'"; }
silent() { [ ! -s "$1" ] || fail "$1 is not empty"; }
