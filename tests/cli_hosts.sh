#!/bin/sh
# Two machines, as far as one can be two: namespaces of network and of hostname, a cable between them, ranks of one run
# in both. The bits of one machine, over TCP; a cable that is pulled is noticed, and the run goes on when it is back.
# SLUICE_FULL=1, as root.
set -eu
. "$(dirname "$0")/study.sh"
[ "${SLUICE_FULL:-}" ] || skip "two machines only with SLUICE_FULL=1"
tiny
needs_ranks
mpirun --version | grep -qF '(Open MPI) 4.' || skip "how another mpirun is sent elsewhere is not known here"
[ "$(id -u)" = 0 ] || skip "only root makes network namespaces"
for tool in ip unshare hostname xargs; do command -v $tool >/dev/null || skip "no $tool here"; done

# ---- the machines ----

export TMPDIR="$folder"                                     # of Open MPI's files
first=sluice-$$-first second=sluice-$$-second
ends_all() {
    for machine in $first $second; do
        ip netns pids $machine 2>/dev/null | xargs -r kill -9 2>/dev/null || :
        ip netns del $machine 2>/dev/null || :              # the cable goes with it
    done
    wait
    rm -rf "$folder"
}
trap ends_all EXIT
trap 'exit 1' INT TERM HUP

ip netns add $first 2>log && ip netns add $second 2>>log || skip "no network namespace: $(cat log)"
ip -n $first link add cable type veth peer name cable netns $second 2>log || skip "no virtual cable: $(cat log)"
ip -n $first address add 10.0.0.1/24 dev cable
ip -n $second address add 10.0.0.2/24 dev cable
for machine in $first $second; do
    ip -n $machine link set lo up
    ip -n $machine link set cable up
    ip netns exec $machine unshare --uts hostname $machine 2>log || skip "no namespace of hostnames: $(cat log)"
done

# on ADDRESS COMMAND..: runs a line of the shell there as ssh does, without the environment of here.
cat >on <<END
#!/bin/sh
case \$1 in 10.0.0.1) machine=$first ;; 10.0.0.2) machine=$second ;; *) exit 255 ;; esac
shift
exec ip netns exec \$machine env -i HOME=/ PATH="$PATH" TMPDIR="$folder" unshare --uts \
    sh -c "hostname \$machine && cd / && \$*"
END
chmod +x on
printf '10.0.0.1 slots=2\n10.0.0.2 slots=2\n' >hosts

here_only() { mpirun --oversubscribe --bind-to none "$@"; }
# Started on the first: its ranks have the environment, those of the second what -x names.
across() {
    ip netns exec $first unshare --uts sh -c 'hostname $0 && exec "$@"' $first \
        mpirun --mca plm_rsh_agent "$folder/on" --mca pml ob1 --mca btl tcp,vader,self \
        --hostfile hosts --bind-to none -x SLUICE_COMM_TIMEOUT "$@"
}
export SLUICE_COMM_TIMEOUT=60
sent() { ip netns exec $1 cat /sys/class/net/cable/statistics/tx_bytes; }
now() { date +%s%N; }
seconds_since() { awk "BEGIN { printf \"%.1f\", ($(now) - $1) / 1e9 }"; }

cat >study.lua <<'LUA'
local sl = require "sluice"
return sl.study {
  name = "s", replicates = 1, baseline = "base", data = "synthetic", variants = { base = {} },
  base = sl.extend(require "tiny", {
    ["ffn.balance"] = { { "bias", gamma = 1e-3 }, { "switch_aux", scope = "global", device = 0.05, groups = 2 } } }),
  train = { steps = 200, batch = 8, eval_every = 20, eval_tokens = 512, checkpoint_every = 10, keep = 3,
            optim = { "muon", lr = 2e-3 }, average = { "ema", decay = 0.9 } },
}
LUA

# ---- the same bits, over the cable ----

# Of each weight a gradient and the new value go to the other machine, whichever way they are added.
weights=$("$sluice" plan study.lua --json | sed -n 's/^ *"params_total": \([0-9]*\),*$/\1/p')
least=$((200 * 8 * weights))
start=$(now)
leaves 0 here_only -np 4 "$sluice" run study.lua --out one --progress none
one=$(seconds_since $start) before=$(($(sent $first) + $(sent $second))) start=$(now)
leaves 0 across -np 4 "$sluice" run study.lua --out two --progress none
two=$(seconds_since $start) bytes=$(($(sent $first) + $(sent $second) - before))
look equal one/s two/s
for machine in $first $second; do
    [ "$(sent $machine)" -gt $least ] || fail "only $(sent $machine) bytes left $machine, at least $least should have"
