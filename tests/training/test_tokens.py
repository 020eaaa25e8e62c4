"""Law: a run of tokens is a run: the same files, commands and measure, in bits per character."""

import json

import keras
import numpy as np
import pytest

import charlm
from charlm import evaluate, export, import_weights, sample, score, train
from charlm.config import Config, DataConfig, FitConfig, ModelConfig
from charlm.evaluation import losses
from charlm.reference.__main__ import main as reference
from charlm.runs import checkpoint, file_format, lookup
from charlm.text.encode import read
from charlm.training.trainer import Training
from corpora import Corpus, Document
from tests.training import test_exact

WORDS = ["the", "people", "of", "state", "union", "peace", "it", "was", "naïve", "best"]
RNG = np.random.default_rng(3)
TEXT = " ".join(RNG.choice(WORDS) + RNG.choice(["", "", ",", ".\n"]) for _ in range(900))
SMALL = {"units": 6, "epochs": 2, "batch_size": 3, "window": 8, "sample_length": 20, "patience": 0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("tokens")
    (place / "t.txt").write_text(TEXT)
    for kind, tokens in (("bpe", "bpe:290"), ("words", "words:9"), ("characters", "characters")):
        text = str(place / "t.txt")
        options = {"runs_dir": place, "name": kind, "tokens": tokens, "quiet": True}
        charlm.fit(text, **options, **SMALL, precision="fp32")
    return place


@pytest.mark.product(1)
@pytest.mark.usual(1)
@pytest.mark.parametrize("unit", ["bpe", "words"])
def test_bits_per_character_are_the_same_everywhere(folder, unit, capsys):
    model = charlm.load(folder / unit)
    _, saved = lookup.read_best(folder, unit)
    p = saved.progress
    text = read(Corpus("t", (Document("t", TEXT),))).translated(saved.vocab)
    (held_out,) = text.to_measure()
    (nats,) = losses.stateful_losses(saved.to_network(), [held_out])
    n = saved.vocab.lengths[held_out[1:]].sum()
    expected = nats.sum() / n / np.log(2)
    assert p.best_bits == pytest.approx(expected, rel=1e-4)
    assert p.best_bits == pytest.approx(p.best / np.log(2) * len(nats) / n, rel=1e-6)
    last, ratio = p.history[-1], text.training_characters / len(text.training)
    assert last["bpc"] == pytest.approx(last["loss"] / np.log(2) / ratio, rel=1e-9)
    steps = (folder / unit / "steps.csv").read_text().splitlines()
    row = dict(zip(steps[0].split(","), steps[-1].split(","), strict=True))
    assert float(row["epoch_bpc"]) == pytest.approx(last["bpc"], rel=1e-3)
    assert model.score(saved.vocab.decode(held_out)) == pytest.approx(expected, rel=1e-5)
    each = model.score(saved.vocab.decode(held_out), per_character=True)
    assert each.shape == (n,)
    assert f"{p.best_bits:.4f} held-out" in repr(model)
    assert evaluate.main([unit, "--runs-dir", str(folder)]) == 0
    shown = capsys.readouterr().out
    found = json.loads((folder / unit / "evaluation.json").read_text())
    assert found["characters"] == n
    assert found["tokens"] == len(nats)
    assert found["models"]["this model, state carried"] == pytest.approx(expected, rel=1e-5)
    assert "upper bounds" in shown
    row = next(x.split() for x in shown.splitlines() if x.startswith("this model, state"))
    words = len(saved.vocab.decode(held_out).split())
    assert float(row[-1]) == pytest.approx(np.exp(nats.mean()), abs=2e-3)
    assert float(row[-2].replace(",", "")) == pytest.approx(np.exp(nats.sum() / words), rel=1e-2)


def test_other_models_count_characters_whatever_the_tokens(folder):
    figures = {}
    for kind in ("bpe", "characters"):
        assert evaluate.main([kind, "--runs-dir", str(folder), "--samples"]) == 0
        figures[kind] = json.loads((folder / kind / "evaluation.json").read_text())
    mine, theirs = (figures[kind]["models"] for kind in ("bpe", "characters"))
    for name in ("unigram", "6-gram"):
        assert mine[name] == pytest.approx(theirs[name], rel=1e-9)
    mine, theirs = (figures[kind]["samples"][0] for kind in ("bpe", "characters"))
    assert mine == theirs  # of the held-out text
    assert figures["characters"]["tokens"] == figures["characters"]["characters"]


def test_another_text_is_measured_with_any_characters(folder, tmp_path, capsys):
    other = tmp_path / "o.txt"
    other.write_text("the 日本 people 😀 of the state\n" * 9)
    assert evaluate.main(["bpe", "--runs-dir", str(folder), "--corpus", str(other)]) == 0
    assert score.main([str(other), "--run", "bpe", "--runs-dir", str(folder)]) == 0
    assert (
        score.main([str(other), "--run", "bpe", "--runs-dir", str(folder), "--per-character"]) == 0
    )
    _, *rows = capsys.readouterr().out.rpartition("file\tat\t")[2].splitlines()
    assert all(len(row.split("\t")) == 4 for row in rows)
    bits = sum(float(row.split("\t")[3]) for row in rows)
    model = charlm.load(folder / "bpe")
    assert bits == pytest.approx(model.score(other.read_text(), True).sum(), rel=1e-3)


def test_losses_are_spread_over_characters():
    lengths = np.array([1, 3, 0, 2])
    ids, found = np.array([1, 3, 2, 2, 0, 1]), np.arange(1.0, 6)
    spread = losses.by_character(found, ids, lengths)
    np.testing.assert_allclose(spread, [3, 3, 4, 5 / 3, 5 / 3, 5 / 3])
    assert losses.by_character(found, np.array([1, 2, 3, 2, 2, 0]), lengths).sum() == 15
    assert len(losses.by_character(found[:2], np.array([1, 2, 2]), lengths)) == 0
    assert losses.by_character(found, ids, np.ones(4)) is found
    rows = losses.by_position([spread, found], [3, 1])
    assert [row["from"] for row in rows] == [1, 2, 4, 8]
    assert rows[1]["bits"] == pytest.approx(np.mean([3, 2, 3]) / np.log(2))


def test_resumed_within_an_epoch_it_is_the_run_that_never_stopped():
    def training(saved=None):
        data = DataConfig("t", tokens="bpe:290", batch_size=2, window=8, restart_every=4)
        fit = FitConfig(epochs=2, warmup_steps=4)
        text = read(Corpus("t", (Document("t", TEXT[:1500]),)))
        vocab = saved.vocab if saved else text.learned_vocab("bpe:290")
        model = ModelConfig(units=3, layers=2, dropout=0.3)
        return Training(Config(model, data, fit), text.translated(vocab), saved)

    saves = test_exact.run(training())
    last, k = test_exact.all_but_speed(saves[-1]), len(saves) // 2 - 2
    again = test_exact.run(training(checkpoint.from_bytes(saves[k])))
    test_exact.assert_same_end(again, last)
    assert last.meta()["format"] == 4


def test_tokens_stay_on_resume_and_from_another_run(folder, tmp_path, capsys):
    runs = ["--runs-dir", str(folder)]
    assert train.main(["--resume", "bpe", "--tokens", "bpe:280", "--epochs", "3", *runs]) == 2
    assert "cannot change --tokens on --resume" in capsys.readouterr().err
    other = tmp_path / "o.txt"
    other.write_text("das Volk des Staates, die Völker 日本\n" * 60)
    options = ["--init-from", str(folder / "bpe"), "--runs-dir", str(tmp_path), "--name", "o"]
    options += ["--epochs", "1", "--sample-length", "0"]
    assert train.main([str(other), *options, "--tokens", "bpe:280"]) == 2
    assert "was trained with it" in capsys.readouterr().err
    assert train.main([str(other), *options]) == 0
    assert "its 290 byte pairs kept" in capsys.readouterr().out
    (_, first), (_, second) = lookup.read_best(folder, "bpe"), lookup.read_best(tmp_path, "o")
    assert second.vocab == first.vocab
    assert second.config.data.tokens == "bpe:290"
    assert second.learned_before == [first.corpus_sha256]


@pytest.mark.full
def test_a_fine_tuned_run_has_the_records_of_its_own_text(folder, tmp_path):
    lines = tmp_path / "l.txt"
    lines.write_text("the people\n\n\nof peace\n\n" * 300)
    model = charlm.fit(
        str(lines), init_from=folder / "bpe", records="blank", runs_dir=tmp_path, name="l",
        epochs=1, sample_length=0, quiet=True,
    )  # fmt: skip
    vocab = model._checkpoint.vocab
    assert vocab.separator == "\n\n"
    assert vocab.names == charlm.load(folder / "bpe")._checkpoint.vocab.names


@pytest.mark.full
@pytest.mark.parametrize("flags", [["--tokens", "characters"], ["--tokens", "bpe:280"]], ids=str)
def test_a_run_of_the_reference_keeps_its_tokens(folder, tmp_path, capsys, flags):
    runs = ["--runs-dir", str(tmp_path), "--name", "n", "--sample-length", "0", "--epochs", "1"]
    sizes = ["--units", "4", "--batch-size", "2", "--window", "6"]
    assert reference([str(folder / "t.txt"), "--tokens", "bpe:290", *sizes, *runs]) == 0
    capsys.readouterr()
    resumed = ["--resume", str(tmp_path / "n"), "--epochs", "2", *flags]
    assert train.main(resumed) == 2
    assert "cannot change --tokens on --resume" in capsys.readouterr().err
    again = ["--init", str(tmp_path / "n"), *flags, *runs, "--overwrite"]
    assert reference([str(folder / "t.txt"), *again]) == 2
    assert "was trained with it" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["score", "evaluate"])
