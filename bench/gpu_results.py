#!/usr/bin/env python3
"""Writes docs/gpu-results.md from the folder that scripts/gpu-check.sh left:
python3 bench/gpu_results.py [OUT] [-o PAGE]

Without OUT, and for each check that OUT does not have: not measured.
"""
import argparse
import json
import pathlib
import subprocess

root = pathlib.Path(__file__).resolve().parent.parent
NONE = "not measured"


# ---- what the check left ----

def planned():
    """Names of all checks, in order."""
    said = subprocess.run(["sh", root / "scripts/gpu-check.sh", "--list"], stdout=subprocess.PIPE, text=True,
                          check=True).stdout
    return {name: {"verdict": NONE, "seconds": "", "limit": limit, "detail": ""} for name,
            limit in (line.split("\t") for line in said.splitlines())}


def read_results(out):
    checks = planned()
    for line in (out / "results.tsv").read_text().splitlines() if out else []:
        name, verdict, seconds, limit, detail = line.split("\t")
        if name not in checks:
            raise SystemExit(f"gpu_results.py: {out}/results.tsv is of another revision: "
                             f"gpu-check.sh has no check '{name}'")
        checks[name] = {"verdict": verdict, "seconds": seconds, "limit": limit, "detail": detail}
    return checks


def read_measured(out):
    """Values by check, in the order in which they were written; sluice bench prints a list of one model."""
    found = {}
    path = out / "bench.jsonl" if out else None
    for line in path.read_text().splitlines() if path and path.exists() else []:
        record = json.loads(line)
        result = record["result"]
        found.setdefault(record["check"], []).append(result[0] if isinstance(result, list) else result)
    return found


# ---- Markdown ----

def table(head, rows, words=1):
    """The first columns hold words, the others numbers."""
    rows = [[str(cell).replace("|", "\\|") for cell in row] for row in rows]
    wide = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    line = lambda row: "| " + " | ".join(c.ljust(w) if i < words else c.rjust(w) for i,
                                         (c, w) in enumerate(zip(row, wide))) + " |"
    rule = "|" + "|".join("-" * (w + 2) if i < words else "-" * (w + 1) + ":" for i, w in enumerate(wide)) + "|"
    return "\n".join([line(head), rule, *map(line, rows)])


