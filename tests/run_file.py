"""Looks at run files as a user's script would: run_file.py COMMAND ..."""
import filecmp
import glob
import os
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
        # A kill may come between an attempt and its event.
        codes = list(file["events"]["code"])
        said = f"events {codes}, {len(attempts)} attempts"
        assert codes[-1] == 8 and 0 not in codes[1:] and codes.count(1) < len(attempts), said


# Attributes that say where and when, not what.
ELSEWHERE = {"created", "host", "threads", "path", "DIMENSION_LIST", "REFERENCE_LIST"}


def flat(path):
    """Every dataset and attribute that must repeat: all but the @volatile ones."""
    out = {}

    def visit(name, thing):
        if isinstance(thing, h5py.Dataset):
            if thing.attrs.get("volatile", 0):
                return
            out[name] = (thing.shape, str(thing.dtype), thing[()].tobytes())
        out.update({f"{name}@{key}": str(value) for key, value in thing.attrs.items() if key not in ELSEWHERE})

    with h5py.File(path, "r") as file:
        visit("", file)
        file.visititems(visit)
    return out


def runs(study):
    files = glob.glob(f"{study}/*/*/run.h5")
    assert files, f"no run in {study}"
    return files


def equal(calm, other, *left_out):
    """Two studies hold the same bits: run files and the last checkpoints' weights."""
    for file in runs(calm):
        twin = other + file[len(calm):]
        left, right = flat(file), flat(twin)
        bad = [k for k in sorted(left | right) if left.get(k) != right.get(k) and k not in left_out]
        assert not bad, f"{twin} is not {file}: {', '.join(bad)}"
        last = max(glob.glob(os.path.dirname(file) + "/checkpoints/step-*"))
        parts = sorted(glob.glob(last + "/state*.safetensors"))
        its = sorted(glob.glob(other + last[len(calm):] + "/state*.safetensors"))
        assert parts and its == [other + part[len(calm):] for part in parts], f"{twin}: other files of weights"
        assert all(map(lambda a, b: filecmp.cmp(a, b, shallow=False), parts, its)), f"{twin}: other weights"
        sensible(twin)


def values(calm, other):
    """Two run files hold the same bits, but for the list of checkpoints; their weights may be gone."""
    left, right = flat(calm), flat(other)
    bad = [k for k in sorted(left | right) if left.get(k) != right.get(k) and k != "checkpoints"]
    assert not bad, f"{other} is not {calm}: {', '.join(bad)}"


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


def apart(first, second):
    """Two runs that did not run at the same time."""
    with h5py.File(first, "r") as a, h5py.File(second, "r") as b:
        x, y = a["attempts"][0], b["attempts"][0]
    assert x["stop"] <= y["start"] or y["stop"] <= x["start"], f"{x}, {y}"


def cost(path, most=None):
    """What was executed is what was planned; memory, slabs and heap, within a share of it."""
    with h5py.File(path, "r") as file:
        plan, done = file["cost"].attrs, file["cost/executed"][-1]
        flops = plan["train_flops_per_token"] * file["metrics/train/tokens"][-1]
        assert abs(done["flops"] - flops) < 0.5, f"{done['flops']} FLOPs executed, {flops} planned"
        ratio = done["peak_bytes"] / plan["predicted_peak_bytes"]
        assert ratio >= 1 and (most is None or ratio < 1 + float(most)), f"{ratio} of the planned memory"
        print(f"{done['flops']:.0f} FLOPs executed, as planned; memory {ratio:.3f} of the plan")


def near(calm, other, most):
    """Losses of two studies, row by row, within a relative difference."""
    worst = 0
    for file in runs(calm):
        with h5py.File(file, "r") as a, h5py.File(other + file[len(calm):], "r") as b:
            for name in ("metrics/train/loss", "metrics/eval/loss"):
                left, right = a[name][:], b[name][:]
                assert left.shape == right.shape and len(left) and numpy.isfinite(left).all(), f"{file}: {name}"
                worst = max(worst, float(numpy.max(abs(left - right) / abs(left))))
    assert worst <= float(most), f"losses differ by {worst:.1e}, {most} is allowed"
    print(f"{worst:.1e}")


def nodes(study, tokens, most):
    """Rows of a step's tokens that leave a node: each goes to so many others at most, and not once for each expert."""
    for path in runs(study):
        with h5py.File(path, "r") as file:
            rows, each = (file["metrics/train/" + name][:] for name in ("node_rows", "node_rows_each"))
        assert 0 < rows.max() <= int(tokens) * int(most), f"{rows.max()} of {tokens} tokens"
        assert (rows < each).all(), f"{rows}, one by one {each}"
        print(f"{rows.mean():.0f} rows of {tokens} tokens, one by one {each.mean():.0f}")


