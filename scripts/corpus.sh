#!/bin/sh
# Builds a corpus of English from two Debian packages: the dictionary of dict-gcide and the sayings of fortunes. They
# are downloaded and unpacked in a temporary folder, not installed.
#
#   scripts/corpus.sh OUT.tok          SLUICE: the program, build/sluice when not set
#
# Exit code 3: the packages cannot be had here (no network, no apt).
set -eu
export LC_ALL=C

fail() {
    code=$1
    shift
    echo "corpus.sh: $*" >&2
    exit "$code"
}

[ $# = 1 ] || fail 2 "usage: scripts/corpus.sh OUT.tok"
out=$1
sluice=${SLUICE:-build/sluice}
command -v "$sluice" >/dev/null || fail 1 "$sluice is not there; build it, or name it in SLUICE"
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
    fail 3 "no apt here: the corpus is made of Debian packages"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The package lists of a fresh container are empty, and only root may fill them: then use lists of our own.
apt() {
    apt-get -qq -o APT::Sandbox::User=root -o Acquire::Retries=1 -o Acquire::http::Timeout=20 \
        -o Acquire::https::Timeout=20 "$@"
}
own_lists() {
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
    apt -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" "$@"
}
download() (
    cd "$work"
    apt download dict-gcide fortunes || { own_lists update && own_lists download dict-gcide fortunes; }
)
reason() {
    grep 'Failed to fetch' "$work/log" || cat "$work/log"
}
download 2>"$work/log" || fail 3 "dict-gcide and fortunes cannot be downloaded (no network?): $(reason | head -n 1)"

mkdir "$work/text" "$work/text/fortunes"
for package in "$work"/*.deb; do
    dpkg-deb -x "$package" "$work/root"
done

# The dictionary: entries begin with a head word at the margin after an empty line. The first that spells its head word
# between backslashes ends the notes about the database. Runs of whole entries of some 12 KB make a document.
gzip -dc <"$work/root/usr/share/dictd/gcide.dict.dz" | awk '
    !begun && /^[^ ].*\\.*\\/ { begun = 1 }
    !begun { next }
    empty && /^[^ ]/ && size > 12000 { print "%"; size = 0 }
    { print; size += length($0) + 1; empty = $0 == "" }
' >"$work/text/gcide.fortune"

# The sayings, one document each, without the overstriking of old printers.
overstrike=$(printf '.\b')
for file in "$work"/root/usr/share/games/fortunes/*; do
    case $file in
    *.dat | *.u8) ;;
    *) sed "s/$overstrike//g" "$file" >"$work/text/fortunes/${file##*/}.fortune" ;;
    esac
done

# check LEAST FILE..
check() {
    least=$1
    shift
    bytes=$(cat "$@" | wc -c)
    [ "$bytes" -ge "$least" ] ||
        fail 1 "$1: $bytes bytes of text; $least or more were expected, so the package has changed"
}
check 30000000 "$work/text/gcide.fortune"
check 1000000 "$work"/text/fortunes/*

"$sluice" data pack "$work/text" --held-out 0.05 -o "$out" >/dev/null
"$sluice" data inspect --verify "$out"
