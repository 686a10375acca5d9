#!/bin/sh
# Does a step take as long as sluice plan --devices says? Runs of 4 ranks on this machine, each on a processor or
# sharing one: what they compute and tell each other takes artificial time (SLUICE_PACE, SLUICE_LINK), in which they
# sleep. Prints Markdown.
set -eu

usage() {
    cat <<'END_OF_USAGE'
usage: sh bench/scale.sh [TABLE...] [option value]...
  TABLE           layouts bubbles (both)
  --steps N       steps of a run, of which the first is not counted (4)
  --gflops R      what a device computes in a second, GFLOP (0.2)
  --link L        microseconds and GB/s of a link (2500:0.008)
  --seconds T     of an action of a pipeline's stage, for bubbles, and a fourth of it (0.4)
SLUICE: the program (build/sluice).
END_OF_USAGE
}
. "$(dirname "$0")/options.sh"
steps=4 gflops=0.2 link=2500:0.008 seconds=0.4
take "steps gflops link seconds" "$@"
tables=${words:-layouts bubbles}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cores=$(nproc)

# What --ranks, micro and zero of a run are, as --layout has them, and pieces, which are the script's.
layouts='dp=4 micro=4 zero=1
dp=4 micro=1 zero=2
dp=4 micro=2 zero=3
ep=4 micro=4 zero=1
dp=2 ep=2 micro=4 zero=1
tp=2 dp=2 micro=4 zero=1
tp=2 ep=2 micro=4 zero=1
pp=4 micro=8 zero=1 schedule=1f1b
pp=4 micro=8 zero=1 schedule=gpipe
pp=2 ep=2 micro=4 zero=1 schedule=1f1b
pp=2 dp=2 micro=8 zero=1 schedule=zb_h1
pp=2 ep=2 micro=8 zero=1 schedule=zb_v
pp=2 dp=2 micro=8 zero=1 schedule=interleaved chunks=2
pp=2 tp=2 micro=8 zero=1 schedule=1f1b
pp=4 micro=8 zero=1 schedule=zb_h1
pp=2 dp=2 micro=8 zero=2 schedule=1f1b
pp=2 ep=2 micro=4 zero=1 schedule=dualpipev
pp=4 micro=8 zero=1 schedule=dualpipe
ep=4 micro=4 zero=1 pieces=2
ep=2 dp=2 micro=4 zero=3 pieces=2'

# What a layout sets.
sets() {
    for word in $1; do
        value=${word#*=}
        case $word in
        micro=*) printf ' --set train.micro=%s' "$value" ;;
        schedule=*) printf ' --set train.ranks.schedule="%s"' "$value" ;;
        *) printf ' --set train.ranks.%s=%s' "${word%%=*}" "$value" ;;
        esac
    done
}

# measure LAYOUT ENVIRONMENT..: a line for each step, when it was done
measure() {
    layout=$1
    shift
    rm -rf "$work/out"
    bind=none
    [ "$cores" -lt 4 ] || bind=core
    env SLUICE_COMM_TIMEOUT=300 "$@" mpirun --allow-run-as-root --oversubscribe --bind-to $bind -np 4 "$sluice" \
        run "$here/scale.lua" --out "$work/out" --threads 1 --progress none --set "train.steps=$steps" \
        $(sets "$layout") $more >"$work/said" 2>&1 || fail "$layout: $(cat "$work/said")"
    "$sluice" export "$work/out/scale" --metric train.wall_time
}

layouts_table() {
    cat >"$work/cluster.json" <<END
{ "name": "artificial", "node": 4, "fp32_gflops": $gflops, "bf16_gflops": $gflops, "memory_gb_s": 1e9, "call_us": 0,
  "inside_us": ${link%:*}, "inside_gb_s": ${link#*:} }
END
    printf '4 ranks on %s processors, devices of %s GFLOP/s, links of %s us and %s GB/s; %s steps of each.\n\n' \
        "$cores" "$gflops" "${link%:*}" "${link#*:}" "$((steps - 1))"
    printf '| layout | predicted, ms | measured, ms | least - most | off by |\n|---|---:|---:|---:|---:|\n'
    more=
    echo "$layouts" | while read -r layout; do
        "$sluice" plan "$here/scale.lua" --devices 4 --cluster "$work/cluster.json" --layout "${layout% pieces=*}" \
            $(sets "$(echo "$layout" | tr ' ' '\n' | grep pieces)") --json >"$work/plan.json" ||
            fail "$layout: no prediction"
        measure "$layout" SLUICE_PACE="$gflops" SLUICE_LINK="$link" >"$work/times.csv" </dev/null
        python3 "$here/scale_table.py" layout "$layout" "$work/plan.json" "$work/times.csv"
    done
}

# All stages take the same, and messages no time: what remains of a step beside its actions is the bubble. Actions of
# two lengths: what is as long in both is neither.
bubbles_table() {
    short=$(python3 -c "print($seconds / 4)")
    printf '\n4 ranks on %s processors, 8 micro-batches, actions of %s and %s s; %s steps of each.\n\n' \
        "$cores" "$short" "$seconds" "$((steps - 1))"
    printf '| schedule | bubble by formula, ms | measured, ms | least - most | off by |\n|---|---:|---:|---:|---:|\n'
    more='--set layers=8'
    for schedule in gpipe 1f1b interleaved zb_h1 zb_v; do
        for length in $short $seconds; do
            measure "pp=4 micro=8 zero=1 schedule=$schedule chunks=2" SLUICE_PACE="action:$length" >"$work/$length.csv"
        done
        python3 "$here/scale_table.py" bubble "$schedule" "$short" "$seconds" "$work/$short.csv" "$work/$seconds.csv"
    done
}

for name in $tables; do
    case $name in
    layouts | bubbles) ;;
    *) fail "no table $name (layouts bubbles)" ;;
    esac
done
for name in $tables; do "${name}_table"; done
