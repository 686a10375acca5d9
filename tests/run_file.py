"""Looks at a run file as a user's script would: run_file.py COMMAND FILE ..."""
import sys
import time
import h5py
import numpy


def series(file, group):
    return {name: d for name, d in file["metrics"][group].items() if name != "step" and not h5py.h5ds.is_scale(d.id)}


def steps(file, group):
    step = file["metrics"][group]["step"][:]
    return step[step >= 0]


def rows(path):
    """Reads every committed row of a file whose writer lives, died or closed it; prints how many."""
    with h5py.File(path, "r", swmr=True) as file:
        counts = []
        for group in ("train", "eval"):
            n = len(steps(file, group))
            for d in series(file, group).values():
                assert len(d[:n]) == n, f"{d.name}: {d.shape[0]} rows, {n} are committed"
            counts.append(n)
        print(*counts)


def sensible(path):
    """What many attempts leave in the tables."""
    with h5py.File(path, "r") as file:
        train, evals = steps(file, "train"), steps(file, "eval")
        assert list(train) == list(range(1, len(train) + 1)), "train steps"
        assert list(evals) == sorted(set(evals)), "eval steps"
        saved = list(file["checkpoints"]["step"])
        assert saved == sorted(set(saved)), f"checkpoints {saved}"
        attempts = file["attempts"][:]
        assert list(attempts["attempt"]) == list(range(1, len(attempts) + 1)), "attempts"
        assert all(b"running" != r for r in attempts["reason"]), "an attempt that still runs"
        codes = file["events"]["code"]
        resumed = int((codes == 1).sum())
        assert (codes[0], codes[-1]) == (0, 8) and resumed == len(attempts) - 1, f"events {codes}, {len(attempts)} attempts"
        print(f"{len(attempts)} attempts, {len(saved)} checkpoints, {len(evals)} evaluations")


def deaths(*paths):
    """How many processes died, and how many steps were trained again after a death."""
    died = replayed = 0
    for path in paths:
        with h5py.File(path, "r") as file:
            attempts = file["attempts"][:]
        died += int((attempts["reason"] == b"died").sum())
        for before, after in zip(attempts, attempts[1:]):
            if 0 <= after["first_step"] <= before["last_step"]:
                replayed += int(before["last_step"] - after["first_step"]) + 1
    print(died, replayed)


def cost(path):
    """What was executed is what was planned."""
    with h5py.File(path, "r") as file:
        tokens = file["metrics/train/tokens"][-1]
        planned = file["cost"].attrs["train_flops_per_token"] * tokens
        executed = file["cost/executed"]["flops"][-1]
        assert abs(executed - planned) < 0.5, f"{executed} FLOPs executed, {planned} planned"
        print(f"{executed:.0f} FLOPs executed, as planned")


def spoil(path, name, row):
    with h5py.File(path, "r+") as file:
        file[name][int(row)] *= 1 + 1e-15 if file[name].dtype == "f8" else 1 + 1e-6


def attribute(path, group, name, text):
    with h5py.File(path, "r+") as file:
        file[group].attrs[name] = text


def follow(path, seconds):
    """A reader beside the writer, ten looks a second."""
    looks = errors = rows_seen = 0
    until = time.time() + float(seconds)
    with h5py.File(path, "r", swmr=True) as file:
        step = file["metrics/train/step"]
        data = series(file, "train")
        while time.time() < until:
            looks += 1
            step.refresh()
            n = int((step[:] >= 0).sum())
            assert n >= rows_seen, f"{rows_seen} rows were seen, now {n}"
            assert list(step[:n]) == list(range(1, n + 1)), "rows out of order"
            for d in data.values():
                d.refresh()
                try:
                    values = d[:n]
                except OSError:  # caught between two states of the chunk that grows: the next look has it
                    errors += 1
                    d.refresh()
                    values = d[:n]
                assert len(values) == n, f"{d.name}: {len(values)} rows of {n}"
                if d.name.endswith(("/loss", "/tokens")):
                    assert numpy.isfinite(values).all(), f"{d.name}: a committed row without a value"
            rows_seen = n
            time.sleep(0.1)
    assert rows_seen > 0, "no row was seen"
    print(f"{looks} looks at up to {rows_seen} rows of {len(data)} series, {errors} repeated")


globals()[sys.argv[1]](*sys.argv[2:])
