"""Law: code on disk is loaded without Numba, and only if it is whole and nobody else's."""

import os
import subprocess
import sys

import numpy as np
import pytest

from charlm import paths
from charlm.config import ModelConfig
from charlm.kernels import generate, object_code
from charlm.kernels.object_code import Code
from charlm.notes import note
from charlm.reference.network import Network, initial_weights
from tests.kernels.test_disk import NOT_OURS

CODE = Code("name", b"not\nmachine\ncode")


@pytest.fixture
def found(tmp_path, monkeypatch, capsys):
    """Reads code, or "compiles" it, as a new process would.

    Returns:
        How often it was compiled, and what was said.
    """
    monkeypatch.setenv(paths.VARIABLE, str(tmp_path / "cache"))

    def call():
        asked = []
        paths._said.clear()
        code = object_code.read_or_compile("f", lambda: asked.append(1) or CODE)
        assert code == CODE
        return len(asked), capsys.readouterr().err

    return call


@pytest.fixture
def kept(found, tmp_path):
    assert found() == (1, "")
    (path,) = tmp_path.rglob("*.o")
    return path


def test_what_was_compiled_is_found(found, kept):
    assert found() == (0, "")
    assert {*kept.parent.iterdir()} == {kept, kept.with_suffix(".lock")}
    assert kept.stat().st_mode & 0o777 == 0o600


def test_what_is_damaged_is_compiled_again(found, kept, rng):
    whole = kept.read_bytes()
    damages = [b"", whole[:-1], whole[:70], whole + b"x", whole.replace(b"name", b"nome")]
    for at in rng.integers(len(whole), size=20):
        damages.append(whole[:at] + bytes([whole[at] ^ 1 << rng.integers(8)]) + whole[at + 1 :])
    for damaged in damages:
        kept.write_bytes(damaged)
        assert found() == (1, "")
        assert kept.read_bytes() == whole
    kept.chmod(0)
    assert found()[1] == ""


@pytest.mark.parametrize("change", [lambda path: path.chmod(0o620), *NOT_OURS])
def test_what_others_may_have_written_is_not_read(found, kept, change):
    change(kept)
    compiled, said = found()
    assert compiled == 1
    assert str(kept) in said


def test_without_a_place_it_is_compiled_and_said(found, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv(paths.VARIABLE, str(tmp_path / "file" / "folder"))
    for _ in range(2):
        compiled, said = found()
        assert compiled == 1
        assert said.startswith("NOTE: compiled code is not kept")


def test_other_processors_and_compilers_have_files_of_their_own(found, kept, monkeypatch):
    for name in ("get_host_cpu_name", "get_process_triple"):
        with monkeypatch.context() as patch:
            patch.setattr(object_code.llvm, name, lambda: "another")
            object_code._machine.cache_clear()
            assert found()[0] == 1
    object_code._machine.cache_clear()
    assert found()[0] == 0


def test_a_process_that_finds_the_code_loads_no_numba_and_draws_the_same(rng):
    config = ModelConfig(units=5, layers=2)
    net = Network(initial_weights(config, 7, np.random.default_rng(3)), 7, config)
    states, ones = net.initial_states(3), np.ones(3)
    uniform = np.random.default_rng(4).random((20, 3))
    drawn, _ = generate.Drawing(net)(np.arange(3), states, ones, uniform)
    program = """if True:
        import sys
        import numpy as np
        from charlm.config import ModelConfig
        from charlm.kernels.generate import Drawing
        from charlm.reference.network import Network, initial_weights
        config = ModelConfig(units=5, layers=2)
        net = Network(initial_weights(config, 7, np.random.default_rng(3)), 7, config)
        uniform = np.random.default_rng(4).random((20, 3))
        drawn, _ = Drawing(net)(np.arange(3), net.initial_states(3), np.ones(3), uniform)
        print(drawn.tolist(), "numba" in sys.modules)
    """
    env = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    run = [sys.executable, "-c", program]
    done = subprocess.run(run, env=env, capture_output=True, text=True, check=True)
    assert done.stdout == f"{drawn.tolist()} False\n"


def test_compiling_is_said(rng, tmp_path, monkeypatch, capsys):
    """And what has no machine code is not compiled."""
    from charlm.kernels import draw

    monkeypatch.setenv(paths.VARIABLE, str(tmp_path))
    asked, real = [], generate._function("lstm", activation="tanh", recurrent_activation="sigmoid")
    monkeypatch.setattr(draw, "compiled", lambda *given: asked.append(given) or CODE)
    monkeypatch.setattr(generate, "Function", lambda code: real)
    monkeypatch.setattr(generate, "note", note)
    generate._function.cache_clear()
    for settings in ({}, {"cell": "gru", "reset": "before"}):
        config = ModelConfig(units=5, **settings)
        net = Network(initial_weights(config, 7, rng), 7, config)
        for _ in range(2):
            if settings:
                with pytest.raises(ImportError):
                    generate.Drawing(net)
            else:
                generate.Drawing(net)
    generate._function.cache_clear()
    assert asked == [("lstm", {"activation": "tanh", "recurrent_activation": "sigmoid"})]
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("compiling the code that draws text (cell lstm), once")


def test_a_cell_that_needs_more_work_space_is_refused(monkeypatch):
    from charlm.kernels import draw

    monkeypatch.setattr(draw, "CACHE", 2)
    with pytest.raises(ImportError, match="no machine code for lstm: its CACHE"):
        draw.compiled("lstm", {"activation": "tanh", "recurrent_activation": "sigmoid"})
