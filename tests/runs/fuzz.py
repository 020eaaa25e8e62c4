"""Damages files where the HDF5 library and `zipfile` look for structure, and has charlm read them.

    python -m tests.runs.fuzz --count 50000 --seed 0

Each file must be read or refused in one line, in under `SECONDS` of the processor and `MEMORY`
beside the file. The listing process is forked instead of started anew, which makes a file take
milliseconds; one file in `WHOLE` goes the whole way. The last figures are in docs/reliability.md.
"""

import argparse
import collections
import contextlib
import functools
import io
import os
import re
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np

from charlm.benchmarks.worker import peak_memory
from charlm.errors import InputError
from charlm.interop import keras_files
from charlm.runs import checkpoint, file_format, hdf5_child, safe_hdf5

SECONDS, MEMORY = 4, 64 * 2**20
WHOLE = 500
SIGNATURES = rb"TREE|HEAP|SNOD|GCOL|PK\x01\x02|PK\x03\x04|PK\x05\x06"
DATA = Path(__file__).parent / "data"
KERAS = """if True:
    import keras
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((None, 7)), keras.layers.LSTM(4, return_sequences=True),
                              keras.layers.LSTM(4, return_sequences=True), keras.layers.Dense(7)])
    for name in ("keras-3.weights.h5", "keras-3.keras", "keras-2.h5"):
        path = os.path.join(sys.argv[1], name)
        model.save_weights(path) if name.startswith("keras-3.w") else model.save(path)
"""


@functools.cache
def bases() -> dict[str, bytes]:
    """A whole file of each format that is read."""
    with tempfile.TemporaryDirectory() as folder:
        run = [sys.executable, "-c", f"import os, sys\n{KERAS}", folder]
        subprocess.run(run, check=True, capture_output=True)
        found = {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}
    for path in sorted(DATA.glob("format-*.weights.h5")):
        found[f"own-{path.name}"] = path.read_bytes()
    return found


