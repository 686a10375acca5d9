#!/bin/sh
# What the program says to a person is true and can be read: one document for a machine, numbers without exponents,
# sentences about nothing, lines that fit a terminal, the program's own version, rates of a schedule, and a stop that is
# heard while inputs are staged.
set -eu
. "$(dirname "$0")/study.sh"
unset COLUMNS
root=$(dirname "$here")

# script NAME TRAIN VARIANTS REPLICATES: a study of a tiny mixture of experts.
script() {
    cat >"$1.lua" <<END
local sl = require "sluice"
local train = { steps = 6, batch = 4, eval_every = 3, eval_tokens = 128, optim = { "adamw", lr = 1e-2 } }
for key, value in pairs { $2 } do train[key] = value end
return sl.study {
  name = "$1", data = "synthetic", baseline = "base", replicates = $4, variants = { $3 }, train = train,
  base = sl.model {
    layers = 2, d_model = 16, seq = 16, vocab = 256, attention = { "gqa", heads = 2, kv_heads = 1, head_dim = 8 },
    ffn = { "moe", experts = 4, d_ff = 8, router = { top_k = 2 } },
  },
}
END
}
trains() { leaves 0 "$sluice" run "$1.lua" --out runs --progress none; }
lacks() { ! grep -qE -- "$1" log || fail "something says '$1'"; }
python() { /usr/bin/python3 "$@" || fail "a check in Python, see above"; }

# ---- one document ----
# is_json COMMAND..: what it says is one JSON value, and nothing else.
is_json() { leaves 0 "$@"; python -m json.tool log >log.json; }
script one '' 'base = {}, wide = { ["ffn.d_ff"] = 64 }' 1
is_json "$sluice" plan one.lua --json
is_json "$sluice" plan one.lua --json --roofline h100
is_json "$sluice" plan one.lua --json --time --roofline a100
python -c '
import json
plan = json.load(open("log.json"))
assert plan["time"]["seconds"] > 0 and plan["time"]["baseline_step_seconds"] > 0, plan["time"]
roofline = plan["roofline"]
assert roofline["gpu"].startswith("NVIDIA A100")
assert roofline["step"]["calls"] == sum(f["calls"] for f in roofline["families"])
assert [v["name"] for v in plan["variants"]] == ["base", "wide"]'
is_json "$sluice" plan one.lua --config wide
is_json "$sluice" plan one.lua --weights wide --json
for two in '--config base --time' '--config base --roofline h100' '--weights base --time' \
    '--weights base --config base'; do
    leaves 2 "$sluice" plan one.lua $two
    says 'ask for one of them'
done
leaves 2 "$sluice" plan one.lua --json --roofline abacus
says 'no data sheet'
echo "a plan in JSON is one document"

# ---- numbers and counts ----
exponent='[0-9]e[+-][0-9]'
script faint 'optim = { "adamw", lr = 1e-5, decay = 1e-5 }' 'base = {}, wide = { ["ffn.d_ff"] = 128 }' 1
trains faint
for asked in "compare runs/faint" "show runs/faint" "plan faint.lua --weights base" "ls runs" \
    "show runs/faint/base-*/0"; do
    set -- $asked
    leaves 0 "$sluice" "$@"
    sed -i '/"\(lr\|decay\|eps\)": 1e-[5-8],$/d' log                      # as a script would say it
    lacks "$exponent"
    lacks '[0-9]{15}'
