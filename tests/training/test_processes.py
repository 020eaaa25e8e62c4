"""Law: a run trained by several processes, however many, stopped and killed, is the run of one."""

import csv
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from charlm.errors import CharlmError, InputError
from charlm.runs import checkpoint
from charlm.training import processes
from tests.conftest import SMALL_TEXT

TRAIN = [
    "--corpus", "small.txt", "--name", "a", "--continue", "--quiet", "--units", "6",
    "--dropout", "0.2", "--weight-drop", "0.1", "--batch-size", "4", "--window", "16",
    "--sample-length", "20", "--precision", "fp32", "--patience", "0", "--epochs",
]  # fmt: skip
SECONDS = 20  # until the death of one process ends the others


@pytest.fixture
def here(tmp_path):
    pytest.importorskip("jax")
    (tmp_path / "small.txt").write_text(SMALL_TEXT * 6)
    return tmp_path


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def started(folders, argv, count=1, devices=1, before=(None, None), launcher=("-m",)):
    """The processes of a training, each in its folder, or the process of a launcher."""
    env = os.environ | {
        "KERAS_BACKEND": "jax",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "PYTHONUNBUFFERED": "1",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # compiles faster
    }
    if count > 1:
        env |= {
            "KERAS_DISTRIBUTION_NUM_PROCESSES": str(count),
            "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{free_port()}",
        }
    found = []
    for k in range(count):
        folder = folders[k] if isinstance(folders, list) else folders
        number = {"KERAS_DISTRIBUTION_PROCESS_ID": str(k)} if count > 1 else {}
        number["PYTHONHASHSEED"] = str(k)  # no order of a set may matter
        with open(folder / "err", "a") as err:
            found.append(
                subprocess.Popen(
                    [sys.executable, *launcher, "charlm.train", *argv],
                    cwd=folder, env=env | number, stdout=subprocess.PIPE, stderr=err, text=True,
                    preexec_fn=before[k],
                )
            )  # fmt: skip
    return found


def until(process, beginning):
    for line in process.stdout:
        if line.startswith(beginning):
            return line
    raise AssertionError(f"no line begins with {beginning!r}")


def ended(found, seconds=120):
    """Returns the exit codes, and what each process printed from here on."""
    out = [p.communicate(timeout=seconds)[0] for p in found]
    return [p.returncode for p in found], out


def history(folder):
    with open(folder / "saved_models/a/history.csv", newline="") as file:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    return [[row[k] for k in ("epoch", "loss", "val_loss", "learning_rate")] for row in rows]


def assert_the_same(one, other):
    np.testing.assert_allclose(history(one), history(other), atol=1e-6)
    a, b = (checkpoint.read(x / "saved_models/a/last.weights.h5") for x in (one, other))
    for name, array in a.arrays().items():
        np.testing.assert_allclose(b.arrays()[name], array, atol=2e-5, err_msg=name)
    samples = [(x / "saved_models/a/samples.txt").read_text() for x in (one, other)]
    assert samples[0].count("=== epoch") == samples[1].count("=== epoch")


# count, devices of each, and the signal that stops it, sent to one of them
STAGES = [(2, 1, signal.SIGTERM, 1), (1, 4, signal.SIGTERM, 0), (2, 1, None, 0)]
MORE_STAGES = [
    *((2, 1, signal.SIGINT, 1), (1, 4, signal.SIGTERM, 0), (2, 1, signal.SIGTERM, 0)),
    *((2, 1, signal.SIGINT, 0), (2, 1, None, 0)),
]