class Damage:
    """Damages one file, in ways that aim at its structures.

    Args:
        data: the whole file. others: of which pieces are spliced in.
    """

    def __init__(self, data: bytes, others: list[bytes], rng: np.random.Generator):
        self.data, self.others, self.rng = data, others, rng
        self.structures = [m.start() for m in re.finditer(SIGNATURES, data)]
        values = np.frombuffer(data[: len(data) // 8 * 8], "<u8")
        inside = np.flatnonzero((values > 0) & (values < len(data)))
        self.pointers = 8 * inside  # addresses, and sizes, which look alike
        self.marks = [m.start() for m in re.finditer(rb'[\d"{}\[\],:](?=[ -~]{8})', data)]
        self.targets = sorted({int(values[k]) for k in inside} | set(self.structures))

    def __call__(self) -> bytes:
        """A damaged copy."""
        found = bytearray(self.data)
        kinds = [self.flip, self.splice, self.to_self, self.to_other, self.bound, self.text]
        for _ in range(self.rng.integers(1, 4)):
            kinds[self.rng.integers(len(kinds))](found)
        return bytes(found)

    def place(self, size):
        """Somewhere in the first 600 bytes of a structure, or at any pointer."""
        if self.rng.random() < 0.3:
            return int(self.rng.choice(self.pointers))
        at = int(self.rng.choice(self.structures)) + int(self.rng.integers(4, 600))
        return min(at // size * size, len(self.data) - size)

    def flip(self, found):
        found[self.place(1)] ^= 1 << int(self.rng.integers(8))

    def text(self, found):
        """In JSON and names: a digit or a mark is overwritten by others."""
        if self.marks:
            at = int(self.rng.choice(self.marks))
            size = int(self.rng.integers(1, 5))
            found[at : at + size] = bytes(self.rng.choice(list(b'0123456789"{}[],:-e'), size))

    def splice(self, found):
        other = self.others[self.rng.integers(len(self.others))]
        size = int(self.rng.integers(1, 65))
        begin, at = int(self.rng.integers(len(other) - size)), self.place(8)
        piece = other[begin : begin + size][: len(found) - at]
        found[at : at + len(piece)] = piece

    def to_self(self, found):
        at = int(self.rng.choice(self.pointers))
        before = [s for s in self.structures if s <= at] or [0]
        struct.pack_into("<Q", found, at, before[-1])

    def to_other(self, found):
        target = int(self.rng.choice(self.targets))
        struct.pack_into("<Q", found, int(self.rng.choice(self.pointers)), target)

    def bound(self, found):
        size = int(self.rng.choice([1, 2, 4, 8]))
        most = 2 ** (8 * size) - 1
        values = [0, 1, 2, most, most - 1, most // 2, most // 2 + 1, len(found), len(found) + 1]
        value = values[self.rng.integers(len(values))] & most
        at = self.place(size)
        found[at : at + size] = value.to_bytes(size, "little")


def parts(name: str, data: bytes) -> list[tuple[str, bytes]]:
    """What is damaged of a file: it, and what a `.keras` file has within itself."""
    found = [(name, data)]
    if name.endswith(".keras"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            found.append((f"{name}/model.weights.h5", archive.read("model.weights.h5")))
    return found


def finished(name: str, whole: bytes, part: bytes, damaged: bytes) -> bytes:
    """The file with its damaged part, and the right checksums."""
    if name.endswith("/model.weights.h5"):
        return whole.replace(part, damaged).replace(
            struct.pack("<I", zlib.crc32(part)), struct.pack("<I", zlib.crc32(damaged))
        )
    if name.startswith("own-") and (file_format.MARK in damaged or file_format.OLD_MARK in damaged):
        return file_format.with_checksum(damaged)
    return damaged


class Costs:
    """The listing process, forked, and what it cost."""

    def __init__(self):
        self.begin()

    def begin(self):
        self.seconds, self.memory, self.code = 0.0, 0, 0

    def run_child(self, data, most):
        receiver, sender = os.pipe()
        child = os.fork()
        if not child:
            try:
                os.close(receiver)
                hdf5_child.limit()
                with open(sender, "wb") as file:
                    file.write(hdf5_child.answer(data, most))
                os._exit(0)
            finally:
                os._exit(1)
        os.close(sender)
        with open(receiver, "rb") as file:
            text = file.read()
        _, status, used = os.wait4(child, 0)
        self.code = os.waitstatus_to_exitcode(status)
        self.seconds = used.ru_utime + used.ru_stime
        self.memory = 1024 * used.ru_maxrss - BASELINE  # a forked process begins anew
        return self.code, text


BASELINE = peak_memory()


def outcome(path: Path, data: bytes, own: bool) -> str:
    """How reading a file ends, in a word or two."""
    path.write_bytes(data)
    try:
        checkpoint.read(path) if own else keras_files.read(path)
    except InputError as error:
        if "\n" in str(error) or "exit code" in str(error):
            raise AssertionError(f"expected one line of what is wrong: {error}") from error
        known = {"did not finish": "endless", "crashed": "crash", "MB of memory": "memory"}
        return next((kind for text, kind in known.items() if text in str(error)), "refused")
    return "read"


def fuzz(count: int, seed: int) -> collections.Counter:
    """Reads `count` damaged files.

    Returns:
        How many ended in each way.

    Raises:
        AssertionError: one was neither read nor refused, or cost too much.
    """
    rng, whole = np.random.default_rng(seed), bases()
    others = list(whole.values())
    damages = [
        (name, base, data, part, Damage(part, others, rng))
        for base, data in whole.items()
        for name, part in parts(base, data)
    ]
    for base, data in whole.items():  # what is to be damaged must be whole
        with tempfile.TemporaryDirectory() as folder:
            assert outcome(Path(folder, base), data, base.startswith("own-")) == "read", base
    costs, ends, most, real = Costs(), collections.Counter(), [0.0, 0], safe_hdf5.run_child
    with tempfile.TemporaryDirectory() as folder:
        for k in range(count):
            name, base, data, part, damage = damages[k % len(damages)]
            made = finished(name, data, part, damage())
            path = Path(folder, base)
            costs.begin()
            began, safe_hdf5.run_child = time.process_time(), costs.run_child
            end = outcome(path, made, base.startswith("own-"))
            seconds = time.process_time() - began + costs.seconds
            if not (seconds < SECONDS and costs.memory < len(made) + MEMORY):
                kept = Path(tempfile.gettempdir(), f"fuzz-{seed}-{k}-{base}")
                kept.write_bytes(made)
                raise AssertionError(f"{kept}: {seconds:.2f} s, {costs.memory} bytes")
            most = [max(most[0], seconds), max(most[1], costs.memory - len(made))]
            if k % WHOLE == 0 and end != "endless":  # which it may not be with more time
                safe_hdf5.run_child = real
                assert (outcome(path, made, base.startswith("own-")) == "read") == (end == "read")
            ends[end] += 1
            if sys.stderr.isatty():
                print(f"\r{k + 1} of {count}: {dict(ends)}", end="", file=sys.stderr)
    grown = peak_memory() - BASELINE
    assert grown < MEMORY, grown
    print(
        f"{count} files: {dict(ends)}; at most {most[0]:.2f} s of the processor, "
        f"{most[1] / 2**20:.0f} MB in the listing process and {grown / 2**20:.0f} MB in this one"
    )
    return ends


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=hdf5_child.SECONDS)
    args = parser.parse_args()
    hdf5_child.SECONDS = args.seconds
    fuzz(args.count, args.seed)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
