"""Generates text a character at a time: with charlm, and in other ways with the same weights.

Each job "characters" samples n characters of B streams at temperature 1. It returns the
log-probabilities (B, V) after a first window of ids, in which all peers must agree.
"""

import numpy as np

from charlm.benchmarks.case import Case


def ours(case: Case, gpu: bool, machine_code: bool) -> dict:
    """Generates as `charlm sample` does: in machine code, or in NumPy as without Numba.

    Both return NumPy's log-probabilities; the tests compare the two.
    """
    from charlm.generation import sampler
    from charlm.reference.loss import log_softmax
    from charlm.reference.network import Network

    network = Network(case.weights(), case.vocab, case.model)
    prompt = case.data()[0]
    states = network.initial_states(case.batch)
    for ids in prompt.T:
        logits, states = network.step(ids, states)

    block = None
    if machine_code:
        from charlm.kernels.generate import Drawing

        block = Drawing(network)

    def characters(n):
        for _ in sampler.generate(
            network.step, states, prompt[:, -1:], n, 1.0, block=block
        ):  # fmt: skip
            pass
        return log_softmax(logits)

    return {"characters": characters}


def window(case: Case, gpu: bool) -> dict:
    """Generates as the original program: `model.predict` on a one-hot window per character."""
    import keras

    from charlm.benchmarks.keras_step import require_device

    require_device(gpu)
    keras.backend.clear_session()
    B, T, V = case.batch, case.window, case.vocab
    model = keras.Sequential(
        [
            keras.Input((T, V)),
            keras.layers.LSTM(case.units),
            keras.layers.Dense(V, activation="softmax"),
        ]
    )
    model.set_weights(list(case.weights().values()))
    first = model.predict(case.one_hot(), verbose=0)
    ids = case.data()[0]
    rng = np.random.default_rng(0)

    def characters(n):
        text = ids
        for _ in range(n):
            x = np.zeros((B, T, V), np.float32)
            x[np.arange(B)[:, None], np.arange(T), text] = 1
            p = model.predict(x, verbose=0).astype(np.float64)
            drawn = rng.multinomial(1, p / p.sum(axis=-1, keepdims=True)).argmax(axis=-1)
            text = np.concatenate([text[:, 1:], drawn[:, None]], axis=1)
        return np.log(first)

    return {"characters": characters}


def graph(case: Case, gpu: bool) -> dict:
    """Generates in one TensorFlow graph that loops over characters with Keras's cell."""
    import keras
    import tensorflow as tf

    from charlm.benchmarks.keras_step import require_device

    require_device(gpu)
    keras.backend.clear_session()
    B, V = case.batch, case.vocab
    cell, dense = _keras_cell(case)

    def step(ids, h, c):
        _, (h, c) = cell(tf.one_hot(ids, V), [h, c])
        return dense(h), h, c

    @tf.function
    def read(prompt):
        h = c = tf.zeros((B, case.units))
        for t in range(case.window):
            logits, h, c = step(prompt[:, t], h, c)
        return logits, h, c

    @tf.function
    def draw(n, logits, h, c):
        text = tf.TensorArray(tf.int32, n, element_shape=(B,))

        def body(k, logits, h, c, text):
            ids = tf.random.categorical(logits, 1, dtype=tf.int32)[:, 0]
            return k + 1, *step(ids, h, c), text.write(k, ids)

        return tf.while_loop(lambda k, *_: k < n, body, (0, logits, h, c, text))[-1].stack()

    start = read(tf.constant(case.data()[0]))

    def characters(n):
        draw(tf.constant(n), *start).numpy()
        return tf.nn.log_softmax(start[0]).numpy()

    return {"characters": characters}


def _keras_cell(case):
    """Returns Keras's LSTM cell and output layer with the weights of the case."""
    import keras

    B, V, H = case.batch, case.vocab, case.units
    W, U, b, kernel, bias = case.weights().values()
    cell, dense = keras.layers.LSTMCell(H), keras.layers.Dense(V)
    cell.build((B, V))
    dense.build((B, H))
    cell.set_weights([W, U, b])
    dense.set_weights([kernel, bias])
    return cell, dense


def torch_loop(case: Case, gpu: bool) -> dict:
    """Generates with `nn.LSTM`, a step at a time in inference mode, carrying its state."""
    import torch

    from charlm.benchmarks import torch_step

    place = torch_step.device(gpu)
    layers, dense = (x.to(place) for x in torch_step.network(case))
    rows = torch.eye(case.vocab, device=place)
    ids = torch.as_tensor(case.data()[0]).long().to(place)
    with torch.inference_mode():
        h, state = layers(rows[ids.T])
        first = dense(h[-1])

    @torch.inference_mode()
    def characters(n):
        logits, now, text = first, state, []
        for _ in range(n):
            ids = torch.multinomial(torch.softmax(logits, dim=-1), 1)[:, 0]
            text.append(ids)
            h, now = layers(rows[ids][None], now)
            logits = dense(h[0])
        torch.stack(text).cpu()
        return torch.log_softmax(first, dim=-1).cpu().numpy()

    return {"characters": characters}
