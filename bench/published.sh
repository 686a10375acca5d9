#!/bin/sh
# Large models on many GPUs, by sluice plan --devices: a model, not measured. For each number of GPUs the fastest layout
# that fits, which computes activations again, and the fastest if memory were no matter. Prints Markdown.
set -eu

usage() {
    cat <<'END_OF_USAGE'
usage: sh bench/published.sh [MODEL...] [option value]...
  MODEL            deepseek-v3 welm-80b (both)
  --devices LIST   numbers of GPUs ("256 512 1024 2048")
  --cluster FILE   (h800.json, beside this)
SLUICE: the program (build/sluice).
END_OF_USAGE
}
. "$(dirname "$0")/options.sh"
devices="256 512 1024 2048" cluster=$here/h800.json
take "devices cluster" "$@"
models=${words:-deepseek-v3 welm-80b}

# Of DeepSeek-V3 the axes that are published, as far as so many GPUs go: 16 stages, experts over 64.
axes() {
    stages=$(($2 / 64))
    case $1 in
    deepseek-v3) [ $stages -le 16 ] || stages=16; echo "pp=$stages ep=64 zero=1" ;;
    welm-80b) [ $stages -le 4 ] || stages=4; echo "pp=$stages ep=64 zero=1" ;;
    *) fail "no model $1 (deepseek-v3 welm-80b)" ;;
    esac
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for model in $models; do axes "$model" 256 >/dev/null; done
for model in $models; do
    printf '\n**%s**\n\n' "$model"
    python3 "$here/scale_table.py" published_head
    for n in $devices; do
        for recompute in full none; do
            "$sluice" plan "$here/$model.lua" --devices "$n" --cluster "$cluster" --layout "$(axes "$model" "$n")" \
                --set "train.recompute=\"$recompute\"" --json >"$work/plan.json"
            python3 "$here/scale_table.py" published "$recompute" "$work/plan.json"
        done
    done
done
