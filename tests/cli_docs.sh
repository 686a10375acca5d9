#!/bin/sh
# What a reader sees is true: generated pages are current, quoted files are quoted, examples run, links lead somewhere,
# every metric is described. In a block that begins with ```sh run or ```lua run NAME the words after the language are
# for this test; ```c file=PATH quotes a file.
set -eu
export LC_ALL=C

root=$(pwd)
sluice=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pages="README.md CONTRIBUTING.md docs/*.md"
bad=0

say() { printf 'cli_docs.sh: %s\n' "$*" >&2; bad=1; }

# ---- generated pages ----

# current PART FILE
current() {
    "$sluice" reference "$1" >"$work/now"
    cmp -s "$work/now" "$2" || say "$2 is not what the program says; write it anew: sluice reference $1 >$2"
}
current modules docs/modules.md
current ops docs/ops.md
current commands docs/commands.md
current lua lua/types/slots.d.lua

# What a preset's settings are said to be builds its very graph.
for preset in $(sed -n '/^## Presets/,$s/^### `\(.*\)`$/\1/p' docs/modules.md); do
    {
        printf 'local sl = require "sluice"\nlocal same = '
        sed -n "/^### \`$preset\`\$/,/^}\$/p" docs/modules.md | sed '1,/^```/d'
        printf 'return sl.study { name = "s", base = sl.preset "%s", data = "synthetic",\n' "$preset"
        printf '  variants = { base = {}, same = same } }\n'
    } >"$work/preset.lua"
    "$sluice" plan "$work/preset.lua" 2>&1 | grep -q "'base' and 'same' build the same graph" ||
        say "docs/modules.md: these are not the settings of $preset: $("$sluice" plan "$work/preset.lua" 2>&1)"
done

# Slots that may differ from layer to layer are the same everywhere.
layered=$(sed -n '/^## `model`/,/^## /s/^| \(`[a-z]*`\) | module, or one a layer .*/\1/p' docs/modules.md |
    tr '\n' ' ' | sed 's/ $//; s/ /, /g')
for page in docs/lua.md docs/guide.md; do
    tr '\n' ' ' <$page | sed 's/ and `ffn`/, `ffn`/g' | grep -qF -- "$layered" ||
        say "$page does not name the slots of layers in this order: $layered"
done

for slot in $(sed -n 's/^## `\([a-z_.]*\)`.*/\1/p' docs/modules.md); do
    case $slot in
    model | train) ;;
    *) grep -q "^|.*\`$slot\`" README.md || say "README.md does not name the slot $slot" ;;
    esac
done

# The hand-written types name the keys that the library knows.
# keys FUNCTION CLASS..
keys() {
    printf 'local sl = require "sluice"\nreturn sl.%s { none_such = 1 }\n' "$1" >"$work/keys.lua"
    "$sluice" plan "$work/keys.lua" 2>&1 | sed -n "/has no key 'none_such'/{n;s/.*known: //;s/, /\n/g;p;}" |
        sort >"$work/known"
    shift
    for class in "$@"; do
        sed -n "/^---@class sluice.$class\$/,/^\$/s/^---@field \([a-z_]*\).*/\1/p
                /^---@class sluice.$class:/,/^\$/s/^---@field \([a-z_]*\).*/\1/p" lua/types/sluice.d.lua
    done | sort >"$work/typed"
    [ -s "$work/known" ] && cmp -s "$work/known" "$work/typed" ||
        say "lua/types/sluice.d.lua: $*: has $(tr '\n' ' ' <"$work/typed"), the library $(tr '\n' ' ' <"$work/known")"
}
keys study study_keys variants_keys
keys leave_one_out study_keys leave_one_out_keys
keys factorial study_keys factorial_keys

