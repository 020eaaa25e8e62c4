"""Reads a request for completions: JSON to a frozen dataclass, with every check. Knows no HTTP."""

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from charlm.serving.fields import (
    MAX_CHARACTERS,
    MAX_CHOICES,
    READ,
    RequestError,
    check_supported,
    shown,
)

MAX_NUMBERS = 400_000  # log-probabilities in an answer, some 10 MB
LENGTH = 500  # characters, the default of `charlm sample`; OpenAI's 16 tokens are some 64


@dataclass(frozen=True)
class Completion:
    """A request for completions. A token is a character."""

    prompts: tuple[str, ...] = ("",)
    """Texts to continue."""
    max_tokens: int = LENGTH
    """Maximum number of characters to draw for each text."""
    temperature: float = 1.0
    """Logits are divided by it; 0 takes the most probable character."""
    top_p: float = 1.0
    """See `SamplingConstraints`."""
    top_k: int = 0
    """See `SamplingConstraints`."""
    n: int = 1
    """Texts for each prompt."""
    seed: int | None = None
    """Random seed; None for a new one."""
    stop: tuple[str, ...] = ()
    """A text ends before the first of these."""
    logprobs: int | None = None
    """Number of most probable characters to list at each place; None for no log-probabilities."""
    echo: bool = False
    """Whether the prompt is a part of the text."""
    stream: bool = False
    """Whether the text is sent in pieces."""
    include_usage: bool = False
    """Whether a stream ends with the numbers of characters."""
    model: str | None = None
    """Name of the model, if it was given."""


def parse(body: bytes) -> Completion:
    """Returns the request in a body.

    Raises:
        RequestError: it is not JSON, or a field is unknown, of another type or out of range.
    """
    return from_fields(_object(body))


def from_fields(fields: dict[str, Any]) -> Completion:
    """Returns the request of JSON's fields; null means that a field is absent.

    Raises:
        RequestError: a field is unknown, of another type or out of range.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    check_supported(given)
    read: dict[str, Any] = {name: READ[name](name, x) for name, x in given.items() if name in READ}
    if "prompt" in read:
        read["prompts"] = read.pop("prompt")
    if "stream_options" in read:
        read["include_usage"] = read.pop("stream_options")
        if not read.get("stream"):
            message = "stream_options has no effect without stream; leave it out"
            raise RequestError(message, "stream_options")
    found = Completion(**read)
    _check_sizes(found)
    return found


def _object(body):
    """Returns the object that a body holds."""
    try:
        value = json.loads(
            body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_number
        )
    except UnicodeDecodeError as error:
        what = f"byte {body[error.start]:#04x} at offset {error.start}, which is not UTF-8"
        raise _no_json(what) from None
    except RecursionError:
        raise _no_json("it nested too deeply") from None
    except json.JSONDecodeError as error:
        raise _no_json(f"an error at character {error.pos}: {error.msg}") from None
    except ValueError:  # Python reads no number of more than 4,300 digits
        raise _no_json("a number of thousands of digits") from None
    if not isinstance(value, dict):
        raise _no_json(f"{shown(value)}, which is no object")
    return value


def _no_json(found):
    return RequestError(f"expected a JSON object, found {found}", code="invalid_json")


def _unique(pairs):
    """Makes an object of its fields; refuses a name that occurs twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        (name, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise _no_json(f"{shown(name)} in it twice")
    return found


def _no_number(name):
    raise _no_json(f"{name} in it, which is no number of JSON")


def _check_sizes(c):
    """Refuses a request that would take too long or too much memory."""
    choices, read = len(c.prompts) * c.n, sum(map(len, c.prompts))
    if c.max_tokens == 0 and not c.echo:
        raise RequestError(
            "expected max_tokens to be 1 or more without echo, found 0", "max_tokens"
        )
    for name, what, most, found in (
        ("n", "texts", MAX_CHOICES, choices),
        ("prompt", "characters of prompts", MAX_CHARACTERS, read),
        ("max_tokens", "characters to draw in all texts", MAX_CHARACTERS, choices * c.max_tokens),
    ):
        if found > most:
            raise RequestError(f"expected at most {most:,} {what}, found {found:,}", name)
    numbers = choices * c.max_tokens + c.n * read * c.echo
    if c.logprobs is not None and numbers * (c.logprobs + 1) > MAX_NUMBERS:
        raise RequestError(
            f"expected at most {MAX_NUMBERS:,} log-probabilities, found "
            f"{numbers * (c.logprobs + 1):,}; ask for less text or fewer logprobs",
            "logprobs",
        )
