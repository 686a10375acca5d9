"""Two run files hold the same bits in every dataset and attribute that is not @volatile: h5_equal.py A B [LEFT_OUT]."""
import sys
import h5py

IGNORED = {"run_id", "created", "host", "threads", "argv", "path"}


def flat(file):
    out = {}

    def visit(name, thing):
        if isinstance(thing, h5py.Dataset) and not thing.attrs.get("volatile", 0):
            out[name] = (thing.shape, thing.dtype.str if thing.dtype.kind != "V" else str(thing.dtype), thing[()].tobytes())
        for key, value in thing.attrs.items():
            if key not in IGNORED and not isinstance(value, h5py.Reference) and key not in ("DIMENSION_LIST", "REFERENCE_LIST"):
                if not (isinstance(thing, h5py.Dataset) and thing.attrs.get("volatile", 0)):
                    out[f"{name}@{key}"] = str(value)

    file.visititems(visit)
    return out


def main(a, b, left_out=None):
    with h5py.File(a, "r") as x, h5py.File(b, "r") as y:
        left, right = flat(x), flat(y)
    bad = [k for k in sorted(set(left) | set(right)) if left.get(k) != right.get(k) and k != left_out]
    for key in bad:
        print(f"{key}: differs between {a} and {b}", left.get(key, "missing")[:2], right.get(key, "missing")[:2])
    return 1 if bad else 0


sys.exit(main(*sys.argv[1:]))