# Every room is described, and functions are where docs/architecture.md says.
for room in runtime/*/; do
    grep -q "^| \`$(basename $room)\` |" docs/architecture.md ||
        say "docs/architecture.md has no row for the room $room"
done
grep -o '`[a-z_]*` (`[a-z_/]*\.c`' docs/architecture.md | tr -d '`(' >"$work/homes"
[ "$(wc -l <"$work/homes")" -gt 10 ] || say "docs/architecture.md: too few functions have a file: $(cat "$work/homes")"
while read -r name file; do
    cat runtime/$file $file 2>/dev/null | grep -q "^[a-z].*\b$name(" ||
        say "docs/architecture.md: $name is not in $file"
done <"$work/homes"

# ---- links ----

anchors() { sed -n 's/^##* *//p' "$1" | tr 'A-Z' 'a-z' | sed 's/[^a-z0-9 _-]//g; s/ /-/g'; }
for page in $pages; do
    for link in $(grep -o ']([^)]*)' $page | sed 's/^](//; s/)$//' | grep -v '^http'); do
        file=${link%%#*}
        target=$page
        [ -z "$file" ] || target=$(dirname $page)/$file
        if [ ! -e "$target" ]; then say "$page links to $link, which is not there"
        elif [ "$link" != "$file" ]; then
            anchors "$target" | grep -qx -- "${link#*#}" || say "$page links to $link: no such heading"
        fi
    done
done

# ---- blocks ----

# The program with small runs: what is on the page is for real ones.
mkdir "$work/bin"
cat >"$work/bin/sluice" <<END
#!/bin/sh
small="--replicates 2 --set seq=16 --set train.steps=6 --set train.batch=2 --set train.eval_tokens=32"
small="\$small --set train.checkpoint_every=3"
case "\$1 \$2" in
"run "*) exec "$sluice" "\$@" --progress none \$small ;;
"ckpt map") exec "$sluice" "\$@" \$small ;;
*) exec "$sluice" "\$@" ;;
esac
END
chmod +x "$work/bin/sluice"

# Cuts a page into files NUMBER (the text of a block) and NUMBER.info (what stands after ```).
cut_page() {
    awk -v to="$2" '
        /^```/ && !inside {
            inside = 1; file = sprintf("%s/%03d", to, ++n)
            print substr($0, 4) >(file ".info"); close(file ".info"); printf "" >file; next
        }
        /^```/ { inside = 0; close(file); next }
        inside { print >file }
    ' "$1"
}

# block LANGUAGE VERB ARGUMENT FILE, in the page's own folder
block() {
    case $2 in
    file=*)
        path=$root/${2#file=}
        text=$(cat "$path") || return 1
        case $text in *"$(cat "$4")"*) ;; *) echo "is not in ${2#file=} any more"; return 1 ;; esac ;;
    run)
        case $1 in
        lua) cp "$4" "$3" && "$sluice" plan "$3" 2>&1 >/dev/null ;;
        sh) PATH="$work/bin:$PATH" sh -eu "$4" 2>&1 >out ;;
        *) echo "cannot be run"; return 1 ;;
        esac ;;
    esac
}

