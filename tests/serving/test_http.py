"""Law: streamed equals unstreamed equals `charlm sample`; every bad request gets a JSON error."""

import http.client
import json
import socket
import threading
import time

import numpy as np
import pytest

from charlm.evaluation import losses
from charlm.serving.completion import Writer
from tests.serving.conftest import NAME, TOKEN, serving
from tests.serving.test_completion import SamplingConstraints, drawn
from tests.serving.test_request import BAD

pytest.importorskip("starlette")
KIND = {"Content-Type": "application/json"}


def asked(port, method="POST", path="/v1/completions", body=None, headers=KIND):
    """(status, headers, body) of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    data = response.read()
    connection.close()
    return response.status, response.headers, data


def completed(port, **given):
    status, _, data = asked(port, body=json.dumps(given))
    assert status == 200, data
    return json.loads(data)


def streamed(port, **given):
    """The values of the events of a stream."""
    status, headers, data = asked(port, body=json.dumps(given | {"stream": True}))
    assert status == 200, data
    assert headers["Content-Type"].startswith("text/event-stream")
    *events, done, rest = data.decode("ascii").split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in events]


def error_of(status, data, expected):
    """The error of an answer, which must be one sentence."""
    assert status == expected, data
    error = json.loads(data)["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["message"]
    assert "\n" not in error["message"]
    assert "Traceback" not in error["message"]
    return error


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"prompt": "the ", "temperature": 0.6, "n": 3},
        {"prompt": ["a", "é\U0001f600"], "n": 2, "top_k": 4, "logprobs": 2},
        {"prompt": "a", "stop": ["q", "zx"], "max_tokens": 300, "logprobs": 0, "echo": True},
    ],
)
def test_streamed_is_unstreamed_is_what_sample_draws(port, saved, given):
    given = {"seed": 5, "max_tokens": 120, **given}
    whole = completed(port, **given)
    *pieces, last = streamed(port, **given, stream_options={"include_usage": True})
    assert last["usage"] == whole["usage"]
    assert last["choices"] == []
    found = {}
    for piece in pieces:
        (part,) = piece["choices"]
        if (choice := found.setdefault(part["index"], part)) is not part:
            choice["text"] += part["text"]
            choice["finish_reason"] = part["finish_reason"]
            for name, values in (part["logprobs"] or {}).items():
                if values is not None:
                    choice["logprobs"][name] += values
    assert [found[k] for k in sorted(found)] == whole["choices"]
    prompts = given.get("prompt", "")
    prompts, stops = [prompts] if isinstance(prompts, str) else prompts, given.get("stop", ())
    rules = SamplingConstraints(given.get("top_k", 0))
    n, temperature = given.get("n", 1), given.get("temperature", 1.0)
    for k, choice in enumerate(whole["choices"]):
        prompt = prompts[k // n]
        expected = drawn(
            saved, prompt, given["max_tokens"], temperature, n, 5, rules, stops
        )[k % n]  # fmt: skip
        ended = [x for x in stops if expected.endswith(x)]
        echo = prompt if given.get("echo") else ""
        assert choice["text"] == echo + expected.removesuffix(max(ended, key=len, default=""))
        assert choice["finish_reason"] == ("stop" if ended else "length")
        if choice["logprobs"]:
            marks = choice["logprobs"]
            assert "".join(marks["tokens"]) == choice["text"]
            assert marks["text_offset"] == [*range(len(choice["text"]))]


def test_an_answer_names_its_seed(port):
    first = completed(port, max_tokens=50)
    assert completed(port, max_tokens=50, seed=first["seed"])["choices"] == first["choices"]


def test_an_echo_scores_a_text_as_score_does(port, saved, rng):
    text = saved.vocab.decode(rng.integers(len(saved.vocab), size=300))
    found = completed(port, prompt=text, max_tokens=0, echo=True, logprobs=1)
    (choice,) = found["choices"]
    first, *rest = choice["logprobs"]["token_logprobs"]
    (expected,) = losses.stateful_losses(saved.to_network(), [saved.vocab.encode(text)])
    assert first is None
    assert choice["logprobs"]["top_logprobs"][0] is None
    np.testing.assert_allclose(-sum(rest), expected.sum(), rtol=1e-6)
    assert found["usage"] == {"prompt_tokens": 300, "completion_tokens": 0, "total_tokens": 300}


def test_models_and_page(port):
    status, headers, data = asked(port, "GET", "/")
    assert (status, data) == (200, b"<p>a page</p>")
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    for name in ("X-Content-Type-Options", "Referrer-Policy", "Cross-Origin-Resource-Policy",
                 "Content-Security-Policy"):  # fmt: skip
        assert headers[name]
    assert "Server" not in headers
    (listed,) = json.loads(asked(port, "GET", "/v1/models")[2])["data"]
    assert listed["id"] == NAME
    assert json.loads(asked(port, "GET", f"/v1/models/{NAME}")[2]) == listed
    assert asked(port, "HEAD", "/")[::2] == (200, b"")


@pytest.mark.parametrize(("body", "message"), BAD, ids=lambda x: str(x)[:40])
def test_bad_requests_get_an_error(port, body, message):
    error = error_of(*asked(port, body=body)[::2], 400)
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status", "words"),
    [
        ("POST", "/v1/completions", {}, "{}", 415, "Content-Type to be application/json, found ''"),
        ("POST", "/v1/completions", {"Content-Type": "text/plain"}, "{}", 415, "found 'text/plain"),
        ("GET", "/v1/completions", {}, None, 405, "found GET /v1/completions"),
        ("DELETE", "/v1/models", {}, None, 405, "found DELETE /v1/models"),
        ("OPTIONS", "/v1/completions", {}, None, 405, "found OPTIONS"),
        ("POST", "/v1/chat/completions", KIND, "{}", 404, "chat is not supported"),
        ("POST", "/v1/completions/", KIND, "{}", 404, "found POST /v1/completions/"),
        ("GET", "/../etc/passwd", {}, None, 404, "found GET"),
        ("GET", "/v1/models/gpt", {}, None, 404, "expected the model 'tiny', found 'gpt'"),
        ("POST", "/v1/completions", KIND, '{"model": "gpt"}', 404, "found 'gpt'"),
        ("POST", "/v1/completions", KIND, '{"prompt": "☃"}', 400, "found '☃'"),
        ("POST", "/v1/completions", KIND, '{"prompt": "\\ud800"}', 400, "prompt: expected"),
        ("GET", "/", {"Host": "evil.example"}, None, 403, "found 'evil.example'"),
        ("GET", "/", {"Host": "localhost"}, None, 403, "found 'localhost'"),
        ("GET", "/", {"Host": "127.0.0.1.evil.example:{port}"}, None, 403, "expected the header"),
        ("POST", "/v1/completions", KIND | {"Origin": "http://evil.example"}, "{}", 403, "another"),
        ("POST", "/v1/completions", KIND | {"Origin": "null"}, "{}", 403, "another site"),
        ("GET", "/v1/models", {"Origin": "http://localhost:1"}, None, 403, "another site"),
    ],
)  # fmt: skip
def test_other_wrong_requests(port, method, path, headers, body, status, words):
    headers = {k: v.replace("{port}", str(port)) for k, v in headers.items()}
    body = body and body.encode()
    found = error_of(*asked(port, method, path, body, headers)[::2], status)
    assert words in found["message"]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST"])
def test_names_of_this_machine_are_allowed(port, host):
    here = f"{host}:{port}"
    for headers in ({"Host": here}, {"Host": here, "Origin": f"http://{here}"}):
        assert asked(port, "GET", "/v1/models", headers=headers)[0] == 200


@pytest.mark.parametrize("size", [2**20 + 1, 30_000_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large_gets_its_answer(port, size, chunked):
    body = iter([b"x" * 100_000] * (size // 100_000 + 1)) if chunked else b"x" * size
    status, _, data = asked(port, body=body)
    error = error_of(status, data, 413)
    assert "at most 1,048,576 bytes" in error["message"]
    assert asked(port, body=b"{}")[0] == 200


def test_a_client_that_waits_before_it_sends_a_large_body_is_answered_at_once(port):
    with socket.create_connection(("127.0.0.1", port), timeout=20) as s:
        s.sendall(
            b"POST /v1/completions HTTP/1.1\r\nHost: localhost:%d\r\nExpect: 100-continue\r\n"
            b"Content-Length: 99999999\r\n\r\n" % port
        )
        assert s.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_slow_body_ends(port, monkeypatch):
    from charlm.serving import guard

    monkeypatch.setattr(guard, "SECONDS", 0.2)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as s:
        s.sendall(b"POST / HTTP/1.1\r\nHost: localhost:%d\r\nContent-Length: 9\r\n\r\n{" % port)
        assert s.recv(100).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("data", [b"\r\n\r\n", b"\x16\x03\x01\x02\x00" * 9])
def test_what_is_no_http_is_refused(port, data):
    with socket.create_connection(("127.0.0.1", port), timeout=20) as s:
        s.sendall(data + b"nonsense\r\n\r\n")
        assert s.recv(100).startswith(b"HTTP/1.1 400 ")


def test_a_token_is_needed_everywhere(writer):
    import base64

    bearer = {"Authorization": f"Bearer {TOKEN}", "Host": "a.name.example"}
    basic = "Basic " + base64.b64encode(f"me:{TOKEN}".encode()).decode()
    with serving(writer, token=TOKEN) as port:
        for path in ("/", "/v1/models", "/v1/completions", "/nowhere"):
            for given in (
                None,
                "Bearer x",
                f"Bearer {TOKEN}x",
                f"Token {TOKEN}",
                "Basic !",
                "Bearer",
            ):
                headers = {} if given is None else {"Authorization": given}
                status, found, data = asked(port, "GET", path, headers=headers)
                assert error_of(status, data, 401)["code"] == "invalid_api_key"
                assert found["WWW-Authenticate"].split()[0] == (
                    "Basic" if path == "/" else "Bearer"
                )
        assert asked(port, "GET", "/v1/models", headers=bearer)[0] == 200
        assert asked(port, "GET", "/", headers=bearer)[0] == 200
        assert asked(port, "GET", "/", headers={"Authorization": basic})[0] == 200
        # a browser sends a password on its own, so another site could make use of it
        assert asked(port, "GET", "/v1/models", headers={"Authorization": basic})[0] == 401
        foreign = bearer | {"Origin": "http://evil.example"}
        assert asked(port, "GET", "/v1/models", headers=foreign)[0] == 403
        own = bearer | {"Origin": "https://a.name.example"}
        assert asked(port, "GET", "/v1/models", headers=own)[0] == 200


class Slow(Writer):
    """Draws so slowly that a text does not end within a test."""

    def __init__(self, saved):
        super().__init__(saved, NAME)
        self.pace, self.pieces_drawn = 0.005, 0

    def pieces(self, c, going=lambda: True):
        for piece in super().pieces(c, going):
            self.pieces_drawn += 1
            yield piece
            time.sleep(self.pace)


def posted(port, **given):
    """A connection whose request has been sent."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("POST", "/v1/completions", json.dumps(given), KIND)
    return connection


