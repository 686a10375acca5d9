#!/bin/sh
# sluice eval: what it says of each choice are probabilities, and what it says of all follows from these.
set -eu
. "$(dirname "$0")/study.sh"

tiny
cat >two.lua <<'END'
local sl = require "sluice"
return sl.study {
  name = "two", data = "synthetic", base = require "tiny", replicates = 1, baseline = "base",
  train = { steps = 40, batch = 4, eval_every = 40, eval_tokens = 256, checkpoint_every = 20,
            optim = { "adamw", lr = 1e-2 } },
  variants = {
    base = {}, averaged = { ["train.average"] = "ema", memory = "engram", conv = "short" },
    delta = { attention = "gated_delta", ["ffn.dispatch"] = "capacity" },
  },
}
END
leaves 0 "$sluice" run two.lua --progress none
base=$(echo runs/two/base-*/0) averaged=$(echo runs/two/averaged-*/0)

# ---- questions, and the same by llm.c: 256 one-byte ends of one text, four to a question ----
/usr/bin/python3 - <<'PY'
import json, struct
words = "the house of a long way off from here and there was one more of them all".split()
with open("own.jsonl", "w") as f:
    for i in range(60):
        choices = [" ".join(words[(i * k + j) % len(words)] for j in range(1 + (i + k) % 3)) for k in range(1, 5)]
        context = "" if i % 10 == 9 else " ".join(words[i % 7:][:4])
        if not context: choices = choices[:2]
        if i % 10 == 8: choices = choices[:1]
        f.write(json.dumps({"id": "q%d" % i, "context": context, "choices": choices, "gold": i % len(choices),
                            "group": "g%d" % (i % 3)}) + "\n")
with open("parts.jsonl", "w") as f:
    for context, choice in ("It is", " so much"), ("It is", " so"), ("It is so", " much"):
        f.write(json.dumps({"id": "part", "context": context, "choices": [choice], "gold": 0, "delimiter": ""}) + "\n")
examples = []
for i in range(64):
    body = [len(b"the h"), *b"the h"] + [x for k in range(4) for x in (1, 4 * i + k)]
    examples.append([65535, 2 * (5 + len(body)), i, i % 4, 4] + body)
with open("ends.bin", "wb") as f:
    f.write(struct.pack("<256i", 20240522, 1, 64, max(e[1] for e in examples), *[0] * 252))
    for e in examples: f.write(struct.pack("<%dH" % len(e), *e))
PY
leaves 0 "$sluice" eval "$base" --tasks own.jsonl --tasks ends.bin --tasks parts.jsonl --against "$averaged" \
    --groups acc --jsonl all.jsonl --json
