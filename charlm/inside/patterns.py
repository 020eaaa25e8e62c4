"""Regular expressions of the user, which may be wrong or take for ever."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from charlm.errors import InputError

SECONDS = 5.0  # that an expression may take on all texts


def check(pattern: str) -> Any:
    """Returns an expression compiled.

    Raises:
        InputError: it is invalid.
    """
    import regex  # which, unlike `re`, can be stopped

    try:
        return regex.compile(pattern)
    except (regex.error, RecursionError, OverflowError, MemoryError) as error:
        raise InputError(
            f"expected --pattern to be a regular expression, found {pattern!r:.80}: {error}"
        ) from error


def matched(pattern: str, texts: Sequence[str]) -> list[np.ndarray]:
    """Returns for each text (n,), whether a character is in a match of an expression.

    Raises:
        InputError: the expression is invalid, or takes longer than `SECONDS` in all.
    """
    compiled, ends = check(pattern), time.monotonic() + SECONDS
    try:
        return [
            marked(
                len(text),
                [
                    m.span()
                    for m in compiled.finditer(text, timeout=max(1e-3, ends - time.monotonic()))
                ],
            )
            for text in texts
        ]
    except TimeoutError as error:
        raise InputError(
            f"expected --pattern to match within {SECONDS:g} seconds, found {pattern!r:.80}, which "
            "takes longer; give a simpler one"
        ) from error


def marked(n: int, spans: Sequence[tuple[int, int]], until: int = 0) -> np.ndarray:
    """Returns (n,), whether a character is in a span without the last `until` characters of it."""
    found = np.zeros(n + 1, np.int64)
    for begin, end in spans:
        found[begin] += 1
        found[max(begin, end - until)] -= 1
    return np.cumsum(found)[:-1] > 0
