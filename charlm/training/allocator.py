"""Chooses TensorFlow's memory allocator on a CPU, before TensorFlow is loaded."""

import contextlib
from collections.abc import MutableMapping
from pathlib import Path

VARIABLE = "TF_CPU_ALLOCATOR_USE_BFC"
# Processors on which TensorFlow 2.21 uses oneDNN by default, by their flags in /proc/cpuinfo.
ONEDNN = {"avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile", "amx_int8", "amx_bf16"}


def ask_for_reuse(environment: MutableMapping[str, str]) -> None:
    """Asks for the allocator that reuses memory, unless the variable is set or not needed.

    By default TensorFlow takes the system's allocator, which returns large arrays to the system
    after every step and pays for fresh pages in the next. With oneDNN TensorFlow's allocator
    already reuses memory, and the variable makes no difference (docs/performance.md).
    """
    asked = environment.get("TF_ENABLE_ONEDNN_OPTS", "").lower()
    if asked in ("0", "false") or (asked not in ("1", "true") and not uses_onednn(_flags())):
        environment.setdefault(VARIABLE, "true")


def uses_onednn(flags: set[str]) -> bool:
    """Whether TensorFlow uses oneDNN by default on a processor with these flags."""
    return bool(ONEDNN & flags)


def _flags():
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("flags"):
                return set(line.split(":", 1)[1].split())
    return set()
