"""Law: `charlm show` lists what is found, writes it, and refuses what cannot be looked at."""

import json
import re

import h5py
import numpy as np
import pytest

import corpora
from charlm import show, train
from charlm.api.run_training import Reporting
from charlm.config import Config, DataConfig
from charlm.inside import recording, webpage
from charlm.runs import run_folder
from charlm.runs.checkpoint import Checkpoint
from charlm.runs.progress import Progress
from charlm.text.encode import read
from charlm.text.vocab import Vocab
from tests.inside.test_finding import PLANTED, planted, quoted_text


@pytest.fixture
def here(rng, tmp_path, monkeypatch):
    """A folder with a text and a run, `a`, one of whose cells follows quotation marks."""
    monkeypatch.chdir(tmp_path)
    text = quoted_text(rng, 2500)
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    vocab = Vocab("".join(sorted(set(text))))
    net = planted(rng, "lstm", vocab)
    config = Config(net.config, DataConfig(corpus="training.txt"))
    saved = Checkpoint(config, vocab, "0" * 64, Progress(), net.weights, [], [], {})
    run_folder.save_new(tmp_path / "saved_models/a", saved, False)
    return tmp_path


def test_it_prints_writes_and_draws(here, capsys):
    assert (
        show.main(["a", "--find", "--text", "text.txt", "--pattern", "people|$$^", "--seed", "2"])
        == 0
    )
    out, err = capsys.readouterr()
    assert not err
    lines = out.splitlines()
    assert lines[0].endswith(f"last.weights.h5: 9 cells, {len((here / 'text.txt').read_text()):,} "
                             "characters of 1 document")  # fmt: skip
    first = next(line for line in lines if line.startswith("inside quotation marks"))
    assert first.split()[3:5] == ["0", str(PLANTED)]
    assert first.split()[6] == "1.000"
    assert lines[-1] == "saved_models/a/cells.json, saved_models/a/cells.png"
    assert not (here / "saved_models/a/cells.html").exists()
    found = json.loads((here / "saved_models/a/cells.json").read_text())
    assert found["findings"][0]["cell"] == PLANTED
    assert np.shape(found["half_lives"]) == (1, 9)
    assert (here / "saved_models/a/cells.png").read_bytes().startswith(b"\x89PNG")
    assert show.main(["a", "--text", "text.txt", "--max-characters", "2000"]) == 0  # replaces them
    assert "2,000 characters" in capsys.readouterr()[0]


def test_states_for_lstmvis_are_those_of_the_recording(here, capsys):
    argv = ["a", "--text", "text.txt", "--max-characters", "1500", "--lstmvis", "vis"]
    assert show.main(argv) == 0
    network = run_folder.checkpoint.read(here / "saved_models/a/last.weights.h5").to_network()
    with h5py.File("vis/train.hdf5") as file:
        ids = file["word_ids"][:]
    expected = {"h": np.empty((1500, 9)), "c": np.empty((1500, 9))}
    for r in recording.record(network, [ids]):
        for letter, x in expected.items():
            x[r.positions] = r.values[letter][:, 0]
    with h5py.File("vis/states.hdf5") as file:
        np.testing.assert_allclose(file["output1"][:], expected["h"], rtol=1e-6)
        np.testing.assert_allclose(file["state1"][:], expected["c"], rtol=1e-6)
    words = [line.rsplit(" ", 1) for line in (here / "vis/words.dict").read_text().splitlines()]
    by_id = {int(k): word for word, k in words}
    text = "".join(" " if by_id[k] == "<blank>" else by_id[k] for k in ids)
    assert text == (here / "text.txt").read_text()[:1500]
    assert "{type: state, layer: 1, path: state1}" in (here / "vis/lstm.yml").read_text()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("nowhere", "which does not exist"),
        ("a --find --weights int8", "--weights has no effect with --find"),
        ("a --unknown skip", "--unknown has no effect without --text; leave it out"),
        (
            "a --text text.txt --pattern (",
            "expected --pattern to be a regular expression, found '\\('",
        ),
        ("a --text text.txt --max-characters 999", "--max-characters to be 0, or 1000 or more"),
        (
            "a --text short.txt",
            "expected a text of 1,000 characters or more, found 4; give a longer",
        ),
        ("a --text other.txt", "other.txt: expected characters.*--unknown skip"),
        ("a --text none.txt", "which is none of them"),
        ("a --text text.txt --lstmvis saved_models", "--lstmvis to be a folder or a new one"),
        ("a --text text.txt --seed -1", "seed"),
        ("a --text text.txt --output saved_models", "--output to be the name of files"),
    ],
)
def test_bad_input_is_one_line(here, capsys, argv, message):
    (here / "short.txt").write_text("of 1")
    (here / "other.txt").write_text("zzz" * 999)
    assert show.main(argv.split()) == 2
    out, err = capsys.readouterr()
    assert not out or out.count("\n") == 1
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert re.search(message, err)


