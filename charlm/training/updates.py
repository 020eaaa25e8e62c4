"""Measures an update of the weights: the gradient's norm, and how much each weight changed."""

from typing import Any

import numpy as np
from keras import ops

from charlm.training.streams import Streams


class Updates:
    """Measures single updates of a network that is being trained with Adam.

    The gradient follows from Adam's first moment before and after the update,
    m' = beta_1 m + (1 - beta_1) g, so the training step is the same with and without this.

    Args:
        streams: the network; a call must do one update (`steps_per_execution` 1).
    """

    def __init__(self, streams: Streams):
        self.streams = streams
        self.before: tuple[int, list[np.ndarray], list[np.ndarray]] | None = None

    def begin(self) -> None:
        """Call it before the update that is to be measured."""
        self.before = self._state()

    def end(self) -> list[dict[str, Any]]:
        """Returns a row for each weight that was not zero, after the update.

        After a step that float16 leaves out, because a gradient is infinite, there are no rows.

        A row has the weight's name, `gradient_norm` (Euclidean, after clipping), `weight_norm` and
        `update_ratio`, the norm of the update by that of the weight before it.
        """
        assert self.before is not None, "begin first"
        (count, weights, moments), self.before = self.before, None
        now, new_weights, new_moments = self._state()
        if now != count + 1:
            return []
        beta = self._adam().beta_1
        rows = []
        for v, w, m, w_, m_ in zip(
            self.streams.trainable_variables, weights, moments, new_weights, new_moments,
            strict=True,
        ):  # fmt: skip
            norm = np.linalg.norm(w)
            if not norm:  # there is no ratio
                continue
            found = {
                "gradient_norm": np.linalg.norm((m_ - beta * m) / (1 - beta)),
                "weight_norm": np.linalg.norm(w_),
                "update_ratio": np.linalg.norm(w_ - w) / norm,
            }
            rows.append({"weight": v.path} | {k: float(f"{x:.6g}") for k, x in found.items()})
        return rows

    def _adam(self):
        optimizer: Any = self.streams.optimizer
        return getattr(optimizer, "inner_optimizer", optimizer)

    def _state(self):
        adam = self._adam()
        weights = [np.array(ops.convert_to_numpy(v)) for v in self.streams.trainable_variables]
        moments = [np.array(ops.convert_to_numpy(v)) for v in adam._momentums]
        return int(adam.iterations), weights, moments
