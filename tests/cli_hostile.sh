#!/bin/sh
# Scripts that mean harm, made by tests/hostile.lua: whatever they do, planning ends soon, with one of three exit codes,
# nothing on stdout when nothing was planned, and harmless words. SLUICE_FULL=1: thousands of them.
set -eu
. "$(dirname "$0")/study.sh"

seed=7 n=60
[ -z "${SLUICE_FULL-}" ] || n=3000
lua5.4 "$here/hostile.lua" $seed $n . || fail "hostile.lua"

harmful() { echo "$test: script $i: $*" >&2; head -c 2000 "$i.lua" >&2; echo >&2; tail -n 20 err >&2; exit 1; }
control=$(printf '[\001-\010\013-\037\177]')
i=0
while [ $i -lt $n ]; do
    i=$((i + 1)) got=0
    (ulimit -t 140; exec timeout 300 "$sluice" plan $i.lua) >out 2>err || got=$?
    case $got in 0 | 3 | 4) ;; *) harmful "exit code $got" ;; esac
    [ $got = 0 ] || [ ! -s out ] || harmful "stdout although nothing was planned"
    [ $got = 0 ] || tail -n 1 err | grep -qxE '[0-9]+ mistakes?; nothing was run\.' ||
        harmful "the last line counts no mistakes"
    [ $got = 0 ] || [ "$(grep -cxE '[0-9]+ mistakes?; nothing was run\.' err)" = 1 ] ||
        harmful "mistakes are counted twice"
    [ "$(wc -c <err)" -lt 400000 ] || harmful "$(wc -c <err) bytes on stderr"
    ! LC_ALL=C grep -q "$control" err || harmful "control characters on stderr"
    iconv -f UTF-8 -t UTF-8 err >/dev/null || harmful "stderr is no UTF-8"
done
echo "$n hostile scripts, seed $seed: each ends with a word"
