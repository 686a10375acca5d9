#!/usr/bin/env python3
"""The same training step in plain PyTorch (1.13 or newer): a decoder of pre-norm blocks, dense or a mixture of experts.

    sluice plan bench/models.lua --config tiny | bench/peer/run.sh - --steps 10

CONFIG is what `sluice plan --config` prints, so the dimensions are Sluice's own; a configuration with a module that is
not written here is refused. Prints one JSON object. Run it by run.sh, which gives PyTorch its best environment.
"""
import argparse
import json
import math
import os
import resource
import sys
import time


def seconds_since_start():
    """Of this process, from its own entry in /proc; counted in hundredths."""
    ticks = int(open("/proc/self/stat").read().rsplit(")", 1)[1].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("config", metavar="CONFIG", help="a file, or - for stdin")
    p.add_argument("--steps", type=int, default=10, help="timed steps")
    p.add_argument("--warm", type=int, default=2, help="steps before them that are not timed")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--batch", type=int, help="sequences in a step, in place of the configuration's")
    p.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="bf16: autocast over weights in fp32")
    p.add_argument("--dispatch", choices=["sort", "padded"], default="sort",
                   help="sort: every expert gets its own tokens; padded: equal room for each, tokens beyond it are "
                        "dropped")
    p.add_argument("--capacity", type=float, default=1.25, help="of padded: an expert's room, in mean loads")
    return p.parse_args()


args = arguments()
for name in "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS":
    os.environ[name] = str(args.threads)    # read when the libraries are loaded

import torch
from torch import nn
from torch.nn import functional as F

config = json.load(sys.stdin if args.config == "-" else open(args.config))
model_conf, train_conf = config["model"], config["train"]
LAYERS, WIDTH, VOCAB, SEQ = (model_conf[key] for key in ("layers", "d_model", "vocab", "seq"))
HEADS, KV_HEADS, HEAD_DIM = (model_conf["attention"][key] for key in ("heads", "kv_heads", "head_dim"))
BATCH = args.batch or train_conf["batch"]
TOKENS = BATCH * SEQ


def refuse_others():
    """Every part of the configuration that is not what is written below ends the program."""
    ffn, attention = model_conf["ffn"], model_conf["attention"]
    wanted = [
        ("embed", model_conf["embed"], {"module": "plain", "scale": 1}),
        ("head", model_conf["head"], {"module": "lm", "tied": True, "mtp": {"module": "none"}}),
        ("norm", model_conf["norm"], {"module": "rms", "zero_centred": False}),
        ("position", model_conf["position"], {"module": "rope", "fraction": 1}),
        ("residual", model_conf["residual"], {"module": "pre"}),
        ("attention", attention, {"module": "gqa", "gate": {"module": "none"}, "kv": {"module": "own"},
                                  "mask": {"module": "causal"}, "qk_norm": {"module": "none"}}),
        ("optim", train_conf["optim"], {"module": "adamw"}),
        ("train", train_conf, {"micro": 1}),
    ]
    if ffn["module"] == "moe":
        wanted += [
            ("ffn.router", ffn["router"], {"module": "staged", "score": "softmax", "normalize": "after", "scale": 1}),
            ("ffn.dispatch", ffn["dispatch"], {"module": "dropless"}),
            ("ffn.shared", ffn["shared"], {"module": "dense"}),
        ]
        if [b["module"] for b in ffn["balance"]] != ["switch_aux", "z_loss"]:
            sys.exit("torch_moe.py: ffn.balance: must be switch_aux and z_loss")
    elif ffn["module"] != "dense":
        sys.exit(f"torch_moe.py: ffn: {ffn['module']} is not written here")
    for where, have, want in wanted:
        for key, value in want.items():
            if have[key] != value:
                sys.exit(f"torch_moe.py: {where}.{key}: {have[key]} is not written here, only {value}")


class RMSNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))
        self.eps = model_conf["norm"]["eps"]

    def forward(self, x):
        x = x.float()
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


