"""What this process computes on, in words."""

import os
import shutil

import keras


def describe() -> str:
    """For example "tensorflow on cpu (2 cores)" or "jax on gpu:0"."""
    return f"{keras.backend.backend()} on {', '.join(_gpus()) or f'cpu ({_cores()} cores)'}"


def hint() -> str | None:
    """What to do where the machine has a GPU that the backend cannot use, else None."""
    if keras.backend.backend() != "tensorflow" or _gpus():
        return None
    if not (os.path.exists("/dev/nvidia0") or shutil.which("nvidia-smi")):
        return None
    return (
        "this machine seems to have an NVIDIA GPU that TensorFlow cannot use; "
        "pip install -e '.[gpu]' in charlm's folder brings GPU support"
    )


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
