#!/bin/sh
# assemble.sh PTXAS TARGET IN.ptx OUT.txt: what ptxas says of the kernels when it makes code for sm_TARGET; what it
# warns of ends the build.
set -eu
"$1" -arch="sm_$2" -v --warning-as-error "$3" -o /dev/null >"$4.part" 2>&1 || { cat "$4.part" >&2; exit 1; }
mv "$4.part" "$4"
