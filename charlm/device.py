"""What this process computes on, in words."""

import os
import shutil

import keras


def describe() -> str:
    """For example "tensorflow on cpu (2 cores)" or "jax on gpu:0"."""
    devices = keras.distribution.list_devices()
    gpus = [d for d in devices if not d.startswith("cpu")]
    return f"{keras.backend.backend()} on {', '.join(gpus) or f'cpu ({_cores()} cores)'}"


def hint() -> str | None:
    """What to do where the machine has a GPU that the backend cannot use, else None."""
    if keras.backend.backend() != "tensorflow" or keras.distribution.list_devices("gpu"):
        return None
    if not (os.path.exists("/dev/nvidia0") or shutil.which("nvidia-smi")):
        return None
    return (
        "this machine seems to have an NVIDIA GPU that TensorFlow cannot use; "
        "pip install 'charlm[gpu]' brings GPU support"
    )


def _cores():
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count()
