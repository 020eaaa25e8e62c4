"""Which of TensorFlow's allocators on a CPU to ask for, before TensorFlow is loaded."""

import contextlib
from collections.abc import MutableMapping
from pathlib import Path

VARIABLE = "TF_CPU_ALLOCATOR_USE_BFC"
# Processors on which TensorFlow 2.21 uses oneDNN by default, by their flags in /proc/cpuinfo.
ONEDNN = {"avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile", "amx_int8", "amx_bf16"}


def ask_for_reuse(environment: MutableMapping[str, str]) -> None:
    """Asks for the allocator that uses memory again, unless the variable is set or it is needless.

    The system's allocator, which TensorFlow takes otherwise, returns large arrays after every
    step and pays for fresh pages in the next. With oneDNN TensorFlow has an allocator that reuses
    memory anyway, and the variable made no difference (docs/performance.md).
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