done
leaves 0 "$sluice" compare runs/faint
says 'by up to 312 %.'
says '1 paired seed; no interval and no p-value below 4); its run has not learned'
lacks 'Holm|Sidak'
leaves 0 "$sluice" compare runs/faint --family holm
lacks 'Holm|over 0|over 1 '
leaves 0 "$sluice" compare runs/faint --at step=1
says 'base/0: no row at or before step 1: the first is at step 3'
says 'no pair of runs to compare'
lacks 'over 0|nan'
leaves 0 "$sluice" compare runs/faint --at tokens=100
says 'no row at or before tokens 100: the first is at tokens 192'
cp -R runs/faint runs/none
rm -r runs/none/*/
for family in sidak holm none; do
    leaves 0 "$sluice" compare runs/none --family $family
    says 'No run has eval.loss yet.'
    says 'base/0: pending'
    lacks 'over 0|nan|neither'
done
is_json "$sluice" compare runs/none --json
script lone '' 'base = {}' 1
leaves 0 "$sluice" plan lone.lua
says '1 variant x 1 replicate = 1 run'
says 'One variant: there is nothing to compare it with.'
trains lone
leaves 0 "$sluice" compare runs/lone
says "base is the study's only variant"
lacks 'over 0|All variants|[^0-9]nan'
echo "numbers have no exponent, and of nothing something sensible is said"

# ---- lines that fit ----
# on_terminal COLUMNS COMMAND..: as on a terminal of that width; what it shows goes to log.
cat >terminal.py <<'END'
import fcntl, os, pty, struct, sys, termios
child, terminal = pty.fork()
if child == 0:
    fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 40, int(sys.argv[1]), 0, 0))
    os.execvp(sys.argv[2], sys.argv[2:])
shown = b""
try:
    while part := os.read(terminal, 65536): shown += part
except OSError: pass
sys.stdout.buffer.write(shown.replace(b"\r\n", b"\n"))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
END
on_terminal() {
    NO_COLOR=${plain-1} TERM=xterm /usr/bin/python3 terminal.py "$@" >log 2>&1 || fail "exit code $? on a terminal: $*"
}
# fits COLUMNS: no line of log is wider, but for commands to copy.
fits() {
    python -c '
import os, sys, unicodedata
room = int(sys.argv[1])
for line in open("log", encoding="utf-8"):
    line = line.rstrip("\n").replace(os.path.realpath("."), ".")
    width = sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)
    assert width <= room or line.startswith(("  sluice ", "command ")), f"{width} columns, not {room}: {line}"' "$1"
}
long=a_variant_with_a_name_that_is_long
script wide '' "base = {}, $long = { [\"ffn.d_ff\"] = 12 }, other = { [\"ffn.d_ff\"] = 16 }" 4
trains wide
printf 'one\n\ntwo\n\nthree\n' >text
leaves 0 "$sluice" data pack text --blank-lines --held-out 0.4 -o text.tok
for room in 60 80 132; do
    for asked in "compare runs/wide --unpaired" "show runs/wide" "plan wide.lua --roofline h100" \
        "plan wide.lua --weights base" "ls runs" "ls runs/wide" "watch runs/wide --once" "modules show moe" "modules" \
        "doctor" "show runs/wide/base-*/0" "fsck runs/wide" "data inspect text.tok" "compare --help" "bench --help" \
        "--help"; do
        set -- $asked
        case $1-$room in doctor-60 | fsck-60) continue ;; esac      # paths are one word
        if [ $room = 80 ]; then on_terminal $room "$sluice" "$@"; else COLUMNS=$room leaves 0 "$sluice" "$@"; fi
        fits $room
    done
done
# Nothing is lost on the way: the same words, whatever the width.
words() { tr -s ' \n' '\n\n' <log | sort -u; }
for asked in "compare runs/wide" "plan wide.lua" "modules show moe"; do
    leaves 0 "$sluice" $asked
    words >words.all
    for room in 1 30 60 100; do
        COLUMNS=$room leaves 0 "$sluice" $asked
        words | cmp -s - words.all || fail "other words in $room columns: $asked"
    done
done
unset COLUMNS
# What is piped is not folded.
leaves 0 "$sluice" compare runs/wide
[ "$(grep -c "^$long  *4 .*\(detected\|better\|worse\)$" log)" = 1 ] || fail "a row of the table is not one line"
# Before the first step and the first evaluation there is no loss.
plain=
on_terminal 200 "$sluice" run one.lua --out fresh --jobs 1 --set train.steps=60 --set train.eval_every=60
says 'loss -  eval -'
lacks 'nan'
echo "tables and sentences fit the terminal, and lose nothing"