def rotate(x, cos, sin):                                    # [B,H,S,D], halves turned against each other
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Attention(nn.Module):
    """Grouped queries. PyTorch 2 has a fused kernel for the middle; before that it is written out."""

    def __init__(self):
        super().__init__()
        self.q = nn.Linear(WIDTH, HEADS * HEAD_DIM, bias=False)
        self.kv = nn.Linear(WIDTH, 2 * KV_HEADS * HEAD_DIM, bias=False)
        self.out = nn.Linear(HEADS * HEAD_DIM, WIDTH, bias=False)

    def mix(self, q, k, v, mask):
        group = HEADS // KV_HEADS
        if hasattr(F, "scaled_dot_product_attention"):
            k, v = (t.repeat_interleave(group, 1).to(q.dtype) for t in (k, v))
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)
        q = q.reshape(BATCH, KV_HEADS, group, SEQ, HEAD_DIM)
        scores = (q @ k.unsqueeze(2).transpose(-1, -2)) * HEAD_DIM ** -0.5
        weights = F.softmax(scores.float() + mask, -1).to(v.dtype)
        return (weights @ v.unsqueeze(2)).reshape(BATCH, HEADS, SEQ, HEAD_DIM)

    def forward(self, x, cos, sin, mask):                   # [B,S,W]
        q = self.q(x).view(BATCH, SEQ, HEADS, HEAD_DIM).transpose(1, 2)
        k, v = self.kv(x).view(BATCH, SEQ, 2, KV_HEADS, HEAD_DIM).permute(2, 0, 3, 1, 4)
        heads = self.mix(rotate(q, cos, sin), rotate(k, cos, sin), v, mask)
        return self.out(heads.transpose(1, 2).reshape(BATCH, SEQ, HEADS * HEAD_DIM))


class SwiGLU(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.up = nn.Linear(WIDTH, 2 * hidden, bias=False)  # gate and up side by side: one product
        self.down = nn.Linear(hidden, WIDTH, bias=False)

    def forward(self, x):
        gate, up = self.up(x).chunk(2, -1)
        return self.down(F.silu(gate) * up)


class MoE(nn.Module):
    def __init__(self, conf):
        super().__init__()
        self.experts, self.hidden, self.chosen = conf["experts"], conf["d_ff"], conf["router"]["top_k"]
        self.alpha, self.coef = conf["balance"][0]["alpha"], conf["balance"][1]["coef"]
        self.router = nn.Linear(WIDTH, self.experts, bias=False)
        self.up = nn.Parameter(torch.empty(self.experts, WIDTH, 2 * self.hidden))
        self.down = nn.Parameter(torch.empty(self.experts, self.hidden, WIDTH))
        self.shared = SwiGLU(self.hidden * conf["shared"]["n"])

    def route(self, x):
        """Router in fp32. Gates and experts [T,K], tokens of each expert [E], the two auxiliary losses."""
        with torch.autocast("cpu", enabled=False):
            logits = F.linear(x.float(), self.router.weight)
        share = F.softmax(logits, -1)
        gate, expert = share.topk(self.chosen, -1)
        count = torch.bincount(expert.reshape(-1), minlength=self.experts)
        balance = self.experts * (count.float() / expert.numel() * share.mean(0)).sum()
        loss = self.alpha * balance + self.coef * torch.logsumexp(logits, -1).pow(2).mean()
        return gate / gate.sum(-1, keepdim=True), expert, count, loss

    def one_by_one(self, rows, count):
        out, up, down = [], self.up.unbind(0), self.down.unbind(0)  # unbind: one stack backward, not E tensors of zeros
        for e, part in enumerate(rows.split(count.tolist())):
            if len(part):
                gate, value = (part @ up[e]).chunk(2, -1)
                out.append((F.silu(gate) * value) @ down[e])
        return torch.cat(out)

    def side_by_side(self, rows, slot, room):
        packed = torch.zeros(self.experts * room, WIDTH).index_copy(0, slot,
                                                                    rows.float()).view(self.experts, room, WIDTH)
        gate, value = torch.bmm(packed, self.up).chunk(2, -1)
        return torch.bmm(F.silu(gate) * value, self.down).reshape(self.experts * room, WIDTH)[slot]

    def forward(self, x):                                   # [B,S,W] -> the same, auxiliary loss
        shape, x = x.shape, x.reshape(TOKENS, WIDTH)
        gate, expert, count, loss = self.route(x)
        flat = expert.reshape(-1)
        order = torch.argsort(flat, stable=True)            # places of (token, choice) pairs, by expert
        if args.dispatch == "padded":
            room = math.ceil(args.capacity * len(flat) / self.experts)
            by_expert = flat[order]
            place = torch.arange(len(flat)) - (count.cumsum(0) - count)[by_expert]
            kept = place < room
            order, slot = order[kept], (by_expert * room + place)[kept]
        token = torch.div(order, self.chosen, rounding_mode="floor")
        rows = x.index_select(0, token)
        rows = self.one_by_one(rows, count) if args.dispatch == "sort" else self.side_by_side(rows, slot, room)
        mixed = torch.zeros(TOKENS, WIDTH).index_add_(0, token, rows.float() * gate.reshape(-1)[order].unsqueeze(-1))
        return (mixed + self.shared(x)).view(shape), loss


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        ffn = model_conf["ffn"]
        self.moe = ffn["module"] == "moe"
        self.before, self.between = RMSNorm(), RMSNorm()
        self.attention = Attention()
        self.ffn = MoE(ffn) if self.moe else SwiGLU(ffn["d_ff"])

    def forward(self, x, *tables):
        x = x + self.attention(self.before(x), *tables)
        y = self.ffn(self.between(x))
        y, loss = y if self.moe else (y, 0)
        return x + y, loss


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, WIDTH)             # and the head
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = RMSNorm()
        for name, p in self.named_parameters():
            if p.dim() > 1:
                narrow = math.sqrt(2 * LAYERS) if ".out." in name or "down" in name else 1
                nn.init.normal_(p, std=model_conf["init"]["std"] / narrow)
        turn = model_conf["position"]["base"] ** (-torch.arange(0, HEAD_DIM, 2).float() / HEAD_DIM)
        angle = torch.outer(torch.arange(SEQ).float(), turn)
        self.tables = angle.cos(), angle.sin(), torch.full((SEQ, SEQ), -math.inf).triu(1)

    def forward(self, ids, target):
        x, extra = self.embed(ids), 0
        for block in self.blocks:
            x, loss = block(x, *self.tables)
            extra = extra + loss
        logits = F.linear(self.norm(x), self.embed.weight)
        return F.cross_entropy(logits.view(-1, VOCAB).float(), target.reshape(-1)), extra


