#!/bin/sh
# Samples go on from a prompt, which is read in chunks without what no cache needs, however much that is; or from many,
# which come as JSON lines. Drafts change nothing but the number of passes.
set -eu
. "$(dirname "$0")/study.sh"

cat >forms.lua <<'END'
local sl = require "sluice"
return sl.study {
  name = "forms", data = "synthetic", baseline = "own",
  train = { steps = 3, batch = 4, eval_every = 3, eval_tokens = 130, checkpoint_every = 3 },
  base = sl.model {
    layers = 6, d_model = 16, seq = 128, vocab = 256, attention = { "gqa", heads = 2, kv_heads = 1, head_dim = 8 },
    ffn = { "dense", d_ff = 16 },
  },
  variants = {
    own = {}, mirror = { ["attention.kv"] = "mirror" }, yoco = { ["attention.kv"] = "yoco" },
    tail = { ["attention.kv"] = "tail", ["attention.mask"] = { "window", size = 20 } },
    heads = { ["head.mtp"] = "parallel" },
  },
}
END
leaves 0 "$sluice" run forms.lua --progress none
prompt='It was read in chunks, as far as chunks go, and the rest of it was read one by one.'

# sample VARIANT LEFT: of six layers so many are left out
sample() {
    run=$(echo runs/forms/"$1"-*/0)
    leaves 0 "$sluice" sample "$run" -p "$prompt" -n 12
    says "64 of the prompt's 83 tokens are read in chunks, without $2 of 6 layers"
    says "$prompt"
    cp log first
    leaves 0 "$sluice" sample "$run" -p "$prompt" -n 12
    cmp -s log first || fail "$1: a second sample differs"
    leaves 0 "$sluice" sample "$run" -p I -n 3
    ! grep -q 'read in chunks' log || fail "$1: a prompt of one byte has nothing to read in chunks"
}
sample own 1
sample heads 1
sample mirror 3
sample yoco 3
sample tail 4

# ---- choosing, and where texts end ----
run=$(echo runs/forms/heads-*/0)
leaves 0 "$sluice" sample "$run" -p "$prompt" -n 20 --top-k 1 --temperature 2
cp log first
leaves 0 "$sluice" sample "$run" -p "$prompt" -n 20 --temperature 0
cmp -s log first || fail "of one token the temperature matters"
leaves 2 "$sluice" sample "$run" --top-p 2
leaves 2 "$sluice" sample "$run" --stop ''
says 'needs at least one character'

# ---- drafts change nothing of the likeliest tokens ----
"$sluice" sample "$run" -p "$prompt" -n 20 --temperature 0 >plain 2>/dev/null
for drafter in mtp suffix; do
    "$sluice" sample "$run" -p "$prompt" -n 20 --temperature 0 --draft 3 --drafter $drafter >drafted 2>log ||
        fail "no draft by $drafter"
    cmp -s plain drafted || fail "$drafter: drafts change the text"
    says '20 tokens by'
done
leaves 4 "$sluice" sample "$run" --draft 4
says 'predicts 3 tokens beyond the next'
leaves 2 "$sluice" sample "$run" --draft 2 --batch 4

# ---- prompts as JSON lines ----
cat >prompts.jsonl <<'END'
{"prompt": "The house ", "answer": 3}
{"id": "second", "prompt": "I"}

{"prompt": "café, and whatever else is read in chunks, so that prompts of many lengths are in one batch"}
END
answers() { "$sluice" sample "$run" --prompts prompts.jsonl -n 9 "$@" 2>log || fail "no answers: $*"; }
answers >batched
answers --batch 1 >single
cmp -s batched single || fail "texts depend on which others are written"
answers --samples 2 --stop e >twice
/usr/bin/python3 - <<'END' || fail "answers are not what was asked"
import json
read = lambda name: [json.loads(line) for line in open(name)]
one, two = read("batched"), read("twice")
assert [a["id"] for a in one] == [0, "second", 2], one
assert one[2]["prompt"].startswith("café") and all(a["tokens"] == 9 and a["ended"] == "tokens" for a in one), one
assert [(a["id"], a["sample"]) for a in two] == [(i, s) for i in (0, "second", 2) for s in (0, 1)], two
for a, b in zip(one, two[::2]):
    assert b["text"] == a["text"].split("e")[0] and (b["ended"] == "stop") == ("e" in a["text"]), (a, b)
assert any(a["text"] != b["text"] for a, b in zip(two[::2], two[1::2])), two
END
# refused TEXT WORDS: a line that is no prompt.
refused() {
    printf '{"prompt": "a"}\n%s\n' "$1" >bad.jsonl
    leaves 4 "$sluice" sample "$run" --prompts bad.jsonl
    says "bad.jsonl:2: $2"
}
refused '{"prompt": ' 'is no JSON'
refused '["a"]' 'is no object'
refused '{"text": "a"}' 'prompt: needs a text'
refused "{\"prompt\": \"$(printf '%0200d' 0)\"}" "prompt: has 200 bytes, the model's sequence is 128"
: >empty.jsonl
leaves 4 "$sluice" sample "$run" --prompts empty.jsonl
says 'has no prompts'
echo "prompts are read in chunks, without upper layers that no cache needs; drafts and batches change no text"