def test_documents_of_a_single_character_are_left_out(folder, tmp_path, capsys, command):
    (tmp_path / "a.txt").write_text("é")
    (tmp_path / "b.txt").write_text("the people of the state")
    runs = ["--runs-dir", str(folder)]

    def measured(text):
        if command == "score":
            return score.main([str(text), "--run", "bpe", *runs]), capsys.readouterr()
        output = ["--output", str(tmp_path / "o")]
        options = ["bpe", "--corpus", str(text), *runs, *output]
        return evaluate.main(options), capsys.readouterr()

    code, found = measured(tmp_path / "a.txt")
    assert code == 2
    assert "expected two tokens or more to measure" in found.err
    code, found = measured(tmp_path)
    assert code == 0
    assert "a.txt" not in found.out


@pytest.mark.soak
def test_a_note_names_another_version_of_the_library(folder, tmp_path, capsys, monkeypatch):
    options = {**SMALL, "epochs": 1}
    place = {"runs_dir": tmp_path, "name": "v", "tokens": "bpe:290", "quiet": True}
    charlm.fit(str(folder / "t.txt"), **place, **options)
    monkeypatch.setattr("charlm.text.tokenizing.version", lambda: "0.99")
    assert train.main(["--resume", str(tmp_path / "v"), "--epochs", "2"]) == 0
    assert "this is 0.99; if it splits the text differently" in capsys.readouterr().err


