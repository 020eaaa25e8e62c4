"""Law: a run on several devices of JAX is the run on one, with one sum over devices in a step."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
SOME = ["two layers", "gru, reset before in loops"]
ALL = [*SOME, "contexts", "lstm", "gru", "gru, reset before", "rnn", "coupled"]
ALL += ["lstm in loops", "gru in loops", "rnn in loops", "coupled in loops", "keras-lstm"]
COLLECTIVES = re.compile(r" (all-reduce|all-gather|all-to-all|collective|reduce-scatter)[a-z-]*\(")


def printed(argv, devices, dump=None, optimized=False):
    """Returns the lines that a Python program prints where JAX has so many devices."""
    pytest.importorskip("jax")
    options = [f"--xla_force_host_platform_device_count={devices}"]
    changed = {"KERAS_BACKEND": "jax"}
    changed |= {} if optimized else {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}  # compiles faster
    if dump:
        options += [f"--xla_dump_to={dump}", "--xla_dump_hlo_as_text"]
    done = subprocess.run(
        [sys.executable, *argv],
        cwd=ROOT,
        env=os.environ | changed | {"XLA_FLAGS": " ".join(options)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


def run(out, devices, *cases, dump=None, optimized=False):
    printed(["-m", "tests.training.on_devices", out, *cases], devices, dump, optimized)
    return json.loads(Path(f"{out}.json").read_text()), np.load(f"{out}.npz")


def assert_the_same(one, several, devices):
    (a, arrays), (b, others) = one, several
    assert list(a) == list(b)
    for case, found in b.items():
        assert found["devices"] == devices
        for name in ("losses", "history"):
            np.testing.assert_allclose(found[name], a[case][name], atol=1e-6, err_msg=case)
    for name, values in others.items():
        np.testing.assert_allclose(values, arrays[name], atol=2e-5, err_msg=name)


@pytest.mark.full
@pytest.mark.parametrize(
    ("devices", "cases", "optimized"),
    [
        (4, SOME, False),
        pytest.param(4, SOME, True, marks=pytest.mark.soak),
        *(pytest.param(n, ALL, False, marks=pytest.mark.soak) for n in (2, 4)),
    ],
    ids=["four, some", "four, some, optimized", "two", "four"],
)
def test_several_devices_are_one(tmp_path, devices, cases, optimized):
    one = run(tmp_path / "one", 1, *cases, optimized=optimized)
    several = run(tmp_path / "several", devices, *cases, dump=tmp_path / "hlo", optimized=optimized)
    assert_the_same(one, several, devices)
    ours = [case for case in cases if not case.startswith("keras")]  # which sums in its loop
    steps = sorted((tmp_path / "hlo").glob("*jit_train_step*after_optimizations.txt"))
    assert len(steps) == len(cases)
    for path in steps[: len(ours)]:
        assert COLLECTIVES.findall(path.read_text()) == ["all-reduce"], path.name


@pytest.mark.full
def test_streams_that_do_not_divide_leave_devices_idle(tmp_path):
    program = """if True:
        from tests.training import on_devices
        training, _ = on_devices.trained("lstm", last=0)
        print(training.devices, training.idle_devices())
        from pathlib import Path
        from charlm.api.headline import headline
        print([x for x in headline(training, Path("x"), None).split("; ") if "devices" in x])
        print(on_devices.Training(training.config, training.text, None, False).idle_devices())
        from charlm.training.distribution import over_devices
        for streams, processes in ((6, 2), (8, 1)):
            try:
                print(over_devices(streams, processes).num_model_replicas)
            except Exception as error:
                print(error)
        import sys
        print("tensorflow" in sys.modules)  # which takes seconds to load, and is not used
    """
    found = printed(["-c", program], 3)
    assert found == [
        "2 NOTE: the 8 streams are divided among 2 of 3 devices; with a --batch-size that is a "
        "multiple of 3, all are used",
        "['2 devices, 4 streams each']",
        "None",
        "expected the same number of devices in each of 2 processes, found 3, 0",
        "2",
        "False",
    ]


def test_training_refuses_a_batch_of_another_size():
    from charlm.config import ModelConfig
    from charlm.training import network
    from charlm.training.streams import Streams

    streams = Streams(network.build(ModelConfig(units=3), 5), 4, 2)
    with pytest.raises(ValueError, match=r"a batch of 4 streams, .* Received: a batch of 3"):
        streams([np.zeros((3, 6), "int32"), np.ones(3, "float32")], training=True)
    assert streams([np.zeros((3, 6), "int32"), np.ones(3, "float32")]).shape == (3, 6, 5)
    assert streams([np.zeros((4, 6), "int32"), np.ones(4, "float32")], training=True) is not None