def busiest(study, first):
    """What the busiest rank computes over the mean, with copies of experts, from a step on, and without."""
    for path in runs(study):
        with h5py.File(path, "r") as file:
            load, home = (file["metrics/train/" + name][int(first):].mean() for name in ("rank_load", "rank_load_home"))
        assert 1 <= load < home, f"{load}, without copies {home}"
        print(f"the busiest rank computes {load:.2f} of the mean, without copies {home:.2f}")


def steps_of(path):
    with h5py.File(path, "r", swmr=True) as file:
        print(len(steps(file, "train")))


def variant(folder):
    """The runs of a variant by replicate, whatever its hash is."""
    files = {file.split("/")[-2]: file for file in glob.glob(f"{folder}-????????/*/run.h5")}
    assert files, f"no run in {folder}"
    return files


def both(first, second):
    """Open files of the replicates that two variants have."""
    a, b = variant(first), variant(second)
    for replicate in a.keys() & b.keys():
        with h5py.File(a[replicate], "r") as left, h5py.File(b[replicate], "r") as right:
            yield left, right


def replayed(record, own):
    """Every value of a run that replays its own choices."""
    for left, right in both(record, own):
        for group in ("train", "eval"):
            a, b = series(left, group), series(right, group)
            for name, d in a.items():
                same = d.attrs.get("volatile", 0) or d[:].tobytes() == b[name][:].tobytes()
                assert same, f"{own}: {group}/{name} is not the record's"


def loads(record, other):
    """Choices and loads of a run that replays another's, whose losses differ."""
    for left, right in both(record, other):
        for group in ("train", "eval"):
            for name in (n for n in series(left, group) if n.endswith(("expert_tokens", "router_choices"))):
                a, b = left[f"metrics/{group}/{name}"][:], right[f"metrics/{group}/{name}"][:]
                assert (a == b).all(), f"{other}: {group}/{name} is not the record's"
        a, b = left["metrics/eval/loss"][:], right["metrics/eval/loss"][:]
        assert (a != b).all(), f"{other}: its losses are the record's"


def first(record, *others):
    """The choices of a first step, which no rounding has parted yet, and their loads, however the batch was cut."""
    for other in others:
        for left, right in both(record, other):
            a, b = (f["metrics/train/router_choices"][0] for f in (left, right))
            assert a.shape == b.shape and (a == b).all(), f"{other}: the first step chose others than {record}"
            counts = left["metrics/train/expert_tokens"][0]
            for expert in range(counts.shape[1]):
                assert ((a == expert).sum(axis=(1, 2)) == counts[:, expert]).all(), f"loads of expert {expert}"


def shard(calm, other):
    """Of what optimizers keep, rank 0 has a share: at most about half, whole weights are dealt out."""
    for file in runs(calm):
        with h5py.File(file, "r") as a, h5py.File(other + file[len(calm):], "r") as b:
            whole, part = int(a["cost/planned"][0]["state_bytes"]), int(b["cost/planned"][0]["state_bytes"])
        assert 0 < part < 0.6 * whole, f"{part} bytes on rank 0, {whole} on one rank alone"
        print(whole, part)


def spoil(path, name, row):
    with h5py.File(path, "r+") as file:
        file[name][int(row)] *= 1 + 1e-15 if file[name].dtype == "f8" else 1 + 1e-6


def write(path, name, row, value):
    with h5py.File(path, "r+") as file:
        file[name][int(row)] = float(value)


def other_state(path):
    """The last checkpoint is of another state."""
    with h5py.File(path, "r+") as file:
        rows = file["checkpoints"][:]
        rows["xxh128"][-1] = b"0" * 32
        file["checkpoints"][:] = rows


def attribute(path, group, name, text):
    with h5py.File(path, "r+") as file:
        file[group].attrs[name] = text


def forget(path, name):
    with h5py.File(path, "r+") as file:
        del file[name]


def json(path, name, key, value):
    """Changes one key of a dataset that holds JSON."""
    from json import dumps, loads
    with h5py.File(path, "r+") as file:
        old = loads(file[name][0])
        (old[0] if isinstance(old, list) else old)[key] = True if value == "true" else value
        text = dumps(old).encode()
        del file[name]
        file.create_dataset(name, data=numpy.array([text], dtype=f"S{len(text) + 1}"))


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