@pytest.mark.full
def test_records_begin_and_end_where_they_do_in_the_text(tmp_path):
    lines = tmp_path / "lines.txt"
    lines.write_text("".join(f"{RNG.choice(WORDS)} {RNG.choice(WORDS)}\n" for _ in range(600)))
    options = {**SMALL, "epochs": 8, "learning_rate": 0.05}
    model = charlm.fit(
        str(lines), records="line", tokens="bpe:280", quiet=True, runs_dir=tmp_path, name="r",
        **options,
    )  # fmt: skip
    texts = model.generate(n=20, temperature=0.5, length=60, seed=1)
    assert all(text.count("\n") <= 1 for text in texts)
    assert sum(text.endswith("\n") for text in texts) > 10
    assert model.generate("peo", n=3, length=60, seed=1, temperature=0.3)[0].startswith("ple")


def test_python_and_the_command_write_the_same_text(folder, capsys):
    model = charlm.load(folder / "bpe")
    (text,) = model.generate("the sta", length=30, seed=4, temperature=0.7)
    options = ["--seed", "4", "--length", "30", "--temperature", "0.7", "--prompt", "the sta"]
    assert sample.main(["bpe", "--runs-dir", str(folder), *options]) == 0
    assert capsys.readouterr().out == f"the sta{text}\n"
    assert len(text) == 30
    assert len(model.vocabulary) == 290
    assert model.vocabulary[256:] == model._checkpoint.vocab.texts[256:]
    assert "vocabulary of 290 byte pairs" in repr(model)
    with pytest.raises(charlm.InputError, match="2 tokens or more"):
        model.score(" the")


@pytest.mark.parametrize("tokens", ["characters", "bpe:290"])
def test_settings_and_vocabulary_of_a_file_fit_together(folder, tmp_path, tokens):
    kept = "bpe" if tokens == "characters" else "characters"
    _, saved = lookup.read_best(folder, kept)
    path = tmp_path / "a.weights.h5"
    checkpoint.write(path, saved)
    checkpoint.read(path)
    meta = saved.meta()
    meta["config"]["data"]["tokens"] = tokens
    path.write_bytes(file_format.to_bytes(meta, saved.arrays()))
    with pytest.raises(charlm.InputError, match=r"a vocabulary of --tokens"):
        checkpoint.read(path)


NEEDS_CHARACTERS = [
    ("show", ["bpe"]), ("serve", ["bpe", "--port", "0"]), ("gradients", ["bpe"]),
    ("export", ["bpe", "--format", "safetensors"]), ("export", ["bpe", "--format", "html"]),
    ("sample", ["bpe", "--between", "the ", "people"]),
]  # fmt: skip


