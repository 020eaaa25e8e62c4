"""Law: a subclass of ours trains by its own equations and keeps what it says of itself."""

import inspect

import numpy as np
import pytest
from keras import ops

from charlm.layers import LSTM, LSTMCell
from tests.oracle import results_and_gradients

B, T, D, H = 2, 5, 3, 4


class NoOutputGateCell(LSTMCell):
    """h = tanh(c): the parent's derivatives are not its own."""

    def step(self, a_x, states, weights, masks=None):
        (_, c), cache = super().step(a_x, states, weights, masks)
        return (ops.tanh(c), c), cache


class NoOutputGate(LSTM):
    CELL = NoOutputGateCell


class Named(LSTM):
    units = "mine"

    def __init__(self, size, **kwargs):
        super().__init__(size, **kwargs)


class Plain(LSTM):
    pass


class Heir(Named):
    pass


class Halved:
    def recurrent_matmul(self, h, U, masks=None):
        return 0.5 * super().recurrent_matmul(h, U, masks)


class HalvedCell(Halved, LSTMCell):
    """Another product, from a class beside."""


class HalvedLSTM(LSTM):
    CELL = HalvedCell


class SmallProductCell(LSTMCell):
    def matmul(self, x, W):
        return super().matmul(x, W / (1 + ops.sum(W * W)))


class SmallProduct(LSTM):
    CELL = SmallProductCell


class OwnDerivativesCell(LSTMCell):
    def step_backward(self, *args):
        return super().step_backward(*args)


class OwnDerivatives(LSTM):
    CELL = OwnDerivativesCell


def test_other_derivatives_are_not_those_compiled():
    assert OwnDerivatives(H).backward_pass() == "hand-derived"


@pytest.mark.parametrize("kind", [NoOutputGate, HalvedLSTM, SmallProduct])
def test_other_equations_are_differentiated_anew(rng, kind):
    ours, unrolled = kind(H), kind(H, unroll=True)
    for layer in (ours, unrolled):
        layer.build((B, T, D))
    unrolled.set_weights(ours.get_weights())
    assert ours.backward_pass() == "autodiff"
    assert Plain(H).backward_pass() == "compiled"
    x = rng.normal(size=(B, T, D)).astype("float32")
    found, expected = (results_and_gradients(layer, x, training=True) for layer in (ours, unrolled))
    for a, b in zip([*found[0], *found[1]], [*expected[0], *expected[1]], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_constructors_are_the_parent_s_or_their_own():
    assert inspect.signature(Plain) == inspect.signature(LSTM)
    assert Plain(H, "relu", "sigmoid", False).activation is LSTM(H, "relu").activation
    assert list(inspect.signature(Named).parameters) == ["size", "kwargs"]
    assert Named(H).units == Heir(H).units == "mine"
    assert inspect.signature(Heir) == inspect.signature(Named)
    assert Named(H).cell.units == H


@pytest.mark.parametrize("training", [True, False])
def test_another_share_of_the_inputs_is_not_passed_over(rng, training):
    class TwiceCell(LSTMCell):
        def project(self, inputs, masks=None):
            return 2 * super().project(inputs, masks)

    class Twice(LSTM):
        CELL = TwiceCell

    ours, twice = LSTM(4), Twice(4)
    x = rng.normal(size=(2, 5, 3)).astype("float32")
    for layer in (ours, twice):
        layer.build(x.shape)
    W, U, b = ours.get_weights()[:3]
    twice.set_weights([W, U, b, *twice.get_weights()[3:]])
    ours.set_weights([2 * W, U, 2 * b, *ours.get_weights()[3:]])
    found, expected = (ops.convert_to_numpy(y(x, training=training)) for y in (twice, ours))
    np.testing.assert_allclose(found, expected, atol=1e-6)
