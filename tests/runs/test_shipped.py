"""Law: the run that comes with charlm is what its page states, and is used where there is none."""

import re
from dataclasses import replace

import pytest

import charlm
from charlm.__main__ import main
from charlm.api import runs
from charlm.api.run_training import Reporting
from charlm.errors import InputError
from charlm.evaluation import losses
from charlm.runs import lookup
from charlm.text.encode import read
from charlm.training.resume import position

STRETCH = 2_000  # characters of each held-out speech
CONFIG = lookup.read_best(lookup.SHIPPED.parent, lookup.SHIPPED.name)[1].config
ROUNDING = 2e-4  # bits; another processor adds in another order


@pytest.fixture(scope="module")
def shipped():
    return lookup.read_best(lookup.SHIPPED.parent, lookup.SHIPPED.name)[1]


def stated(pattern):
    return re.search(pattern, (lookup.SHIPPED / "README.md").read_text())[1]


def test_it_is_small_and_holds_what_its_page_states(shipped):
    assert [path.name for path in lookup.SHIPPED.glob("*.h5")] == [lookup.BEST]
    assert (lookup.SHIPPED / lookup.BEST).stat().st_size < 6e6
    assert shipped.optimizer == shipped.carried == []
    best = shipped.progress.history[shipped.progress.best_epoch - 1]["val_bpc"]
    assert f"{best:.4f}" == stated(r"([\d.]+) bits per character on the held-out")
    assert position(shipped.progress)


@pytest.mark.full
def test_it_reaches_on_speeches_that_it_never_read_what_its_page_states(shipped, speeches):
    text = read(speeches).translated(shipped.vocab)
    assert text.sha256 == shipped.corpus_sha256
    parts = [d[:STRETCH] for d in text.to_measure()]
    bits = losses.bits(losses.stateful_losses(shipped.to_network(), parts))
    assert bits == pytest.approx(float(stated(r"([\d.]+) on the first 2,000")), abs=ROUNDING)


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("argv", [["sample"], ["sample", "state-union"], ["sample", "latest"]])
def test_it_is_sampled_where_there_is_no_run(nowhere, capsys, argv):
    assert main([*argv, "--length", "30", "--seed", "1", "--temperature", "0"]) == 0
    out, err = capsys.readouterr()
    assert len(out.strip()) >= 25
    assert (
        err
        == "NOTE: no run in saved_models; using the one that comes with charlm, state-union\n"
        * (argv != ["sample", "state-union"])
    )
    assert not list(nowhere.iterdir())


def test_python_and_the_other_commands_use_it_too(nowhere, capsys):
    model = charlm.load()
    assert model.path == lookup.SHIPPED / lookup.BEST
    (nowhere / "a.txt").write_text("My fellow Americans, the state of our Union is strong.")
    for argv in (["score", "a.txt"], ["evaluate", "--corpus", "a.txt", "--output", "e"]):
        assert main(argv) == 0
        assert capsys.readouterr().err.startswith("NOTE: no run in saved_models; using the one")


def test_resume_goes_on_with_a_copy(nowhere, capsys):
    before = {path: path.read_bytes() for path in lookup.SHIPPED.iterdir()}
    assert main(["train", "--resume", "state-union"]) == 2  # nothing is left to train
    assert "found 10 of 10 done" in capsys.readouterr().err
    assert not list(nowhere.iterdir())
    made = []
    config = replace(CONFIG, fit=replace(CONFIG.fit, epochs=11))
    path = runs.copy_of_shipped(
        lookup.SHIPPED / lookup.BEST, lookup.RUNS_DIR, config, Reporting(made.append)
    )
    assert path == lookup.RUNS_DIR / "state-union-resumed" / lookup.LAST
    assert made == [
        f"resuming a copy in {path.parent}; the run that comes with charlm stays as it is"
    ]
    assert charlm.load("latest").path == path
    with pytest.raises(InputError, match="--resume saved_models/state-union-resumed resumes it"):
        runs.copy_of_shipped(lookup.SHIPPED / lookup.BEST, lookup.RUNS_DIR, config, Reporting())
    assert {path: path.read_bytes() for path in lookup.SHIPPED.iterdir()} == before


def test_a_run_of_ones_own_comes_first_and_resume_needs_one(nowhere, capsys, shipped):
    assert main(["train", "--resume", "latest"]) == 2
    assert "expected a run in saved_models, found none" in capsys.readouterr().err
    own = nowhere / "saved_models" / "own"
    own.mkdir(parents=True)
    (own / lookup.BEST).write_bytes((lookup.SHIPPED / lookup.BEST).read_bytes())
    assert charlm.load().path == own.relative_to(nowhere) / lookup.BEST
    assert main(["sample", "--runs-dir", "elsewhere"]) == 2