# What a reader of the guide may have already: token files of others.
mkdir "$work/guide"
(cd "$work/guide" && yes "$(printf '\201\100')" | head -c 4000 >train.bin && head -c 2000 train.bin >val.bin
for shard in train_000001 train_000002 val_000000; do           # magic 20240520, version 1, 2000 tokens of 16 bits
    { printf '\210\330\064\001\001\0\0\0\320\007\0\0'; head -c 1012 /dev/zero; cat train.bin; } >fineweb_$shard.bin
done)
for page in $pages; do
    folder=$work/$(basename $page .md)
    mkdir -p "$folder" "$folder/blocks"
    cut_page $page "$folder/blocks"
    for info in "$folder"/blocks/*.info; do
        [ -e "$info" ] || continue
        read -r language verb argument <"$info" || continue
        why=$(cd "$folder" && block "$language" "${verb:-}" "${argument:-}" "${info%.info}") ||
            say "$page: '$(head -n 1 "${info%.info}")' ...: $why"
    done
done

# ---- numbers ----

# mebibytes SCRIPT [SET..]: the memory of each variant
mebibytes() { "$sluice" plan "$@" --json | awk -F '[:,]' '/"memory_bytes"/ { printf "%.3g\n", $2 / 1048576 }'; }
cat >"$work/recompute.lua" <<'END'
local sl = require "sluice"
return sl.study { base = sl.extend(sl.preset "baseline-tiny", { layers = 12 }), data = "synthetic", baseline = "base",
                  train = { batch = 4 }, variants = { base = {} } }
END
all=$(mebibytes "$work/recompute.lua") some=$(mebibytes "$work/recompute.lua" --set train.recompute=selective)
none=$(mebibytes "$work/recompute.lua" --set train.recompute=full)
hidden=$(mebibytes "$work/recompute.lua" --set train.recompute=selective --set ffn.router.gate_on=hidden)
full=$(mebibytes "$work/guide/memory.lua" | head -n 1) qlora=$(mebibytes "$work/guide/memory.lua" | tail -n 1)
for words in "$all MiB in all without, $some with selective and $none with full recompute" \
    "(WeLM's fused un-permutation): $hidden MiB" "\`plan\` says $full and $qlora MiB"; do
    tr '\n' ' ' <docs/guide.md | grep -qF -- "$words" || say "docs/guide.md does not say '$words'"
done

cat >"$work/rates.lua" <<'END'
local sl = require "sluice"
local variants = {}
for _, name in ipairs { "constant", "linear", "cosine", "inverse_sqrt", "step", "wsd", "wsds" } do
  variants[name] = { ["train.schedule"] = { name, warmup = 4 } }
end
return sl.study {
  base = sl.model { layers = 1, d_model = 16, seq = 16, attention = { "gqa", heads = 2, kv_heads = 1, head_dim = 8 } },
  data = "synthetic", replicates = 1, baseline = "constant", variants = variants,
  train = { steps = 40, batch = 1, eval_tokens = 32, optim = { "adamw", lr = 1e-3 } },
}
END
"$sluice" run "$work/rates.lua" --out "$work/rates" --progress none
"$sluice" export "$work/rates/rates" --csv --metric train.lr | awk -F , '
    $3 ~ /^(1|4|5|33|34|40)$/ {
        x = sprintf("%.4f", $5 / 1e-3); sub(/\.?0*$/, "", x)
        row[$1] = row[$1] " " x " |"
    }
    END { for (name in row) print "| `" name "` |" row[name] }' >"$work/rows"
[ "$(wc -l <"$work/rows")" = 7 ] || say "too few schedules: $(cat "$work/rows")"
while read -r row; do
    grep -qF -- "$row" docs/guide.md || say "docs/guide.md: a schedule has other factors: $row"
done <"$work/rows"

# ---- experiments ----

# What one of them begins with.
"$sluice" run experiments/nano_reference.lua --only baseline --replicates 5 --data synthetic --set train.steps=1 \
    --set train.schedule=constant --out "$work/runs" --progress none ||
    say "experiments/nano_reference.lua does not run"
for file in experiments/*.lua experiments/claims/*.lua; do
    head -n 1 $file | grep -q '^-- .*?' || say "$file: the first line asks no question"
    grep -q 'return sl\.[a-z_]* {' $file || continue        # what others require
    why=$(cd "$work" && "$sluice" plan "$root/$file" --data synthetic 2>&1 >/dev/null) || say "$file: $why"
done

# ---- metrics ----

cat >"$work/all.lua" <<'END'
local sl = require "sluice"
return sl.study {
  base = sl.preset "welm-nano", data = "synthetic", replicates = 1, baseline = "welm",
  variants = { welm = {}, heads = { ["attention.experts"] = { "routed", n = 4, balance = { "bias", "switch_aux" } } },
               softmax = { ["ffn.router.score"] = "softmax", ["ffn.balance"] = { "switch_aux", "z_loss" } } },
}
END
(cd "$work" && bin/sluice run all.lua)
for run in "$work"/runs/all/*/0; do
    "$sluice" show "$run" --json |
        sed -n 's/.*"metric": "[a-z]*\.\([a-z0-9_]*\)".*/\1/p; s/.*"better": "\([a-z]*\)".*/\1/p' | paste -d ' ' - -
done | sort -u >"$work/metrics"
[ "$(wc -l <"$work/metrics")" -gt 20 ] || say "too few metrics: $(cat "$work/metrics")"
while read -r name better; do
    name=$(echo "$name" | sed 's/attention_//')             # of a router of attention
    row=$(grep "^|[^|]*\`$name\`" docs/file-format.md) || say "docs/file-format.md does not describe the metric $name"
    [ "$better" != none ] || better=
    [ "$(echo "$row" | cut -d '|' -f 5 | tr -d ' ')" = "$better" ] ||
        say "docs/file-format.md: which values of $name are better? the program says '$better'"
done <"$work/metrics"

[ $bad = 0 ] && echo "docs: pages, examples, links and metrics agree with the program"
exit $bad
