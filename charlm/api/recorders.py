"""Records cells and sizes of updates during training, for `charlm train --record-cells`."""

from collections.abc import Callable
from pathlib import Path

import keras

import callbacks as c
from charlm import cli
from charlm.errors import InputError
from charlm.inside import training_cells
from charlm.inside.passage import LOOKED_AT, of_held_out
from charlm.inside.training_cells import TrainingCells
from charlm.runs import run_folder
from charlm.training.trainer import Training
from charlm.training.updates import Updates


def recorders(
    training: Training, folder: Path, say: Callable[[str], object], tensorboard: bool
) -> list[keras.callbacks.Callback]:
    """Returns the callbacks; the run's progress must be up to date before they are called.

    Args:
        training: the run; every call of Keras will do one update.
        folder: the run's.
        say: prints a line.
        tensorboard: write the sizes of updates for TensorBoard, too.
    """
    place, windows = folder / run_folder.TRAINING_CELLS, training.windows().steps
    cells = _recorded_before(training, place)

    def record(done, epochs):
        cells.add(training.to_network(), training.vocab, done, epochs)
        run_folder.try_write(folder, place.name, cells.to_bytes(), say)

    training.streams.steps_per_execution = 1
    updates = Updates(training.streams)
    write = _scalars(run_folder.logs_folder(folder)) if tensorboard else None
    return [
        c.RecordUpdates(updates.begin, updates.end, training.progress, windows, write),
        c.RecordCells(record, training.progress, windows, training_cells.times()),
    ]


def _recorded_before(training: Training, place: Path) -> TrainingCells:
    """Returns the earlier recording, which may be ahead of the run; an empty one if it is of no
    use."""
    network, p = training.to_network(), training.progress
    passage = of_held_out(training.text.held_out[:LOOKED_AT], training.vocab)
    cells = training_cells.empty(passage, network)
    if p.epoch == p.step == 0:
        return cells
    if not place.exists():
        cli.note("NOTE: the cells were not recorded so far; recording starts at this point")
        return cells
    try:
        found = training_cells.read(place, network, training.vocab)
        if found.text != cells.text:
            raise InputError(f"{place}: it is of another passage")
    except InputError as error:
        cli.note(f"NOTE: recording of the cells starts again at this point: {error}")
        return cells
    return found


def _scalars(logs):
    """Returns a function that writes rows of updates for TensorBoard."""
    import tensorflow as tf

    writer = tf.summary.create_file_writer(str(logs / "updates"))

    def write(done, rows):
        with writer.as_default(step=done):
            for row in rows:
                for name in ("gradient_norm", "weight_norm", "update_ratio"):
                    tf.summary.scalar(f"{name}/{row['weight']}", row[name])

    return write
