"""The arguments of the loops over time, checked and laid out."""

from types import ModuleType
from typing import NamedTuple

import numpy as np

from charlm.kernels.arrays import indices, require


class Batch(NamedTuple):
    """The arguments of both loops, arrays in float32 unless noted otherwise.

    The inputs' share of the pre-activations is x W + b; or rows[ids], to which
    context_rows[contexts] may be added; or, without ids, rows.
    """

    U: np.ndarray
    """(H, G*H)"""
    h: np.ndarray
    """(B, H), before the first step."""
    c: np.ndarray | None = None
    """(B, H), before the first step, for a cell with c."""
    d: np.ndarray | None = None
    """(G*H,), the bias of h' U."""
    x: np.ndarray | None = None
    """(B, T, D)"""
    W: np.ndarray | None = None
    """(D, G*H)"""
    b: np.ndarray | None = None
    """(G*H,)"""
    rows: np.ndarray | None = None
    """(N, G*H), or (B, T, G*H) without ids."""
    ids: np.ndarray | None = None
    """(B, T), whole numbers of any type from 0 to N - 1."""
    context_rows: np.ndarray | None = None
    """(C, G*H)"""
    contexts: np.ndarray | None = None
    """(B, T), whole numbers of any type from 0 to C - 1."""
    live: np.ndarray | None = None
    """(B, T) booleans, whether a sequence takes a step; None if each takes all."""
    drop: np.ndarray | None = None
    """(G, B, H), recurrent dropout: the factor of h for each gate."""

    @property
    def states(self) -> list[np.ndarray]:
        """Lists h and, for a cell with c, c."""
        return [self.h] if self.c is None else [self.h, self.c]

    def laid_out(self, B: int, T: int) -> tuple[np.ndarray, ...]:
        """Returns rows, index, context_rows, contexts, x, live, start and drop for the loops.

        Those that are not given are empty.
        """
        GH = self.U.shape[1]
        if self.rows is None:
            rows, index = np.zeros((0, GH), np.float32), np.zeros((0, 0), np.int32)
        else:
            rows = self.rows.reshape(-1, GH)
            index = np.arange(B * T, dtype=np.int32).reshape(B, T)
            index = index if self.ids is None else indices(self.ids, len(rows))
        added, contexts = np.zeros((0, GH), np.float32), np.zeros((0, 0), np.int32)
        if self.context_rows is not None and self.contexts is not None:
            added = self.context_rows
            contexts = indices(self.contexts, len(added), "contexts")
        x = np.zeros((1, 1, 0), np.float32) if self.x is None else self.x
        if self.live is None:
            live, start = np.zeros((0, 0), bool), np.zeros(B, np.int32)
        else:
            live = self.live
            first = live.argmax(axis=1) if T else 0
            start = np.where(live.any(axis=1), first, T).astype(np.int32)
        drop = np.zeros((0, 0, 0), np.float32) if self.drop is None else self.drop
        return rows, index, added, contexts, x, live, start, drop

    def sizes(self, cell: ModuleType) -> tuple[int, int, int, int]:
        """Checks the arrays, and returns B, T, H and G*H, for a cell from `jit.cell`.

        Raises:
            ValueError: arrays that do not fit together, or of a wrong type.
        """
        vectors, rows, ids = (a is not None for a in (self.x, self.rows, self.ids))
        whole = vectors == (self.W is not None) and vectors != rows and rows >= ids
        whole = whole and ids >= (self.contexts is not None) == (self.context_rows is not None)
        if len(self.states) != cell.STATES or not whole:
            raise ValueError(
                f"Expected {cell.STATES} states, and x and W, or rows, or rows and ids, to which "
                "context_rows and contexts may be added. "
                f"Received: {[n for n, a in self._asdict().items() if a is not None]}"
            )
        inputs = next(a for a in (self.x, self.ids, self.rows) if a is not None)
        B, T = (*inputs.shape, 0, 0)[:2]
        for name, matrix in (("h", self.h), ("W", self.W)):
            if matrix is not None:
                require(name, matrix, (None, None))
        gates, H = cell.GATES, self.h.shape[1]
        GH, D = gates * H, None if self.W is None else self.W.shape[0]
        shapes: dict[str, tuple[int | None, ...]] = {
            "U": (H, GH), "h": (B, H), "c": (B, H), "d": (GH,),
            "x": (B, T, D), "W": (D, GH), "b": (GH,),
            "rows": (B, T, GH) if self.ids is None else (None, GH),
            "ids": (B, T), "live": (B, T), "drop": (gates, B, H),
            "context_rows": (None, GH), "contexts": (B, T),
        }  # fmt: skip
        for name, array in self._asdict().items():
            if array is not None:
                kinds = {"ids": None, "contexts": None, "live": "bool"}
                require(name, array, shapes[name], kinds.get(name, "float32"))
        return B, T, H, GH
