"""Law: in a browser the page shows what was recorded and writes what `charlm sample` writes."""

import functools
import http.server
import shutil
import threading
import time

import numpy as np
import pytest

from charlm.config import Config
from charlm.generation import generate
from charlm.inside import recording, webpage, weights
from charlm.inside.finding import Finding, Report
from charlm.reference.network import Network
from charlm.runs.checkpoint import Checkpoint
from charlm.runs.progress import Progress
from charlm.text.vocab import Vocab
from tests.inside.test_engine import network

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(CHROMIUM is None, reason="needs playwright and Debian's chromium"),
]

LETTERS = "abcdefghijklmnopqrstuvwxyz .\n"
STATE = {"c": lambda x: np.tanh(x), "f": lambda x: x}
HIGH, LOW, BACK = np.array([255, 140, 0]), np.array([60, 120, 255]), np.array([255, 255, 255])


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as p:
        found = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def made(rng, tmp_path):
    """A page in a folder, the network as it is in the page, its vocabulary and the text."""
    vocab = Vocab("".join(sorted(LETTERS)))
    net = network(rng, "lstm", 2, vocab=len(vocab))
    saved = Checkpoint(Config(net.config), vocab, "0" * 64, Progress(), net.weights, [], [], {})
    text = vocab.decode(rng.integers(len(vocab), size=700)) + "\u2603" + "the end"
    finding = Finding("x", 1, 4, 1, 0.5, 0.9, 0.5, 0.5, 0.5, 1, None, 0.0, 0.1, {"a": 0.2})
    report = Report("c", 10, [finding], [], [], np.zeros((0, 0)), {})
    (tmp_path / "page.html").write_text(webpage.page(saved, "a & b", text, report), "utf-8")
    rounded = Network(weights.rounded(net.weights, net.config, "fp16"), len(vocab), net.config)
    return tmp_path, rounded, vocab, text


PIXEL = """k => {
  const [x, y, w, h] = boxes[k][0];
  const [canvas, passage] = ["colours", "passage"].map((id) => document.getElementById(id));
  passage.scrollTop = y - 40;
  paint();
  const [left, top] = [x + w / 2, y - passage.scrollTop + h / 2].map((v) => v * devicePixelRatio);
  return Array.from(canvas.getContext("2d").getImageData(left, top, 1, 1).data);
}"""


class Opened:
    """A page in the browser, with what it printed and asked for."""

    def __init__(self, browser, address, **options):
        self.page = browser.new_page(viewport={"width": 1280, "height": 1000}, **options)
        self.faults, self.requests = [], []
        self.page.on("console", lambda m: self.faults.append(m.text))
        self.page.on("pageerror", lambda e: self.faults.append(str(e)))
        self.page.on("request", lambda r: self.requests.append(r.url))
        self.page.goto(address)
        self.until("document.getElementById('values').children.length")

    def until(self, condition):
        ends = time.monotonic() + 30  # `wait_for_function` needs eval, which the policy forbids
        while not self.page.evaluate(f"!!({condition})"):
            assert time.monotonic() < ends, (condition, self.faults)
            time.sleep(0.05)

    def pixel(self, k):
        """The colour behind character k: red, green, blue."""
        r, g, b, a = self.page.evaluate(PIXEL, k)
        return np.array([r, g, b]), a / 255


def test_colours_are_those_of_the_recording(browser, made):
    folder, net, vocab, text = made
    opened = Opened(browser, f"file://{folder}/page.html")
    known = text.replace("\u2603", "")
    ids, skipped = vocab.encode(known), text.index("\u2603")
    values = next(iter(recording.record(net, [ids], whole=True))).values
    for letter, layer, cell in (("c", 1, 4), ("f", 0, 7)):
        opened.page.select_option("#letter", letter)
        opened.page.fill("#layer", str(layer))
        opened.page.fill("#cell", str(cell))
        opened.page.press("#cell", "Tab")  # the fields' change events draw, too
        opened.page.evaluate("() => { shown = null; show(); }")
        opened.until("shown && document.getElementById('values').children.length")
        for k in range(3, 700, 14):
            if text[k] == "\n" or k == 100:  # the caret
                continue
            value = STATE[letter](values[letter][k - (k > skipped), layer, cell])
            colour, opacity = opened.pixel(k)
            assert opacity == pytest.approx(0.55 * abs(value), abs=0.01)
            if opacity > 0.1:
                assert np.abs(colour - (HIGH if value > 0 else LOW)).max() < 12
    assert opened.page.inner_text("#values").startswith("h of cell 7")
    assert not opened.faults
    assert [x[:5] for x in opened.requests] == ["file:", "blob:"]


def test_it_writes_what_sample_writes(browser, made):
    folder, net, vocab, _ = made
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        handler.log_message = lambda *args: None
        threading.Thread(target=server.serve_forever, daemon=True).start()
        opened = Opened(browser, f"http://127.0.0.1:{server.server_port}/page.html")
        opened.page.fill("#prompt", "the ")
        opened.page.fill("#seed", "12")
        opened.page.click("text=Write >> visible=true >> nth=-1")
        opened.until("document.getElementById('written').textContent.length === 504")
        (expected,) = generate.whole_texts(net, vocab, 500, [0.8], 12, prompt="the ")
        assert opened.page.evaluate("document.getElementById('written').textContent") == (
            f"the {expected}"
        )
        opened.page.fill("#prompt", "\u2603")
        opened.page.press("#seed", "Enter")
        opened.until("document.getElementById('status').textContent.includes('does not know')")
        assert not opened.faults
        assert {x.partition(":")[0] for x in opened.requests} == {"http", "blob"}
        server.shutdown()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_keyboard_reaches_every_character(browser, made, scheme):
    folder, *_ = made
    opened = Opened(browser, f"file://{folder}/page.html#c-0-3-5", color_scheme=scheme)
    assert opened.page.inner_text("#here").startswith("Character 6 of 708")
    assert opened.page.inner_text("#status") == ""
    assert opened.page.input_value("#cell") == "3"
    opened.page.focus("#passage")
    opened.page.keyboard.press("ArrowRight")
    opened.until("document.getElementById('here').textContent.startsWith('Character 7 of')")
    opened.page.keyboard.press("End")
    opened.until("document.getElementById('here').textContent.startsWith('Character 708')")
    for _ in "the end":
        opened.page.keyboard.press("ArrowLeft")
    opened.until("document.getElementById('next').textContent.includes('not know this')")
    assert not opened.faults
