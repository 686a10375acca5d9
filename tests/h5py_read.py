"""Reads the run file of test_store.c with h5py: h5py_read.py live|closed PATH. Exit code 77: there is no h5py."""
import sys, time

try:
    import h5py, numpy
except ImportError:
    sys.exit(77)

mode, path = sys.argv[1:]


def expected(i, steps, width, dtype):
    k = numpy.arange(width, dtype=numpy.uint64)
    mix = (steps[:, None].astype(numpy.uint64) * 7919 + i * 104729 + k * 31) % 2**32 * 2654435761 % 2**32
    if dtype.kind == "f":
        value = ((mix % 100003).astype(float) / 64 - 500).astype(dtype)
        missing = numpy.nan
    else:
        whole = {1: mix & 1, 2: (mix % 300).astype(int) - 1}.get(dtype.itemsize, mix % 1000000)
        value = whole.astype(dtype)
        missing = numpy.iinfo(dtype).min if dtype.kind == "i" else numpy.iinfo(dtype).max
    value[mix % 97 == 0] = missing
    return value


def series(file):
    """In the plan's order, which is the order of creation; scales left out."""
    groups = [file["metrics"][name] for name in ("train", "eval")]
    found = [d for g in groups for d in g.values() if not h5py.h5ds.is_scale(d.id)]
    names = [f"scalar_{i}" for i in range(20)] + [f"layers_{i}" for i in range(4)]
    names += ["expert_tokens", "router_prob_mean", "tokens", "skipped", "wall_time", "router_choices", "loss", "wide"]
    assert sorted(names) == sorted(d.name.split("/")[-1] for d in found)
    return [next(d for d in found if d.name.endswith("/" + n)) for n in names]


def check(file, datasets, refresh):
    rows = 0
    steps = {}
    for name in ("train", "eval"):
        step = file["metrics"][name]["step"]
        if refresh:
            step.refresh()
        steps[name] = step[:]
    for i, d in enumerate(datasets):
        if refresh:
            d.refresh()
        s = steps[d.name.split("/")[2]]
        assert d.shape[0] >= len(s), f"{d.name}: shorter than step"
        have = d[: len(s)].reshape(len(s), -1)
        want = expected(i, s, have.shape[1], d.dtype)
        assert have.tobytes() == want.tobytes(), f"{d.name}: values differ"
        rows += len(s)
    return rows


if mode == "live":
    file = h5py.File(path, "r", swmr=True)
    datasets, rows, torn, until, looks = series(file), [], 0, time.time() + 2, 0
    while time.time() < until:
        looks += 1
        try:
            rows.append(check(file, datasets, True))
        except OSError:  # the checksum of a chunk that was just being rewritten
            torn += 1
    assert rows and rows[-1] > rows[0], "the file did not grow"
    print(f"    h5py, live: {looks} looks at up to {rows[-1]} rows of series, {torn} repeated")
    sys.exit(0)

file = h5py.File(path, "r")
assert check(file, series(file), False) > 0
assert file.attrs["format"] == "sluice-run" and file.attrs["replicate"] == 3
assert file["metrics/train/expert_tokens"].dims[0].label == "row"
assert file["metrics/train/expert_tokens"].dims[2].label == "expert"
assert file["metrics/train/expert_tokens"].dims[1][0].name == "/metrics/train/layer"
assert file["metrics/eval/loss"].attrs["units"] == "nat"
assert list(file["status"].attrs["flag_values"]) == list(range(6)) and file["status"][0] == 2

# Nothing that is rewritten crosses a page: a chunk lies in one page or holds one row, as all do that are compressed.
def chunks(name, d):
    if not isinstance(d, h5py.Dataset) or d.maxshape[0] is not None:
        return
    packed = d.dtype == numpy.int16
    assert d.fletcher32 and d.compression == ("gzip" if packed else None) and (not packed or d.chunks[0] == 1), name
    for i in range(d.id.get_num_chunks()):
        c = d.id.get_chunk_info(i)
        crosses = c.byte_offset // 4096 != (c.byte_offset + c.size - 1) // 4096
        assert d.chunks[0] == 1 or not crosses, f"{name}: chunk {i} crosses a page"
file.visititems(chunks)
