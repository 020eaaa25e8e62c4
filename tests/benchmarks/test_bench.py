"""Law: a benchmark's figures are what its rounds say, and whoever cannot be measured is told of."""

import contextlib
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
import pytest

from charlm import bench
from charlm.benchmarks import figures, machine, matmul, peers, quality, report, sections
from charlm.benchmarks.case import Case
from charlm.benchmarks.peers import Peer
from charlm.benchmarks.workers import PeerFailed, Worker, environment
from charlm.errors import InputError
from charlm.reference.loss import log_softmax
from charlm.reference.network import Network
from charlm.runs import atomic
from corpora import Corpus, Document
from tests.conftest import SMALL_TEXT

CASE = Case("lstm", 4, 1, 2, 3, 7)
CPUS = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
JOBS = "layer", "step"
TENSORFLOW = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="TensorFlow's own graphs"
)
SETUP = sections.Setup(False, CPUS[:1], rounds=2, seconds=0.002, say=lambda text: None)


# --- figures ---


def measured(**rows):
    """A measurement as `sections.compare` makes it, rounds of seconds by peer."""
    found = sections._measurement("step", "step", CASE, [], {})
    for name, seconds in rows.items():
        row = sections._row(Peer(name, "x:y"), None)
        found["rows"].append(row | {"seconds": seconds, "first": 1.0, "difference": 0.0})
    return found


def test_a_drift_of_the_machine_leaves_the_ratio_alone():
    drift = [1, 2, 4, 8, 16]
    m = measured(ours=[1.0 * d for d in drift], theirs=[1.5 * d for d in drift])
    figures.add_figures(m)
    ours, theirs = m["rows"]
    assert ours["ratio"] == 1
    assert theirs["ratio"] == pytest.approx(1.5)
    assert ours["quartiles"] == (2, 4, 8)
    assert ours["characters_per_second"] == 2 * 3 / 4


def test_rounds_are_compared_one_by_one():
    m = measured(ours=[1.0, 3.0, 4.0], theirs=[2.0, 3.0, 2.0])
    figures.add_figures(m)
    assert m["rows"][1]["ratio"] == 1  # not 2/3, that of the medians


def test_a_peer_that_failed_midway_is_compared_in_the_rounds_it_had():
    m = measured(ours=[1.0, 2.0, 9.0], theirs=[3.0, 6.0], none=[])
    figures.add_figures(m)
    assert [r["ratio"] for r in m["rows"]] == [1, 3, None]
    assert m["rows"][2]["quartiles"] is None


def test_peers_are_compared_with_the_first_that_was_measured():
    m = measured(none=[], ours=[1.0, 2.0], theirs=[3.0, 6.0])
    m["rows"][0]["failed"] = "torch is not installed"
    figures.add_figures(m)
    assert [r["ratio"] for r in m["rows"]] == [None, 1, 3]
    assert "x ours" in report.measurement(m)


def test_the_share_of_the_peak_is_that_of_the_same_round():
    m = measured(ours=[1.0, 3.0, 4.0])
    m["peak"] = {"library": "x", "seconds": [0.5, 3.0, 2.0]}
    figures.add_figures(m)
    assert m["rows"][0]["share"] == pytest.approx(0.5 * m["flops"] / matmul.FLOPS)
    assert m["rows"][0]["gflops"] == pytest.approx(m["flops"] / 3 / 1e9)
    assert m["peak"]["gflops"] == pytest.approx(matmul.FLOPS / 2 / 1e9)


def test_differences_are_relative_to_the_largest_number():
    assert figures.relative_difference([1.0, 99.0], [2.0, 100.0]) == pytest.approx(0.01)


def test_operations_are_those_of_the_products():
    """B T = 6 positions, each product once forward and twice backward, 2 operations a weight."""
    U, dense = 4 * 16, 4 * 7
    assert CASE.flops(whole=False) == 3 * 2 * 6 * U
    assert CASE.flops(whole=True) == 3 * 2 * 6 * (U + dense)
    U, W = 4 * 12, 4 * 12  # of the second layer, which reads vectors
    assert replace(CASE, cell="gru", layers=2).flops(True) == 3 * 2 * 6 * (2 * U + W + dense)


