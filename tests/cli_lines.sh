#!/bin/sh
# Lines end at 120 columns, but in what is in `later`; who has wrapped a file takes it out.
set -eu
export LC_ALL=C.UTF-8

later="runtime/train/session.c tests/tiny.h"
bad=0
# Types for editors have one line a key, and the emulated GPU is a room of its own.
long=$(find runtime modules lua analysis cuda bench scripts experiments tests -path tests/ptxhost -prune -o \
    -path lua/types -prune -o -type f -regex '.*\.\(c\|h\|cu\|cuh\|lua\|sh\|py\)' \
    -exec grep -nE '^.{121,}$' {} + | cut -d : -f 1,2) || true
for place in $long; do
    case " $later " in
    *" ${place%:*} "*) ;;
    *) echo "longer than 120 columns: $place" >&2; bad=1 ;;
    esac
done
for file in $later; do
    case "$long" in
    *"$file:"*) ;;
    *) echo "cli_lines.sh: no line of $file is too long any more: take it out of 'later'" >&2; bad=1 ;;
    esac
done
[ $bad = 0 ] && echo "lines: they end at 120 columns"
exit $bad
