"""What this process computes on, in words."""

import os
import shutil

import keras

from charlm import presets


def describe() -> str:
    """For example "tensorflow on cpu (2 cores)" or "jax on gpu:0"."""
    return f"{keras.backend.backend()} on {', '.join(_gpus()) or f'cpu ({_cores()} cores)'}"


def hint(preset: str | None = None) -> str | None:
    """What to do where a GPU lies idle, or a run is of a size for another device, else None.

    Args:
        preset: what the run begins with, where that was chosen.
    """
    found = _gpus()
    signs = os.path.exists("/dev/nvidia0") or shutil.which("nvidia-smi")
    if keras.backend.backend() == "tensorflow" and signs and not found:
        return (
            "this machine seems to have an NVIDIA GPU that TensorFlow cannot use; "
            "pip install -e '.[gpu]' in charlm's folder brings GPU support"
        )
    if preset and found and not preset.endswith(presets.GPU):
        return f"--preset {preset}{presets.GPU} was chosen for a GPU, under KERAS_BACKEND=jax"
    if preset and not found and preset.endswith(presets.GPU):
        return (
            f"--preset {preset} was chosen for a GPU, and here is none; for a CPU there is "
            f"--preset {preset.removesuffix(presets.GPU)}"
        )
    return None


def _gpus():
    if keras.backend.backend() == "torch":  # keras.distribution does not know it
        import torch

        return [f"cuda:{k}" for k in range(torch.cuda.device_count())]
    return [d for d in keras.distribution.list_devices() if not d.startswith("cpu")]


def _cores():
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count()