# --- what is told ---


def test_tables_fit_in_100_columns_whatever_they_hold():
    m = measured(**{"ours-tf": [123.4567, 200.0], "keras-tf-xla": [0.00012345, 60.5], "torch": []})
    m["peak"] = {"library": "tensorflow", "seconds": [0.1, 0.1]}
    m["rows"][2] |= {"failed": "torch is not installed"}
    m["rows"][1] |= {"exact": False, "difference": 0.01}
    figures.add_figures(m)
    text = report.measurement(m)
    assert max(map(len, text.splitlines())) <= 100
    assert "\ntorch: torch is not installed" in text
    assert "keras-tf-xla to 1e-02" in text
    assert "NOTE" not in text
    widths = {len(line) for line in text.splitlines() if line.startswith("|")}
    assert len(widths) == 1


def test_a_peer_that_computes_something_else_is_named():
    m = measured(ours=[1.0], theirs=[1.0], bad=[1.0])
    m["rows"][2]["difference"] = math.nan
    figures.add_figures(m)
    text = report.measurement(m)
    assert "NOTE: bad does not compute the same as the first" in text
    assert "NOTE: theirs" not in text


def test_quality_says_how_much_sooner_and_what_was_not_reached():
    curve = [(10.0, 2.0, 2.1), (50.0, math.log(2), 1.0)]
    side = {"curve": curve, "carried": 1.0, "memory": 3e6}
    found = {
        "section": "quality", "case": {"units": 128}, "epochs": 2, "corpus": "c",
        "original": side, "ours": side | {"reached": [10.0, None]},
    }  # fmt: skip
    text = report.quality(found)
    assert re.search(r"original, 2 epochs +\| 50.0 \| +1.000 \|", text)
    assert "training loss: 10.0 s, 1/5 of its time" in text
    assert "held-out loss: not reached" in text


# --- workers ---


@pytest.fixture
def fakes(monkeypatch):
    """`sections` finds its peers among the tests'."""
    monkeypatch.setattr(peers, "HERE", "tests.benchmarks")


def lineup(**options):
    return tuple(
        Peer(name, f"fake_peers:{of.pop('make', 'make')}", "numpy", options=of)
        for name, of in options.items()
    )


def test_peers_take_turns_and_only_one_is_at_work(fakes, tmp_path):
    log = tmp_path / "log"
    crew = lineup(**{x: {"name": x, "log": str(log)} for x in "AB"})
    layer, step = sections.compare("step", crew, [CASE], JOBS, SETUP)
    assert [r["failed"] for r in layer["rows"]] == [None, None]
    assert [len(r["seconds"]) for r in step["rows"]] == [2, 2]
    assert 0.001 < min(r["seconds"][0] for r in step["rows"]) < 1
    words = log.read_text().split()
    assert all(b == a.replace("+", "-") for a, b in zip(words[::2], words[1::2], strict=True))
    turns = "".join(w[0] for w in words[::2])
    pattern = f"(A{{{sections.CHECKED}}}B{{{sections.CHECKED}}}(A+B+){{2}}){{2}}"
    assert re.fullmatch(pattern, turns), turns


