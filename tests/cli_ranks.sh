#!/bin/sh
# Training on several ranks, launched by mpirun: the numbers of one rank, the same bits each time, and every way to end
# it.
set -eu
. "$(dirname "$0")/study.sh"
tiny
needs_ranks

cat >study.lua <<'LUA'
local sl = require "sluice"
return sl.study {
  name = "s", replicates = 1, baseline = "base", data = "synthetic",
  variants = {
    base = {}, gated = { ["attention.gate"] = "head" },
    drawn = { ["ffn.router"] = { noise = "gumbel", normalize = "even" },
              ["ffn.balance"] = { { "reinforce", baseline = "mean", standardize = true } } },
    sparse = { ["ffn.router"] = { score = "relu", select = { "top_k", most = 4 } },
               ["ffn.balance"] = { { "l1", start = 1e-3 } } },
  },
  base = sl.extend(require "tiny", {
    ["ffn.balance"] = { { "bias", gamma = 1e-3 }, { "switch_aux", scope = "global", device = 0.05, groups = 2 } } }),
  train = { steps = 40, batch = 8, eval_every = 20, eval_tokens = 512, checkpoint_every = 20, keep = 3,
            optim = { "muon", lr = 2e-3 },
            average = { "ema", decay = 0.9 } },
}
LUA
long="--set train.steps=200 --set train.checkpoint_every=10 --only base"

ranks() { mpirun --oversubscribe -np "$@"; }

# begins DIR RANKS: a study in the background that is past its first checkpoint: its mpirun is $job, the process of rank
# R that trains is "$(trainer R)".
begins() {
    SLUICE_COMM_TIMEOUT=5 mpirun --oversubscribe -np "$2" "$sluice" run study.lua --out "$1" $long --progress none \
        >log 2>&1 &
    job=$!
    reaches "$1/s/base-*/0/checkpoints/step-00000010" 60
}
children() { cat /proc/"$1"/task/"$1"/children; }
trainer() {
    for launched in $(children $job); do
        if tr '\0' '\n' </proc/"$launched"/environ | grep -qx "OMPI_COMM_WORLD_RANK=$1"; then children "$launched"; fi
    done
}
ends() {
    code=$1 got=0
    wait $job || got=$?
    [ "$got" = "$code" ] || fail "exit code $got, not $code"
}

# ---- the numbers of one rank, whatever the parts of a batch count; as many ranks, the same bits ----
leaves 0 "$sluice" run study.lua --out alone --progress none
for variant in base gated drawn sparse; do mv alone/s/$variant-* alone/s/$variant; done
for n in 2 4; do
    leaves 0 ranks $n "$sluice" run study.lua --out "ranks$n" --progress none
    leaves 0 ranks $n "$sluice" run study.lua --out "again$n" --progress none
    look equal "ranks$n/s" "again$n/s"
    for variant in base gated drawn sparse; do mv ranks$n/s/$variant-* ranks$n/s/$variant; done
    near=$(look near alone/s ranks$n/s 1e-5)
    share=$(look shard alone/s ranks$n/s | sed -n 1p)
    echo "$n ranks: losses differ from one rank's by $near; bytes of optimizers alone and on rank 0: $share"
done
leaves 0 ranks 2 "$sluice" run study.lua --out both --set train.micro=2 --progress none
for variant in base gated drawn sparse; do mv both/s/$variant-* both/s/$variant; done    # micro is in the hash
near=$(look near alone/s both/s 1e-5)
echo "2 ranks with 2 micro-batches: losses differ by $near"

# ---- answers: ranks have other numbers of targets and of tokens, a loss is of all targets ----
for i in 1 2 3 4 5 6 7 8 9; do for k in 1 2 3 4 5 6 7 8 9; do
    printf '{"prompt": "%0*d+%d?", "completion": "%0*d"}\n' $((2 * k)) $i $k $i $((i + k))
