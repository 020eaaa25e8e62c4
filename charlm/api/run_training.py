"""Trains a run from its settings and its text, for `charlm train` and `charlm.fit`."""

import importlib.util
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from charlm import cli
from charlm.api.headline import headline
from charlm.api.run_callbacks import callbacks_of
from charlm.config import Config
from charlm.errors import CharlmError, InputError, Stopped, command_line, flag
from charlm.runs import checkpoint, lookup, run_folder
from charlm.runs.checkpoint import Checkpoint
from charlm.runs.progress import Progress
from charlm.text import tokenizing, units
from charlm.text.encoded_text import Text
from charlm.text.vocab import Vocab
from charlm.text.windows import check_held_out, check_training
from charlm.training import backend, resume
from charlm.training.processes import ALONE, Processes
from charlm.training.startup_timer import Timeline
from corpora.normalizing import normalized

if TYPE_CHECKING:
    from charlm.training.trainer import Training  # which loads Keras

TOKENIZERS = "tokenizers"
BACKENDS = "tensorflow", "jax", "torch"


@dataclass
class Reporting:
    """Options of a training that are not stored in its run: reports and devices."""

    say: Callable[[str], object] = cli.say
    """Prints a line."""
    timeline: Timeline = field(default_factory=Timeline)
    """Measures the phases before the first step."""
    tensorboard: bool = False
    """Whether to write TensorBoard logs into the run's folder."""
    record_cells: bool = False
    """Whether to record the cells, and the sizes of updates, while it trains."""
    distribute: str | None = None
    """"auto" or "none": whether to divide the streams among devices; None for "auto"."""
    processes: Processes = ALONE
    """The processes that train the run together."""

    def resume(self, folder: Path) -> str:
        """Returns the command that resumes a run with the same reports."""
        flags = [flag(x) for x in ("tensorboard", "record_cells") if getattr(self, x)]
        flags += [flag("distribute"), self.distribute] if self.distribute else []
        return command_line("train", "--resume", folder, *flags)


def prepare(
    config: Config,
    text: Text,
    reporting: Reporting,
    saved: Checkpoint | None = None,
    first: Sequence[str] = (),
) -> "Training":
    """Loads the backend and builds a run's model, data and optimizer; writes nothing.

    Args:
        config: every setting.
        text: to train on.
        reporting: options of the reports.
        saved: a checkpoint to continue from.
        first: lines to print before the backend is loaded, which takes seconds.

    Returns:
        A `charlm.training.trainer.Training`.

    Raises:
        InputError: the backend or TensorBoard is missing, a prompt has unknown characters, or the
            text does not fit.
    """
    reporting.timeline.done("corpus")
    _check_backend(name := backend.chosen())
    if reporting.distribute == "auto" and name != "jax":
        raise InputError(f"expected KERAS_BACKEND=jax for --distribute auto, found {name}")
    if saved:
        resume.check_same_text(saved, text)
        _note_version(saved)
        text = text.translated(saved.vocab)
    what = "characters" if config.data.tokens == units.CHARACTERS else "tokens"
    check_training(len(text.training), config.data.batch_size, config.data.window, what)
    check_held_out(text.held_out_lengths, what)
    checkpoint.check_size_limits(config, (saved or text).vocab, text.known_contexts)
    _check_prompts(config, (saved or text).vocab)
    if reporting.tensorboard:
        _require_tensorboard()
    if reporting.record_cells:
        (saved or text).vocab.require_characters("record cells")
    for line in first:
        reporting.say(line)
    with cli.quiet_stderr():
        import keras  # noqa: F401 - and its backend, which takes seconds

        from charlm.training.trainer import Training

        reporting.timeline.done("import")
    reporting.processes.join(reporting.say)
    with cli.quiet_stderr("building the network"):
        distribute, processes = reporting.distribute != "none", reporting.processes
        training = Training(config, text, saved, distribute, processes)
        reporting.timeline.done("build")
    cli.note_overlap(text)
    if idle := training.idle_devices():
        cli.note(idle)
    return training