# ---- the program ----
leaves 0 "$sluice" --version
[ "$(head -n 1 log)" = "sluice $(sed -n 's/^project(sluice VERSION \([0-9.]*\) .*/\1/p' "$root/CMakeLists.txt")" ] ||
    fail "another version than CMakeLists.txt says"
build=$(dirname "$sluice")
kind=$(sed -n 's/^CMAKE_BUILD_TYPE:[A-Z]*=//p' "$build/CMakeCache.txt")
says "build      ${kind:-Release}"
compiler=$(sed -n 's/^build      [^,]*, \([a-z]*\) [0-9.]*$/\1/p' log)
number=$(sed -n 's/^build .* \([0-9.]*\)$/\1/p' log)
case $compiler in clang) made='clang version' ;; gcc) made='GCC:.*' ;; *) fail "what compiler is '$compiler'?" ;; esac
strings -a "$sluice" | grep -q "$made.*$number" || fail "the program was not made by $compiler $number"
[ "$compiler" = clang ] || ! strings -a "$sluice" | grep -q 'clang version' || fail "the program was made by clang"
for library in hdf5-serial:HDF5 lua5.4:Lua jansson:jansson libxxhash:xxHash; do
    number=$(pkg-config --modversion ${library%:*}) || continue
    says "${library#*:} $number"
done
if [ -e "$build/libsluice_cuda.so" ]; then says 'CUDA       '
else says 'CUDA       no: this build has no CUDA backend'; fi
says "revision   $(sed -n 's/.*"\(.*\)";$/\1/p' "$build/revision.c")"
# revision WORDS: what a build of folder source/ would say, as a pattern.
revision() {
    cmake -DSOURCE="$folder/source" -DFILE="$folder/revision.c" -P "$root/runtime/revision.cmake"
    grep -qx "const char train_revision\[\] = \"$1\";" revision.c ||
        { cp revision.c log; fail "the revision is not $1"; }
}
git() { command git -c user.name=test -c user.email=test@example.org -c init.defaultBranch=main "$@"; }
mkdir -p source/runtime
echo 1 >source/CMakeLists.txt
GIT_CEILING_DIRECTORIES=$folder revision unknown
git -C source init -q
git -C source add .
git -C source commit -qm one
revision '[0-9a-f]*'
echo 1 >source/notes
revision '[0-9a-f]*'
echo 1 >source/runtime/new.c
revision '[0-9a-f]*-dirty'
rm source/runtime/new.c
echo 2 >source/CMakeLists.txt
revision '[0-9a-f]*-dirty'
rm -rf source/.git
command git init -q .                                       # another's repository around it
revision unknown
rm -rf .git
echo "--version is the truth"

