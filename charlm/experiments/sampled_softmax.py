"""A change for `charlm.experiments.changes`: a softmax over some of the tokens in each step."""

from typing import Any

import keras
import numpy as np
from keras import ops

from charlm.layers.mixed_precision import tensor
from charlm.training import network, streams

# what the change replaces parts of
Network: Any = network
Streams: Any = streams.Streams


def sampled_softmax(samples: int = 512) -> None:
    """Estimates the softmax's sum from the target and some tokens, drawn by their frequency.

    Jean et al. 2015, "On Using Very Large Target Vocabulary for Neural Machine Translation",
    section 3, with one draw for all positions of a step. The running loss of training is an
    estimate, too; held-out text is measured with the whole sum.
    """

    class Dense(keras.layers.Dense):
        def call(self, inputs, training=None):
            return inputs if training else super().call(inputs)

    plain_fit, plain_loss = Streams.fit, Streams.compute_loss
    seed = keras.random.SeedGenerator(1)

    def fit(self, *args, **kwargs):
        bias = ops.convert_to_numpy(self.network.get_layer("dense").bias)
        self.log_shares = bias - np.logaddexp.reduce(bias)  # they are its first values
        return plain_fit(self, *args, **kwargs)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        if not training:
            return plain_loss(self, x, y, y_pred, sample_weight, training)
        dense, h, targets = self.network.get_layer("dense"), y_pred, ops.reshape(y, (-1,))
        kernel, bias = tensor(dense.kernel), tensor(dense.bias)
        h = ops.reshape(h, (-1, kernel.shape[0]))
        log_shares = ops.convert_to_tensor(self.log_shares)
        drawn = keras.random.categorical(log_shares[None], samples, seed=seed)[0]

        right = ops.sum(h * ops.transpose(ops.take(kernel, targets, axis=1)), axis=1)
        right += ops.take(bias, targets)
        others = h @ ops.take(kernel, drawn, axis=1) + ops.take(bias, drawn)
        others -= ops.take(log_shares, drawn) + np.log(samples)
        others = ops.where(drawn == ops.cast(targets, drawn.dtype)[:, None], -np.inf, others)
        every = ops.concatenate([right[:, None], others], axis=1)
        return ops.mean(ops.logsumexp(every, axis=1) - right)

    Network.Dense = Dense
    Streams.fit, Streams.compute_loss = fit, compute_loss