def until(condition):
    ends = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_eight_clients_wait_and_one_too_many_is_told_to_try_again(saved, monkeypatch):
    from charlm.serving import app

    slow = Slow(saved)
    slow.places = app.Places()
    monkeypatch.setattr(app, "Places", lambda: slow.places)
    with serving(slow) as port:
        # stop sequences that do not occur make pieces small
        long = {"max_tokens": 90_000, "stop": "zqzqzq", "stream": True}
        first = posted(port, **long)
        until(lambda: slow.pieces_drawn > 1)
        others = [posted(port, max_tokens=20, seed=k) for k in range(7)]
        until(lambda: slow.places.taken == 8)
        status, headers, data = asked(port, body=b"{}")
        assert error_of(status, data, 429)["code"] == "rate_limit_exceeded"
        assert headers["Retry-After"] == "1"
        assert asked(port, "GET", "/v1/models")[0] == 200
        others.pop().close()  # a client that waits leaves: its place is free

        until(lambda: slow.places.taken == 7)
        others.append(posted(port, max_tokens=20, seed=6))
        first.close()  # so does the one whose text is drawn, and the others get theirs in turn
        texts = []
        for client in others:
            texts.append(json.loads(client.getresponse().read())["choices"][0]["text"])
            client.close()
        assert texts == [
            completed(port, max_tokens=20, seed=k)["choices"][0]["text"] for k in range(7)
        ]
        until(lambda: slow.places.taken == 0)


