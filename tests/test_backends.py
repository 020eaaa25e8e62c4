"""Law: the layers and the model do the same on every Keras backend that is installed."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

HERE = Path(__file__).parent
RERUN = ["layers", "training/test_network.py", "training/test_exact.py"]
RERUN += [  # the others of this file are of NumPy alone, or stand in `layers`, too
    f"reference/test_cells.py::{name}"
    for name in (
        "test_model_computes_what_the_numpy_network_computes",
        "test_activations_are_keras_own_and_slopes_the_numeric_ones",
        "test_first_weights_have_the_paths_and_shapes_of_the_model",
    )
]


@pytest.mark.full
@pytest.mark.parametrize("backend", ["jax", "torch", "tensorflow"])
def test_passes_on_backend(backend):
    """JAX compiles each shape of each test, so here it goes through the usual cells only."""
    if backend == keras.backend.backend():
        pytest.skip("this very run")
    run_on(backend, "not soak and not full" if backend == "jax" else "not soak")


@pytest.mark.soak
def test_all_passes_on_jax():
    run_on("jax", "not soak")


def run_on(backend, which):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    rerun = [str(HERE / name) for name in RERUN]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *rerun, "-m", which, "--no-header", "-n", "0"],
        cwd=HERE.parent,
        # JAX compiles each shape of each test: with little optimizing, in a fifth of the time
        env=os.environ | {"KERAS_BACKEND": backend, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
