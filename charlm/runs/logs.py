"""The files of a run that people read: run.json, its CSV files and samples.txt.

The weights file stores the length of samples.txt, so that a resumed run can cut it. samples.txt is
changed in place, so it must be a regular file (`atomic.own_file`).
"""

import contextlib
import csv
import io
import json
import math
import os
from collections.abc import Callable, Collection
from pathlib import Path

from charlm import systems
from charlm.runs import atomic
from charlm.runs.checkpoint import Checkpoint
from charlm.runs.progress import Progress

STEP_COLUMNS = {
    "epochs": float,  # passes over the training text
    "step": int,  # updates in the epoch
    "bpc": float,  # mean since the row before
    "epoch_bpc": float,  # mean of the epoch so far
}
UPDATE_COLUMNS = {
    "epochs": float,
    "step": int,
    "weight": str,
    "gradient_norm": float,  # Euclidean, as Adam gets it: after clipping
    "weight_norm": float,  # after the update
    "update_ratio": float,  # norm of the update / norm of the weight before it
}
MAX_BYTES, MAX_ROWS = 2**24, 200_000  # of steps.csv and updates.csv


def summary(saved: Checkpoint) -> bytes:
    """Returns run.json: everything in a checkpoint but its arrays."""
    text = json.dumps(saved.meta(), indent=1, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace")


def table(history: list[dict]) -> bytes:
    """Returns history.csv, in the format of Keras's CSVLogger, which counts epochs from 0."""
    text = io.StringIO()
    columns = ["epoch", *sorted(set(history[0]) - {"epoch"})]
    rows = csv.DictWriter(text, columns, restval="NA", extrasaction="ignore", lineterminator="\n")
    rows.writeheader()
    for row in history:
        rows.writerow(row | {"epoch": row["epoch"] - 1})
    return text.getvalue().encode()


def rows_table(rows: list[dict], columns: Collection[str]) -> bytes:
    """Returns steps.csv or updates.csv."""
    text = io.StringIO()
    writer: csv.DictWriter[str] = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def read_rows(path: Path, columns: dict[str, type], progress: Progress) -> list[dict]:
    """Reads the rows of steps.csv or updates.csv up to the progress of a saved run.

    Returns:
        The rows up to the first that is damaged; none if the file is missing or too large.
    """
    rows: list[dict] = []
    try:
        with atomic.own_file(path, os.O_RDONLY) as file:
            if os.fstat(file).st_size > MAX_BYTES:
                return []
            text = os.read(file, MAX_BYTES).decode()
        for row in csv.DictReader(io.StringIO(text)):
            found = {name: kind(row[name]) for name, kind in columns.items()}
            if not all(math.isfinite(x) for x in found.values() if not isinstance(x, str)):
                break
            rows.append(found)
            if len(rows) > MAX_ROWS:
                return []
    except (OSError, ValueError, TypeError, KeyError, csv.Error):
        pass  # the rows before the damage are kept
    p = progress
    return [
        row
        for row in rows
        if row["epochs"] <= p.epoch or (row["epochs"] < p.epoch + 1 and row["step"] <= p.step)
    ]


def add_samples(
    path: Path, text: str, say: Callable[[str], object], like: Path | None = None
) -> None:
    """Appends a text to samples.txt; reports a failure instead of raising it.

    Args:
        like: a file whose permissions a new file gets, if it exists.
    """
    data = text.encode("utf-8", "backslashreplace")
    try:
        with atomic.own_file(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, like) as file:
            atomic.write_all(file, data)
    except OSError as error:
        say(f"samples not kept in {path} ({error.strerror}); training continues")


def samples_size(path: Path) -> int | None:
    """Forces the file and its name to disk; returns its size in bytes, None if that failed."""
    try:
        with atomic.own_file(path, systems.TO_SYNC) as file:
            os.fsync(file)
            found = os.fstat(file).st_size
        atomic.sync_folder(path.parent)
        return found
    except FileNotFoundError:
        return 0
    except OSError:
        return None


def cut_samples(path: Path, size: int, say: Callable[[str], object]) -> None:
    """Cuts the file to `size` bytes; reports a file that is shorter or cannot be cut."""
    found = 0
    try:
        with contextlib.suppress(FileNotFoundError), atomic.own_file(path, os.O_WRONLY) as file:
            found = os.fstat(file).st_size
            if found > size:
                os.ftruncate(file, size)
    except OSError as error:
        say(f"NOTE: {path} was not cut to the samples of the saved run ({error.strerror})")
    else:
        if found < size:
            say(
                f"NOTE: {path} has {found:,} bytes of the {size:,} that it had when the run was "
                "saved; the last samples in it are lost"
            )
