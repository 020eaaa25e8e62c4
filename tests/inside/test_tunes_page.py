"""Law: the page of tunes reads, judges and plays a tune as charlm.music does."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from charlm.cells import CELLS
from charlm.config import Config, DataConfig
from charlm.generation import generate
from charlm.inside import bundle, counting, tunes_page, weights
from charlm.music import bars, notation, performance
from charlm.music.fields import numbered
from charlm.music.rule import END
from charlm.music.tune import tunes
from charlm.reference.network import Network, layer_path
from charlm.runs.checkpoint import Checkpoint
from charlm.runs.progress import Progress
from charlm.text.contexts import KnownContexts
from charlm.text.vocab import Vocab
from tests.inside import test_browser
from tests.inside.test_browser import browser  # noqa: F401 - a fixture
from tests.inside.test_engine import PAGE, needs_node, network
from tests.music.test_bars import METRES, made

TUNE = "X:1\nT:A & b\nM:6/8\nL:1/8\nK:D Major\nA|def f^ed|B2A AFA|1 d3 d2:|2 d3-d3|]\n"
ODD = [
    "X:1\nM:C|\nK:Eb\n|:{AB}c5 z3|[CEG]4 ^c'2 __B,,2-|B,,2 z4 z/z/ a/a/4a/4|C8::z2 (5abcde c'>d'|]",
    "X:1\nM:3/4\nL:1/8\nK:A Dorian\nZ2|[K:G]f6-|[M:2/4]f4|\nM:C\n(3ABc(3:2:2AB c2 \"C\"d4|A8|]",
    "X:1\nM:none\nK:C#\nC1,D/0|", "X:1\nK:C\n::C8:|1,3 D8:|2 E8|[4 F8||", "K:\nC-|D|\n\nmore",
    "X:1\nK:C\n|:C8|1 C8:|2 D8|]", "X:1\nK:C\n|:C8|1 C8:|", "X:1\nK:C\n|:C8|[1,3 C8|D8:|D8|]",
    *(f"X:1\nM:C\nL:1/4\nK:{key}\nFGAB|c4|]" for key in ("G Majoo", "EbDor", "Gm", "F# mixo")),
]  # fmt: skip


def read_in_page(texts):
    run = ["node", str(Path(__file__).parent / "tunes.mjs"), str(PAGE)]
    done = subprocess.run(run, input=json.dumps(texts).encode(), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def mutated(rng, text):
    """The text with a character replaced, removed or inserted."""
    k = int(rng.integers(len(text)))
    new = str(rng.choice([*"ABcd|:[]{}(3/2-_^=><1 \nzZK,'\"!"]))
    return text[:k] + new * int(rng.integers(2)) + text[k + int(rng.integers(2)) :]


def texts(rng):
    found = [*ODD, TUNE]
    for metre in METRES:
        for changed in (0, 0, 1, -1):
            found.append(made(rng, metre, changed)[0])
    if name := os.environ.get("CHARLM_ABC"):
        found += [*tunes(Path(name).read_text())][::10]
    return found + [mutated(rng, text) for text in found for _ in range(6)]


@needs_node
def test_tunes_are_read_judged_and_played_alike(rng):
    given = texts(rng)
    found, verdicts = read_in_page(given), [bars.check(text, "") for text in given]
    assert [f.get("right") for f in found] == [v.strict if v.parses else None for v in verdicts]
    for text, f, v in zip(given, found, verdicts, strict=True):
        if v.parses:
            sounds = performance.sounds(notation.read(text))
            expected = [[s.pitch, float(s.start), float(s.length)] for s in sounds]
            np.testing.assert_allclose(f["sounds"], expected, atol=1e-6)
    assert 0.2 < np.mean([v.strict for v in verdicts]) < 0.8
    assert any(not v.parses for v in verdicts)


def test_the_cell_that_counts_is_found(rng):
    vocab = Vocab("".join(sorted({*"ABCDEFG|\nK:"})))
    net = network(rng, units=5, vocab=len(vocab))
    W, U, b = np.zeros((len(vocab), 4, 5)), np.zeros((5, 20)), np.zeros((4, 5))
    i, f, g = (CELLS["lstm"].gates.index(gate) for gate in "ifg")
    b[[i, f]] = 20.0  # open: a cell adds up its input
    for letter in "ABCDEFG":
        W[vocab.encode(letter)[0], g, 3] = 0.1
    W[vocab.encode("|")[0], f, 3] = -40.0  # and forgets it at a bar line
    counts = W.reshape(-1, 20), U, b.ravel()
    found = net.weights | {f"layers/lstm/cell/vars/{k}": x for k, x in enumerate(counts)}
    tunes = [
        "K:\n" + "|".join("".join(rng.choice([*"ABCDEFG"], rng.integers(1, 9))) for _ in range(20))
        for _ in range(8)
    ]
    counter = counting.find(Network(found, len(vocab), net.config), vocab, tunes)
    assert (counter.layer, counter.cell) == (0, 3)
    assert counter.r > 0.95
    assert counting.find(net, vocab, []) is None


def test_notes_are_counted_from_the_bar_line():
    tune = "M:C\nK:G\nAB|c2 d|e"
    assert counting.notes_since_bar(tune).tolist() == [-1] * 8 + [1, 2, 0, 1, 1, 1, 2, 0, 1]


@pytest.fixture
def page(rng, tmp_path):
    """A page with a model in three contexts, the last one as it is in the page, and its
    vocabulary."""
    vocab = Vocab("".join(sorted({*TUNE, *"KLM:/0123456789"} - {*"XT&"})))
    net = network(rng, vocab=len(vocab))
    config = Config(net.config, DataConfig(abc_fields="MK", context="upbeat"))
    known = KnownContexts(("2/4 0", "6/8 0", "6/8 1/8"), "0" * 64, (1, 3, 2))
    first = f"{layer_path(net.config, 0)}/0"
    rows = 20 * rng.normal(size=(3, net.weights[first].shape[1]))
    rows = np.concatenate([net.weights[first], rows]).astype("float32")
    model = net.weights | {first: rows}
    saved = Checkpoint(config, vocab, "0" * 64, Progress(), model, [], [], {}, contexts=known)
    text = tunes_page.page(
        [TUNE, numbered(ODD[0], 2, "Odd")], "a < b", saved, [TUNE.split("\n", 2)[2]] * 4
    )
    (tmp_path / "tunes.html").write_text(text, "utf-8")
    mean = weights.rounded(saved.in_context().weights, net.config, "fp16")
    bias = f"{layer_path(net.config, 0)}/2"
    mean[bias] = mean[bias] + saved.conditioned_network().added[3]
    rounded = Network(mean, len(vocab), net.config)
    return tmp_path / "tunes.html", rounded, vocab


class Opened(test_browser.Opened):
    """A page of tunes in the browser."""

    READY = "document.querySelectorAll('.curve rect').length > 1"


@pytest.mark.full
@pytest.mark.product(1)
@pytest.mark.skipif(*test_browser.pytestmark[1].args, **test_browser.pytestmark[1].kwargs)
def test_a_page_shows_plays_and_writes(browser, page):  # noqa: F811
    file, net, vocab = page
    opened = Opened(browser, f"file://{file}")
    count = "document.querySelectorAll('#score .note').length"
    assert opened.page.evaluate(count) == 16
    opened.page.click("#play")
    opened.until("document.querySelector('.sounding')")
    opened.page.click("#stop")
    opened.until("!document.querySelector('.sounding')")
    opened.page.click("#after")
    assert opened.page.evaluate("document.getElementById('title').textContent") == "Odd"
    assert opened.page.evaluate(count) == 22  # c5 is written as two notes
    opened.page.evaluate("() => { valid = () => true; }")  # its tunes are random
    opened.page.fill("#seed", "4")
    options = "[...document.querySelectorAll('#context option')].map((x) => x.textContent)"
    assert opened.page.evaluate(options) == ["any", "2/4 0", "6/8 0", "6/8 1/8"]
    of_any = opened.page.evaluate("Array.from({ length: 600 }, (_, n) => chosen(7, n, 'K:D'))")
    np.testing.assert_allclose(np.bincount(of_any) / 600, [1 / 6, 1 / 2, 1 / 3], atol=0.07)
    of_metre = "Array.from({ length: 9 }, (_, n) => chosen(7, n, 'M: 3/4'))"
    assert opened.page.evaluate(of_metre) == [None] * 9
    opened.page.select_option("#context", "2")
    opened.page.fill("#begin", "M:2/4")
    opened.page.click("#write")
    status = "document.getElementById('status').textContent"
    assert opened.page.evaluate(status) == "A tune in 6/8 1/8 cannot begin so; change one of them."
    opened.page.fill("#begin", "M:6/8")
    opened.page.click("#write")
    opened.until("tunes.length === 3")
    drafts = generate.whole_texts(net, vocab, 2000, [0.8] * 50, 4, END, "M:6/8")
    text = next(draft for draft in drafts if draft.endswith(END))
    expected = "\n".join(["X:3", "T:Tune 3", *f"M:6/8{text}".strip().split("\n"), ""])
    assert opened.page.evaluate("tunes[2]") == expected
    assert opened.page.evaluate("document.getElementById('seed').value") == "5"
    opened.page.evaluate("() => { valid = () => false; }")
    opened.page.click("#write")
    opened.until("document.getElementById('status').textContent.includes('drafts had a mistake')")
    assert not opened.faults
    assert opened.asked_for("file", "blob")


def test_a_page_without_a_model_holds_no_weights():
    found = tunes_page.page([TUNE], "file.abc")
    assert found.split('id="weights">')[1].split("<")[0] == bundle.packed_bytes(b"")
    assert json.loads(found.split('id="data">')[1].split("<")[0])["tunes"] == [TUNE]
