"""Exports one step of a network to ONNX; needs the packages of the extra "onnx"."""

from collections.abc import Callable
from pathlib import Path

from charlm.errors import InputError
from charlm.runs.checkpoint import Checkpoint


def check_installed() -> None:
    """Raises InputError if a package is missing."""
    try:
        import onnxruntime  # noqa: F401
        import tf2onnx  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"cannot write ONNX: the package {error.name} is not installed; pip install -e "
            "'.[onnx]' in charlm's folder installs it"
        ) from None


def write(saved: Checkpoint, path: Path) -> Callable[[dict], dict]:
    """Writes the step of a run to a file.

    Returns:
        The step as ONNX Runtime computes it from that file, from dictionary to dictionary: see
        `keras_model.step_model`.
    """
    import onnxruntime

    from charlm.interop import keras_model

    model = keras_model.step_model(saved.config.model, saved.weights, len(saved.vocab))
    model.export(path, format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return lambda feed: dict(zip(names, session.run(None, feed), strict=True))