# ---- rates ----
# rates SCHEDULE STEPS STEP=FACTOR..: the rate of each step, which are counted from 1, as a factor of lr.
rates() {
    script rate "steps = $2, batch = 1, eval_every = $2, optim = { \"adamw\", lr = 1e-3 }, schedule = { $1 }" \
        'base = {}, other = { ["ffn.d_ff"] = 9 }' 1
    rm -rf runs/rate
    trains rate
    leaves 0 "$sluice" export runs/rate/base-*/0 -m train.lr -o rows
    shift 2
    python -c '
import csv, sys
lr = {row["step"]: float(row["value"]) for row in csv.DictReader(open("rows"))}
for want in sys.argv[1:]:
    step, factor = want.split("=")
    assert abs(lr[step] / 1e-3 - float(factor)) < 0.6 * 10.0 ** -len(factor.partition(".")[2] or "123456"), \
        f"step {step}: {lr[step]}, not {factor} of 1e-3"' "$@"
}
# refused SCHEDULE STEPS WORDS
refused() {
    script rate "steps = $2, schedule = { $1 }" 'base = {}, other = { ["ffn.d_ff"] = 9 }' 1
    leaves 3 "$sluice" plan rate.lua
    says 'train.schedule.warmup: '
    says "$3"
}
# What docs/guide.md says of 40 steps with a warm-up of 4, and by hand.
for schedule in constant linear cosine inverse_sqrt step wsd wsds; do
    told=$(awk -F ' *[|] *' -v row="\`$schedule\`" '
        $2 == "step" { n = NF; for (i = 3; i < n; i++) step[i] = $i }
        $2 == row && n { for (i = 3; i < n; i++) printf "%s=%s ", step[i], $i }
        !/^[|]/ { n = 0 }' "$root/docs/guide.md")
    [ "$(echo $told | wc -w)" = 6 ] || fail "docs/guide.md does not tell the rates of $schedule"
    rates "\"$schedule\", warmup = 4" 40 $told
done
rates '"cosine", warmup = 4' 40 1=0.25 4=1 5=1 6=0.998287 40=0.101712
rates '"wsd", warmup = 4' 40 1=0.25 4=1 33=1 34=0.646447 40=0.064586
rates '"wsd", warmup = 4, shape = "linear"' 40 33=1 34=0.875 40=0.125
rates '"wsd"' 1 1=1
rates '"cosine", warmup = 8' 8 1=0.125 8=1
refused '"constant", warmup = 41' 40 '41 steps of warm-up in a run of 40: lr is never reached; at most 40'
refused '"cosine", warmup = 41' 40 'in a run of 40'
refused '"wsd", warmup = 34' 40 \
    '34 steps of warm-up, but the decay begins after step 33 of 40: at most 33, or a shorter decay'
echo "schedules have the rates that are told"

# ---- memory and signals ----
script staged 'steps = 1, batch = 100000, micro = 100000' 'base = {}, other = { ["ffn.d_ff"] = 9 }' 1
leaves 0 "$sluice" plan staged.lua --json
python -c '
import json
assert all(v["memory_bytes"] > 100000 * 16 * 8 for v in json.load(open("log"))["variants"]), \
    "the staged inputs are not in the memory"'
"$sluice" run staged.lua --out runs --jobs 1 --progress none >log 2>&1 & run=$!
sleep 1
kill -TERM $run
began=$(date +%s) got=0
wait $run || got=$?
[ "$got" = 75 ] || fail "stopped while staging: exit code $got, not 75"
[ $(($(date +%s) - began)) -le 3 ] || fail "a signal is not heard while inputs are staged"
echo "staged inputs are planned, and signals are heard meanwhile"

# ---- hashes ----
leaves 0 "$sluice" data inspect text.tok --json
checkpoint=$(ls -d runs/wide/base-*/0/checkpoints/step-* | head -n 1)
python -c '
import json, sys
tokens, told = open("text.tok", "rb").read(), json.load(open("log"))["hash"]
assert tokens[112:128][::-1].hex() == told, "the bytes of the hash are not the text backwards"
try: import xxhash
except ImportError: sys.exit()
assert xxhash.xxh128_digest(tokens[128:])[::-1] == tokens[80:96] and xxhash.xxh128_hexdigest(tokens[:112]) == told
files = json.load(open(sys.argv[1] + "/manifest.json"))["files"]
assert all(xxhash.xxh128_hexdigest(open(f"{sys.argv[1]}/{name}", "rb").read()) == f["xxh128"]
           for name, f in files.items())' "$checkpoint"
echo "hashes are as docs/file-format.md says"

# ---- who is cited ----
version=$("$sluice" --version | sed -n 's/^sluice //p')
grep -qx "version: $version" "$root/CITATION.cff" || fail "CITATION.cff is of another version than $version"
grep -qF "Sluice, version $version" "$root/README.md" || fail "README.md cites another version than $version"
leaves 0 cmake --install "$build" --prefix "$folder/there"
leaves 0 "$folder/there/bin/sluice" --version
says "sluice $version"
echo "what is cited and installed is this version"
