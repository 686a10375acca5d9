#!/bin/sh
# Checkpoints that several ranks write, each its own part: they stand for the file that one rank would have written, any
# mesh and one rank go on with them, and a killed rank, a full disk or a damaged part cost no more than the last one.
set -eu
. "$(dirname "$0")/study.sh"
tiny
needs_ranks
faults=$(dirname "$sluice")/faults.so
ASAN_OPTIONS=verify_asan_link_order=0:${ASAN_OPTIONS-}
export ASAN_OPTIONS

cat >study.lua <<'LUA'
local sl = require "sluice"
return sl.study {
  name = "s", replicates = 1, baseline = "base", data = "synthetic",
  base = sl.extend(require "tiny", { layers = 4, ["attention.kv_heads"] = 2, ["ffn.shared"] = { "dense" },
                                     ["ffn.balance"] = { { "bias", gamma = 1e-3 } } }),
  variants = { base = {} },
  train = { steps = 12, batch = 8, micro = 2, eval_every = 4, eval_tokens = 256, checkpoint_every = 4, keep = 3,
            optim = "adamw", average = { "ema", decay = 0.9 } },
}
LUA
ranks() { mpirun --oversubscribe -np "$@"; }
at() { echo $1/s/base-*/0/checkpoints/step-000000$2; }
# on RANK FAULT: what a command meets on one rank (tests/faults.c).
cat >on <<'SH'
#!/bin/sh
if [ "$OMPI_COMM_WORLD_RANK" = "$1" ]; then FAULT=$2 LD_PRELOAD=$FAULTS; export FAULT LD_PRELOAD; fi
shift 2
exec "$@"
SH
chmod +x on
export FAULTS="$faults"

# ---- what lies in the parts is what one file would hold, and each rank writes its share ----
cat >parts.py <<'PY'
import glob, json, os, sys
sys.path.insert(0, sys.argv[1] + "/../analysis/python")
import sluice_read
parted, one, ranks = sys.argv[2], sys.argv[3], int(sys.argv[4])
said = json.load(open(parted + "/manifest.json"))
files = sorted(glob.glob(parted + "/state-*.safetensors"))
assert said["version"] == 2 and len(files) == len(said["files"]) == ranks, files
its = json.load(open(one + "/manifest.json"))
assert its["version"] == 1 and its["files"]["state.safetensors"] == said["state"], "another hash"
a, b = sluice_read.tensors(parted), sluice_read.tensors(one)
assert set(a) == set(b) and all((a[k] == b[k]).all() and a[k].dtype == b[k].dtype for k in a), "other values"
size = [os.path.getsize(f) for f in files]
assert sum(a[k].nbytes for k in a) < sum(size) < 1.2 * said["state"]["bytes"], size
assert max(size) < float(sys.argv[5]) * sum(size) / ranks, f"no even shares: {size}"
print(" ".join(str(n) for n in size), "bytes of", said["state"]["bytes"])
PY
number=0
parts() {
    n=$1 axes=$2 share=$3
    shift 3
    number=$((number + 1))
    leaves 0 ranks $n "$sluice" run study.lua --out "mesh$number" --ranks "$axes" "$@" --progress none
    leaves 0 "$sluice" ckpt average "$(at "mesh$number" 12)" -o "one$number"
    /usr/bin/python3 parts.py "$here" "$(at "mesh$number" 12)" "one$number/step-00000012" $n $share >log 2>&1 ||
        fail "$axes: parts"
    echo "$axes $*: $(cat log)"
}
parts 4 'pp=2 ep=2' 1.4
parts 4 'dp=4' 1.3 --set train.ranks.zero=3
parts 4 'tp=2 ep=2' 1.6 --set train.ranks.zero=3
[ -z "${SLUICE_FULL-}" ] || parts 2 'ep=2' 1.3
run=$(echo mesh1/s/base-*/0)
leaves 0 "$sluice" ckpt convert "$run" -o parted.safetensors
leaves 0 "$sluice" ckpt convert one1/step-00000012 -o one.safetensors
cmp parted.safetensors one.safetensors || fail "another model of parts"
leaves 4 "$sluice" ckpt inspect "$run/checkpoints/step-00000012/state-00001.safetensors"
says "name the folder"
donor=$run/checkpoints/step-00000012
sed -e "s#name = \"s\"#name = \"f\"#" \
    -e "s#variants = .*#variants = { base = { init = { \"from\", run = \"$donor\" } } },#" study.lua >donated.lua
leaves 0 "$sluice" run donated.lua --out donated --progress none
leaves 0 ranks 2 "$sluice" run donated.lua --out donated2 --ranks ep=2 --progress none
sed "s#run = \"$donor\"#run = \"one1/step-00000012\"#" donated.lua >whole.lua
leaves 0 "$sluice" run whole.lua --out whole --progress none
cmp "$(echo donated/f/base-*/0/checkpoints/step-00000012)/state.safetensors" \
    "$(echo whole/f/base-*/0/checkpoints/step-00000012)/state.safetensors" || fail "another donor of parts"

