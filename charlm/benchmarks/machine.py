"""Describes the machine for the reader of a benchmark."""

import contextlib
import os
import platform
import shutil
from pathlib import Path

from charlm.benchmarks.workers import cpus


def describe() -> dict:
    """Returns the processor, cores, memory and system."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "cores_allowed": len(cpus()),
        "memory": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
    }


def _processor():
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown processor"


def available_memory() -> int:
    """Returns the bytes available without swapping; the total if only that is known."""
    with contextlib.suppress(OSError), open("/proc/meminfo") as file:
        for line in file:
            if line.startswith("MemAvailable:"):
                return min(int(line.split()[1]) * 1024, _allowed())
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _allowed():
    """Returns the unused bytes of a container's memory limit."""
    folder = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError, ValueError):  # no such limit, or "max"
        limit = int((folder / "memory.max").read_text())
        return limit - int((folder / "memory.current").read_text())
    return 1 << 62


def seems_to_have_gpu() -> bool:
    """Whether there seems to be an NVIDIA or AMD GPU; a library may still be unable to use it."""
    signs = "/dev/nvidia0", "/dev/kfd"
    return any(map(os.path.exists, signs)) or shutil.which("nvidia-smi") is not None