@pytest.mark.full
@pytest.mark.parametrize(
    ("epochs", "stages"),
    [
        pytest.param(8, STAGES, id="two, one with four devices, two"),
        pytest.param(20, MORE_STAGES, id="more stops", marks=pytest.mark.soak),
    ],
)
def test_stopped_and_gone_on_with_other_numbers_of_processes(
    here, tmp_path_factory, epochs, stages
):
    straight = tmp_path_factory.mktemp("straight")
    (straight / "small.txt").write_text(SMALL_TEXT * 6)
    argv = [*TRAIN, str(epochs)]
    (code,), _ = ended(started(straight, argv))
    assert code == 0
    places = []
    for count, devices, number, who in stages:
        found = started(here, argv, count, devices)
        until(found[0], "epoch ")
        if number:
            time.sleep(0.2)
            found[who].send_signal(number)
        codes, out = ended(found)
        assert set(codes) <= {0} if number is None else set(codes) <= {128 + number, 143}, (
            here / "err"
        ).read_text()
        assert not [line for line in "".join(out[1:]).splitlines() if "[Gloo]" not in line]
        progress = json.loads((here / "saved_models/a/run.json").read_text())["progress"]
        places.append((progress["epoch"], progress["step"]))
    assert places == sorted(set(places))
    assert places[-1] == (epochs, 0)
    assert any(step for _, step in places)  # within an epoch
    assert_the_same(straight, here)


@pytest.mark.full
@pytest.mark.parametrize("who", [pytest.param(0, marks=pytest.mark.soak), 1])
def test_a_process_that_is_killed_ends_the_others_and_the_run_goes_on(here, who):
    argv = [*TRAIN, "30"]
    found = started(here, argv, 2)
    until(found[0], "epoch 2")
    found[who].kill()
    began = time.monotonic()
    codes, _ = ended([found[1 - who]], SECONDS)
    assert time.monotonic() - began < SECONDS
    assert codes != [0]
    found[who].communicate()
    saved = checkpoint.read(here / "saved_models/a/last.weights.h5")
    assert 1 <= saved.progress.epoch < 30
    shorter = [*TRAIN, str(saved.progress.epoch + 1)]
    assert ended(started(here, shorter))[0] == [0]


@pytest.mark.full
def test_another_text_on_one_of_them_is_refused_before_the_first_step(here, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "small.txt").write_text(SMALL_TEXT * 6 + "x")
    codes, _ = ended(started([here, other], [*TRAIN, "2"], 2))
    assert codes == [2, 2], (here / "err").read_text()
    for folder in (here, other):
        (line,) = (x for x in (folder / "err").read_text().splitlines() if x.startswith("error"))
        assert line.startswith(
            "error: expected the same text and vocabulary in all 2 processes, found differ"
        )
        assert not (folder / "saved_models").exists()


@pytest.mark.full
def test_a_full_disk_of_the_process_that_writes_reaches_every_exit_code(here, tmp_path_factory):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))  # the weights are larger

    other = tmp_path_factory.mktemp("other")
    (other / "small.txt").write_text((here / "small.txt").read_text())
    found = started([here, other], [*TRAIN, "2"], 2, before=(limit, None))
    codes, out = ended(found)
    assert codes == [1, 1]
    assert out[0].count("NOT SAVED") >= 2
    assert "error: cannot save the end of the run" in (here / "err").read_text()
    assert "error: process 0 of 2 failed; its message says why" in (other / "err").read_text()
    assert sorted(p.name for p in other.iterdir()) == ["err", "small.txt"]  # only one writes


@pytest.mark.soak
def test_torchrun_starts_a_run_of_two_processes(here, tmp_path_factory):
    pytest.importorskip("torch")
    straight = tmp_path_factory.mktemp("straight")
    (straight / "small.txt").write_text(SMALL_TEXT * 6)
    argv = [*TRAIN, "2"]
    assert ended(started(straight, argv))[0] == [0]
    rendezvous = (
        "--rdzv-backend=static",
        "--master-addr=127.0.0.1",
        f"--master-port={free_port()}",
    )
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node=2", *rendezvous]
    assert ended(started(here, argv, launcher=[*launcher, "-m"]))[0] == [0], (
        here / "err"
    ).read_text()
    assert_the_same(straight, here)


VARIABLES = {
    "Keras": ("KERAS_DISTRIBUTION_NUM_PROCESSES", "KERAS_DISTRIBUTION_PROCESS_ID"),
    "torchrun": ("WORLD_SIZE", "RANK"),
    "Slurm": ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
    "Open MPI": ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
}
ADDRESSES = {
    "Keras": {"KERAS_DISTRIBUTION_JOB_ADDRESSES": "a:12,b:13"},
    "torchrun": {"MASTER_ADDR": "a", "MASTER_PORT": "11"},
    "Slurm": {},
    "Open MPI": {},
}


