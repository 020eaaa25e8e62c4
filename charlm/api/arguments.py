"""Arguments of Python's interface: their types and ranges."""

import contextlib
import numbers
from collections.abc import Iterable, Iterator
from typing import Any

from charlm.errors import SettingError, check_temperature, require
from charlm.generation.constraints import SamplingConstraints
from charlm.generation.generate import MAX_TEXTS


def checked(
    length: Any, temperature: Any, n: Any, seed: Any, stop: Any, min_length: Any
) -> list[str]:
    """Returns `stop` as a list; raises InputError if an argument of `generate` is refused."""
    require(_is_real(temperature), "temperature", "a number", repr(temperature))
    check_temperature(temperature)
    require(_is_count(length), "length", "a whole number, 1 or more", length)
    ok = _is_count(n) and n <= MAX_TEXTS
    require(ok, "n", f"a whole number from 1 to {MAX_TEXTS}", n)
    ok = isinstance(min_length, numbers.Integral) and 0 <= int(min_length) <= length
    require(ok, "min_length", f"from 0 to length ({length})", min_length)
    ok = seed is None or (isinstance(seed, numbers.Integral) and int(seed) >= 0)
    require(ok, "seed", "None, or a whole number, 0 or more", seed)
    stops: list[Any] = (
        [stop] if isinstance(stop, str) or not isinstance(stop, Iterable) else [*stop]
    )
    ok = all(isinstance(x, str) and x for x in stops)
    require(ok, "stop", "strings of one character or more", repr(stop))
    return stops


def _is_count(n):
    return isinstance(n, numbers.Integral) and int(n) >= 1


def _is_real(value):
    return isinstance(value, numbers.Real)


def constraints(
    top_k: int, top_p: float, repetition_penalty: float, repetition_length: int
) -> SamplingConstraints:
    """Returns the constraints; raises InputError if one is out of range or of another type."""
    with named_as_arguments():
        for name, count in (("top_k", top_k), ("repetition_length", repetition_length)):
            require(isinstance(count, numbers.Integral), name, "a whole number", repr(count))
        for name, value in (("top_p", top_p), ("repetition_penalty", repetition_penalty)):
            require(_is_real(value), name, "a number", repr(value))
        return SamplingConstraints(top_k, top_p, repetition_penalty, repetition_length)


@contextlib.contextmanager
def named_as_arguments() -> Iterator[None]:
    """Makes errors in settings name arguments (top_k) instead of flags (--top-k)."""
    try:
        yield
    except SettingError as error:
        raise error.as_argument() from error