def test_sample_rounds_the_weights(here, capsys):
    from charlm import sample
    from charlm.generation import generate
    from charlm.inside import weights
    from charlm.reference.network import Network

    saved = run_folder.checkpoint.read(here / "saved_models/a/last.weights.h5")
    drawn = set()
    for kind in ("fp32", "fp16", "int8"):
        assert sample.main(["a", "--seed", "4", "--length", "300", "--weights", kind]) == 0
        rounded = weights.rounded(saved.weights, saved.config.model, kind)
        network = Network(rounded, len(saved.vocab), saved.config.model)
        (expected,) = generate.whole_texts(network, saved.vocab, 300, [0.8], 4)
        drawn.add(capsys.readouterr()[0])
        assert f"{expected}\n" in drawn
    assert len(drawn) > 1


def data_of(path):
    found = re.search('<script type="application/json" id="data">(.*?)</script>', path.read_text())
    return json.loads(found[1])


@pytest.mark.full
def test_the_page_holds_the_model_the_cells_and_a_passage(here, capsys):
    argv = ["a", "--text", "text.txt", "--max-characters", "9000"]
    assert show.main([*argv, "-o", "page.html"]) == 0
    out = capsys.readouterr()[0]
    assert re.search(r"page.html: 0.1 MB; it holds the model and the text that it shows\n", out)
    data = data_of(here / "page.html")
    assert data["text"] == (here / "text.txt").read_text()[:5000]
    assert data["findings"][0]["cell"] == data["cell"] == PLANTED
    assert (here / "page.json").exists()
    first = (here / "page.html").read_bytes()
    assert show.main([*argv, "-o", "page"]) == 0  # replaces its own, with the same
    assert (here / "page.html").read_bytes() == first
    assert show.main([*argv, "--no-text", "--weights", "int8"]) == 0
    written = data_of(here / "saved_models/a/cells.html")
    assert len(written["text"]) == 5000
    assert written["text"][:100] not in (here / "text.txt").read_text()
    assert {x["type"] for x in written["arrays"].values()} == {"int8", "fp32"}
    (here / "mine.html").write_text("mine")
    (here / "page.json").rename(here / "mine.json")
    assert show.main([*argv, "-o", "mine.html"]) == 2
    assert (here / "mine.html").read_text() == "mine"


@pytest.mark.full
def test_a_model_too_large_for_a_page_is_refused(here, capsys, monkeypatch):
    monkeypatch.setattr(webpage, "LARGEST", 1000)
    assert show.main(["a", "--text", "text.txt"]) == 2
    assert re.search(
        "page has at most 0 MB.*--weights int8, or give --find", capsys.readouterr()[1]
    )
    assert show.main(["a", "--text", "text.txt", "--find"]) == 0


@pytest.mark.full
def test_by_default_it_shows_the_half_in_which_cells_were_scored(here, capsys):
    path = here / "saved_models/a/last.weights.h5"
    saved = run_folder.checkpoint.read(path)
    text = read(corpora.load("text.txt"))
    saved.config = Config(saved.config.model, DataConfig(corpus="text.txt"))
    saved.corpus_sha256 = text.sha256
    run_folder.checkpoint.write(path, saved)
    assert show.main(["a"]) == 0
    held_out = saved.vocab.decode(saved.vocab.encode(text.vocab.decode(text.held_out[:])))
    assert f"{len(held_out):,} characters of 1 document" in capsys.readouterr()[0]
    shown = data_of(here / "saved_models/a/cells.html")["text"]
    assert shown == held_out[len(held_out) // 2 :]
    (here / "text.txt").write_text("another text " * 300)
    assert show.main(["a"]) == 2
    assert "expected the text that the run was trained on" in capsys.readouterr()[1]


@pytest.mark.soak
@pytest.mark.parametrize("options", [[], ["--records", "so. "], ["--cell", "keras-gru"]])
def test_a_run_that_recorded_its_cells_gets_a_slider(rng, tmp_path, monkeypatch, capsys, options):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(quoted_text(rng, 2000), encoding="utf-8")
    argv = ["text.txt", "--name", "b", "--units", "9", "--epochs", "3", "--patience", "0", *options]
    assert train.main([*argv, "--sample-length", "0", "--record-cells"]) == 0
    updates = (tmp_path / "saved_models/b/updates.csv").read_text().splitlines()
    assert len(updates) > 100
    capsys.readouterr()
    assert show.main(["b", "--max-characters", "0"]) == 0
    assert "NOTE" not in capsys.readouterr()[1]
    html = (tmp_path / "saved_models/b/cells.html").read_text()
    data = json.loads(re.search(r'id="data">(.*?)</script>', html)[1])
    training = data["training"]
    assert data["text"].startswith(data["text"][: training["length"]])
    best = json.loads((tmp_path / "saved_models/b/run.json").read_text())["progress"]["best_epoch"]
    times = [epochs for _, epochs, _ in training["snapshots"]]
    assert (times[0], times[-1]) == (0, best)
    assert training["snapshots"][0][2] > training["snapshots"][-1][2] + 0.1  # bits
    assert show.main(["b", "--text", "text.txt"]) == 0
    assert '"training":null' in (tmp_path / "saved_models/b/cells.html").read_text()
    (tmp_path / "saved_models/b/cells-in-training.safetensors").write_bytes(b"no")
    assert show.main(["b", "--max-characters", "0"]) == 0
    assert "NOTE: the page has no slider over training" in capsys.readouterr()[1]


def test_the_command_that_resumes_records_on():
    found = Reporting(record_cells=True, tensorboard=True).resume("x")
    assert found.endswith("train --resume x --tensorboard --record-cells")
    assert Reporting().resume("x").endswith("train --resume x")
