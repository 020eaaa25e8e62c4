"""Additive attention, forward and backward by hand, as a Keras layer on every backend.

A query q (a state of the decoder) is compared with S keys k (states of the encoder, or places of a
picture). The more a key fits, the more of it is in the context vector c that the decoder reads:

    e_s = tanh(q W_q + k_s W_k)     a comparison of the query with each key
    z_s = e_s . v                   its score
    a   = softmax(z)                weights, which sum to 1 over the keys: where the model looks
    c   = sum over s of a_s k_s     context

Source: Bahdanau, Cho and Bengio 2015, "Neural Machine Translation by Jointly Learning to Align and
Translate", section A.1.2. There the query is the state before a step; here it is the state after
it, as in Luong, Pham and Manning 2015, section 3.1, so that all steps of a decoder are computed
before the attention.

examples/dates.py and examples/captions.py use it.
"""

import keras
import numpy as np
from keras import ops

from charlm.layers.mixed_precision import tensor
from charlm.layers.numpy_op import is_supported, numpy_op

FAR = 1e9  # subtracted from the scores of keys that are masked out


def forward(
    mask: np.ndarray,
    q: np.ndarray,
    k: np.ndarray,
    W_q: np.ndarray,
    W_k: np.ndarray,
    v: np.ndarray,
) -> list[np.ndarray]:
    """Computes context vectors.

    Args:
        mask: (B, S), 1 for each key that counts, 0 for padding.
        q: queries (B, T, Q).
        k: keys (B, S, K).
        W_q: (Q, U).
        W_k: (K, U).
        v: (U,).

    Returns:
        c (B, T, K), a (B, T, S), and for `backward` e (B, T, S, U).
    """
    e = np.tanh((q @ W_q)[:, :, None] + (k @ W_k)[:, None])
    z = e @ v - FAR * (1 - mask[:, None])
    a = np.exp(z - z.max(axis=-1, keepdims=True))
    a /= a.sum(axis=-1, keepdims=True)
    return [a @ k, a, e]


def backward(
    mask: np.ndarray,
    q: np.ndarray,
    k: np.ndarray,
    W_q: np.ndarray,
    W_k: np.ndarray,
    v: np.ndarray,
    c: np.ndarray,
    a: np.ndarray,
    e: np.ndarray,
    dc: np.ndarray,
    da: np.ndarray,
) -> list[np.ndarray]:
    """Computes the gradients, last equation first; comments repeat the equations.

    Args:
        mask, q, k, W_q, W_k, v: those of `forward`.
        c, a, e: its results.
        dc: dLoss/dc (B, T, K).
        da: dLoss/da (B, T, S); zeros if the loss does not use the weights.

    Returns:
        dLoss/d(q, k, W_q, W_k, v).
    """
    da = da + dc @ k.transpose(0, 2, 1)  # c = a k
    dk = a.transpose(0, 2, 1) @ dc
    dz = a * (da - (a * da).sum(axis=-1, keepdims=True))  # a = softmax(z)
    dv = np.einsum("bts,btsu->u", dz, e)  # z = e . v
    dx = dz[..., None] * v * (1 - e**2)  # e = tanh(x), (B, T, S, U)
    dx_q, dx_k = dx.sum(axis=2), dx.sum(axis=1)  # x = q W_q + k W_k
    dW_q = np.einsum("btq,btu->qu", q, dx_q)
    dW_k = np.einsum("bsk,bsu->ku", k, dx_k)
    return [dx_q @ W_q.T, dk + dx_k @ W_k.T, dW_q, dW_k, dv]


def by_backend(mask, q, k, W_q, W_k, v):
    """Computes (c, a) as `forward` does, by operations that the backend differentiates."""
    e = ops.tanh(ops.expand_dims(ops.matmul(q, W_q), 2) + ops.expand_dims(ops.matmul(k, W_k), 1))
    z = ops.sum(e * v, axis=-1) - FAR * (1 - ops.expand_dims(mask, 1))
    a = ops.softmax(z, axis=-1)
    return ops.matmul(a, k), a


@keras.saving.register_keras_serializable("charlm.examples")
class AdditiveAttention(keras.layers.Layer):
    """Attends to keys (B, S, K) with queries (B, T, Q): see the module.

    Args:
        units: U, the width in which queries and keys are compared.
        by_hand: whether to run `forward` and `backward`, where NumPy can run (on the CPU, outside
            XLA); else `by_backend`.
    """

    def __init__(self, units: int, by_hand: bool = True, **kwargs):
        super().__init__(**kwargs)
        self.units, self.by_hand = units, by_hand

    def build(self, queries_shape, keys_shape, key_mask_shape=None):
        self.W_q = self.add_weight(name="query_kernel", shape=(queries_shape[-1], self.units))
        self.W_k = self.add_weight(name="key_kernel", shape=(keys_shape[-1], self.units))
        self.v = self.add_weight(
            name="score_kernel",
            shape=(self.units,),
            initializer=keras.initializers.RandomNormal(stddev=self.units**-0.5),
        )

    def call(self, queries, keys, key_mask=None):
        """Attends.

        Args:
            queries: (B, T, Q).
            keys: (B, S, K).
            key_mask: (B, S), 1 for each key that counts, 0 for padding; None if all count.

        Returns:
            The context vectors (B, T, K), and the weights (B, T, S).
        """
        mask = ops.ones_like(keys[..., 0]) if key_mask is None else ops.cast(key_mask, "float32")
        given = queries, keys, tensor(self.W_q), tensor(self.W_k), tensor(self.v)
        if not (self.by_hand and is_supported(queries)):
            return by_backend(mask, *given)
        (B, T, _), (_, S, K) = queries.shape, keys.shape
        shapes = [(B, T, K), (B, T, S)], [(B, T, S, self.units)]
        return numpy_op(forward, backward, by_backend, shapes, [mask], given)

    def compute_output_shape(self, queries_shape, keys_shape, key_mask_shape=None):
        B, T, _ = queries_shape
        return (B, T, keys_shape[-1]), (B, T, keys_shape[1])

    def get_config(self):
        return super().get_config() | {"units": self.units, "by_hand": self.by_hand}
