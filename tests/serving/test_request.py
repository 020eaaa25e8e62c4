"""Law: a request is a frozen dataclass, and one that is not understood is refused in a sentence."""

import dataclasses
import json
import re

import pytest

from charlm.serving import fields, request
from charlm.serving.fields import RequestError
from charlm.serving.request import Completion, parse


def parsed(**given):
    return parse(json.dumps(given).encode())


def test_absent_fields_and_null_are_the_defaults():
    assert parse(b"{}") == Completion()
    every = dict.fromkeys([*fields.READ, *fields.NEUTRAL, "user", "unknown"])
    assert parsed(**every) == Completion()
    with pytest.raises(dataclasses.FrozenInstanceError):
        Completion().n = 2


def test_every_field_is_read():
    assert parsed(
        model="m", prompt=["a", ""], max_tokens=7, temperature=0, top_p=0.5, top_k=3, n=2, seed=5,
        stop="x", logprobs=1, echo=True, stream=True, stream_options={"include_usage": True},
        user="me",
    ) == Completion(
        ("a", ""), 7, 0.0, 0.5, 3, 2, 5, ("x",), 1, True, True, True, "m"
    )  # fmt: skip
    assert parsed(prompt="é😀").prompts == ("é😀",)
    assert parsed(stop=[]).stop == ()
    assert parsed(seed=2**64 - 1).seed == 2**64 - 1


def test_what_is_not_supported_may_have_a_value_without_an_effect():
    assert parsed(
        suffix="", best_of=1, logit_bias={}, presence_penalty=0, frequency_penalty=0.0, min_p=0,
        repetition_penalty=1.0,
    ) == Completion()  # fmt: skip
    assert parsed(n=3, best_of=3) == Completion(n=3)


NOT_JSON = [
    (b"", "found an error at character 0"),
    (b"{", "found an error at character 1"),
    (b"[1, 2]", r"found \[1, 2\], which is no object"),
    (b"null", "found null, which is no object"),
    (b'"text"', 'found "text", which is no object'),
    (b'{"n": 1, "n": 2}', 'found "n" in it twice'),
    (b'{"logit_bias": {"a": 1, "a": 2}}', 'found "a" in it twice'),
    (b'{"temperature": NaN}', "found NaN in it, which is no number of JSON"),
    (b'{"temperature": -Infinity}', "found -Infinity in it"),
    (b'{"prompt": "\xff"}', "found byte 0xff at offset 12, which is not UTF-8"),
    (b'\xef\xbb\xbf{"n": 1}', "found an error at character 0"),
    (b"[" * 200_000, "found it nested too deeply"),
    (b'{"seed": ' + b"9" * 5000 + b"}", "found a number of thousands of digits"),
    (b'{"n": 1} {"n": 2}', "found an error at character 9"),
    (b"{'n': 1}", "found an error at character 1"),
]
WRONG = [
    ({"prompt": 3}, "prompt to be a string, or a list of strings, found 3"),
    ({"prompt": []}, r"prompt to be a string, or a list of strings, found \[\]"),
    ({"prompt": [1, 2]}, r"prompt to be a string, or a list of strings, found \[1, 2\]"),
    ({"prompt": {"a": 1}}, "prompt to be a string"),
    ({"max_tokens": -1}, "max_tokens to be a whole number from 0 to 100000, found -1"),
    ({"max_tokens": 0}, "max_tokens to be 1 or more without echo, found 0"),
    ({"max_tokens": 1.5}, "max_tokens to be a whole number"),
    ({"max_tokens": "9"}, 'max_tokens to be a whole number from 0 to 100000, found "9"'),
    ({"max_tokens": True}, "max_tokens to be a whole number from 0 to 100000, found true"),
    ({"max_tokens": 10**9}, "max_tokens to be a whole number from 0 to 100000"),
    ({"temperature": -0.1}, "temperature to be a finite number, 0 or more, found -0.1"),
    ({"temperature": "hot"}, 'temperature to be a finite number, 0 or more, found "hot"'),
    ({"temperature": False}, "temperature to be a finite number"),
    ({"temperature": 10**400}, "temperature to be a finite number, 0 or more, found 1000"),
    ({"top_p": 0}, "top_p to be a number above 0 and at most 1, found 0"),
    ({"top_p": 1.01}, "top_p to be a number above 0 and at most 1"),
    ({"top_k": -1}, "top_k to be a whole number"),
    ({"n": 0}, "n to be a whole number from 1 to 128, found 0"),
    ({"n": 129}, "n to be a whole number from 1 to 128"),
    ({"n": 100, "prompt": ["a", "b"]}, "at most 128 texts, found 200"),
    ({"n": 100, "max_tokens": 1001}, "at most 100,000 characters to draw in all texts"),
    ({"prompt": ["a" * 60_000] * 2}, "at most 100,000 characters of prompts, found 120,000"),
    ({"seed": -1}, "seed to be a whole number"),
    ({"seed": 2**64}, "seed to be a whole number from 0 to 18446744073709551615"),
    ({"stop": ""}, "stop to be a string of 1 to 100 characters, or a list of at most 16"),
    ({"stop": ["a", 1]}, "stop to be"),
    ({"stop": ["a"] * 17}, "stop to be"),
    ({"stop": "a" * 101}, r"stop to be .*found \"a{59}\.\.\."),
    ({"logprobs": 21}, "logprobs to be a whole number from 0 to 20"),
    ({"logprobs": True}, "logprobs to be a whole number"),
    ({"logprobs": 4, "max_tokens": 100_000}, "at most 400,000 log-probabilities, found 500,000"),
    ({"echo": 1}, "echo to be true or false, found 1"),
    ({"stream": "yes"}, "stream to be true or false"),
    ({"stream_options": {"include_usage": True}}, "stream_options has no effect without stream"),
    ({"stream": True, "stream_options": {"x": 1}}, "stream_options to be an object with"),
    ({"stream": True, "stream_options": []}, "stream_options to be an object"),
    ({"model": 3}, "model to be a string"),
    ({"suffix": "a"}, r'only supported fields, found "suffix" \(other than ""\); leave it out'),
    ({"best_of": 2}, r'"best_of" \(other than 1\)'),
    ({"best_of": 3, "n": 2}, r'"best_of" \(other than 2\)'),
    ({"logit_bias": {"50256": -100}}, r'"logit_bias" \(other than \{\}\)'),
    ({"presence_penalty": 0.5}, r'"presence_penalty" \(other than 0\)'),
    ({"frequency_penalty": -1}, '"frequency_penalty"'),
    ({"frequency_penalty": False}, '"frequency_penalty"'),
    ({"messages": [{"role": "user"}]}, 'only supported fields, found "messages"; leave it out'),
    ({"mirostat": 2}, 'found "mirostat"; leave it out'),
]  # fmt: skip
BAD = [*NOT_JSON, *((json.dumps(given).encode(), message) for given, message in WRONG)]


@pytest.mark.parametrize(("body", "message"), BAD, ids=lambda x: str(x)[:40])
def test_bad_requests_are_refused_in_one_sentence(body, message):
    with pytest.raises(RequestError) as refused:
        parse(body)
    text = str(refused.value)
    assert re.search(message, text), text
    assert "\n" not in text
    assert len(text) < 200
    assert refused.value.status == 400


def test_a_value_too_deep_to_show(monkeypatch):
    value = []
    for _ in range(900):
        value = [value]
    assert fields.shown(value) in ("a deeply nested value", f"{'[' * 60}...")
    monkeypatch.setattr(request.json, "loads", lambda *args, **options: value)
    with pytest.raises(RequestError, match="which is no object"):
        parse(b"")
