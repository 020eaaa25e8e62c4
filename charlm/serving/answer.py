"""Writes answers as JSON, as OpenAI's completions interface does. Knows no HTTP."""

import json
import time
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

from charlm.serving.completion import Piece
from charlm.serving.fields import RequestError
from charlm.serving.request import Completion

DONE = b"data: [DONE]\n\n"
TYPES = {401: "authentication_error", 429: "rate_limit_error", 500: "server_error"}


class Answer:
    """The answer to a request: whole, or as events of a stream.

    Args:
        c: the request.
        model: name of the model.
    """

    def __init__(self, c: Completion, model: str):
        self._c = c
        self._head: dict[str, Any] = {
            "id": f"cmpl-{uuid.uuid4().hex}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": model,
            "seed": c.seed,  # not OpenAI's: with it, the same texts can be drawn again
        }
        self._lengths = [0] * (len(c.prompts) * c.n)  # characters of each choice so far
        self._drawn = 0

    def whole(self, pieces: Iterable[Piece]) -> bytes:
        """Returns the answer with all texts."""
        choices = [_choice(k, "", [], None, None, 0) for k in range(len(self._lengths))]
        for piece in pieces:
            new, choice = self._part(piece), choices[piece.choice]
            choice["text"] += new["text"]
            choice["finish_reason"] = new["finish_reason"]
            if choice["logprobs"] is None:
                choice["logprobs"] = new["logprobs"]
            elif new["logprobs"]:
                for name, values in new["logprobs"].items():
                    if values is not None:
                        choice["logprobs"][name] += values
        return to_json(self._head | {"choices": choices, "usage": self._usage()})

    def events(self, pieces: Iterable[Piece]) -> Iterator[bytes]:
        """Yields an event for each piece, and one with the usage if it is wanted."""
        usage: dict[str, Any] = {"usage": None} if self._c.include_usage else {}
        for piece in pieces:
            yield event(self._head | {"choices": [self._part(piece)]} | usage)
        if self._c.include_usage:
            yield event(self._head | {"choices": [], "usage": self._usage()})
        yield DONE

    def _part(self, piece):
        """Returns a piece as a choice."""
        first = self._lengths[piece.choice]
        self._lengths[piece.choice] += len(piece.text)
        self._drawn += piece.drawn
        return _choice(
            piece.choice, piece.text, piece.tokens, piece.finish, self._c.logprobs, first
        )

    def _usage(self):
        read = sum(map(len, self._c.prompts))
        return {
            "prompt_tokens": read,
            "completion_tokens": self._drawn,
            "total_tokens": read + self._drawn,
        }


def _choice(index, text, tokens, finish, logprobs, first):
    """Returns a choice; offsets count the characters of its text before, `first` of them."""
    found = None
    if logprobs is not None:
        found = {
            "tokens": [t.character for t in tokens],
            "token_logprobs": [t.logprob for t in tokens],
            "top_logprobs": [t.top for t in tokens] if logprobs else None,
            "text_offset": [*range(first, first + len(tokens))],
        }
    return {"index": index, "text": text, "logprobs": found, "finish_reason": finish}


def error(message: str, status: int, param: str | None = None, code: str | None = None) -> dict:
    """Returns an error as OpenAI writes it."""
    kind = TYPES.get(status, "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def refusal(found: RequestError) -> dict:
    """Returns the error of a refused request."""
    return error(str(found), found.status, found.param, found.code)


def event(value: dict) -> bytes:
    """Returns an event of a stream (Server-Sent Events)."""
    return b"data: " + to_json(value) + b"\n\n"


def to_json(value: Any) -> bytes:
    """Returns JSON in ASCII, which can express every character."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode("ascii")
