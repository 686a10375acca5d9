#!/bin/sh
# The frame of the command line: help of every command, exit codes, suggestions, streams.
set -eu
. "$(dirname "$0")/streams.sh"
unset NO_COLOR CLICOLOR_FORCE 2>/dev/null || true

# Without a command: the overview, as a mistake. With --help: as what was asked.
leaves 2
silent out
says err 'commands'
leaves 0 --help
silent err
says out 'exit codes'
leaves 0 --version
says out 'HDF5'

# Every command: the help begins with an example of that command and lists its options.
commands=$("$sluice" --help | sed -n '/^commands/,/^$/s/^  \([a-z]*\) .*/\1/p')
[ "$(echo "$commands" | wc -l)" -ge 13 ] || fail "the overview lists too few commands: $commands"
for command in $commands; do
    leaves 0 "$command" --help
    silent err
    [ "$(head -n 1 out)" = example ] || fail "$command: the help does not begin with an example"
    sed -n 2p out | grep -q "^  sluice $command" || fail "$command: the example is of another command"
    says out "  sluice $command"
    says out '-h, --help'
    leaves 0 "$command" -h
    leaves 2 "$command" --no-such-option
    silent out
    says err "unknown option '--no-such-option'"
    says err "sluice $command --help"
    leaves 2 "$command" --color=perhaps
    says err 'must be auto, always or never'
done

# Nearest names.
leaves 2 compre
says err "did you mean 'compare'?"
leaves 2 qqqqqqqq
says err "no command 'qqqqqqqq'"
leaves 2 compare --basline x
says err "did you mean '--baseline'?"
leaves 2 modules show swigl
says err "did you mean 'swiglu'?"
leaves 2 plot . -o x.svg --kind lod
says err "did you mean 'load'?"

# Options: spellings, missing and superfluous values, ranges; -- ends them.
leaves 2 export
says err '1 word is missing'
leaves 2 show a b
says err "one word too many: 'b'"
leaves 2 export . --every
says err "'--every' needs a value"
leaves 2 export . --csv=yes
says err 'takes no value'
for given in --every=0 --every=1.5 --every=many; do
    leaves 2 export . "$given"
    says err 'must be a whole number'
done
leaves 2 watch . -n0
says err 'must be a number from'
leaves 2 compare . --at=120
says err 'must be step=N or tokens=N'
leaves 2 export . --csv --json
says err 'exclude each other'
leaves 4 show -- --help
says err '--help: No such file'

# Rejected input.
for command in show export compare watch fsck; do
    leaves 4 "$command" nowhere
    says err "nowhere: No such file"
done
leaves 4 ls nowhere
mkdir empty broken
echo '{' >broken/study.json
leaves 0 ls empty
silent out
says err 'no study in empty'
leaves 4 show empty
says err 'neither a study (study.json) nor a run (run.h5)'
leaves 4 compare broken
says err 'broken/study.json'
echo 'no HDF5' >fake.h5
leaves 4 show fake.h5
leaves 4 fsck fake.h5
leaves 4 data inspect nowhere.tok

# Colour: never by itself into a file, forced when asked, NO_COLOR wins over nothing that was asked.
escape=$(printf '\033')
leaves 0 modules show swiglu
! grep -q "$escape" out || fail "colours in a file"
leaves 0 modules show swiglu --color always
grep -q "$escape" out || fail "no colours with --color always"
CLICOLOR_FORCE=1 leaves 0 modules show swiglu
grep -q "$escape" out || fail "no colours with CLICOLOR_FORCE"
NO_COLOR=1 CLICOLOR_FORCE=1 leaves 0 modules show swiglu
! grep -q "$escape" out || fail "colours with NO_COLOR"

# Listings.
leaves 0 modules
says out 'over_encoding'
leaves 0 modules show ffn.moe
says out 'experts'
leaves 0 modules show train
says out 'steps'
leaves 0 doctor
says out 'processor'
for listing in modules 'modules show moe' doctor 'ls empty'; do
    leaves 0 $listing --json
    if command -v python3 >/dev/null; then python3 -m json.tool out >/dev/null || fail "$listing --json is no JSON"; fi
done

# Output that cannot be written is no success.
if [ -w /dev/full ]; then
    got=0
    "$sluice" modules >/dev/full 2>err || got=$?
    [ "$got" = 6 ] || fail "exit code $got, not 6, with a full disk"
fi