def test_what_peers_compute_is_compared_with_the_first(fakes, tmp_path):
    log = str(tmp_path / "log")
    crew = lineup(A={"name": "A", "log": log}, B={"name": "B", "log": log, "value": 1.25})
    layer, _ = sections.compare("step", crew, [CASE], JOBS, SETUP)
    assert [r["difference"] for r in layer["rows"]] == [0, 0.25]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("raises", "ValueError: no more"),
        ("exits", "ended with exit code 3: last words"),
        ("killed", r"killed by SIGKILL \(out of memory\?\)"),
    ],
)
def test_a_peer_that_fails_is_a_row_that_says_so_and_the_run_goes_on(fakes, tmp_path, how, said):
    crew = lineup(
        A={"name": "A", "log": str(tmp_path / "a")},
        bad={"make": "failing", "how": how, "log": str(tmp_path / "b")},
    )
    crew += (Peer("none", "fake_peers:make", "no_such_package"),)
    unmade = Peer("unmade", "fake_peers:unmade", "numpy")
    setup = replace(SETUP, rounds=3, seconds=1e-9)
    layer, step = sections.compare("step", (*crew, unmade), [CASE], JOBS, setup)
    good, bad, none, unmade = layer["rows"]
    assert good["failed"] is None
    assert len(good["seconds"]) == 3
    assert re.fullmatch(said, bad["failed"])
    assert len(bad["seconds"]) == 1
    assert none["failed"] == "no_such_package is not installed"
    assert unmade["failed"] == "RuntimeError: cannot be made"
    assert [bool(r["failed"]) for r in step["rows"]] == [False, True, True, True]
    figures.add_figures(layer)
    assert bad["failed"] in report.measurement(layer)


@contextlib.contextmanager
def worker(make, **options):
    with Worker(environment(1, False, "jax"), CPUS[:1]) as found:
        found.ask(
            "make", f"tests.benchmarks.fake_peers:{make}", {"case": CASE, "gpu": False} | options
        )
        yield found


def test_steps_are_measured_without_a_peak_if_large_products_fail(fakes, tmp_path, monkeypatch):
    said: list[str] = []
    setup = replace(SETUP, say=said.append)
    crew = lineup(A={"name": "A", "log": str(tmp_path / "a")})
    large = Peer("numpy", "fake_peers:unmade", "numpy")
    monkeypatch.setattr(peers, "MATMUL", (large,))
    with contextlib.ExitStack() as stack:
        assert sections.find_peak(setup, stack) == (None, {})
    assert "there is no peak (numpy: RuntimeError: cannot be made)" in said[-1]
    with worker("make", name="B", log=str(tmp_path / "b")) as w:
        w.close()
        (step,) = sections.compare("step", crew, [CASE], ("step",), setup, ("numpy", w))
    figures.add_figures(step)
    assert step["peak"] is None
    assert len(step["rows"][0]["seconds"]) == 2
    assert "of peak" not in report.measurement(step)


def test_a_worker_is_pinned_and_has_its_threads_and_backend():
    with worker("surroundings") as w:
        _, (found, cpus) = w.ask("run", "step", 1)
    assert found == {
        "OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "KERAS_BACKEND": "jax",
        "CUDA_VISIBLE_DEVICES": "-1",
    }  # fmt: skip
    assert cpus in (None, CPUS[:1])


def test_seconds_are_of_a_step_or_as_the_job_says():
    with worker("timed") as w:
        seconds, value = w.ask("run", "layer", 10)
        assert 0.002 <= seconds < 0.02
        assert value is None
        assert w.ask("run", "step", 3) == (7.0, "told")


def test_memory_is_the_peak_since_it_was_made():
    from tests.benchmarks import fake_peers

    with worker("ballast") as w:
        before = w.ask("state")["memory"]
        w.ask("run", "step", 1)
        after = w.ask("state")["memory"]
        assert 0.9 < (after - before) / fake_peers.BALLAST < 1.5
        if os.path.exists("/proc/self/clear_refs"):
            w.ask("make", "tests.benchmarks.fake_peers:sleeper", {"case": CASE, "gpu": False})
            assert w.ask("state")["memory"] < after - 0.5 * fake_peers.BALLAST


def test_one_that_does_not_answer_is_ended():
    with worker("sleeper") as w:
        with pytest.raises(PeerFailed, match=r"no answer in 0\.1 s"):
            w.ask("run", "step", 1, timeout=0.1)
        assert w.process.returncode == -signal.SIGKILL
        with pytest.raises(PeerFailed, match="no answer"):
            w.ask("run", "step", 1)


