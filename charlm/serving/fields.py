"""The fields of a request for completions: which there are, and what a value may be."""

import json
import sys
from collections.abc import Callable
from typing import Any

from charlm.errors import InputError

MAX_CHARACTERS = 100_000  # of all prompts, and of all texts to draw: up to a minute of work
MAX_CHOICES = 128  # texts of a request
MAX_STOPS, MAX_STOP = 16, 100  # stop sequences, characters in each
MAX_LOGPROBS = 20  # most probable characters listed at each place
MAX_SEED = 2**64 - 1
NEUTRAL: dict[str, tuple[Any, ...]] = {  # what is not supported: the values without an effect
    "suffix": ("",),
    "best_of": (1,),
    "logit_bias": ({},),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    # of other servers
    "min_p": (0,),
    "typical_p": (1,),
    "repeat_penalty": (1,),
    "repetition_penalty": (1,),
}


class RequestError(InputError):
    """A request is refused.

    Args:
        message: what was expected and what was found.
        param: the field.
        code: a word for programs.
        status: of the HTTP response.
    """

    def __init__(
        self, message: str, param: str | None = None, code: str | None = None, status: int = 400
    ):
        super().__init__(message)
        self.param, self.code, self.status = param, code, status


def check_supported(given: dict[str, Any]) -> None:
    """Raises RequestError for a field that would have an effect which charlm does not have."""
    for name, value in given.items():
        if name in READ or name == "user":
            continue
        neutral = NEUTRAL.get(name, ())
        if name == "best_of" and "n" in given:
            neutral = (given["n"],)
        if any(value == x and type(value) in (type(x), float) for x in neutral):
            continue
        other = f" (other than {json.dumps(neutral[0])})" if neutral else ""
        raise RequestError(
            f"expected only supported fields, found {shown(name)}{other}; leave it out",
            name,
            "unsupported_parameter",
        )


def _whole(low: int, high: int) -> Callable[[str, Any], int]:
    """Makes a function that checks a whole number from `low` to `high`."""

    def read(name, value):
        if type(value) is not int or not low <= value <= high:
            raise _refused(name, f"a whole number from {low} to {high}", value)
        return value

    return read


def _temperature(name, value):
    if type(value) not in (int, float) or not 0 <= value <= sys.float_info.max:
        raise _refused(name, "a finite number, 0 or more", value)
    return float(value)


def _top_p(name, value):
    if type(value) not in (int, float) or not 0 < value <= 1:
        raise _refused(name, "a number above 0 and at most 1", value)
    return float(value)


def _flag(name, value):
    if type(value) is not bool:
        raise _refused(name, "true or false", value)
    return value


def _name(name, value):
    if type(value) is not str:
        raise _refused(name, "a string", value)
    return value


def _prompts(name, value):
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(x, str) for x in texts) or not texts:
        raise _refused(name, "a string, or a list of strings", value)
    return tuple(texts)


def _stops(name, value):
    stops = [value] if isinstance(value, str) else value
    ok = isinstance(stops, list) and len(stops) <= MAX_STOPS
    if not ok or not all(isinstance(x, str) and 0 < len(x) <= MAX_STOP for x in stops):
        what = f"a string of 1 to {MAX_STOP} characters, or a list of at most {MAX_STOPS}"
        raise _refused(name, what, value)
    return tuple(stops)


def _usage(name, value):
    """Returns include_usage of stream_options."""
    if type(value) is not dict or set(value) - {"include_usage"}:
        raise _refused(name, "an object with include_usage alone", value)
    return _flag("include_usage", value.get("include_usage") or False)


def _refused(name, expected, value):
    return RequestError(f"expected {name} to be {expected}, found {shown(value)}", name)


def shown(value: Any) -> str:
    """Returns a value as JSON, at most 60 characters of it."""
    try:
        text = json.dumps(value)
    except RecursionError:
        return "a deeply nested value"
    return text if len(text) <= 60 else f"{text[:60]}..."


READ: dict[str, Callable[[str, Any], Any]] = {  # what checks each supported field
    "model": _name,
    "prompt": _prompts,
    "max_tokens": _whole(0, MAX_CHARACTERS),
    "temperature": _temperature,
    "top_p": _top_p,
    "top_k": _whole(0, MAX_CHARACTERS),
    "n": _whole(1, MAX_CHOICES),
    "seed": _whole(0, MAX_SEED),
    "stop": _stops,
    "logprobs": _whole(0, MAX_LOGPROBS),
    "echo": _flag,
    "stream": _flag,
    "stream_options": _usage,
}
