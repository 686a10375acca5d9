"""Rows of the tables of bench/scale.sh."""
import csv
import json
import statistics
import sys


def steps(path):
    """Seconds of each step but the first, which touches memory for the first time."""
    done = [float(row["value"]) for row in csv.DictReader(open(path))]
    return [after - before for before, after in zip(done, done[1:])]


def row(name, formula, measured, *more):
    middle = statistics.median(measured)
    cells = [name, f"{1e3 * formula:.0f}", f"{1e3 * middle:.0f}",
             f"{1e3 * min(measured):.0f} - {1e3 * max(measured):.0f}", f"{100 * (middle / formula - 1):+.1f} %", *more]
    print("| " + " | ".join(cells) + " |", flush=True)


def layout(name, plan, times):
    fits = [t for t in json.load(open(plan))["layouts"] if t["fate"] == "fits"]
    assert len(fits) == 1, f"{name}: {len(fits)} layouts are predicted"
    row(name, fits[0]["step_seconds"], steps(times))


RANKS, MICROS = 4, 8
# In actions of one length: F = I = W = 1, over the chunks of a rank; Narayanan 2021, Qi 2024.
BUBBLE = {"gpipe": 3 * (RANKS - 1), "1f1b": 3 * (RANKS - 1), "interleaved": 3 * (RANKS - 1), "zb_h1": RANKS - 1,
          "zb_v": RANKS - 1}
CHUNKS = {"interleaved": 2, "zb_v": 2}


def bubble(schedule, short, long, short_times, long_times):
    """What a step takes more with longer actions is its actions and its bubble."""
    more = float(long) - float(short)
    before = statistics.median(steps(short_times))
    busy = 3 * MICROS * CHUNKS.get(schedule, 1)
    row(schedule, BUBBLE[schedule] * more, [after - before - busy * more for after in steps(long_times)])


def published_head():
    print("| GPUs | layout | recompute | step, s | M tokens/s | GPU hours a trillion tokens | idle | exposed | "
          "hidden | memory, GiB |\n|---:|---|---|---:|---:|---:|---:|---:|---:|---:|", flush=True)


def published(recompute, path):
    """With recompute the fastest that fits, else the fastest of all."""
    plan = json.load(open(path))
    able = [t for t in plan["layouts"] if t["fate"] == "fits" or (recompute == "none" and t["fate"] == "memory")]
    if not able:
        print(f"| {plan['devices']} | none fits | {recompute} | | | | | | | |", flush=True)
        return
    best = min(able, key=lambda t: t["step_seconds"])
    step, rate = best["step_seconds"], plan["tokens_per_step"] / best["step_seconds"]
    memory = f"{max(best['memory_bytes']) / 2 ** 30:.0f}" + (", too much" if best["fate"] == "memory" else "")
    share = [100 * x for x in (best["idle_share"], best["exposed_seconds"] / step, best["hidden_seconds"] / step)]
    print(f"| {plan['devices']} | {best['layout']} | {recompute} | {step:.1f} | {rate / 1e6:.2f} | "
          f"{plan['devices'] * 1e12 / rate / 3600 / 1e3:.0f} K | " + " | ".join(f"{x:.0f} %" for x in share) +
          f" | {memory} |", flush=True)


rows = {"layout": layout, "bubble": bubble, "published_head": published_head, "published": published}
rows[sys.argv[1]](*sys.argv[2:])