done
echo "4 ranks on 2 machines: the bits of one, $((bytes / 1000000)) MB over the cable, $two s; on one machine $one s"

mesh="--ranks 'pp=2 ep=2' --set train.micro=4 --set train.steps=20"
eval "leaves 0 here_only -np 4 '$sluice' run study.lua --out stages1 $mesh --progress none"
eval "leaves 0 across -np 4 '$sluice' run study.lua --out stages2 $mesh --progress none"
look equal stages1/s stages2/s
echo "stages of layers on 2 machines, experts divided within each: the bits of one"

# Ranks divide the cores of their own machine.
threads() { "$sluice" show $1/s/base-*/0 | sed -n 's/^threads *//p'; }
networks="--mca oob_tcp_if_include 10.0.0.0/24 --mca btl_tcp_if_include 10.0.0.0/24"
leaves 0 across -np 2 --map-by ppr:1:node $networks \
    "$sluice" run study.lua --out each --set train.steps=10 --progress none
cores=$(nproc)
[ "$(threads each)" = "$cores" ] || fail "a rank alone on its machine has $(threads each) threads, not $cores"
half=$((cores / 2 > 0 ? cores / 2 : 1))
[ "$(threads two)" = $half ] || fail "a rank of 2 on its machine has $(threads two) threads, not $half"
echo "threads of a rank: $cores where it is alone on a machine, $half of two"

# ---- a cable is pulled ----

long="--set train.steps=600"
leaves 0 here_only -np 4 "$sluice" run study.lua --out calm $long --progress none

# pulls DIR SECONDS OPTION..: a run that is past its first checkpoint loses the cable and ends: its time in $took.
pulls() {
    out=$1 most=$2
    shift 2
    across -np 4 "$@" "$sluice" run study.lua --out $out $long --progress none >log 2>&1 &
    job=$! got=0
    reaches "$out/s/base-*/0/checkpoints/step-00000010" 60
    ip -n $second link set cable down
    start=$(now)
    noticed=
    while kill -0 $job 2>/dev/null; do
        [ "$noticed" ] || ! grep -qE "$notice" log || noticed=$(seconds_since $start)
        [ $(($(now) - start)) -lt ${most}000000000 ] || fail "goes on for $most s without a cable"
        sleep 0.1
    done
    wait $job || got=$?
    took=$(seconds_since $start)
    [ $got != 0 ] || fail "exit code 0 without a cable"
    [ "$noticed" ] || ! grep -qE "$notice" log || noticed=$took
    [ "$noticed" ] || fail "nothing says '$notice'"
    for machine in $first $second; do
        for i in 1 2 3 4 5 6 7 8 9 10; do [ -z "$(ip netns pids $machine)" ] || sleep 0.5; done
        [ -z "$(ip netns pids $machine)" ] || fail "left on $machine: $(ip netns pids $machine | xargs ps -o args= -p)"
    done
    ip -n $second link set cable up
}
# goes_on DIR: from the last checkpoint, on both machines.
goes_on() {
    leaves 0 across -np 4 "$sluice" resume $1/s --progress none
    look equal calm/s $1/s checkpoints
}

# mpirun tells its daemon on the other machine to end, and waits until TCP gives up: 15 minutes, less by tcp_retries2.
for machine in $first $second; do
    ip netns exec $machine sh -c 'echo 5 >/proc/sys/net/ipv4/tcp_retries2' 2>log || skip "TCP cannot be set: $(cat log)"
done
notice="rank [01] of 4: ranks? [23] on $second.* did not answer within 5 s in "
export SLUICE_COMM_TIMEOUT=5
pulls pulled 60
[ "${noticed%.*}" -lt 8 ] || fail "named after $noticed s, not 5"
ended=$got
export SLUICE_COMM_TIMEOUT=60
goes_on pulled
echo "a pulled cable: the machine is named after $noticed s, all end after $took s, code $ended; the same bits after"

# Where nothing is under way to the daemon, mpirun itself asks whether it is there.
notice='Remote daemon: .* on node 10\.0\.0\.2'
pulls asked 30 --mca oob_tcp_keepalive_time 2 --mca oob_tcp_keepalive_intvl 1 --mca oob_tcp_keepalive_probes 3
ended=$got
goes_on asked
echo "mpirun that asks: it names the machine after $noticed s, all end after $took s, code $ended; the same bits after"