done; done >sums.jsonl
leaves 0 "$sluice" data pack sums.jsonl --answers prompt --template '{prompt}={completion};' --held-out 0.2 -o sums.tok
cat >answers.lua <<'LUA'
local sl = require "sluice"
return sl.study {
  name = "a", replicates = 1, baseline = "base", data = "sums.tok",
  variants = {
    base = {}, mtp = { ["head.mtp"] = "sequential" },
    priced = { ["ffn.balance"] = "quantile" },
    noisy = { ["ffn.router.noise"] = "learned", ["ffn.balance"] = { "load", "importance" } },
  },
  base = sl.extend(require "tiny", { seq = 64, ["ffn.balance"] = { { "bias", gamma = 1e-3 } } }),
  train = { steps = 10, batch = 8, eval_every = 5, eval_tokens = 0, optim = { "adamw", lr = 2e-3 } },
}
LUA
plain() { for variant in base mtp priced noisy; do mv $1/a/$variant-* $1/a/$variant; done; }
leaves 0 "$sluice" run answers.lua --out whole --progress none
leaves 0 "$sluice" run answers.lua --out halves --set train.micro=2 --progress none
leaves 0 ranks 2 "$sluice" run answers.lua --out shared --progress none
leaves 0 ranks 2 "$sluice" run answers.lua --out repeated --progress none
look equal shared/a repeated/a
for study in whole halves shared; do plain $study; done
near=$(look near halves/a shared/a 1e-5)
rm -r whole/a/priced whole/a/noisy                          # their rules are of micro-batches
whole=$(look near whole/a shared/a 1e-5)
echo "answers on 2 ranks: losses differ from those of 2 micro-batches by $near, of one by $whole"

# ---- interrupted, killed, and on with it ----
leaves 0 ranks 2 "$sluice" run study.lua --out calm $long --progress none

begins term 2
kill -TERM $job
wait $job || true
leaves 0 "$sluice" ls term/s
says preempted
leaves 0 ranks 2 "$sluice" resume term/s --only base --progress none
look equal calm/s term/s checkpoints
echo "SIGTERM: a checkpoint, then the same bits"

begins dead 2
all=$(children $job; for launched in $(children $job); do children "$launched"; done)
kill -9 $job $all
wait $job || true
leaves 4 "$sluice" resume dead/s --only base --progress none
says 'its bits may differ'
leaves 0 ranks 2 "$sluice" resume dead/s --only base --progress none
look equal calm/s dead/s checkpoints
echo "kill -9 of all: goes on with as many ranks, the same bits"

begins one 2
kill -9 $(trainer 1)
ends 1
says 'rank 1 of 2 was killed by SIGKILL'
leaves 0 ranks 2 "$sluice" resume one/s --only base --progress none
look equal calm/s one/s checkpoints
echo "kill -9 of one rank: ends all, the same bits after"

begins mute 4
stopped=$(trainer 2)
kill -STOP $stopped
ends 7
says 'rank 2 did not answer within 5 s in '
leaves 0 ranks 4 "$sluice" resume mute/s --only base --progress none
leaves 0 ranks 4 "$sluice" run study.lua --out calm4 $long --progress none
look equal calm4/s mute/s checkpoints
echo "a rank that is silent: named, the same bits after"

# ---- beside another process ----
"$sluice" run study.lua --out beside $long --progress none >log 2>&1 &
alone=$!
reaches 'beside/s/base-*/0/checkpoints/step-00000010' 60
run=$(children $alone)
kill -STOP $run
leaves 75 ranks 2 "$sluice" resume beside/s --only base --mix --progress lines
says 'base/0 is trained by another process, for which ranks do not wait'
says '1 run is left: sluice resume beside/s goes on'
kill -9 $alone $run
wait $alone || true
echo "a run that another process trains is left to it"

# ---- refused ----
leaves 2 ranks 2 "$sluice" run study.lua --out no --jobs 2
says '--jobs 2: 2 ranks train one run after the other'
leaves 3 ranks 3 "$sluice" run study.lua --out no
says '8 sequences in 1 micro-batches cannot be divided among 3 ranks: take a multiple of 3'
leaves 2 ranks 2 env RANK=1 WORLD_SIZE=4 "$sluice" run study.lua --out no
says 'torchrun says rank 1 of 4: unset'
leaves 7 env RANK=1 WORLD_SIZE=4 "$sluice" run study.lua --out no
says "launch with 'mpirun -np"
leaves 4 ranks 2 sh -c "exec '$sluice' run study.lua --out no --set train.steps=4\$OMPI_COMM_WORLD_RANK"
says 'all ranks need the same program, script and data'
leaves 7 env SLUICE_COMM_TIMEOUT=2 mpirun --oversubscribe -np 2 sh -c \
    "[ \$OMPI_COMM_WORLD_RANK = 0 ] || exec sleep 20; exec '$sluice' run study.lua --out no"
says 'rank 0 of 2: not all ranks started within 2 s'
echo "refused: jobs, a batch that cannot be divided, launchers that contradict each other," \
    "ranks of different studies or none"