def test_ctrl_c_ends_all_workers():
    def interrupted(w):
        w.send("run", "step", 1)
        raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt), worker("sleeper") as w:
        interrupted(w)
    assert w.process.returncode == -signal.SIGKILL


def test_workers_end_with_a_parent_that_is_killed():
    code = """if True:
        import os, signal
        from charlm.benchmarks.workers import Worker, cpus, environment
        with Worker(environment(1, False), cpus()) as w:
            w.ask("make", "tests.benchmarks.fake_peers:sleeper", {"case": None, "gpu": False})
            w.send("run", "step", 1)
            print(w.process.pid, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True
    )
    assert done.returncode == -signal.SIGKILL
    end = time.monotonic() + 20
    while time.monotonic() < end and _alive(int(done.stdout)):
        time.sleep(0.1)
    assert not _alive(int(done.stdout))


def _alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with contextlib.suppress(OSError):  # gone, but nobody has asked after it
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return True


# --- what is measured ---


@pytest.fixture
def threads(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.mark.soak
@pytest.mark.parametrize(("cell", "layers"), [("lstm", 2), ("gru", 1)])
def test_peers_of_a_step_compute_the_same(threads, cell, layers):
    from charlm.benchmarks import keras_step

    case = replace(CASE, cell=cell, layers=layers)
    jobs = [keras_step.make(case, False, own=own) for own in (True, False)]
    if find_spec("torch"):
        from charlm.benchmarks import torch_step

        jobs.append(torch_step.make(case, False))
    found = [[j["layer"](1), *(j["step"](1) for _ in range(4))] for j in jobs]
    for other in found[1:]:
        assert other == pytest.approx(found[0], rel=1e-5)
    assert found[0][-1] < found[0][1] == pytest.approx(math.log(7), rel=0.2)


@pytest.mark.full
def test_peers_of_sampling_read_the_same(threads):
    from charlm.benchmarks import sampling

    case = replace(CASE, window=5)
    makers = [partial(sampling.ours, machine_code=code) for code in (True, False)]
    if keras.backend.backend() == "tensorflow":
        makers += [sampling.window, sampling.graph]
    if find_spec("torch"):
        makers.append(sampling.torch_loop)
    first, *others = [make(case, False)["characters"](3) for make in makers]
    assert first.shape == (2, 7)
    assert np.exp(first).sum(axis=-1) == pytest.approx(1)
    for other in others:
        assert other == pytest.approx(first, abs=1e-5)


@pytest.mark.full
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="charlm train's default")
def test_fit_and_its_bare_step_run(monkeypatch):
    from charlm.benchmarks import fit

    monkeypatch.setattr(fit, "CHARACTERS", 200)
    assert fit.bare(CASE, False)["windows"](2).seconds > 0
    whole = fit.whole(CASE, False)["windows"]
    for _ in range(2):
        seconds, _ = whole(1)
        assert 0 < seconds < 5


TEXT = Corpus("small", (Document("small", SMALL_TEXT * 2),))


def test_losses_are_those_of_the_last_character_of_cold_windows(rng, monkeypatch):
    monkeypatch.setattr(quality, "PLACES", 9)
    monkeypatch.setattr(quality, "WINDOW", 4)
    losses = quality.Losses(CASE, TEXT)
    case = replace(CASE, vocab=len(losses.vocab))
    weights = case.weights()
    network = Network(weights, case.vocab, case.model)
    ids = losses.text.training
    starts = np.linspace(0, len(ids) - 5, 9).astype(int)
    pieces = np.stack([ids[s : s + 5] for s in starts])
    logits, _, _ = network.forward(pieces[:, :4], network.initial_states(9))
    expected = -log_softmax(logits)[np.arange(9), -1, pieces[:, 4]].mean()
    assert losses.cold(weights)[0] == pytest.approx(expected, rel=1e-5)
    flat = {name: 0 * w for name, w in weights.items()}
    assert [*losses.cold(flat), losses.carried(flat)] == pytest.approx([math.log(case.vocab)] * 3)


def test_marks_are_off_the_clock_and_stop_when_both_losses_are_reached():
    values = iter([(3.0, 3.0), (1.0, 3.0), (2.0, 1.0), (0.0, 0.0)])

    def measure():
        time.sleep(0.2)
        return next(values)

    marks = quality.Marks(measure, every=2, target=(2.0, 2.0))
    marks.set_model(model := keras.Model())
    model.stop_training = False  # as fit begins
    marks.on_epoch_begin(0)
    for batch in (0, 1, 2, 4, 5):  # two at once in between
        assert not model.stop_training
        marks.on_train_batch_end(batch)
    assert model.stop_training
    seconds = [mark[0] for mark in marks.curve]
    assert marks.reached() == seconds[1:]
    assert seconds[-1] < 0.2


@pytest.mark.full
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the original's backend")
def test_the_original_learns_and_ours_reaches_it(monkeypatch):
    monkeypatch.setattr(quality, "PLACES", 50)
    monkeypatch.setattr(quality, "EVERY", 3)
    theirs = quality.original(CASE, False, TEXT)["train"](1)
    _, *target = theirs["curve"][-1]
    assert target[0] < theirs["curve"][0][1] < math.log(40)
    first = quality.ours(CASE, False, TEXT, [0.0, 0.0])["train"](1)
    assert first["reached"] == [None, None]
    *_, (_, *last) = first["curve"]
    assert last[0] < first["curve"][0][1]
    second = quality.ours(CASE, False, TEXT, [loss + 0.01 for loss in last])["train"](1)
    assert 0 < second["reached"][0] <= second["curve"][-1][0]


# --- the command ---


@pytest.mark.full
def test_the_command_measures_tells_and_draws(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    out = Path("out")
    sizes = ["--units", "4", "--batch-size", "2", "--window", "3", "--rounds", "1"]
    argv = ["--quick", "--only", "step", "--peers", "ours-tf", "keras-tf"]
    assert bench.main([*argv, *sizes, "--threads", "1", "--out", str(out)]) == 0
    told, progress = capsys.readouterr()
    assert max(len(x) for x in told.splitlines() if x.startswith(("|", "#"))) <= 100
    assert "step, LSTM 1 x 4, step: 1 rounds" in progress
    found = json.loads((out / "bench.json").read_text())
    assert found["threads"] == 1
    assert found["machine"]["cores"] >= 1
    assert set(found["peaks"]) >= {"numpy", "tensorflow"}
    assert [(m["case"]["cell"], m["job"]) for m in found["measured"]] == [
        ("lstm", "step"),
        ("gru", "step"),
    ]
    for m in found["measured"]:
        assert m["versions"]["keras"] == keras.__version__
        assert [r["peer"] for r in m["rows"]] == ["ours-tf", "keras-tf"]
        for row in m["rows"]:
            assert row["failed"] is None
            assert len(row["seconds"]) == len(m["peak"]["seconds"]) == 1
            assert row["difference"] < 1e-5
            assert 1e8 < row["memory"] < 1e10
    assert (out / "bench.md").read_text().strip() in told
    assert (out / "bench.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.skipif(len(CPUS) < 2, reason="needs two cores")
def test_each_number_of_cores_is_a_peer_with_so_many_threads(monkeypatch):
    started = []
    monkeypatch.setattr(sections, "Worker", lambda env, own, _: started.append((env, own)))
    plan = bench.Bench(only=("step",), cores=(1, 2))
    lineup = plan.lineup()
    assert [p.name for p in lineup] == ["ours-tf-1", "ours-tf-2"]
    for peer in lineup:
        plan.setup().worker(peer)
    assert [own for _, own in started] == [CPUS[:1], CPUS[:2]]
    assert [env["TF_NUM_INTRAOP_THREADS"] for env, _ in started] == ["1", "2"]


@pytest.mark.parametrize(("name", "code"), [("bench.png", 0), ("bench.json", 1), ("bench.md", 1)])
def test_a_report_that_cannot_be_written_is_named(tmp_path, monkeypatch, capsys, name, code):
    def full(folder, temporary, data, model):
        if temporary.startswith(f".{name}."):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic, "_create", full)
    monkeypatch.setattr(atomic, "_place", lambda folder, temporary, name: None)
    monkeypatch.setattr("charlm.benchmarks.plot.draw", lambda measured: b"a picture")
    assert report.write(tmp_path / "out", "# bench", {"measured": []}) == (not code)
    out, err = capsys.readouterr()
    assert (
        err
        == f"NOT SAVED: {tmp_path}/out/{name} (No space left on device); continuing without it\n"
    )
    others = [n for n in ("bench.md", "bench.json", "bench.png") if n != name]
    assert out == f"{tmp_path}/out: {', '.join(others)}\n"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--units", "0"], "--units"),
        (["--units", "99999"], "--units"),
        (["--batch-size", "0"], "--batch-size"),
        (["--rounds", "0"], "--rounds"),
        (["--minutes", "0"], "--minutes to be above 0"),
        (["--minutes", "nan"], "--minutes to be above 0"),
        (["--threads", "9999"], "--threads to be from 1 to"),
        (["--peers", "nobody"], "--peers to be of ours-tf, .*torch"),
        (["--peers", "ours-tf-xla"], "--peers"),  # of a GPU
        (["--cores", "1", "9999", "--only", "step"], "--cores to be from 1 to .*found 9999"),
        (["--cores", "1"], "expected --only step with --cores, on a CPU"),
        (["--cores", "1", "--only", "step", "--threads", "1"], "--threads has no effect with --co"),
        (["--only", "all"], "only"),
        (["--only", "layers", "--layers", "gru", "lsmt"], "--layers to be .*gru-last.*found lsmt"),
        (["--only", "layers", "--layers"], "--layers to be one or more, found none"),
        (["--layers", "gru"], "--layers has no effect without --only layers"),
        (["--only", "step", "--engines", "jax"], "--engines has no effect without --only"),
        (["--only", "layers", "--engines", "torch"], "--engines"),
        (["--only", "layers", "--window", "10000000"], "found layers of about [0-9.]+ GB; give"),
        (["--out", "small.txt"], "--out"),
        (["--out", "a/b"], "--out"),
        (["--device", "gpu"], "cannot use --device gpu: this machine has no GPU"),
        (["--units", "16384", "--batch-size", "100000"], "found step of about [0-9.]+ GB; give"),
        (["--only", "fit", "--window", "10000000"], "found fit of about [0-9.]+ GB; give"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_made(
    argv, said, tmp_path, text_file, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(machine, "seems_to_have_gpu", lambda: False)
    monkeypatch.setattr(sections, "start", lambda *args: pytest.fail("started"))
    assert bench.main(["--quick", *argv]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"error: [^\n]+\n", err), err
    assert re.search(said, err), err
    assert list(tmp_path.iterdir()) == [text_file]


def test_what_fits_is_not_refused(monkeypatch):
    args = bench.Bench(quick=True, units=(128,))
    monkeypatch.setattr(machine, "available_memory", lambda: 12e9)
    args.check_memory(None)
    monkeypatch.setattr(machine, "available_memory", lambda: 1e9)
    with pytest.raises(InputError, match=r"available, 1\.0 GB"):
        args.check_memory(None)


def test_the_estimate_is_above_what_a_step_takes(rng):
    """Gates, states, logits, weights and their moments: a step cannot do without these."""
    case = replace(CASE, units=64, batch=8, window=50)
    positions = 8 * 50 * (4 * 64 * 2 + 2 * 64 + 7 * 2)
    weights = sum(w.size for w in case.weights().values())
    assert 4 * (4 * weights + positions) < case.bytes() < 16 * (4 * weights + positions)
