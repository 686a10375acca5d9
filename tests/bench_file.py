"""What sluice bench --json says adds up: bench_file.py FILE... checks each model in the files; no figure is judged."""
import json
import sys

POSITIVE = ("params_total", "params_active", "tokens_per_second", "flops_per_step", "flops_per_second", "best_gemm",
            "best_gemm_share",
            "best_gemm_share_max", "processor_share", "processor_seconds", "start_seconds", "memory_predicted",
            "memory_peak")
FAMILIES = {"products": ("matmul", "grouped_matmul"), "attention": ("attention",), "loss": ("cross_entropy",),
            "elementwise": ("add",), "rows": ("rope",),
            "tables": ("embed",), "routing": ("dispatch",), "metrics": ("carry",), "update": ("adamw", "muon"),
            "outside ops": ()}


def close(a, b, size=1.0):
    return abs(a - b) <= 1e-9 * max(size, abs(a), abs(b))


def step(run):
    for key in POSITIVE:
        assert run[key] > 0, (key, run[key])
    assert 0 <= run["data_share"] < 1
    assert 0 < run["step_seconds_min"] <= run["step_seconds"] <= run["step_seconds_max"]
    assert run["tokens_per_step"] == run["batch"] * run["seq"]
    assert run["start_seconds"] < run["first_step_seconds"] < 600, run["first_step_seconds"]
    assert run["isa"] and run["revision"]
    if run["isa"].startswith("sm_"):  # the tensors are the GPU's, and the host waits for it where it gathers
        assert "memory_measured" not in run and "gather_share" not in run
    else:
        assert 0 < run["memory_measured"] < run["memory_peak"] and 0 <= run["gather_share"] < 1


def families(run):
    named = {f["name"]: f for f in run["families"]}
    assert set(named) == set(FAMILIES), set(named)
    assert close(sum(f["share"] for f in named.values()), 1)
    for name, f in named.items():
        for key in "seconds", "forward_seconds", "backward_seconds", "share", "calls", "least_seconds", "gain_seconds":
            assert not f["ops"] or close(sum(op[key] for op in f["ops"]), f[key]), (name, key)
        gains = [op["gain_seconds"] for op in f["ops"]]
        assert gains == sorted(gains, reverse=True)
        for op in f["ops"]:
            assert close(op["least_seconds"] + op["gain_seconds"],
                         op["seconds"]) and close(op["least_seconds"], op["ceiling_share"] * op["seconds"]), op
            assert op["bound"] == "memory" or close(op["flops_per_second"] * op["seconds"],
                                                    run["best_gemm"] * op["least_seconds"], 1e9), op
        assert not FAMILIES[name] or {op["name"] for op in f["ops"]} & set(FAMILIES[name]), name
    assert 0 < run["best_stream"] <= run["best_stream_cached"]


def ceilings(run):
    streams, products = run["ceilings"]["streams"], run["ceilings"]["products"]
    rates = [s["bytes_per_second"] for s in streams]
    assert len(rates) > 1 and min(rates) > 0 and rates == sorted(rates, reverse=True), streams
    assert products[0]["flops_per_second"] == run["best_gemm"] and all(p["flops_per_second"] > 0 for p in products)
    shapes = [(p["m"], p["n"], p["k"]) for p in products[1:]]
    assert len(shapes) == len(set(shapes)), shapes
    tokens = run["tokens_per_step"] // run["micro"]
    assert any(m == tokens for m, n, k in shapes), (tokens, shapes)


def logging(run):
    log = run["logging"]
    assert log["pairs"] >= 5 and log["steps"] >= 10 and log["series"] > 6
    for key in "wall_ratio", "processor_ratio", "inside_share":
        assert 0 < log[key + "_min"] <= log[key] <= log[key + "_max"], key


for path in sys.argv[1:]:
    for model in json.load(open(path)):
        step(model)
        for part in families, ceilings, logging:
            if part.__name__ in model:
                part(model)
