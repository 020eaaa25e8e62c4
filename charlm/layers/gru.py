"""Specification: charlm/reference/gru.py

The same equations as a Keras cell and a Keras layer.
"""

from types import ModuleType

import keras
from keras import ops

from charlm.cells import CELLS
from charlm.layers.annotations import Masks, Tensor, Tensors
from charlm.layers.cell import RecurrentCell
from charlm.layers.mixed_precision import tensor
from charlm.layers.options import RESET_AFTER
from charlm.layers.recurrent import Recurrent


@keras.saving.register_keras_serializable(package="charlm")
class GRUCell(RecurrentCell):
    """One step of a GRU: a drop-in replacement for `keras.layers.GRUCell`.

    Args: see `charlm.layers.options`.

    >>> from keras import ops
    >>> from charlm.layers import GRUCell
    >>> h, _ = GRUCell(4)(ops.ones((2, 3)), [ops.zeros((2, 4))])
    >>> h.shape == (2, 4)
    True
    """

    GATES, STATES = CELLS["gru"].gates, CELLS["gru"].states
    COMPILED = "gru"
    OPTIONS = RecurrentCell.OPTIONS | RESET_AFTER

    @property
    def bias_shape(self) -> tuple[int, ...]:
        """The shape of `bias`: (2, 3H) with `reset_after`, else (3H,)."""
        H = self.units
        return (2, 3 * H) if self.reset_after else (3 * H,)

    def input_bias(self) -> Tensor | None:
        bias = super().input_bias()
        return bias[0] if self.reset_after and bias is not None else bias

    def recurrent_weights(self, training: bool = False) -> Tensors:
        """Returns the weights that `step` reads.

        Returns:
            (U, d (3H,)), or (U,) without a bias; to reset before the product, (U_zr (H, 2H), U_g).
        """
        (U,) = super().recurrent_weights(training)
        if not self.reset_after:
            return U[:, : 2 * self.units], U[:, 2 * self.units :]
        return (U,) if self.bias is None else (U, tensor(self.bias)[1])

    def compiled(self, dropped: bool = False) -> tuple[ModuleType, ModuleType] | None:
        return super().compiled(dropped) if self.reset_after else None

    def step(
        self, a_x: Tensor, states: Tensors, weights: Tensors, masks: Masks = None
    ) -> tuple[Tensors, Tensors]:
        (h_prev,) = states
        a_z, a_r, a_g = ops.split(a_x, 3, axis=-1)
        if self.reset_after:
            U, *d = weights
            a_h = self.recurrent_matmul(h_prev, U, masks)  # (B, 3H)
            u_z, u_r, u_g = ops.split(a_h + d[0] if d else a_h, 3, axis=-1)
            z = self.recurrent_activation(a_z + u_z)
            r = self.recurrent_activation(a_r + u_r)
            g = self.activation(a_g + r * u_g)
            cache: Tensors = (z, r, g, u_g)
        else:
            U_zr, U_g = weights
            u_z, u_r = ops.split(
                self.recurrent_matmul(h_prev, U_zr, masks and masks[:2]), 2, axis=-1
            )
            z = self.recurrent_activation(a_z + u_z)
            r = self.recurrent_activation(a_r + u_r)
            g = self.activation(a_g + self.recurrent_matmul(r * h_prev, U_g, masks and masks[2:]))
            cache = (z, r, g)
        h = z * h_prev + (1 - z) * g
        return (h,), (ops.concatenate(cache, axis=-1),)

    def step_backward(
        self,
        d_states: Tensors,
        cache: Tensors,
        before: Tensors,
        after: Tensors,
        transposed: Tensors,
    ) -> tuple[Tensors, Tensor]:
        """Differentiates `step`; s = sigmoid(a) has slope s (1 - s), t = tanh(a) has 1 - t^2."""
        (dh,), (h_prev,), (cache,) = d_states, before, cache
        z, r, g, *u_g = ops.split(cache, 4 if self.reset_after else 3, axis=-1)
        da_z = dh * (h_prev - g) * z * (1 - z)
        da_g = dh * (1 - z) * (1 - g * g)
        if self.reset_after:
            da_r = da_g * u_g[0] * r * (1 - r)
            da_h = ops.concatenate([da_z, da_r, da_g * r], axis=-1)
            dh_prev = dh * z + self.matmul(da_h, transposed[0])
        else:
            U_zr_t, U_g_t = transposed
            d_rh = self.matmul(da_g, U_g_t)
            da_r = d_rh * h_prev * r * (1 - r)
            da_zr = ops.concatenate([da_z, da_r], axis=-1)
            dh_prev = dh * z + d_rh * r + self.matmul(da_zr, U_zr_t)
        return (dh_prev,), ops.concatenate([da_z, da_r, da_g], axis=-1)

    def recurrent_gradients(self, da: Tensor, cache: Tensors, before: Tensors) -> Tensors:
        H, (gates,), (h_prev,) = self.units, cache, before
        r, da_zr, da_g = gates[..., H : 2 * H], da[..., : 2 * H], da[..., 2 * H :]
        if not self.reset_after:
            return self.sum_of_products(h_prev, da_zr), self.sum_of_products(r * h_prev, da_g)
        da_h = ops.concatenate([da_zr, da_g * r], axis=-1)
        dU = self.sum_of_products(h_prev, da_h)
        return (dU,) if self.bias is None else (dU, ops.sum(da_h, axis=(0, 1)))


@keras.saving.register_keras_serializable(package="charlm")
class GRU(Recurrent):
    """A GRU over time: a drop-in replacement for `keras.layers.GRU`.

    The state is h, (B, H).

    Args: see `charlm.layers.options`.

    >>> from keras import ops
    >>> from charlm.layers import GRU
    >>> GRU(4, return_sequences=True)(ops.ones((2, 5, 3))).shape == (2, 5, 4)
    True
    """

    CELL = GRUCell