def optimizer(model):
    """Matrices decay; gains and the embedding do not. The form is the fastest of PyTorch's that this version has on a
    CPU."""
    conf = train_conf["optim"]
    decays = [p for p in model.parameters() if p.dim() > 1 and p is not model.embed.weight]
    others = [p for p in model.parameters() if p.dim() == 1 or p is model.embed.weight]
    newest = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 4)
    return torch.optim.AdamW([{"params": decays, "weight_decay": conf["decay"]}, {"params": others, "weight_decay": 0}],
                             lr=conf["lr"],
                             betas=(conf["beta1"], conf["beta2"]), eps=conf["eps"],
                             **({"fused": True} if newest else {"foreach": False}))


def tokens(count):
    """Bytes of which most follow from the last: x5 + 7, but one in eight is drawn."""
    draw = torch.Generator().manual_seed(1)
    fresh, byte = torch.rand(count, generator=draw) < 0.125, torch.randint(256, (count,), generator=draw)
    ids, last = [], 0
    for jump, value in zip(fresh.tolist(), byte.tolist()):
        last = value if jump else (last * 5 + 7) % 256
        ids.append(last)
    return torch.tensor(ids)


def train(model):
    """Step times in seconds, of wall clock and of processor; losses; the moment of the first step."""
    update, data = optimizer(model), tokens(8 * TOKENS + 1)
    wall, processor, losses = [], [], []
    began = seconds_since_start()
    for step in range(args.warm + args.steps):
        start, busy = time.perf_counter(), time.process_time()
        at = step % 8 * TOKENS
        ids, target = (data[at + shift:at + shift + TOKENS].view(BATCH, SEQ) for shift in (0, 1))
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.precision == "bf16"):
            loss, extra = model(ids, target)
        (loss + extra).backward()
        nn.utils.clip_grad_norm_(model.parameters(), train_conf["clip"])
        update.step()
        update.zero_grad(set_to_none=True)
        losses.append(loss.item())
        wall.append(time.perf_counter() - start)
        processor.append(time.process_time() - busy)
    return wall[args.warm:], processor[args.warm:], losses, began


def flops_per_step(model):
    """6 for each weight that a token meets in a product, and attention over the causal half; as Sluice counts."""
    met = sum(p.numel() for p in model.parameters() if p.dim() == 2)
    met += sum(p.numel() * block.ffn.chosen // block.ffn.experts for block in model.blocks if block.moe
               for p in (block.ffn.up, block.ffn.down))
    return TOKENS * (6 * met + 6 * LAYERS * HEADS * HEAD_DIM * SEQ)


def main():
    refuse_others()
    torch.manual_seed(1)
    torch.set_num_threads(args.threads)
    model = Model()
    wall, processor, losses, began = train(model)
    wall_sorted, half = sorted(wall), len(wall) // 2
    median = wall_sorted[half] if len(wall) % 2 else sum(wall_sorted[half - 1:half + 1]) / 2
    flops = flops_per_step(model)
    json.dump({
        "program": "torch " + torch.__version__, "precision": args.precision, "dispatch": args.dispatch,
        "threads": args.threads, "steps": args.steps,
        "params_total": sum(p.numel() for p in model.parameters()), "tokens_per_step": TOKENS, "step_seconds": median,
        "step_seconds_min": min(wall),
        "step_seconds_max": max(wall), "processor_seconds": sum(processor) / len(processor),
        "tokens_per_second": TOKENS / median, "flops_per_step": flops,
        "flops_per_second": flops / median, "memory_peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "first_step_seconds": began,
        "losses": losses,
    }, sys.stdout)
    print()


main()