def train(
    training: "Training", folder: Path, reporting: Reporting, preset: str | None = None
) -> None:
    """Trains to the end, saving and reporting. The caller holds the folder's lock.

    Args:
        training: from `prepare`.
        folder: the run's.
        preset: the name of the preset that chose the sizes, for hints.

    Raises:
        NonFiniteLossError: the loss is NaN, infinite or has exploded.
        Stopped: SIGINT or SIGTERM; the run is saved.
        OSError: the end of the run could not be saved.
    """
    say = reporting.say
    say(headline(training, folder, preset))
    if not reporting.record_cells and os.path.lexists(folder / run_folder.TRAINING_CELLS):
        cli.note(
            "NOTE: the cells are not recorded from here on; give --record-cells to record them"
        )
    stop, save, shown, callbacks = callbacks_of(training, folder, reporting)
    try:
        training.fit(callbacks)
    except Stopped as stopped:
        how = ", NOT saved; from the last save," if save.failure else " and saved;"
        again = reporting.resume(folder)
        say(f"stopped by {stopped}{how} resume with: {again}")
        stopped.add_note(f"resume with: {again}")
        raise
    except (RuntimeError, ValueError) as error:
        if reporting.processes.count == 1:
            raise
        raise CharlmError(
            "a step failed, or another process has ended; the files saved before stay as they "
            f"are; start all again, with --resume {folder} or --continue ({error})"
        ) from error
    finally:
        shown.close()
        stop.restore()
    p, curve = training.progress, ""
    with reporting.processes.together():  # and last, because a process waits at its end
        if save.failure:
            raise _unsaved(folder, save.failure, reporting)
        if reporting.processes.writes and draw_curve(p, folder, say):
            curve = f"curve in {folder / run_folder.CURVE}; "
    best = p.history[p.best_epoch - 1]["val_bpc"]
    of_tunes = training.config.data.abc_fields is not None
    kind, command = ("tunes", "tunes") if of_tunes else ("text", "sample")
    say(
        f"done: best held-out {best:.4f} bits/char in epoch {p.best_epoch}; {curve}"
        f"write {kind} with: {command_line(command, folder)}"
    )


def draw_curve(progress: Progress, folder: Path, say: Callable[[str], object]) -> bool:
    """Draws the losses by epoch into the run's folder; returns whether that worked."""
    from charlm.plots import loss_curve, try_draw

    if not progress.history:
        return False
    path = folder / run_folder.CURVE
    picture = try_draw(lambda: loss_curve.draw(progress.history, progress.steps), path, say)
    return picture is not None and run_folder.try_write(folder, run_folder.CURVE, picture, say)


def _check_backend(name: str) -> None:
    if name not in BACKENDS or importlib.util.find_spec(name) is None:
        missing = "which is not installed" if name in BACKENDS else "which is unknown"
        raise InputError(f"expected KERAS_BACKEND {', '.join(BACKENDS)}, found {name!r}, {missing}")


def _check_prompts(config: Config, vocab: Vocab) -> None:
    for prompt in config.sample.sample_prompts:
        try:
            vocab.encode(normalized(prompt, config.data.normalize))
        except InputError as error:
            raise InputError(f"--sample-prompts: {error}") from None


def _note_version(saved: Checkpoint) -> None:
    before = saved.versions.get(TOKENIZERS)
    if before and before != (now := tokenizing.version()):
        cli.note(
            f"NOTE: the run's text was split into tokens by {TOKENIZERS} {before}, this is {now}; "
            "if it splits the text differently, the resumed run differs from an uninterrupted one"
        )


def _require_tensorboard() -> None:
    if importlib.util.find_spec("tensorboard") is None:
        raise InputError(
            "cannot write TensorBoard logs: the package tensorboard is not installed; "
            "pip install -e '.[tensorboard]' in charlm's folder installs it"
        )


def _unsaved(folder, failure, reporting):
    message = f"cannot save the end of the run in {folder}: {failure}"
    if lookup.is_run(folder):
        again = reporting.resume(folder)
        message += f"; once that is fixed, {again} resumes from the last save"
    return OSError(message)
