"""The model of stories.mjs in PyTorch, eager: the same weights, tokens and steps. Lines of JSON in and out, as child.mjs has it.

Tuned for CPU: foreach AdamW, gradients set to None, the head on the rows that have a target only, scaled_dot_product_attention
where this PyTorch has it. Threads, BLAS and malloc are chosen by the environment (full.mjs).
"""

import json
import resource
import sys
import time

import numpy
import torch
import torch.nn.functional as F

FOLDER, THREADS = sys.argv[1], int(sys.argv[2])
torch.set_num_threads(THREADS)
with open(f"{FOLDER}/weights.json") as file:
    FACTS = json.load(file)
CONFIG, OPTIMISER = FACTS["config"], FACTS["optimiser"]
HEADS, WIDTH = CONFIG["heads"], CONFIG["headWidth"]


def read_parameters():
    flat = numpy.fromfile(f"{FOLDER}/weights.bin", dtype=numpy.float32)
    tensors = {}
    for name, entry in FACTS["tensors"].items():
        part = flat[entry["offset"] : entry["offset"] + entry["count"]]
        tensors[name] = torch.nn.Parameter(torch.from_numpy(part.copy()).reshape(entry["dims"]))
    return tensors


def rotary_tables(length):
    half = WIDTH // 2
    rates = CONFIG["ropeTheta"] ** (-2 * torch.arange(half, dtype=torch.float64) / WIDTH)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * rates
    return angles.cos().float(), angles.sin().float()  # [T, D/2]


def turned(x, cos, sin):  # [B, H, T, D]
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def normed(x, scale):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + CONFIG["normEpsilon"]) * scale


def attention(q, k, v, mask):
    if hasattr(F, "scaled_dot_product_attention"):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    scores = q @ k.transpose(-1, -2) / WIDTH**0.5 + mask
    return scores.softmax(-1) @ v


def loss_of(p, ids):  # [B, T]
    B, T = ids.shape
    cos, sin = rotary_tables(T)
    mask = torch.full((T, T), float("-inf")).triu(1)
    x = F.embedding(ids, p["embed"])
    for layer in range(CONFIG["layers"]):
        at = f"layers.{layer}/"
        h = normed(x, p[f"{at}attn/norm"])
        q, k, v = (
            F.linear(h, p[f"{at}attn/{part}"]).view(B, T, HEADS, WIDTH).transpose(1, 2) for part in "qkv"
        )
        mixed = attention(turned(q, cos, sin), turned(k, cos, sin), v, mask)
        x = x + F.linear(mixed.transpose(1, 2).reshape(B, T, HEADS * WIDTH), p[f"{at}attn/o"])
        h = normed(x, p[f"{at}mlp/norm"])
        gated = F.silu(F.linear(h, p[f"{at}mlp/gate"])) * F.linear(h, p[f"{at}mlp/up"])
        x = x + F.linear(gated, p[f"{at}mlp/down"])
    rows = normed(x[:, :-1], p["norm"]).reshape(B * (T - 1), -1)
    return F.cross_entropy(F.linear(rows, p["embed"]), ids[:, 1:].reshape(-1))


class Trainer:
    def load(self):
        self.parameters = read_parameters()
        self.optimiser = torch.optim.AdamW(
            self.parameters.values(),
            lr=OPTIMISER["lr"],
            betas=(OPTIMISER["beta1"], OPTIMISER["beta2"]),
            eps=OPTIMISER["epsilon"],
            weight_decay=OPTIMISER["decay"],
            foreach=True,
        )
        self.step = 0
        return {
            "version": f"PyTorch {torch.__version__}",
            "threads": torch.get_num_threads(),
            "parameters": sum(each.numel() for each in self.parameters.values()),
        }

    def train(self, count, rows, length):
        ms, losses = [], []
        for _ in range(count):
            # [rows, length] of this step, as stories.mjs made it.
            path = f"{FOLDER}/tokens-{rows}x{length}-{self.step}.bin"
            ids = torch.from_numpy(numpy.fromfile(path, dtype=numpy.int32).astype(numpy.int64)).reshape(rows, length)
            started = time.perf_counter()
            self.optimiser.zero_grad(set_to_none=True)
            loss = loss_of(self.parameters, ids)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.parameters.values(), OPTIMISER["clip"])
            self.optimiser.step()
            losses.append(loss.item())
            ms.append(1000 * (time.perf_counter() - started))
            self.step += 1
        return {"ms": ms, "losses": losses, "peakMb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}

    def peak(self, shapes, macs):
        """GFLOP/s of plain products into memory that is there, each repeated to about `macs`."""
        found = {}
        for rows, inner, columns in shapes:
            x, w, y = torch.randn(rows, inner), torch.randn(inner, columns), torch.empty(rows, columns)
            count = max(1, round(macs / (rows * inner * columns)))
            torch.matmul(x, w, out=y)
            started = time.perf_counter()
            for _ in range(count):
                torch.matmul(x, w, out=y)
            seconds = time.perf_counter() - started
            found[f"{rows}×{inner}×{columns}"] = 2 * count * rows * inner * columns / seconds / 1e9
        return found


trainer = Trainer()
for line in sys.stdin:
    request = json.loads(line)
    try:
        answer = {"result": getattr(trainer, request["operation"])(**request["args"])}
    except Exception as error:  # whatever it is, the other side must hear of it
        answer = {"error": repr(error)}
    print(json.dumps(answer), flush=True)