says '"tasks"'
sed '/^runs\//d' log >all.json
tac own.jsonl >turned.jsonl
for run in runs/two/*/0; do
    leaves 0 "$sluice" eval "$run" --tasks own.jsonl --jsonl "$(basename "${run%/0}").jsonl"
    leaves 0 "$sluice" eval "$run" --tasks turned.jsonl --jsonl "$(basename "${run%/0}").turned"
done
/usr/bin/python3 - "$base" "$averaged" <<'PY' || fail "numbers"
import glob, json, math, sys
def near(got, want, what, within=1e-9):
    assert abs(got - want) <= within * max(1, abs(want)), "%s: %r, not %r" % (what, got, want)
lines = [json.loads(line) for line in open("all.jsonl")]
said = {t["task"] if t["file"] != "parts.jsonl" else "parts": t for t in json.load(open("all.json"))["tasks"]}
of = {(path, task): [l for l in lines if l["model"] == path and l["task"] == task]
      for path in sys.argv[1:] for task in ("own", "llm.c")}
differ = 0
for path in sys.argv[1:]:
    total = sum(math.exp(x) for l in of[path, "llm.c"] for x in l["ll"])
    near(total, 1, "probabilities of all bytes", 1e-6)
    whole, first, rest = (l["ll"][0] for l in of[path, "own"][60:])
    near(whole, first + rest, "a choice in two parts", 1e-6)
    del of[path, "own"][60:]

for turned in glob.glob("*.turned"):                        # whatever lies beside a row in its window
    one, other = ([json.loads(line) for line in open(turned[:-6] + end)] for end in ("jsonl", "turned"))
    assert len(one) == 60
    for a, b in zip(one, reversed(other)):
        assert a["id"] == b["id"]
        for x, y in zip(a["ll"] + a["alone"], b["ll"] + b["alone"]): near(x, y, turned + " " + a["id"], 1e-6)
    if turned.startswith("base"):
        assert one == [l for l in lines if l["model"] == sys.argv[1] and l["task"] == "own" and l["id"] != "part"]

def likeliest(l, by):
    value = [x / n for x, n in zip(l["ll"], by)]
    if len(value) == 1: return float(l["greedy"][0])
    if not l["alone"] and l["task"] == "own" and value.count(max(value)) > 1: return .5
    return float(value.index(max(value)) == l["gold"])
def mean(x): return sum(x) / len(x)
def error(x): return math.sqrt(sum((a - mean(x)) ** 2 for a in x) / (len(x) - 1) / len(x))
def measure(task, name): return next(m for m in said[task]["measures"] if m["measure"] == name)

for task in "own", "llm.c":
    a, b = ([likeliest(l, [1] * len(l["ll"])) for l in of[path, task]] for path in sys.argv[1:])
    m = measure(task, "acc")
    near(m["mean"], mean(a), "acc")
    near(m["error"], error(a), "its error")
    near(m["against"]["mean"], mean(b), "acc of the other")
    near(m["difference"], mean(a) - mean(b), "difference")
    larger, smaller = (sum(x > y for x, y in zip(*two)) for two in ((a, b), (b, a)))
    near(m["larger"], larger, "only here"), near(m["smaller"], smaller, "only there")
    differ += larger + smaller
    n, k = larger + smaller, min(larger, smaller)
    tail = sum(math.comb(n, i) for i in range(k + 1)) / 2 ** n
    near(m["p"], min(1, 2 * tail) if n < 25 else 2 * tail - math.comb(n, k) / 2 ** n, "p")
    square = sum((x - y) ** 2 for x, y in zip(a, b))
    near(m["difference_error"], math.sqrt(square - (sum(a) - sum(b)) ** 2 / len(a)) / len(a), "its error")
assert differ > 0
own = [l for l in of[sys.argv[1], "own"] if l["alone"]]
m = measure("own", "acc_bytes")
assert m["n"] == len(own) == 48
near(m["mean"], mean([likeliest(l, l["bytes"]) for l in own]), "acc_bytes")
near(m["chance"], .25, "chance")
near(m["longest"], mean([float(l["bytes"].index(max(l["bytes"])) == l["gold"]) for l in own]), "longest")
near(m["alone"], mean([float(l["alone"].index(max(l["alone"])) == l["gold"]) for l in own]), "alone")
gained = [[x - y for x, y in zip(l["ll"], l["alone"])] for l in own]
near(measure("own", "acc_pmi")["mean"], mean([float(g.index(max(g)) == l["gold"]) for g, l in zip(gained, own)]), "pmi")
near(measure("own", "bpb_gold")["mean"], mean([-l["ll"][l["gold"]] / l["tokens"][l["gold"]] / math.log(2)
                                               for l in of[sys.argv[1], "own"]]), "bits per byte")
groups = said["own"]["by_group"]
near(groups["macro"]["mean"], mean([g["mean"] for g in groups["groups"]]), "mean of groups")
near(groups["all"]["mean"], measure("own", "acc")["mean"], "all groups")
PY
echo "probabilities, decisions and errors are what they are said to be"

# ---- tables ----
leaves 0 "$sluice" eval "$base" --tasks own.jsonl --groups acc_norm
for words in 'acc_norm' '±' 'shortest' 'ppl' 'mean of groups' 'g2'; do says "$words"; done
leaves 0 "$sluice" eval "$base" --against "$averaged" --tasks own.jsonl --shots 2
for words in 'larger' 'averages of its weights' 'have fewer examples: no more fit'; do says "$words"; done
leaves 0 "$sluice" eval "$base" --tasks own.jsonl --limit 5 --shots 1 --shots-from turned.jsonl
says 'own           5  acc'
printf '%s\n' '{"context": "It was a long way off from where it had begun", "choices": ["so", "no"], "gold": 0}' \
    >long.jsonl
leaves 0 "$sluice" eval "$base" --tasks long.jsonl
says '1 of 1 questions lost the left of what stands before'

# ---- text ----
mkdir texts
i=0
while [ $i -lt 300 ]; do
    echo "$((i * 7919 % 10007)) is $((i * 31 % 997))"
    echo
    i=$((i + 1))
done >texts/numbers.txt
leaves 0 "$sluice" data pack texts --blank-lines --held-out 0.3 -o numbers.tok
leaves 0 "$sluice" eval "$base" --text numbers=numbers.tok --text again=numbers.tok --against "$averaged" --json
sed '/^runs\//d' log >text.json
/usr/bin/python3 - <<'PY' || fail "bits per byte"
import json
said = json.load(open("text.json"))
a, b = said["bits_per_byte"]
assert a["n"] > 50 and a["text"] == "numbers" and {**a, "text": "again"} == b and 2 < a["mean"] < 20
assert abs(a["difference"]["mean"] - (a["mean"] - a["against"]["mean"])) < 1e-9
assert abs(a["difference"]["error"]) < a["error"]
assert abs(said["bits_per_byte_mean"]["mean"] - a["mean"]) < 1e-9
assert abs(said["bits_per_byte_mean"]["error"] - a["error"] / 2 ** .5) < 1e-9
PY

# ---- mistakes ----
leaves 2 "$sluice" eval "$base"
says 'nothing is asked: --tasks FILE or --text NAME=FILE'
leaves 2 "$sluice" eval "$base" --tasks own.jsonl --groups speed
says "no measure 'speed'"
printf '%s\n' '{"context": "c", "choices": ["a"], "gold": 1}' >wrong.jsonl
leaves 4 "$sluice" eval "$base" --tasks wrong.jsonl
says "wrong.jsonl:1: 'gold' is 1: must be from 0 to 0"
printf '%s\n' '{"context": "c", "choices": ["a choice of more bytes than fit into a sequence"], "gold": 0}' >wrong.jsonl
leaves 4 "$sluice" eval "$base" --tasks wrong.jsonl
says "wrong.jsonl:1: choice 0 has 48 tokens, the model's sequence 32"
leaves 4 "$sluice" eval "$base" --tasks ends.bin --shots 1
says 'ends.bin: is in tokens: examples are of words'
leaves 4 "$sluice" eval "$base" --text numbers.tok
says "--text 'numbers.tok': must be NAME=FILE"
leaves 4 "$sluice" eval "$base" --text n=numbers.tok --stride 33
says '--stride 33: a window has 32 tokens'
leaves 4 "$sluice" eval nowhere --tasks own.jsonl
cat >few.lua <<'END'
local sl = require "sluice"
return sl.study { name = "few", data = "synthetic", base = sl.extend(require "tiny", { vocab = 300 }), replicates = 1,
                  train = { steps = 2, batch = 2, eval_tokens = 64 }, baseline = "base",
                  variants = { base = {}, chooses = { vocab = 256, ["ffn.router.select"] = "expert_choice" } } }
END
leaves 0 "$sluice" run few.lua --progress none
leaves 4 "$sluice" eval runs/few/base-*/0 --tasks own.jsonl
says 'own.jsonl: is in words, and the model has 300 tokens: only byte models can be asked'
leaves 4 "$sluice" eval runs/few/chooses-*/0 --tasks own.jsonl
says 'the model looks ahead: what it says of a token is no likelihood'
echo "mistakes are named"
