"""Reads Sluice run files and studies with h5py, live ones too.

    import sluice_read
    run = sluice_read.run("runs/quickstart/base-3f9a12cd/0/run.h5")
    run["metrics"]["eval.loss"]["value"]            # numpy array, rows first
    sluice_read.frame("runs/quickstart")            # pandas: variant, replicate, step and one column per scalar metric
    sluice_read.tensors("runs/quickstart/base-3f9a12cd/0/checkpoints/step-00000500")["embed.weight"]

From a shell: python3 sluice_read.py PATH lists what a run file holds.
"""
import json
import os
import sys


def _need(package, debian):
    try:
        return __import__(package)
    except ImportError:
        raise SystemExit(f"sluice_read: the package {package} is missing (Debian: {debian}; pip: {package})") from None


STATUS = ["created", "running", "finished", "diverged", "failed", "preempted"]


def _text(value):
    return value.decode() if isinstance(value, bytes) else value


def _series(data, rows):
    """Committed rows; integers with missing values become float with NaN."""
    value, fill = data[:rows], data.attrs.get("_FillValue")
    if fill is not None and value.dtype.kind in "iu" and (value == fill).any():
        missing = value == fill
        value = value.astype(float)
        value[missing] = float("nan")
    return {
        "value": value,
        "unit": _text(data.attrs.get("units", "")),
        "about": _text(data.attrs.get("long_name", "")),
        "dims": [d.label for d in data.dims][1:],
    }


def _table(data):
    names = data.dtype.names or ()
    return [{name: _text(row[name].item()) for name in names} for row in data[:]]


def run(path):
    """Everything in a run file: a dict with attributes, status, config, script, metrics, events, samples."""
    h5py = _need("h5py", "python3-h5py")
    if os.path.isdir(path):
        path = os.path.join(path, "run.h5")
    with h5py.File(path, "r", swmr=True) as file:
        if _text(file.attrs.get("format", "")) != "sluice-run":
            raise SystemExit(f"sluice_read: {path} is no Sluice run file")
        metrics = {}
        for group in ("train", "eval"):
            step = file["metrics"][group]["step"][:]
            step = step[step >= 0]
            for name, data in file["metrics"][group].items():
                if not h5py.h5ds.is_scale(data.id):
                    metrics[f"{group}.{name}"] = {"step": step, **_series(data, len(step))}
        return {
            "path": path,
            "attributes": {key: _text(value) for key, value in file.attrs.items()},
            "status": STATUS[file["status"][0]],
            "config": json.loads(_text(file["config/canonical_json"][()].reshape(-1)[0])),
            "script": _text(file["config/script"][()].reshape(-1)[0]),
            "metrics": metrics,
            "events": _table(file["events"]),
            "samples": _table(file["samples"]),
        }


def study(folder):
    """The runs of a study that have a file, as (variant, replicate, run) in the study's order."""
    with open(os.path.join(folder, "study.json")) as file:
        plan = json.load(file)
    for point in plan["points"]:
        path = os.path.join(folder, point["dir"], "run.h5")
        if os.path.exists(path):
            yield plan["variants"][point["variant"]]["name"], point["replicate"], run(path)


def _run_frame(pandas, one, variant, replicate):
    """One row per step, one column per metric that is a single number."""
    columns = {}
    for name, m in one["metrics"].items():
        if m["value"].ndim == 1:
            columns[name] = pandas.Series(m["value"], index=m["step"])
    frame = pandas.DataFrame(columns).rename_axis("step").reset_index()
    frame.insert(0, "replicate", replicate)
    frame.insert(0, "variant", variant)
    return frame


def frame(path):
    """Scalar metrics of a run file or a study as one pandas data frame."""
    pandas = _need("pandas", "python3-pandas")
    if os.path.exists(os.path.join(path, "study.json")):
        return pandas.concat([_run_frame(pandas, r, v, k) for v, k, r in study(path)], ignore_index=True)
    one = run(path)
    return _run_frame(pandas, one, one["attributes"].get("variant", ""), one["attributes"].get("replicate", 0))


def _pieces(path):
    """Of a file of tensors: name, array, shape of the whole tensor, and where the array begins in it."""
    numpy = _need("numpy", "python3-numpy")
    kind = {"F64": "<f8", "F32": "<f4", "I32": "<i4", "U8": "u1"}
    data = numpy.memmap(path, mode="r")
    size = 8 + int(data[:8].view("<u8")[0])
    header = json.loads(data[8:size].tobytes())
    about = header.pop("__metadata__", {})
    whole, begin = (json.loads(about.get(key, "{}")) for key in ("sluice.whole", "sluice.begin"))
    for name, t in header.items():
        first, end = t["data_offsets"]
        array = data[size + first : size + end].view(kind[t["dtype"]]).reshape(t["shape"])
        yield name, array, whole.get(name, t)["shape"], begin.get(name, [0] * len(t["shape"]))


def tensors(checkpoint):
    """The tensors of a checkpoint's folder by name, whole, in however many files their pieces lie; nothing is verified,
    which `sluice ckpt inspect` does."""
    numpy = _need("numpy", "python3-numpy")
    with open(os.path.join(checkpoint, "manifest.json")) as file:
        names = json.load(file)["files"]
    out = {}
    for file in names:
        for name, array, shape, begin in _pieces(os.path.join(checkpoint, file)):
            whole = out.setdefault(name, numpy.empty(shape, array.dtype))
            whole[tuple(slice(b, b + n) for b, n in zip(begin, array.shape))] = array
    return out


def main():
    if len(sys.argv) != 2:
        raise SystemExit("usage: sluice_read.py RUN.h5")
    one = run(sys.argv[1])
    print(one["path"], one["status"])
    for name, m in sorted(one["metrics"].items()):
        print(f"{name:32} {m['unit']:12} {str(m['value'].shape):18} {' '.join(m['dims'])}")


if __name__ == "__main__":
    main()
