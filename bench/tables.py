#!/usr/bin/env python3
"""Markdown tables from the measurements of compare.sh, scaling.sh and sluice bench --ops --json."""
import json
import os
import platform
import statistics
import sys

MIB = 1 << 20


def read(path):
    with open(path) as f:
        found = json.load(f)
    return found[0] if isinstance(found, list) else found   # sluice bench prints a list of models


def median(runs, key):
    return statistics.median(run[key] for run in runs)


def spread(values):
    return f"**{statistics.median(values):.2f}** ({min(values):.2f} – {max(values):.2f})"


def thousands(x):
    return f"{x:,.0f}".replace(",", " ")


def table(head, rows):
    """The first column holds words, the others numbers."""
    print("| " + " | ".join(head) + " |")
    print("|---|" + "---:|" * (len(head) - 1))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def processor():
    with open("/proc/cpuinfo") as f:
        names = [line.split(":", 1)[1].strip() for line in f if line.startswith("model name")]
    return names[0] if names else platform.machine()


def doubt(runs):
    """Says so when other programs took part of the processors."""
    had = min(run["processor_share"] for run in runs)
    if had < 0.85:
        print(f"**Not a quiet machine**: in one run Sluice had only {100 * had:.0f} % of its processors.\n")


# ---- Sluice and its peer ----

def pair_up(folder, model):
    """The runs of both sides, in pairs; models that are not the same are no comparison."""
    pairs = []
    while os.path.exists(f"{folder}/{model}.{len(pairs) + 1}.peer"):
        sluice, peer = (read(f"{folder}/{model}.{len(pairs) + 1}.{side}") for side in ("sluice", "peer"))
        for key in "params_total", "tokens_per_step", "flops_per_step":
            if sluice[key] != peer[key]:
                sys.exit(f"tables.py: {model}: {key} is {sluice[key]:.0f} in Sluice, {peer[key]:.0f} in its peer")
        pairs.append((sluice, peer))
    return pairs


def compare_model(folder, model, clock):
    key = {"wall": "step_seconds", "processor": "processor_seconds"}[clock]
    pairs = pair_up(folder, model)
    sluice, peer = ([pair[side] for pair in pairs] for side in (0, 1))
    gemm = median(sluice, "best_gemm")
    ratios = [p[key] / s[key] for s, p in pairs]
    sides = {name: {k: median(runs, k) for k in ("step_seconds", "processor_seconds", "memory_peak",
                                                 "first_step_seconds")}
             for name, runs in (("sluice", sluice), ("peer", peer))}
    for side in sides.values():
        side["tokens_per_second"] = sluice[0]["tokens_per_step"] / side[key]
        side["best_gemm_share"] = sluice[0]["flops_per_step"] / side[key] / gemm
    return {"model": model, "pairs": len(pairs), "steps": sluice[0]["steps"], "params_total": sluice[0]["params_total"],
            "ratios": ratios,
            "ratio": statistics.median(ratios), "best_gemm": gemm, **sides,
            "memory_ratio": statistics.median(s["memory_peak"] / p["memory_peak"] for s, p in pairs), "runs": pairs}


