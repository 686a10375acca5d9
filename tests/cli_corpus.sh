#!/bin/sh
# scripts/corpus.sh and scripts/deps.sh against stand-ins of apt: no network, a changed package, and the whole way.
set -eu

sluice=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/bin"
export SLUICE="$sluice" APT="$work" PATH="$work/bin:$PATH"

fail() {
    echo "cli_corpus.sh: $*" >&2
    [ ! -s "$work/said" ] || cat "$work/said" >&2
    exit 1
}

# leaves CODE WORDS COMMAND..: the command's exit code, and a word of what it says
leaves() {
    code=$1 words=$2
    shift 2
    got=0
    "$@" >"$work/said" 2>&1 || got=$?
    [ "$got" = "$code" ] || fail "exit code $got, not $code: $*"
    [ -z "$words" ] || grep -q -- "$words" "$work/said" || fail "does not say '$words': $*"
}

# stand_in NAME: a program of that name, its text on standard input
stand_in() {
    cat >"$work/bin/$1"
    chmod +x "$work/bin/$1"
}

# package NAME: its files lie in $work/NAME
package() {
    mkdir "$work/$1/DEBIAN"
    printf 'Package: %s\nVersion: 1\nArchitecture: all\nMaintainer: none <none@example.org>\nDescription: test\n' "$1" \
        >"$work/$1/DEBIAN/control"
    dpkg-deb -Zgzip -z1 -b "$work/$1" "$work/$1.deb" >/dev/null
    rm -r "$work/$1/DEBIAN"
}

leaves 2 usage: sh scripts/corpus.sh
leaves 1 'absent is not there' env SLUICE="$work/absent" sh scripts/corpus.sh "$work/out.tok"

stand_in apt-get <<'END'
#!/bin/sh
echo 'E: Could not resolve host' >&2
exit 100
END
leaves 3 'no network.*Could not resolve host' sh scripts/corpus.sh "$work/out.tok"
[ ! -e "$work/out.tok" ] || fail "a corpus without packages"

stand_in apt-get <<'END'
#!/bin/sh
for last; do :; done
[ "$last" = fortunes ] && cp "$APT"/*.deb .
END
mkdir -p "$work/dict-gcide/usr/share/dictd" "$work/fortunes/usr/share/games/fortunes"
dictionary() {
    awk -v entries="$1" 'BEGIN {
        print "\n\n00-database-info\n   notes of the database\n"
        for (i = 1; i <= entries; i++) {
            printf "word%d \\word%d\\ n.\n   1. the meaning of word %d in the corpus,\n      said on two lines.\n\n", \
                i, i, i
            for (line = 0; line < 40; line++)
                printf "   %d. another meaning of it, the number %d of many\n", line, i * line
            print ""
        }
    }' | gzip -1 >"$work/dict-gcide/usr/share/dictd/gcide.dict.dz"
}
awk 'BEGIN {
    for (i = 0; i < 20000; i++) printf "Saying %d is _\b%d, and is said to be wise by some of us.\n%%\n", i, i * i
}' >"$work/fortunes/usr/share/games/fortunes/wise"
echo binary >"$work/fortunes/usr/share/games/fortunes/wise.dat"
dictionary 100
package dict-gcide
package fortunes
leaves 1 'bytes of text; 30000000 or more were expected' sh scripts/corpus.sh "$work/out.tok"
[ ! -e "$work/out.tok" ] || fail "a corpus of a package that has changed"

dictionary 15000
package dict-gcide
leaves 0 'documents' sh scripts/corpus.sh "$work/out.tok"
! grep -q -a 'notes of the database' "$work/out.tok" || fail "the notes about the database were packed"
grep -q -a 'Saying 3 is 9,' "$work/out.tok" || fail "overstriking was left"
! grep -q -a binary "$work/out.tok" || fail "an index file was packed"

# deps.sh: silent when all is there; installs what is missing; says what it could not.
stand_in dpkg-query <<'END'
#!/bin/sh
for last; do :; done
[ "$last" != "${MISSING:-}" ] && echo 'ii '
END
stand_in apt-get <<'END'
#!/bin/sh
echo "$@" >>"$APT/log"
[ "$1" = update ] || [ -z "${BROKEN:-}" ]
END
stand_in sudo <<'END'
#!/bin/sh
exec "$@"
END
leaves 0 '' sh scripts/deps.sh
[ ! -s "$work/said" ] && [ ! -e "$work/log" ] || fail "deps.sh did something when nothing was missing"
leaves 0 'installing cmake' env MISSING=cmake sh scripts/deps.sh
grep -q 'install.* cmake$' "$work/log" || fail "deps.sh did not install cmake"
leaves 1 'still missing: cmake' env MISSING=cmake BROKEN=1 sh scripts/deps.sh
