"""Law: `charlm serve` starts without Keras, and says in one line why it ends or cannot start."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from charlm import sample, serve
from charlm.runs import run_folder
from charlm.serving import page, server
from tests.serving.conftest import checkpoint

pytest.importorskip("starlette")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a run, `a`."""
    monkeypatch.chdir(tmp_path)
    run_folder.save_new(tmp_path / "saved_models/a", checkpoint(corpus="x.txt"), False)
    return tmp_path


def started(*argv):
    return subprocess.Popen(
        [sys.executable, "-m", "charlm", "serve", *argv], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, encoding="utf-8",
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip


def test_it_serves_a_run_until_it_is_interrupted(here, capsys):
    with started("a", "--port", "0") as process:
        try:
            line = process.stdout.readline()
            found = re.fullmatch(
                r"a: (http://127.0.0.1:\d+)/ shows it, \1/v1 completes texts; Ctrl-C ends it\n",
                line,
            )
            assert found, line
            with urllib.request.urlopen(found[1]) as response:
                text = response.read().decode()
            assert "Choose a cell below." in text
            body = {"prompt": "the ", "seed": 4, "max_tokens": 70, "temperature": 0.7}
            asked = urllib.request.Request(
                f"{found[1]}/v1/completions", json.dumps(body).encode(),
                {"Content-Type": "application/json"},
            )  # fmt: skip
            with urllib.request.urlopen(asked) as response:
                drawn = json.load(response)["choices"][0]["text"]
        finally:
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err.splitlines()[-1:]) == (130, "", ["interrupted"])
    argv = ["--seed", "4", "--length", "70", "--temperature", "0.7", "--prompt", "the "]
    assert sample.main(["a", *argv]) == 0
    assert capsys.readouterr().out == f"the {drawn}\n"


@pytest.mark.full
def test_an_interrupt_ends_a_text_that_is_being_drawn(here):
    with started("a", "--port", "0") as process:
        try:
            port = int(re.search(r":(\d+)/ ", process.stdout.readline())[1])
            # so much that the server waits for a client that does not read it
            given = {"max_tokens": 15_000, "stop": "→", "stream": True, "logprobs": 20}
            body = json.dumps(given)
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as client:
                client.request(
                    "POST", "/v1/completions", body, {"Content-Type": "application/json"}
                )
                with client.getresponse() as response:
                    response.read(1)
                    process.send_signal(signal.SIGINT)
                    assert process.wait(10) == 130
        finally:
            process.kill()
            assert process.communicate()[1].splitlines()[-1:] == ["interrupted"]


def test_it_starts_without_keras(here):
    code = """if True:
        import sys
        from charlm import serve
        from charlm.serving import server
        server.made = lambda app: type("S", (), {"run": lambda self, sockets: None})()
        assert serve.main(["a", "--port", "0"]) == 0
        print([m for m in ("keras", "tensorflow", "matplotlib") if m in sys.modules])
    """
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_a_port_that_is_taken(here, capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert serve.main(["a", "--port", str(port)]) == 2
    assert capsys.readouterr() == (
        "",
        f"error: cannot listen at 127.0.0.1:{port}: Address already in use; give another --port (0 "
        "finds a free one) or --host\n",
    )


def test_without_the_extra_it_says_what_to_install(here, capsys, monkeypatch):
    monkeypatch.setattr(server.importlib.util, "find_spec", lambda name: None)
    assert serve.main(["a"]) == 2
    assert capsys.readouterr() == (
        "", "error: cannot serve: starlette is not installed; pip install 'charlm[serve]'\n"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("127.8.0.9", True),
     ("0.0.0.0", False), ("::", False), ("192.168.0.1", False), ("example.org", False)],
)  # fmt: skip
def test_addresses_of_this_machine_alone(host, expected):
    assert server.is_loopback(host) == expected
    assert (serve.Serve(host=host).token is None) if expected else True
    if not expected:
        with pytest.raises(serve.InputError, match="expected --token with --host"):
            serve.Serve(host=host)
        assert serve.Serve(host=host, token="long enough".replace(" ", "-")).host == host


def test_a_model_that_is_too_large_has_no_page(saved, capsys, monkeypatch):
    from charlm.inside import webpage

    monkeypatch.setattr(webpage, "LARGEST", 1000)
    assert page.page(saved, "a") is None
    assert capsys.readouterr()[1].startswith("NOTE: the model is too large for a page")
