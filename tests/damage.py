#!/usr/bin/python3
"""Run files as disks and transfers leave them, and what may be said of them.

damage.py make SEED FILE..         damages each file in one way that follows from SEED and its place in the list
damage.py same BEFORE AFTER WORD   holds two outputs of compare --json or ls --json against each other: of runs whose
                                   variant does not begin with WORD nothing may differ, of the others no number may be
                                   another one
damage.py count FILE               runs that an output of ls --json calls unreadable
damage.py grow STUDY N             makes a study of N runs of one that has fewer: further replicates are links to
                                   replicate 0
"""
import json, os, random, sys


def damage(path, draw):
    with open(path, "rb") as f:
        content = bytearray(f.read())
    used = [i for i in range(0, len(content), 16) if any(content[i:i + 16])]
    kind = draw.choice(["byte", "byte", "byte", "byte", "bit", "cut", "zero", "noise"])
    at = min(draw.choice(used) + draw.randrange(16),
             len(content) - 1) if draw.random() < 0.8 else draw.randrange(len(content))
    if kind == "byte":
        content[at] = (content[at] + draw.randrange(1, 256)) % 256
    elif kind == "bit":
        content[at] ^= 1 << draw.randrange(8)
    elif kind == "cut":
        del content[at:]
    else:
        n = min(draw.choice([8, 64, 512, 4096]), len(content) - at)
        content[at:at + n] = bytes(n) if kind == "zero" else draw.randbytes(n)
    os.remove(path)
    with open(path, "wb") as f:
        f.write(content)


def runs_of(document):
    """(variant, run) -> what is said of it, and what is said of whole variants."""
    if isinstance(document, list):
        return {(r["variant"], r["replicate"]): r for r in document}, {}
    runs = {(v["variant"], r["replicate"]): r for v in document["variants"] for r in v.pop("runs")}
    return runs, {v["variant"]: v for v in document["variants"]}


def same(before, after, word):
    wrong = []
    (old_runs, old), (new_runs, new) = runs_of(before), runs_of(after)
    for name in old:
        if not name.startswith(word) and old[name] != new[name]:
            wrong.append(f"{name}: {old[name]} became {new[name]}")
    for key in old_runs:
        for field, value in old_runs[key].items():
            now = new_runs[key].get(field)
            number = isinstance(value, float)
            if now != value and (not key[0].startswith(word) or (number and now is not None)):
                wrong.append(f"{key}: {field} {value} became {now}")
    return wrong


def grow(study, wanted):
    path = os.path.join(study, "study.json")
    with open(path) as f:
        document = json.load(f)
    points = document["points"]
    first = [dict(p) for p in points if p["replicate"] == 0]
    replicate = 1 + max(p["replicate"] for p in points)
    while len(points) < wanted:
        for p in first:
            folder = os.path.dirname(p["dir"]) + f"/{replicate}"
            os.makedirs(os.path.join(study, folder))
            os.link(os.path.join(study, p["dir"], "run.h5"), os.path.join(study, folder, "run.h5"))
            points.append(dict(p, replicate=replicate, dir=folder))
        replicate += 1
    with open(path + ".new", "w") as f:
        json.dump(document, f)
    os.rename(path + ".new", path)


def main(verb, *words):
    if verb == "make":
        for i, path in enumerate(words[1:]):
            damage(path, random.Random(f"{words[0]} {i}"))
    elif verb == "same":
        wrong = same(*(json.load(open(w)) for w in words[:2]), words[2])
        sys.exit("\n".join(wrong[:10]) if wrong else 0)
    elif verb == "count":
        print(sum(r["status"] == "unreadable" for r in json.load(open(words[0]))))
    elif verb == "grow":
        grow(words[0], int(words[1]))


main(*sys.argv[1:])
