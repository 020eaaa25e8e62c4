"""`python -m charlm.experiments.nanogpt FILE`: trains nanoGPT's recipe for a CPU.

A transformer of 0.8 million parameters in plain torch, reimplemented from the description in the
README of github.com/karpathy/nanoGPT ("I only have a macbook") and its
`config/train_shakespeare_char.py`: 4 blocks of 128 channels and 4 heads, contexts of 64 characters,
2,000 steps with batches of 12. The text is split as by charlm. Unlike nanoGPT it does not measure
or save during training.
"""

import argparse
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from charlm import cli
from charlm.errors import InputError
from charlm.text.encode import read
from charlm.text.ids import Ids
from corpora import load

CONTEXT, BATCH, STEPS = 64, 12, 2000
CHANNELS, HEADS, BLOCKS = 128, 4, 4
RATE, LAST_RATE, WARM_UP = 1e-3, 1e-4, 100
BETAS, WEIGHT_DECAY, CLIP_NORM = (0.9, 0.99), 0.1, 1.0
FIRST = 0.02  # standard deviation of the initial weights


def linear(inputs: int, outputs: int, deviation: float = FIRST) -> nn.Linear:
    """Makes a linear layer without a bias, as all of nanoGPT's."""
    layer = nn.Linear(inputs, outputs, bias=False)
    nn.init.normal_(layer.weight, std=deviation)
    return layer


class Block(nn.Module):
    """A transformer block: causal attention and two dense layers, with residual connections."""

    def __init__(self):
        super().__init__()
        last = FIRST / math.sqrt(2 * BLOCKS)  # for the layers before residual connections
        self.before_attention = nn.LayerNorm(CHANNELS, bias=False)
        self.attention = linear(CHANNELS, 3 * CHANNELS)
        self.after_attention = linear(CHANNELS, CHANNELS, last)
        self.before_dense = nn.LayerNorm(CHANNELS, bias=False)
        self.up, self.down = linear(CHANNELS, 4 * CHANNELS), linear(4 * CHANNELS, CHANNELS, last)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        B, T, C = x.shape
        vectors = self.attention(self.before_attention(x))
        q, k, v = vectors.view(B, T, 3, HEADS, C // HEADS).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.after_attention(seen.transpose(1, 2).reshape(B, T, C))
        return x + self.down(functional.gelu(self.up(self.before_dense(x))))


class GPT(nn.Module):
    """The transformer: ids (B, T) -> logits (B, T, V), with tied input and output weights."""

    def __init__(self, V: int):
        super().__init__()
        self.positions = nn.Parameter(FIRST * torch.randn(CONTEXT, CHANNELS))
        self.blocks = nn.Sequential(*(Block() for _ in range(BLOCKS)))
        self.norm = nn.LayerNorm(CHANNELS, bias=False)
        self.out = linear(CHANNELS, V)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = functional.embedding(ids, self.out.weight) + self.positions[: ids.shape[1]]
        return self.out(self.norm(self.blocks(x)))


def loss(model: GPT, windows: np.ndarray, **options: Any) -> torch.Tensor:
    """Computes the loss of windows (n, 1 + `CONTEXT`) of ids, in nats."""
    ids = torch.as_tensor(windows.astype(np.int64))
    logits = model(ids[:, :-1]).flatten(0, 1)
    return functional.cross_entropy(logits, ids[:, 1:].flatten(), **options)


def rate(step: int) -> float:
    """Returns the learning rate: linear warm-up to `RATE`, cosine decay to `LAST_RATE`."""
    if step < WARM_UP:
        return RATE * step / WARM_UP
    done = (step - WARM_UP) / (STEPS - WARM_UP)
    return LAST_RATE + (RATE - LAST_RATE) * (1 + math.cos(math.pi * done)) / 2


def trained(ids: Ids, V: int, seed: int) -> GPT:
    """Trains a model on random windows of a text (n,)."""
    torch.manual_seed(seed)
    drawn, model = np.random.default_rng(seed), GPT(V)
    weights = list(model.parameters())
    matrices, gains = ([w for w in weights if (w.ndim > 1) == x] for x in (True, False))
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": WEIGHT_DECAY},
        {"params": gains},
    ]
    optimizer = torch.optim.AdamW(groups, betas=BETAS, weight_decay=0.0)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        begins = drawn.integers(len(ids) - CONTEXT, size=(BATCH, 1))
        optimizer.zero_grad()
        loss(model, ids[begins + np.arange(CONTEXT + 1)]).backward()
        nn.utils.clip_grad_norm_(weights, CLIP_NORM)
        optimizer.step()
    return model


def main() -> int:
    """Trains, and prints seconds and the loss on held-out windows without earlier context."""
    return cli.run(_main, None)


def _main(argv):
    parser = argparse.ArgumentParser(
        prog="python -m charlm.experiments.nanogpt", description=__doc__
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(argv)
    text = read(load(str(args.file)))
    n = (len(text.held_out) - 1) // CONTEXT  # adjacent windows
    if n < 1 or len(text.training) <= CONTEXT:
        raise InputError(
            f"expected more than {CONTEXT} characters to train on and to hold out, found "
            f"{len(text.training):,} and {len(text.held_out):,}"
        )
    begin = time.perf_counter()
    model = trained(text.training, len(text.vocab), args.seed)
    seconds = time.perf_counter() - begin
    windows = text.held_out[np.arange(n)[:, None] * CONTEXT + np.arange(CONTEXT + 1)]
    with torch.no_grad():
        sums = [float(loss(model, part, reduction="sum")) for part in np.array_split(windows, 16)]
    nats = sum(sums) / (n * CONTEXT)
    print(
        f"{sum(w.numel() for w in model.parameters()):,} parameters, {seconds:.0f} s; "
        f"{nats:.3f} nats a character on {n:,} cold windows of {CONTEXT}"
    )


if __name__ == "__main__":
    sys.exit(main())
