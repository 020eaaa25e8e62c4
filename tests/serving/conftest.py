"""A small model with random weights, and a server for it in a thread."""

import contextlib
import threading
import time

import numpy as np
import pytest

from charlm.config import Config, DataConfig
from charlm.runs.checkpoint import Checkpoint
from charlm.runs.progress import Progress
from charlm.serving.completion import Writer
from charlm.text.vocab import Vocab
from tests.inside.test_engine import network

LETTERS = 'abcdefghijklmnopqrstuvwxyz .\n"é\U0001f600'
NAME = "tiny"
TOKEN = "a-long-token"


def checkpoint(**data):
    """A run whose texts differ: its weights are random and large."""
    vocab = Vocab("".join(sorted(LETTERS)))
    net = network(np.random.default_rng(7), "lstm", 2, units=19, vocab=len(vocab))
    config = Config(net.config, DataConfig(**data))
    return Checkpoint(config, vocab, "0" * 64, Progress(), net.weights, [], [], {})


@pytest.fixture(scope="session")
def saved():
    return checkpoint()


@pytest.fixture(scope="session")
def writer(saved):
    return Writer(saved, NAME)


@contextlib.contextmanager
def serving(writer, page="<p>a page</p>", token=None):
    """The port of a server that runs within the context."""
    pytest.importorskip("starlette")
    pytest.importorskip("uvicorn")
    from charlm.serving import app, server

    listening = server.listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    running = server.made(app.guarded(writer, page, "127.0.0.1", port, token))
    thread = threading.Thread(target=running.run, args=([listening],))
    thread.start()
    ends = time.monotonic() + 20
    while not running.started:
        assert time.monotonic() < ends
        time.sleep(0.01)
    try:
        yield port
    finally:
        running.should_exit = True
        thread.join(20)
        listening.close()
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def port(writer):
    with serving(writer) as found:
        yield found
