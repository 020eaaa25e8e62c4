"""Law: the page's modules work as one script, and no text can break out of the page's data."""

import base64
import gzip
import hashlib
import json
import re
import subprocess
from dataclasses import asdict
from html.parser import HTMLParser

import numpy as np
import pytest

from charlm.config import Config
from charlm.generation import generate
from charlm.inside import bundle, recording, webpage, weights
from charlm.inside.finding import Finding, Report
from charlm.runs.checkpoint import Checkpoint
from charlm.runs.progress import Progress
from charlm.text.vocab import Vocab
from tests.inside.test_engine import V, needs_node, network

HOSTILE = [
    "</script><script>alert(1)</script>", "<!--<script>", "]]>", "\u2028\u2029", "\0\x01\x7f",
    "\ud800", "\"'\\", "${x}`", "&lt;&#60;", "a\u0301\u202e", "\U0001f469\u200d\U0001f680",
]  # fmt: skip

PASSAGE = {"of": "passage"}

RUN = """
const asked = JSON.parse(require("fs").readFileSync(0, "utf8"));
const buffer = Uint8Array.from(Buffer.from(asked.weights, "base64")).buffer;
const found = [];
const queue = [];
const session = new Session((message) => found.push(message), (work) => queue.push(work));
session.answer({ type: "open", id: 0, page: asked.page, buffer, product: null });
for (const message of asked.messages) {
  session.answer(message);
  if (message.wait !== false) while (queue.length) queue.shift()();
}
while (queue.length) queue.shift()();
const plain = (key, x) => (ArrayBuffer.isView(x) ? Array.from(x) : x);
console.log(JSON.stringify(found, plain));
"""


def test_scripts_have_each_module_once_and_what_is_imported_first():
    source = bundle.script("session")
    assert not re.search(r"^(import|export) ", source, re.MULTILINE)
    order = [source.index(x) for x in ("const CELLS", "class Network", "function networkOf")]
    assert order == sorted(order)
    for name in ("class Memory", "class Network", "class Reader", "class Session", "function draw"):
        assert source.count(name) == 1


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_nothing_ends_the_data_and_all_comes_back(text):
    class Parser(HTMLParser):
        def __init__(self):
            super().__init__()
            self.tags, self.data = [], []

        def handle_starttag(self, tag, attrs):
            self.tags.append(tag)

        def handle_data(self, data):
            self.data.append(data)

    parser = Parser()
    parser.feed(f'<script type="application/json">{bundle.to_json({text: [text]})}</script>')
    parser.close()
    assert parser.tags == ["script"]
    assert json.loads("".join(parser.data)) == {text: [text]}


def test_the_policy_has_the_hashes_of_the_scripts_alone():
    digest = base64.b64encode(hashlib.sha256("é1".encode()).digest()).decode()
    found = bundle.policy(["é1"], [])
    assert f"script-src 'sha256-{digest}' 'wasm-unsafe-eval';" in found
    assert "unsafe-inline" not in found
    assert gzip.decompress(base64.b64decode(bundle.packed_bytes(b"abc" * 99))) == b"abc" * 99


