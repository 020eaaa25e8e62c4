"""Measures the same training step in plain torch: `nn.LSTM` or `nn.GRU`, Linear, Adam."""

import os

import numpy as np
import torch
from torch.nn import functional

from charlm.benchmarks.case import CLIP_NORM, EPSILON, LEARNING_RATE, Case
from charlm.errors import InputError

ORDER = {"lstm": (0, 1, 2, 3), "gru": (1, 0, 2)}  # torch's gates (ifgo; rzn) among Keras's


def make(case: Case, gpu: bool, half: bool = False) -> dict:
    """Returns the jobs "layer" and "step".

    They are written for speed: time-major data, which is torch's layout; one-hot vectors made once,
    outside the step; torch's default Adam (`fused` and `foreach` are no faster here). torch's LSTM
    adds two biases; one stays zero and is not trained, so that all peers compute the same.

    Args:
        case: sizes.
        gpu: whether to use a GPU.
        half: autocast to bfloat16, as in torch's documentation; the loss is float32.
    """
    place = device(gpu)
    layers, dense = network(case)
    layers, dense = layers.to(place), dense.to(place)
    weights = [p for p in layers.parameters() if p.requires_grad]
    ids, following, upstream = (torch.as_tensor(np.swapaxes(a, 0, 1)) for a in case.data())
    x = functional.one_hot(ids.long(), case.vocab).float().to(place)  # (T, B, V)
    following, upstream = following.long().reshape(-1).to(place), upstream.contiguous().to(place)
    first = next(k for k, (name, _) in enumerate(layers.named_parameters()) if "weight_hh" in name)
    kind = place.type

    def layer(n):
        for _ in range(n):
            with torch.autocast(kind, torch.bfloat16, enabled=half):
                h, _ = layers(x)
            found = torch.autograd.grad(h, weights, upstream.to(h.dtype))
        return float(found[first].float().norm())

    trained = weights + list(dense.parameters())
    optimizer = torch.optim.Adam(trained, lr=LEARNING_RATE, eps=EPSILON)

    def step(n):
        for _ in range(n):
            optimizer.zero_grad()
            with torch.autocast(kind, torch.bfloat16, enabled=half):
                h, _ = layers(x)
                logits = dense(h)  # (T, B, V)
            loss = functional.cross_entropy(logits.float().reshape(-1, case.vocab), following)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, CLIP_NORM)
            optimizer.step()
        return float(loss.detach())

    return {"layer": layer, "step": step}


def device(gpu: bool) -> torch.device:
    """Returns the device, and sets the number of threads.

    Raises:
        InputError: a GPU is wanted, and there is none.
    """
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    if gpu and not torch.cuda.is_available():
        raise InputError("cannot use a GPU: torch finds none; leave --device out")
    return torch.device("cuda" if gpu else "cpu")


def network(case: Case) -> tuple[torch.nn.RNNBase, torch.nn.Linear]:
    """Builds `nn.LSTM` or `nn.GRU` and a Linear with the case's initial weights."""
    V, H = case.vocab, case.units
    layers = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[case.cell](V, H, case.layers)
    *recurrent, kernel, bias = case.weights().values()
    dense = torch.nn.Linear(H, V)
    with torch.no_grad():
        for k in range(case.layers):
            W, U, b = recurrent[3 * k : 3 * k + 3]
            b = b if b.ndim == 2 else np.stack([b, np.zeros_like(b)])
            for name, value in (("weight_ih", W.T), ("weight_hh", U.T), ("bias_ih", b[0]),
                                ("bias_hh", b[1])):  # fmt: skip
                blocks = np.split(value, case.gates)
                value = np.concatenate([blocks[g] for g in ORDER[case.cell]])
                getattr(layers, f"{name}_l{k}").copy_(torch.as_tensor(value))
            if case.cell == "lstm":
                getattr(layers, f"bias_hh_l{k}").requires_grad_(False)
        dense.weight.copy_(torch.as_tensor(kernel.T))
        dense.bias.copy_(torch.as_tensor(bias))
    return layers, dense
