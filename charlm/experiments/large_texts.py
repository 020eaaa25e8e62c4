"""`python -m charlm.experiments.large_texts FOLDER`: what texts of many gigabytes cost.

Encoded texts of sizes up to a terabyte are simulated by sparse files, which take no room on the
disk, and read by 32 streams. With `--real`, a text of that size is generated, encoded and read. The
folder must be on a disk with room for twice that size; it is made, and what is made in it stays.
"""

import hashlib
import json
import os
import random
import subprocess
import sys
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

import tyro

from charlm.text import id_cache, mapped_ids, shards
from corpora.document import ENCODED

GB = 10**9
READ = """if True:
    import os, sys, time
    from pathlib import Path
    from charlm.text import shards
    from charlm.text.windows import HeldOutWindows, TrainingWindows
    from charlm.benchmarks.worker import peak_memory
    steps = int(sys.argv[2])
    before = peak_memory()
    began = time.perf_counter()
    text = shards.read(Path(sys.argv[1]))
    windows = TrainingWindows(text.training, 32, 32, seed=1)
    held_out = HeldOutWindows(text.to_measure(2_000_000))
    text.log_shares(text.vocab)
    windows[0]
    first = time.perf_counter() - began
    began = time.perf_counter()
    for k in range(1, steps):
        windows[k]
    rest = time.perf_counter() - began
    print(first, peak_memory() - before, len(os.listdir("/proc/self/fd")), rest)
"""


@dataclass(frozen=True)
class LargeTexts:
    """Sizes to measure."""

    folder: tyro.conf.Positional[Path]
    """Folder for the texts; it must not exist."""
    sizes: tuple[int, ...] = (1, 10, 100, 1000)
    """Gigabytes of simulated texts."""
    real: int = 0
    """Gigabytes of a text that is generated; 0 for none."""
    steps: int = 80_000
    """Windows of 32 streams x 32 characters that are read, one after another; about 8,000 of them
    come from the same block of each stream's file."""


def sparse(folder: Path, files: int, length: int = GB) -> None:
    """Makes an encoded text whose ids are all zeros, in sparse files.

    Args:
        folder: for the files; it must not exist.
        files: number of files.
        length: ids in each.
    """
    whole, rest = divmod(length, mapped_ids.BLOCK)
    sums = [zlib.crc32(bytes(mapped_ids.BLOCK))] * whole + [zlib.crc32(bytes(rest))] * (rest > 0)
    about = {"dtype": "|u1", "count": length, "block": mapped_ids.BLOCK, "crc32": sums, "key": ""}
    data = json.dumps(about).encode()
    digest = hashlib.sha256(data).digest()
    folder.mkdir(parents=True)
    for k in range(files):
        with open(folder / shards.name(k), "wb") as file:
            file.seek(length)
            file.write(data)
            file.write(id_cache.END.pack(digest, len(data), id_cache.MAGIC, id_cache.VERSION))
    held_out = length // 10
    index = shards.Index(
        ["a", "b"], "", "none", [length - held_out] * files, [[held_out]] * files, [""] * files, {}
    )
    (folder / ENCODED).write_bytes(index.to_bytes())


def main() -> None:
    """Prints a table."""
    args = tyro.cli(LargeTexts)
    args.folder.mkdir(parents=True)
    print("| text | files | first window, s | memory, MB | open files | windows a second |")
    print("|--:|--:|--:|--:|--:|--:|")
    for size in args.sizes:
        folder = args.folder / f"{size}"
        sparse(folder, size)
        _row(f"{size:,} GB, simulated", folder, args.steps)
    if args.real:
        _real(args.folder, args.real, args.steps)


def _row(name, folder, steps):
    argv = [sys.executable, "-c", READ, str(folder), str(steps)]
    out = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    first, memory, opened, rest = map(float, out.split())
    print(
        f"| {name} | {len(shards.read_index(folder).training):,} | {first:.2f} | "
        f"{memory / 1e6:.0f} | {opened:.0f} | {(steps - 1) / rest:,.0f} |",
        flush=True,
    )


def _real(folder, size, steps):
    """Generates a text of words drawn at random, a file for each gigabyte, and encodes it.

    Each file has pieces of a megabyte in an order of its own, so that writing takes little time.
    """
    texts, rng = folder / "texts", random.Random(1)
    texts.mkdir()
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randrange(1, 9))) for _ in range(5000)]
    pieces = [" ".join(rng.choices(words, k=180_000)) + "\n" for _ in range(50)]
    for k in range(size):
        with open(texts / f"{k:05}.txt", "w") as file:
            while file.tell() < GB:
                file.write(rng.choice(pieces))
    began = time.perf_counter()
    encoded = folder / "encoded"
    argv = [sys.executable, "-m", "charlm.encode", str(texts), "-o", str(encoded)]
    subprocess.run(argv, check=True)
    seconds = time.perf_counter() - began
    total = sum(os.path.getsize(p) for p in texts.iterdir())
    print(
        f"encoded {total / GB:.1f} GB in {seconds:.0f} s, {total / seconds / 1e6:.0f} MB a second"
    )
    _row(f"{size:,} GB, real", encoded, steps)


if __name__ == "__main__":
    main()
