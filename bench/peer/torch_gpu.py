#!/usr/bin/env python3
"""What PyTorch reaches on this GPU in bf16, at the shapes of the presets with 64 sequences:
torch_gpu.py product|copy|grouped|attention

Prints one JSON object per line. A time is the median of 20 calls after 3 that warm up, each between two events of the
GPU.
Exit code 77: not measured, and why.
"""
import json
import statistics
import sys

SEQUENCES, WARM, CALLS = 64, 3, 20
# seq, d_model, heads, kv_heads, head_dim, experts, top_k, d_ff
PRESETS = {
    "baseline-micro": (256, 128, 4, 2, 32, 8, 2, 128),
    "baseline-tiny": (512, 256, 8, 4, 32, 16, 4, 128),
    "baseline-small": (512, 512, 8, 4, 64, 32, 4, 256),
    "baseline-medium": (512, 768, 12, 4, 64, 16, 2, 512),
    "welm-tiny": (512, 256, 24, 4, 32, 16, 4, 128),
    "dense-124m": (1024, 768, 12, 12, 64, 0, 0, 2048),
}


def skip(why):
    print(why, file=sys.stderr)
    sys.exit(77)


try:
    import torch
    from torch.nn import functional
except ImportError as failure:
    skip(f"no PyTorch: {failure}")
if not torch.cuda.is_available():
    skip(f"PyTorch {torch.__version__} finds no GPU")


def seconds(call):
    times = []
    for _ in range(WARM + CALLS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        call()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end) / 1000)
    return statistics.median(times[WARM:])


def numbers(*shape):
    return torch.randn(*shape, device="cuda", dtype=torch.bfloat16)


def say(what, **values):
    print(json.dumps({"what": what, "torch": torch.__version__, **values}), flush=True)


def product():
    n = 8192
    a, b = numbers(n, n), numbers(n, n)
    s = seconds(lambda: a @ b)
    say("product", m=n, n=n, k=n, seconds=s, flops_per_second=2 * n**3 / s)


def copy():
    of = torch.empty(1 << 30, device="cuda", dtype=torch.uint8)
    to = torch.empty_like(of)
    s = seconds(lambda: to.copy_(of))
    say("copy", bytes=2 * of.numel(), seconds=s, bytes_per_second=2 * of.numel() / s)


def grouped():
    """x [T*k,D] by w [E,D,2F], the first product of SwiGLU's experts, forward; equally many rows for each expert."""
    multiply = getattr(functional, "grouped_mm", None) or getattr(torch, "_grouped_mm", None)
    if not multiply:
        skip(f"PyTorch {torch.__version__} has no grouped product")
    for preset, (seq, width, _, _, _, experts, chosen, hidden) in PRESETS.items():
        if not experts:
            continue
        rows = SEQUENCES * seq * chosen
        x, w = numbers(rows, width), numbers(experts, width, 2 * hidden)
        ends = torch.arange(1, experts + 1, device="cuda", dtype=torch.int32) * (rows // experts)
        s = seconds(lambda: multiply(x, w, offs=ends))
        say("grouped", preset=preset, rows=rows, experts=experts, k=width, n=2 * hidden, seconds=s,
            flops_per_second=2 * rows * width * 2 * hidden / s)


def attention():
    """Causal, forward and backward; FLOPs count the causal half, and the backward twice the forward."""
    for preset, (seq, _, heads, kv_heads, head_dim, _, _, _) in PRESETS.items():
        q = numbers(SEQUENCES, heads, seq, head_dim).requires_grad_()
        k, v = (numbers(SEQUENCES, kv_heads, seq, head_dim).requires_grad_() for _ in range(2))
        upstream = numbers(SEQUENCES, heads, seq, head_dim)

        def forward():
            return functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=heads != kv_heads)

        def both():
            forward().backward(upstream)

        flops = 2 * SEQUENCES * heads * seq * seq * head_dim
        with torch.no_grad():
            ahead = seconds(forward)
        whole = seconds(both)
        say("attention", preset=preset, heads=heads, kv_heads=kv_heads, head_dim=head_dim, seq=seq,
            forward_seconds=ahead, seconds=whole,
            forward_flops_per_second=flops / ahead, flops_per_second=3 * flops / whole)


wanted = {f.__name__: f for f in (product, copy, grouped, attention)}
if len(sys.argv) != 2 or sys.argv[1] not in wanted:
    sys.exit(f"usage: torch_gpu.py {'|'.join(wanted)}")
wanted[sys.argv[1]]()