@pytest.fixture
def ask(rng, tmp_path):
    """Sends messages to a session in Node; returns its answers and the network."""
    net = network(rng, "lstm", 1)
    vocab = Vocab("\n" + "".join(map(chr, range(97, 97 + V - 1))))
    arrays, data = weights.packed(net.weights, net.config, "fp32")
    page = {
        "config": asdict(net.config),
        "arrays": arrays,
        "vocabulary": [*vocab.characters],
        "separator": None,
        "normalize": "none",
    }

    def send(*messages, **settings):
        asked_page = page | settings
        (tmp_path / "run.cjs").write_text(bundle.script("session") + RUN)
        asked = {
            "page": asked_page,
            "weights": base64.b64encode(data).decode(),
            "messages": messages,
        }
        done = subprocess.run(
            ["node", tmp_path / "run.cjs"],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        opened, *answers = json.loads(done.stdout)
        assert opened == {"type": "open", "id": 0, "letters": "hcifgo"}
        return answers

    return send, net, vocab


@needs_node
def test_a_session_reads_and_answers(ask, rng):
    send, _, vocab = ask
    text = vocab.decode(rng.integers(V, size=200)) + "?" + vocab.decode(rng.integers(V, size=9))
    *answers, other = send(
        {"type": "read", "id": 1, "text": text},
        {"type": "colours", "id": 2, "kind": "c", "layer": 0, "cell": 4} | PASSAGE,
        {"type": "colours", "id": 6, "kind": "surprise"} | PASSAGE,
        {"type": "exact", "id": 3, "position": 30, "layer": 0, "cell": 4} | PASSAGE,
        {"type": "clamp", "id": 4, "layer": 0, "cell": 4, "value": 0},
        {"type": "what_if", "id": 5, "position": 190, "character": "b"},
    )
    read = [m for m in answers if m["id"] == 1]
    cell, surprise, exact = (m for m in answers if m["id"] in (2, 3, 6))
    clamp = [m for m in answers if m["id"] == 4][-1]
    assert read[-1] == {"type": "read", "id": 1, "done": 210, "all": 210, "more": False}
    assert [m["done"] for m in read] == sorted(m["done"] for m in read)
    assert len(cell["values"]) == len(surprise["values"]) == 210
    assert surprise["values"][200] is None
    assert round(127 * np.tanh(exact["values"]["c"])) == round(127 * cell["values"][30])
    assert surprise["values"][30] == pytest.approx(min(1, exact["bits"] / 8), rel=1e-4)
    assert np.sum(exact["next"]) == pytest.approx(1)
    assert clamp["bits"][1:200] != clamp["before"][1:200]
    assert other["before"] == clamp["before"]
    assert other["bits"][:190] == clamp["before"][:190]
    assert other["bits"][190] != clamp["before"][190]


@needs_node
def test_cells_for_a_selection_are_those_that_differ_most_there(ask, rng):
    send, net, vocab = ask
    ids = rng.integers(V, size=300)
    select = {"type": "select", "id": 2, "kind": "c", "from": 100, "to": 160} | PASSAGE
    map_ = {"type": "map", "id": 3, "kind": "f", "from": 250, "to": 310} | PASSAGE
    strip = {"type": "strip", "id": 4, "layer": 0, "cell": 7, "from": 290, "to": 301} | PASSAGE
    *_, found, rows, one = send(
        {"type": "read", "id": 1, "text": vocab.decode(ids)}, select, map_, strip
    )
    (r,) = recording.record(net, [ids], whole=True)
    x = np.tanh(r.values["c"][:, 0])
    inside = np.isin(np.arange(300), np.arange(100, 160))
    z = (x[inside].mean(axis=0) - x[~inside].mean(axis=0)) / x.std(axis=0)
    differences = [c["difference"] for c in found["cells"]]
    np.testing.assert_allclose(np.abs(differences), np.sort(np.abs(z))[:-9:-1], atol=0.02)
    np.testing.assert_allclose(differences, z[[c["cell"] for c in found["cells"]]], atol=0.02)
    f = r.values["f"][:, 0]
    np.testing.assert_allclose(np.array(rows["rows"]) / 127, f[250:], atol=0.005)
    assert sorted(rows["order"]) == list(range(35))
    assert np.diff(f.mean(axis=0)[rows["order"]]).max() < 0.001  # the longest memory first
    assert list(one["rows"]) == list("hcifgo")
    np.testing.assert_allclose(np.array(one["rows"]["f"]) / 127, f[290:, 7], atol=0.005)


@needs_node
def test_a_written_text_can_be_asked_about_as_the_passage_can(ask):
    """Its positions are those that the page shows: without a separator before it."""
    send, net, vocab = ask
    write = {"type": "write", "id": 1, "prompt": "ab", "length": 0} | OPTIONS
    about = {"type": "exact", "of": "written", "position": 1, "layer": 0, "cell": 3, "id": 2}
    colours = {"type": "colours", "of": "written", "kind": "f", "layer": 0, "cell": 3, "id": 3}
    for separator in (None, "z\n"):
        answers = send(write, about, colours, separator=separator)
        assert "".join(m["text"] for m in answers if m["id"] == 1) == "ab"
        (r,) = recording.record(net, [vocab.encode((separator or "") + "ab")], whole=True)
        exact, found = answers[-2:]
        assert exact["values"]["c"] == pytest.approx(r.values["c"][-1, 0, 3], abs=1e-5)
        np.testing.assert_allclose(found["values"], r.values["f"][-2:, 0, 3], atol=0.005)


@needs_node
def test_a_text_that_is_continued_is_what_the_model_has_written(ask):
    """Also after a newline that is not shown, and in characters that normalizing would change."""
    send, *_ = ask
    write = {"type": "write"} | OPTIONS
    about = {"type": "exact", "of": "written", "position": 20, "layer": 0, "cell": 3}
    first, second = (m | {"id": k} for k, m in enumerate(({"prompt": "", "length": 40}, about), 1))
    *pieces, exact = send(write | first, second)
    text = "".join(m["text"] for m in pieces)
    again = {"id": 1, "prompt": text[:30], "length": 0, "typed": False, "bare": True}
    *_, same = send(write | again, second)
    assert same["values"] == pytest.approx(exact["values"])
    *_, other = send(write | again | {"bare": False}, second)
    assert other["values"] != pytest.approx(exact["values"])
    vocabulary = ["a", "\u030a", *map(chr, range(98, 97 + V - 1))]
    drawn = {"id": 1, "prompt": "a\u030a", "length": 0}
    settings = {"normalize": "nfc", "vocabulary": vocabulary}
    assert send(write | drawn | {"typed": False}, **settings)[-1]["text"] == "a\u030a"
    assert send(write | drawn, **settings)[-1]["type"] == "failed"


@pytest.mark.parametrize("entry", ["worker", "page"])
@needs_node
def test_the_modules_of_a_script_have_no_name_twice(tmp_path, entry):
    (tmp_path / "script.js").write_text(bundle.script(entry))
    done = subprocess.run(["node", "--check", tmp_path / "script.js"], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


OPTIONS = {"temperature": 0.7, "seed": "5", "index": 2, "topK": 0, "topP": 1}


@needs_node
def test_a_session_writes_what_sample_writes(ask):
    send, net, vocab = ask
    write = {"type": "write"} | OPTIONS
    cases = ("ab", 400, None), ("", 60, None), ("b", 90, "z\n"), ("", 9, "q")
    for prompt, length, separator in cases:
        answers = send(write | {"id": 1, "prompt": prompt, "length": length}, separator=separator)
        pieces = generate.texts(net, vocab, prompt, length, [0.7] * 3, 5, separator=separator)
        assert "".join(m["text"] for m in answers) == prompt + "".join(piece[2] for piece in pieces)
        *others, last = (m["ended"] for m in answers)
        assert last
        assert not any(others)


@needs_node
def test_prompts_are_normalized_as_the_text_was(ask):
    send, *_ = ask
    write = {"type": "write", "id": 1, "prompt": "a\u030a", "length": 3} | OPTIONS
    vocabulary = ["\xe5", *map(chr, range(97, 96 + V))]
    assert send(write, normalize="nfc", vocabulary=vocabulary)[-1]["ended"]
    assert send(write, normalize="none")[-1]["type"] == "failed"


@needs_node
def test_questions_while_a_text_is_read_change_nothing(ask, rng):
    send, _, vocab = ask
    text = vocab.decode(rng.integers(V, size=900))
    read = {"type": "read", "id": 1, "text": text, "wait": False}
    cell = {"type": "colours", "id": 9, "kind": "f", "layer": 0, "cell": 2} | PASSAGE
    undisturbed = send(read | {"wait": True}, cell)[-1]
    between = [
        {"type": "exact", "id": 2, "position": 5, "layer": 0, "cell": 1} | PASSAGE,
        {"type": "write", "id": 3, "prompt": "ab", "length": 50} | OPTIONS,
        {"type": "clamp", "id": 4, "layer": 0, "cell": 2, "value": 1},
        {"type": "exact", "id": 5, "position": 899, "layer": 0, "cell": 1} | PASSAGE,
    ]
    answers = send(
        read,
        *({"wait": False} | m for m in between),
        {"type": "stop", "kind": "write", "id": 6},
        cell,
    )
    assert answers[-1] == undisturbed


@needs_node
def test_an_earlier_writing_sends_nothing_after_a_later_one(ask):
    send, *_ = ask
    write = {"type": "write", "prompt": "a", "wait": False} | OPTIONS
    answers = send(write | {"id": 1, "length": 10**7}, write | {"id": 2, "length": 40})
    later = [m["id"] for m in answers].index(2)
    assert not [m["text"] for m in answers[later:] if m["id"] == 1 and m["text"]]
    assert sum(len(m["text"]) for m in answers if m["id"] == 2) == 41  # with the prompt


@needs_node
@pytest.mark.parametrize(
    "message",
    [
        {"type": "colours", "of": "passage", "kind": "c", "layer": 0, "cell": 35},
        {"type": "colours", "of": "passage", "kind": "c", "layer": 1, "cell": 0},
        {"type": "colours", "of": "written", "kind": "c", "layer": 0, "cell": 0},
        {"type": "exact", "of": "passage", "position": 0, "layer": -1, "cell": 0},
        {"type": "exact", "of": "passage", "position": 3, "layer": 0, "cell": 0},
        {"type": "select", "of": "passage", "kind": "c", "from": 0, "to": 3},
        {"type": "what_if", "position": 0, "character": ""},
        {"type": "write", "prompt": "a", "length": -1} | OPTIONS,
        {"type": "write", "prompt": "a", "length": 5} | OPTIONS | {"topP": 0},
        {"type": "write", "prompt": "a", "length": 5} | OPTIONS | {"temperature": -1},
        {"type": "write", "prompt": "a", "length": 5} | OPTIONS | {"seed": "1e3"},
        {"type": "nothing"},
    ],
    ids=str,
)
def test_what_cannot_be_answered_is_refused(ask, message):
    send, *_ = ask
    read = {"type": "read", "id": 1, "text": "abc"}
    assert send(read, {"id": 2} | message)[-1]["type"] == "failed"


@needs_node
def test_a_new_question_ends_the_old_work_and_errors_are_reported(ask):
    send, _, _ = ask
    answers = send(
        {"type": "write", "id": 1, "prompt": "a", "length": 10**9, "wait": False} | OPTIONS,
        {"type": "stop", "kind": "write", "id": 2},
        {"type": "write", "id": 3, "prompt": "a?b!", "length": 5} | OPTIONS,
        {"type": "read", "id": 4, "text": "abc" * 9},
        {"type": "what_if", "id": 5, "position": 1, "character": "?"},
    )
    first = [m for m in answers if m["id"] == 1]
    assert first[-1]["ended"]
    assert sum(len(m["text"]) for m in first) < 10**6
    failed = {m["id"]: m["message"] for m in answers if m["type"] == "failed"}
    assert failed == {
        3: 'the model does not know "?" (U+003F), "!" (U+0021)',
        5: 'the model does not know "?" (U+003F)',
    }  # fmt: skip


@pytest.mark.usual(3)
@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_a_page_of_a_hostile_text_and_name_has_only_its_own_elements(rng, text):
    net = network(rng, "gru", 1)
    vocab = Vocab("".join(sorted({*text, *map(chr, range(0x4E00, 0x4E00 + V))})))
    net = network(rng, "gru", 1, vocab=len(vocab))
    saved = Checkpoint(Config(net.config), vocab, "0" * 64, Progress(), net.weights, [], [], {})
    finding = Finding(text, 0, 1, 1, 0.5, 0.9, 0.5, 0.5, 0.5, 1, None, 0.0, 0.1, {text[0]: 0.2})
    report = Report("h", 10, [finding], [], [], np.zeros((0, 0)), {})
    page = webpage.page(saved, text, text, report)
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL)
    assert len(scripts) == 3
    assert json.loads(scripts[0])["text"] == text
    assert json.loads(scripts[0])["findings"][0]["property"] == text
    digest = hashlib.sha256(scripts[2].encode()).digest()
    assert f"script-src 'sha256-{base64.b64encode(digest).decode()}'" in page
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = hashlib.sha256(style.encode()).digest()
    assert f"style-src 'sha256-{base64.b64encode(digest).decode()}'" in page
    assert page.lower().count("<script") == 3
    assert "innerHTML" not in page