def scaled(x, unit):
    for factor, prefix in (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"):
        if x >= factor:
            return f"{x / factor:.3g} {prefix}{unit}"
    return f"{x:.3g} {unit}".rstrip()


def milliseconds(x):
    return f"{1000 * x:.3g}"


# ---- sections ----

def machine(measured):
    if "machine" not in measured:
        return f"Machine, date and revision: {NONE}."
    m = measured["machine"][0]
    rows = [("date", m["date"]), ("revision", m["revision"])]
    rows += [(what, m["doctor"][what]["value"]) for what in ("GPU 0", "GPU 1", "CUDA", "processor", "cores", "system")
             if what in m["doctor"]]
    note = ("\n\n**With `--small`**: the models and batches below are tiny, and the figures say nothing of a GPU."
            if m["small"] else "")
    return table(["", ""], rows, 2) + note


def verdicts(checks):
    rows = [(name, c["verdict"], c["detail"] if c["verdict"] != NONE or c["detail"] else "", c["seconds"], c["limit"])
            for name, c in checks.items()]
    return table(["check", "verdict", "", "seconds", "at most"], rows, 3)


def of_group(checks, group):
    return [name for name in checks if name.startswith(group + ": ")]


def throughput(checks, measured):
    rows = []
    for name in of_group(checks, "throughput"):
        preset, precision = name.split(": ")[1].split(" ")
        for m in measured.get(name, [None]):
            rows.append((preset, precision, *((f'{m["tokens_per_step"]:.0f}', milliseconds(m["step_seconds"]),
                                               scaled(m["tokens_per_second"], ""),
                                               scaled(m["flops_per_second"], "FLOP/s"),
                                               f'{m["first_step_seconds"]:.1f}')
                                              if m else (NONE, "", "", "", ""))))
    return table(["preset", "precision", "tokens a step", "step, ms", "tokens/s", "rate", "start to first step, s"],
                 rows, 2)


def ceilings(checks, measured):
    rows = []
    for name in of_group(checks, "ceilings"):
        preset = name.split(": ")[1]
        for m in measured.get(name, [None]):
            found = m["ceilings"] if m else {"streams": [], "products": []}
            rows += [(preset, f'copy of {s["bytes"] / 2**20:.0f} MiB', scaled(s["bytes_per_second"], "B/s"))
                     for s in found["streams"]]
            rows += [(preset, f'product {p["m"]} x {p["n"]} x {p["k"]}', scaled(p["flops_per_second"], "FLOP/s"))
                     for p in found["products"]]
            if not m:
                rows.append((preset, "", NONE))
    return table(["shapes of", "", "rate"], rows, 2)


def families(checks, measured):
    rows = []
    for name in of_group(checks, "time by op"):
        preset = name.split(": ")[1]
        for m in measured.get(name, [None]):
            rows += [(preset, f["name"], milliseconds(f["seconds"]), f'{100 * f["share"]:.1f} %', f'{f["calls"]:.0f}')
                     for f in m["families"]] if m else \
                [(preset, "", NONE, "", "")]
    return table(["preset", "family", "ms a step", "share", "calls"], rows, 2)


def sharing(checks, measured):
    rows = []
    for name in of_group(checks, "runs on one GPU"):
        for m in measured.get(name, [None]):
            rows.append((name.split(": ")[1], *((f'{m["seconds"]:.1f}', f'{60 * m["runs"] / m["seconds"]:.1f}') if m
                                                else (NONE, ""))))
    return table(["four runs of one study", "seconds", "runs a minute"], rows)


def peer(checks, measured):
    rows = []
    for name in of_group(checks, "PyTorch"):
        what = name.split(": ")[1]
        for m in measured.get(name, [None]):
            if not m:
                rows.append((what, "", NONE, ""))
                continue
            shape = m.get("preset") or (f'{m["m"]} x {m["n"]} x {m["k"]}' if "m" in m
                                        else f'{m["bytes"] / 2**20:.0f} MiB')
            rate = scaled(m["flops_per_second"],
                          "FLOP/s") if "flops_per_second" in m else scaled(m["bytes_per_second"], "B/s")
            rows.append((what, shape, milliseconds(m["seconds"]), rate))
    return table(["PyTorch, bf16", "shape", "ms", "rate"], rows, 2)


PAGE = """# GPU results

Written by `python3 bench/gpu_results.py OUT` from what `gpu-check.sh` left in OUT ([how to run
it](cuda.md#checking-a-gpu)). What did not run is *not measured*.

{machine}

## Checks

{verdicts}

## Throughput

Whole training steps of 64 sequences, the median of 10.

{throughput}

## Ceilings

What the GPU reaches at best: copies that read half of the bytes and write half, and products in bf16 by cuBLASLt.

{ceilings}

## Time by op

In bf16, with 64 sequences.

{families}

## Several runs on one GPU

{sharing}

## PyTorch on the same GPU

{peer}
"""

if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description="Writes docs/gpu-results.md.")
    arguments.add_argument("out", nargs="?", type=pathlib.Path, help="the folder that gpu-check.sh left")
    arguments.add_argument("-o", "--output", type=pathlib.Path, default=root / "docs/gpu-results.md")
    given = arguments.parse_args()
    checks, measured = read_results(given.out), read_measured(given.out)
    sections = {f.__name__: f(checks, measured) for f in (throughput, ceilings, families, sharing, peer)}
    given.output.write_text(PAGE.format(machine=machine(measured), verdicts=verdicts(checks), **sections))
