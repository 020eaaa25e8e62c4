"""Describes the device that this process computes on."""

import os
import shutil

import keras

from charlm import presets

SHOWN = 4  # names of devices
GPU_SUPPORT = {  # how to install it
    "tensorflow": "pip install -e '.[gpu]' in charlm's folder installs its GPU support",
    "jax": "pip install 'jax[cuda13]' (or cuda12) installs its GPU support",
    "torch": "PyTorch's installation page has builds with CUDA",
}


def describe() -> str:
    """Returns, for example, "tensorflow on cpu (2 cores)" or "jax on gpu:0"."""
    gpus = _gpus()
    names = f"{gpus[0]} ... {gpus[-1]}" if len(gpus) > SHOWN else ", ".join(gpus)
    return f"{keras.backend.backend()} on {names or f'cpu ({_cores()} cores)'}"


def hint(preset: str | None = None) -> str | None:
    """Returns advice if a GPU is idle or the preset is for another device, else None.

    Args:
        preset: the run's preset; None if the sizes are not a preset's.
    """
    for_gpu = preset is not None and preset.endswith(presets.GPU)
    if _gpus():
        if preset and not for_gpu:
            return f"--preset {preset}{presets.GPU} was chosen for a GPU, under KERAS_BACKEND=jax"
        return None
    said = []
    if _seems_to_have_nvidia():
        backend = keras.backend.backend()
        said.append(
            f"there seems to be an NVIDIA GPU that {backend} cannot use; {GPU_SUPPORT[backend]}"
        )
    if preset is not None and for_gpu:
        sibling = preset.removesuffix(presets.GPU)
        said.append(f"--preset {preset} was chosen for a GPU; --preset {sibling} is for a CPU")
    return "; ".join(said) or None


def _seems_to_have_nvidia():
    return os.path.exists("/dev/nvidia0") or shutil.which("nvidia-smi") is not None


def _gpus():
    if keras.backend.backend() == "torch":  # keras.distribution does not support it
        import torch

        return [f"cuda:{k}" for k in range(torch.cuda.device_count())]
    return [d for d in keras.distribution.list_devices() if not d.startswith("cpu")]


def _cores():
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count()
