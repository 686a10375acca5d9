#!/bin/sh
# Lines end at 120 columns.
set -eu
export LC_ALL=C.UTF-8

# Types for editors have one line a key, and the emulated GPU is a room of its own.
long=$(find runtime modules lua analysis cuda bench scripts experiments tests -path tests/ptxhost -prune -o \
    -path lua/types -prune -o -type f -regex '.*\.\(c\|h\|cu\|cuh\|lua\|sh\|py\)' \
    -exec grep -nE '^.{121,}$' {} + | cut -d : -f 1,2) || true
for place in $long; do echo "longer than 120 columns: $place" >&2; done
[ -z "$long" ] && echo "lines: they end at 120 columns"