# ---- a rank that is killed while it writes: the one before stands, and any layout goes on with it ----
mpi4="env SLUICE_COMM_TIMEOUT=20 mpirun --oversubscribe -np 4"
torn() {
    rm -rf torn
    got=0
    $mpi4 ./on $1 $2 "$sluice" run study.lua --out torn --ranks 'pp=2 ep=2' --progress none >log 2>&1 || got=$?
    [ $got = ${3:-1} ] || fail "rank $1 with $2: exit code $got"
    "$sluice" ckpt inspect "$(at torn 04)" >/dev/null || fail "rank $1 with $2: no checkpoint is left"
}
again() {
    leaves 0 ranks 4 "$sluice" resume torn/s --ranks 'pp=2 ep=2' --progress none
    look equal mesh1/s torn/s checkpoints
    [ "$(ls torn/s/base-*/0/checkpoints | wc -l)" = 3 ] || fail "$(ls torn/s/base-*/0/checkpoints) is left"
}
torn 3 fsync:2:kill
cp -r torn alone; cp -r torn dp; cp -r torn tp
again
for fault in ${SLUICE_FULL:+fsync:2:kill linkat:2:kill} rename:2:kill; do torn 1 $fault; again; done
leaves 0 "$sluice" resume alone/s --mix --progress none
leaves 0 ranks 2 "$sluice" resume dp/s --ranks dp=2 --mix --progress none
leaves 0 ranks 4 "$sluice" resume tp/s --ranks 'tp=2 ep=2' --mix --progress none
for study in mesh1 alone dp tp; do cp -r $study/s $study/t; mv $study/t/base-* $study/t/base; done
for study in alone dp tp; do
    leaves 0 "$sluice" show "$study/t/base/0"
    says "resumed from step 4"
    echo "on with it, $study: losses differ by $(look near mesh1/t $study/t 1e-4)"
done

# ---- a full disk, on one rank ----
torn 2 fsync:2:28 6
says 'rank 2: No space left on device'
again

# ---- damaged and missing parts are named, and the checkpoint before is taken ----
run=$(echo torn/s/base-*/0)
last=$run/checkpoints/step-00000012/state-00002.safetensors
cp $last kept
size=$(wc -c <$last)
for spoil in "dd if=/dev/zero of=$last bs=9 count=9 seek=$((size / 18)) conv=notrunc" \
    "truncate -s $((size / 2)) $last" "rm $last"; do
    $spoil 2>/dev/null
    leaves 4 "$sluice" ckpt inspect "$run/checkpoints/step-00000012"
    says "state-00002.safetensors"
    leaves 0 "$sluice" sample "$run" -n 2
    says "passed over"
    says "step 8"
    cp kept $last
done
leaves 0 "$sluice" sample "$run" -n 2
says "step 12"

# ---- a rank that goes back to a checkpoint goes back on all ranks ----
sed -e 's/name = "s"/name = "b"/' -e 's/base = sl.extend.*/base = require "tiny",/' -e '/ffn.balance/d' \
    -e 's/steps = 12, batch = 8, micro = 2/steps = 30, batch = 2, guard = { "rollback", window = 16, sigma = 3.4 }/' \
    -e 's/checkpoint_every = 4/checkpoint_every = 15/; s/average = .*/schedule = { "constant", warmup = 4 } },/' \
    -e 's/optim = "adamw"/optim = { "adamw", lr = 1e-2 }/' study.lua >back.lua
leaves 0 "$sluice" run back.lua --out back --progress none
leaves 0 ranks 2 "$sluice" run back.lua --out back2 --progress none
for study in back back2; do mv $study/b/base-* $study/b/base; done
near=$(look near back/b back2/b 1e-2)
leaves 0 "$sluice" show back2/b/base/0
says "is taken back"
echo "two ranks that go back: losses differ by $near"

# ---- a rank that does not see the folder is named ----
cat >blind <<'SH'
#!/bin/sh
[ "$OMPI_COMM_WORLD_RANK" = 1 ] || exec "$@"
exec unshare -m sh -c 'mount -t tmpfs none hidden && mkdir -p $OWN && exec "$@"' sh "$@"
SH
chmod +x blind
mkdir hidden
if unshare -m mount -t tmpfs none hidden 2>/dev/null; then
    export OWN=hidden
    leaves 4 ranks 2 ./blind "$sluice" run study.lua --out hidden --progress none
    says 'rank 1: '
    says 'has to lie on a file system that all ranks see'
    export OWN="hidden/s/$(basename mesh1/s/base-*)/0/checkpoints/step-00000004.tmp"    # the same path elsewhere
    leaves 1 ranks 2 ./blind "$sluice" run study.lua --out hidden --progress none
    says 'rank 0 cannot read what rank 1 wrote; all have to see the output folder'
else
    echo "no namespaces of mounts here: a rank without the folder is not tried"
fi