@pytest.mark.parametrize("launcher", VARIABLES)
def test_launchers_tell_processes_their_numbers(launcher):
    count, index = VARIABLES[launcher]
    found = processes.launched({count: "3", index: "2", **ADDRESSES[launcher]})
    assert (found.count, found.index, found.launcher, found.writes) == (3, 2, launcher, False)
    assert found.address == ("a:12" if ADDRESSES[launcher] else None)
    assert processes.launched({count: "1", index: "0", **ADDRESSES[launcher]}) == processes.ALONE
    for wrong in ({index: "3"}, {index: "x"}, {count: ""}):
        with pytest.raises(InputError, match=f"{next(iter(wrong))}.*, found"):
            processes.launched({count: "3", index: "2", **ADDRESSES[launcher], **wrong})


def test_what_is_no_launcher_is_not_joined():
    shell = {"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}  # of an interactive job
    rank = {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3"}
    found = processes.launched(shell | rank | {"SLURM_STEP_NUM_TASKS": "2"})  # mpirun within it
    assert (found.launcher, found.count, found.index) == ("Open MPI", 4, 3)
    assert processes.launched(shell) == processes.ALONE
    assert processes.launched({"WORLD_SIZE": "2", "RANK": "0"}) == processes.ALONE
    count, index = VARIABLES["Keras"]
    for address in ("", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536"):
        e = {count: "2", index: "0", "KERAS_DISTRIBUTION_JOB_ADDRESSES": address}
        with pytest.raises(InputError, match=f"HOST:PORT of process 0, found '{address}'"):
            processes.launched(e)
    with pytest.raises(InputError, match=f"{count} of Keras .*, found none"):
        processes.launched({index: "0"})  # it would train the same run as the others
    with pytest.raises(InputError, match=f"expected {count} to be 1 or more, found 0"):
        processes.launched({count: "0", index: "0"})


def test_a_port_at_which_another_program_listens_is_refused():
    pytest.importorskip("jax")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        address = f"127.0.0.1:{s.getsockname()[1]}"
        with pytest.raises(CharlmError, match=f"expected a free port at {address}, found"):
            processes.Processes(2, 0, address, launcher="Keras").join(lambda line: None)


def test_a_process_that_waits_for_long_says_for_whom(here, monkeypatch, capfd):
    pytest.importorskip("jax")
    import jax

    monkeypatch.setattr(processes, "PATIENCE", 0.01)
    monkeypatch.setattr(jax.distributed, "initialize", lambda *_, **more: time.sleep(0.3))
    for index, said in ((1, "process 1 of 2 is still waiting for process 0 at a:1\n"), (0, "")):
        processes.Processes(2, index, "a:1", launcher="Keras").join(lambda line: None)
        assert capfd.readouterr().err == said


def test_each_gpu_of_a_machine_has_one_process_of_torchrun():
    e = {"WORLD_SIZE": "4", "RANK": "3", **ADDRESSES["torchrun"]}
    assert processes.launched(e).local_device is None
    e |= {"LOCAL_WORLD_SIZE": "2", "LOCAL_RANK": "1"}
    assert processes.launched(e).local_device == 1


@pytest.mark.parametrize("launcher", VARIABLES)
def test_a_process_that_sees_one_gpu_uses_it(launcher):
    count, index = VARIABLES[launcher]
    e = {count: "3", index: "2", "LOCAL_RANK": "2", "LOCAL_WORLD_SIZE": "3", **ADDRESSES[launcher]}
    chosen = processes.launched(e).local_device  # None: JAX chooses by the number on the machine
    assert chosen == (2 if launcher == "torchrun" else None)
    for name in processes.VISIBLE:
        for seen in ("0", "3", "GPU-8a56", " 1 "):
            assert processes.launched(e | {name: seen}).local_device == 0
        for seen in ("0,1", "", "-1"):
            assert processes.launched(e | {name: seen}).local_device == chosen