@pytest.mark.parametrize("stream", [False, True])
def test_drawing_stops_when_the_client_leaves(saved, stream):
    slow = Slow(saved)
    with serving(slow) as port:
        client = posted(port, max_tokens=90_000, stop="zqzqzq", stream=stream)
        until(lambda: slow.pieces_drawn > 3)
        client.close()
        assert asked(port, body=b'{"max_tokens": 5}')[0] == 200  # it waits for the thread
        count = slow.pieces_drawn
        time.sleep(0.2)
        assert slow.pieces_drawn == count < 1000


@pytest.mark.soak
def test_a_client_that_reads_nothing_loses_its_place(saved, monkeypatch):
    from charlm.serving import app

    monkeypatch.setattr(app, "STALLED", 0.2)
    slow = Slow(saved)
    slow.pace = 0
    with serving(slow) as port:
        client = posted(port, max_tokens=15_000, stop="zqzqzq", stream=True, logprobs=20)
        began = time.monotonic()
        assert asked(port, body=b'{"max_tokens": 5}')[0] == 200
        assert time.monotonic() - began < 15
        client.close()


def test_requests_that_fail_later_are_answered(saved, capfd):
    class Broken(Writer):
        def pieces(self, c, going=lambda: True):
            if c.seed == 1:
                raise ValueError("broken")
            yield from super().pieces(c, going)
            if c.seed == 2:
                from charlm.serving.fields import RequestError

                raise RequestError("refused late")

    with serving(Broken(saved, NAME)) as port:
        for stream in (False, True):
            body = json.dumps({"seed": 1, "stream": stream}).encode()
            error = error_of(*asked(port, body=body)[::2], 500)
            assert error["type"] == "server_error"
            assert "broken" not in error["message"]
        assert "error: a request failed: ValueError: broken\n" in capfd.readouterr().err
        error_of(*asked(port, body=b'{"seed": 2}')[::2], 400)
        status, _, data = asked(port, body=b'{"seed": 2, "stream": true, "max_tokens": 3}')
        assert status == 200
        assert json.loads(data.split(b"data: ")[-1])["error"]["message"] == "refused late"
        assert len(completed(port, max_tokens=5)["choices"]) == 1


def test_many_clients_at_once_get_their_own_texts(port):
    found = {}

    def ask(seed):
        found[seed] = "".join(
            x["choices"][0]["text"] for x in streamed(port, seed=seed, max_tokens=200)
        )

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for seed, text in found.items():
        assert completed(port, seed=seed, max_tokens=200)["choices"][0]["text"] == text


def test_the_first_piece_comes_soon(port):
    waited = []
    for seed in range(5):
        began = time.perf_counter()
        client = posted(port, seed=seed, max_tokens=1000, stream=True)
        with client.getresponse() as response:
            response.read(20)
            waited.append(time.perf_counter() - began)
        client.close()
    assert min(waited) < 0.05