def compare(folder, clock, to, models):
    found = [compare_model(folder, model, clock) for model in models]
    sluice, peer = found[0]["runs"][0]
    print(f"{processor()}, {sluice['threads']} threads. Sluice {sluice['isa']}, {sluice['precision']}; "
          f"{peer['program']}, {peer['precision']}, {peer['dispatch']} dispatch. "
          f"{found[0]['pairs']} pairs, ratios of {clock} time.\n")
    doubt(s for f in found for s, _ in f["runs"])
    table(["model", "parameters", "tokens/s ÷ PyTorch", "tokens/s", "PyTorch", "best GEMM, GFLOP/s", "reached",
           "PyTorch"],
          [[f["model"], f"{f['params_total'] / 1e6:.1f} M", spread(f["ratios"]),
            thousands(f["sluice"]["tokens_per_second"]), thousands(f["peer"]["tokens_per_second"]),
            thousands(f["best_gemm"] * 1e-9),
            f"{100 * f['sluice']['best_gemm_share']:.0f} %",
            f"{100 * f['peer']['best_gemm_share']:.0f} %"] for f in found])
    table(["model", "peak memory, MiB", "PyTorch", "ratio", "start to first step, s", "PyTorch"],
          [[f["model"], thousands(f["sluice"]["memory_peak"] / MIB), thousands(f["peer"]["memory_peak"] / MIB),
            f"{f['memory_ratio']:.2f}",
            f"{f['sluice']['first_step_seconds']:.2f}", f"{f['peer']['first_step_seconds']:.2f}"] for f in found])
    if to:
        with open(to, "w") as f:
            json.dump({"processor": processor(), "clock": clock, "models": found}, f, indent=1)


# ---- how a step grows ----

# What is told of a table, and what its last column holds of a run and of the one that it is held against.
GROWTH = {
    "experts": ("Experts: tiny has 16, 4 of them active", "step ÷ 8 experts", "step_seconds"),
    "seq": ("Length of sequences: tiny's are 512", "step ÷ seq=256", "step_seconds"),
    "layers": ("Layers: tiny has 6", "step ÷ 3 layers", "step_seconds"),
    "threads": ("Threads", "tokens/s ÷ 1 thread", "tokens_per_second"),
    "tokens": ("Tokens a step", "tokens/s ÷ 2048 a step", "tokens_per_second"),
    "dense": ("Mixture and dense, equally wide for one token", "step ÷ dense", "step_seconds"),
}


def growth(name, folder, points):
    """A row for each point; ratios are taken round by round."""
    title, head, key = GROWTH[name]
    rounds = range(1, 1 + sum(file.startswith(points[0] + ".") for file in os.listdir(folder)))
    runs = {point: [read(f"{folder}/{point}.{i}") for i in rounds] for point in points}
    rows = []
    for point in points:
        base = point.removesuffix("-dense") + "-dense" if name == "dense" else points[0]
        ratios = [run[key] / other[key] for run, other in zip(runs[point], runs[base])]
        rows.append([point.replace(":", ", "), thousands(runs[point][0]["tokens_per_step"]),
                     f"{1e3 * median(runs[point], 'step_seconds'):.1f}",
                     thousands(median(runs[point], "tokens_per_second")), "1" if point == base else spread(ratios)])
    run = runs[points[0]][0]
    print(f"{title}. {run['precision']}, {run['isa']}, {len(rounds)} rounds.\n")
    doubt(run for point in points for run in runs[point])
    table(["model", "tokens a step", "step, ms", "tokens/s", head], rows)


# ---- where the time of a step goes ----

def families(found):
    """Of what sluice bench --ops --json prints: share of each family in the least step, and how near to its ceiling
    that is."""
    by_name = [{family["name"]: family for family in run["families"]} for run in found]
    rows = []
    for name in sorted({name for run in by_name for name in run},
                       key=lambda name: -sum(run[name]["share"] for run in by_name if name in run)):
        cells = [(run[name]["share"], run[name]["ceiling_share"]) if name in run else None for run in by_name]
        rows.append([name] + [f"{100 * c[0]:.1f} % ({100 * c[1]:.0f} %)" if c else "–" for c in cells])
    rows.append(["update, ms per million parameters"] + [f"{1e9 * run['update']['seconds'] / one['params_total']:.2f}"
                                                         for run, one in zip(by_name, found)])
    print(f"{processor()}, {found[0]['threads']} threads, {found[0]['precision']}, {found[0]['isa']}. "
          "Share of the step (and of what bounds it).\n")
    doubt(found)
    table(["family"] + [run["name"] for run in found], rows)


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "compare":
        folder, clock, to, *models = rest
        compare(folder, clock, to, models)
    elif what == "families":
        families(json.load(sys.stdin))
    else:
        growth(what, rest[0], rest[1:])
