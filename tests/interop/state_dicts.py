"""State dicts of PyTorch as its documentation defines them, in NumPy, and as torch runs them."""

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

GATES = {"lstm": 4, "gru": 3, "rnn": 1}


def state_dict(rng, cell, V, H, D=None, layers=1, bias=True):
    """{name: array} of a recurrent module, an nn.Linear and, if D is given, an nn.Embedding."""
    GH = GATES[cell] * H
    shapes = {} if D is None else {"embedding.weight": (V, D)}
    for k in range(layers):
        shapes[f"rnn.weight_ih_l{k}"] = (GH, H if k else D or V)
        shapes[f"rnn.weight_hh_l{k}"] = (GH, H)
        if bias:
            shapes[f"rnn.bias_ih_l{k}"] = shapes[f"rnn.bias_hh_l{k}"] = (GH,)
    shapes["linear.weight"] = (V, H)
    if bias:
        shapes["linear.bias"] = (V,)
    return {name: rng.normal(size=s).astype("float32") for name, s in shapes.items()}


def save(state, path="x.safetensors", **metadata):
    """Writes a file that has these arrays."""
    save_file({k: np.ascontiguousarray(w) for k, w in state.items()}, path, metadata or None)
    return Path(path)


def by_equations(state, cell, ids, activation=np.tanh):
    """Logits (B, T, V) of what `state_dict` makes, from the equations in torch's documentation."""
    state = {name: w.astype(np.float64) for name, w in state.items()}
    V = len(state["linear.weight"])
    x = state["embedding.weight"][ids] if "embedding.weight" in state else np.eye(V)[ids]
    k = 0
    while f"rnn.weight_ih_l{k}" in state:
        W, U = state[f"rnn.weight_ih_l{k}"], state[f"rnn.weight_hh_l{k}"]
        b, d = (state.get(f"rnn.bias_{part}_l{k}", np.zeros(len(W))) for part in ("ih", "hh"))
        h = c = np.zeros((len(x), U.shape[1]))
        hs = []
        for t in range(x.shape[1]):
            h, c = STEPS[cell](x[:, t] @ W.T + b, h @ U.T + d, h, c, activation)
            hs.append(h)
        x = np.stack(hs, axis=1)
        k += 1
    return x @ state["linear.weight"].T + state.get("linear.bias", 0)


def _sigmoid(a):
    return 1 / (1 + np.exp(-a))


def _lstm(a_x, a_h, h, c, activation):
    i, f, g, o = np.split(a_x + a_h, 4, axis=-1)
    c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
    return _sigmoid(o) * np.tanh(c), c


def _gru(a_x, a_h, h, c, activation):
    (r_x, z_x, n_x), (r_h, z_h, n_h) = (np.split(a, 3, axis=-1) for a in (a_x, a_h))
    z = _sigmoid(z_x + z_h)
    n = np.tanh(n_x + _sigmoid(r_x + r_h) * n_h)
    return (1 - z) * n + z * h, c


def _rnn(a_x, a_h, h, c, activation):
    return activation(a_x + a_h), c


STEPS = {"lstm": _lstm, "gru": _gru, "rnn": _rnn}


def by_torch(state, cell, ids, activation=np.tanh):
    """The same by torch's own modules, which take the state dict as it is."""
    import torch
    from torch import nn

    V, H = state["linear.weight"].shape
    module = nn.Module()
    layers = sum(name.startswith("rnn.weight_ih") for name in state)
    if "embedding.weight" in state:
        module.embedding = nn.Embedding(*state["embedding.weight"].shape)
    options = {"batch_first": True, "bias": "rnn.bias_ih_l0" in state}
    if cell == "rnn":
        options["nonlinearity"] = "tanh" if activation is np.tanh else "relu"
    kind = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[cell]
    module.rnn = kind(state["rnn.weight_ih_l0"].shape[1], H, layers, **options)
    module.linear = nn.Linear(H, V, "linear.bias" in state)
    module.load_state_dict({name: torch.tensor(w) for name, w in state.items()})
    with torch.no_grad():
        x = torch.tensor(ids)
        has_table = "embedding.weight" in state
        x = module.embedding(x) if has_table else nn.functional.one_hot(x, V).float()
        return module.linear(module.rnn(x)[0]).numpy()
