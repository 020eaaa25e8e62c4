"""Law: the layers and the model do the same on every Keras backend that is installed."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

ROOT = Path(__file__).parent.parent  # --deselect takes paths relative to it
RERUN = [
    "tests/layers",
    "tests/training/test_network.py",
    "tests/training/test_exact.py",
    "tests/training/test_recorders.py::test_snapshots_are_the_network_s_values_at_their_times",
]
RERUN += [  # the others of this file are of NumPy alone, or stand in `layers`, too
    f"tests/reference/test_cells.py::{name}"
    for name in (
        "test_model_computes_what_the_numpy_network_computes",
        "test_activations_are_keras_own_and_slopes_the_numeric_ones",
        "test_first_weights_have_the_paths_and_shapes_of_the_model",
    )
]


SLOW_ON_JAX = [  # which compiles each shape of each test: `soak` runs these
    "tests/layers/test_drop_in.py",
    "tests/layers/test_half_precision.py",
    "tests/layers/test_inference.py",
    "tests/layers/test_subclasses.py",
    "tests/layers/test_contract.py",
    "tests/layers/test_recurrent.py::test_dtype_policies_as_keras_own",
    "tests/layers/test_contexts.py::test_a_context_is_a_row_more",
    "tests/layers/test_contexts.py::test_cells_wrappers_and_files_take_contexts",
    "tests/training/test_exact.py",
    "tests/training/test_recorders.py",
    "tests/layers/test_derivatives.py::test_every_transformation_of_jax",
    "tests/layers/test_recurrent.py::test_ids_equal_one_hot_vectors",
    "tests/layers/test_derivatives.py::test_forward_mode_of_ids",
    "tests/layers/test_derivatives.py::test_a_gradient_penalty_reaches_every_weight",
    "tests/layers/test_derivatives.py::test_a_penalty_where_one_input_is_computed_from_another",
]


@pytest.mark.full
@pytest.mark.parametrize("backend", ["jax", "torch", "tensorflow"])
def test_passes_on_backend(backend):
    """The usual rows, those of the LSTM; on JAX without what is slow there."""
    if backend == keras.backend.backend():
        pytest.skip("this very run")
    left_out = [f"--deselect={name}" for name in SLOW_ON_JAX if backend == "jax"]
    if backend != "tensorflow":
        left_out += ["-k", "not gru"]
    run_on(backend, "not soak and not full", left_out)


@pytest.mark.soak
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_all_passes_on_backend(backend):
    run_on(backend, "not soak")


def run_on(backend, which, options=()):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *RERUN, "-m", which, *options, "--no-header", "-n", "0"],
        cwd=ROOT,
        # JAX compiles each shape of each test: with little optimizing, in a fifth of the time
        env=os.environ | {"KERAS_BACKEND": backend, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