@pytest.mark.parametrize(("command", "options"), NEEDS_CHARACTERS, ids=str)
def test_what_needs_characters_says_so(folder, command, options, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = __import__(f"charlm.{command}", fromlist=["main"])
    assert module.main([*options, "--runs-dir", str(folder)]) == 2
    found = capsys.readouterr().err
    assert "this needs a run of characters, and this run has 290 byte pairs" in found
    assert not [*tmp_path.iterdir()]


@pytest.mark.full
def test_pages_and_imports_are_of_characters_only(folder, tmp_path, capsys, monkeypatch):
    with pytest.raises(charlm.InputError, match="cannot show the model: this needs a run of char"):
        charlm.load(folder / "bpe").show()
    monkeypatch.chdir(tmp_path)
    assert export.main(["bpe", "--runs-dir", str(folder), "-o", "m.keras"]) == 0
    options = ["m.keras", "--vocab", "m.keras.vocab.json", "--runs-dir", str(tmp_path)]
    assert import_weights.main(options) == 2
    assert "runs of tokens can be exported, not imported" in capsys.readouterr().err


@pytest.mark.full
def test_cells_are_recorded_of_characters_only(folder, tmp_path, capsys):
    options = ["--tokens", "bpe:290", "--record-cells", "--runs-dir", str(tmp_path), "--name", "x"]
    assert train.main([str(folder / "t.txt"), *options]) == 2
    assert "cannot record cells: this needs a run of characters" in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


@pytest.mark.full
def test_an_export_has_its_tokenizer_beside_it(folder, tmp_path, monkeypatch):
    from tokenizers import Tokenizer

    monkeypatch.chdir(tmp_path)
    assert export.main(["bpe", "--runs-dir", str(folder), "-o", "m.keras"]) == 0
    found = Tokenizer.from_file("m.keras.vocab.json")
    vocab = charlm.load(folder / "bpe")._checkpoint.vocab
    ids = found.encode(TEXT).ids
    assert ids == vocab.encode(TEXT).tolist()
    assert found.decode(ids) == TEXT
    network = keras.saving.load_model("m.keras")
    logits = keras.ops.convert_to_numpy(network(np.array([ids[:9]])))
    assert logits.shape == (1, 9, 290)


@pytest.mark.full
def test_numpy_trains_tokens_too(folder, tmp_path, capsys):
    options = ["--units", "4", "--epochs", "1", "--batch-size", "2", "--window", "6"]
    options += ["--runs-dir", str(tmp_path), "--name", "n", "--sample-length", "9"]
    assert reference([str(folder / "t.txt"), "--tokens", "bpe:290", *options]) == 0
    shown = capsys.readouterr().out
    assert "vocabulary 290 byte pairs" in shown
    bits = float(shown.split("held-out ")[1].split()[0])
    assert 1 < bits < 5
    assert charlm.load(tmp_path / "n").score(TEXT[-200:]) == pytest.approx(bits, rel=0.2)


@pytest.mark.soak
def test_a_preset_takes_as_many_tokens_as_a_text_gives(tmp_path):
    """Unless the user gives a number, which is kept or refused."""
    names = tmp_path / "names.txt"
    names.write_text("Anna\nBerta\nClara\nDora\n" * 2500)
    place = {"runs_dir": tmp_path, "preset": "quick-bpe", "quiet": True, "sample_length": 0}
    small = {"units": 4, "epochs": 1, "records": "line"}
    model = charlm.fit(str(names), name="a", **place, **small)
    assert model.config.data.tokens == "characters"
    words = " ".join(f"{x}{y}{z}" for x in WORDS for y in WORDS[:7] for z in WORDS[:4])
    names.write_text((words + "\n") * 30)
    model = charlm.fit(str(names), name="b", **place, **small)
    assert 300 <= int(model.config.data.tokens.removeprefix("bpe:")) < names.stat().st_size // 100
    assert len(model.vocabulary) == int(model.config.data.tokens.removeprefix("bpe:"))
    with pytest.raises(charlm.InputError, match="at most"):
        charlm.fit(str(names), name="c", tokens="bpe:4000", **place, **small)


@pytest.mark.parametrize("tokens", ["bpe:100", "bpe", "words:0", "pairs:500"])
def test_other_units_are_refused_in_one_line(folder, tokens, capsys):
    assert train.main([str(folder / "t.txt"), "--tokens", tokens]) == 2
    found = capsys.readouterr().err
    assert "expected --tokens to be characters, bpe:N with N from 256" in found
    assert found.count("\n") == 1
