"""The callbacks of a training run, made from its settings."""

from pathlib import Path
from typing import TYPE_CHECKING

from charlm.runs import run_folder

if TYPE_CHECKING:  # they load Keras
    from keras.callbacks import Callback

    from callbacks import SaveWeights, ShowProgress, StopOnSignal
    from charlm.api.run_training import Reporting
    from charlm.training.trainer import Training


def callbacks_of(
    training: "Training", folder: Path, reporting: "Reporting"
) -> tuple["StopOnSignal", "SaveWeights", "ShowProgress", list["Callback"]]:
    """Makes a training's callbacks, in the order in which an epoch is measured, reported and saved.

    Args:
        training: the run.
        folder: its folder.
        reporting: options of the reports. A process that does not write reports nothing.

    Returns:
        Those that the caller ends or asks, and all of them.
    """
    import keras

    import callbacks as c

    config, progress, say = training.config, training.progress, reporting.say
    windows, processes = training.windows().steps, reporting.processes
    if reporting.record_cells:  # as in the process that records
        training.streams.steps_per_execution = 1
    save = c.SaveWeights(
        training.snapshot, folder, progress, windows, config.fit.save_every, say, processes.writes
    )
    is_to_stop = processes.is_to_stop if processes.count > 1 else None
    stop = c.StopOnSignal(save.save, windows, config.fit.epochs, progress, say, is_to_stop)
    per_token, held_out = training.per_token, len(training.held_out)
    characters = config.data.batch_size * config.data.window * per_token.training
    shown = c.ShowProgress(progress, config.fit.epochs, windows, characters, held_out, per_token)
    stop_early = c.StopEarly(progress, config.fit.patience, say, config.fit.epochs)
    found = [c.StopOnNaN(progress), c.TrackProgress(progress, characters, windows, per_token)]
    if not processes.writes:
        return stop, save, shown, [*found, save, stop_early, stop]
    found += [
        *(_recorders(training, folder, reporting) if reporting.record_cells else ()),
        shown,
        c.ReportStart(reporting.timeline, say),
        c.ReportEpoch(progress, config.fit.epochs, say),
        # before `save`, because a weights file stores the length of samples.txt
        c.SampleText(
            training.sample, config.sample, config.data.seed, folder, say, config.fit.epochs
        ),
        save,
        stop_early,
        stop,
    ]
    if reporting.tensorboard:
        found.append(keras.callbacks.TensorBoard(str(run_folder.logs_folder(folder))))
    return stop, save, shown, found


def _recorders(training, folder, reporting):
    from charlm.api.recorders import recorders

    return recorders(training, folder, reporting.say, reporting.tensorboard)
