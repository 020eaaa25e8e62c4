"""`charlm train`: the main job. Settings to a run in `saved_models/`, or a run that goes on."""

import importlib.util
import os
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from charlm import cli, presets
from charlm.config import DROPOUTS, Config, DataConfig, FitConfig, ModelConfig, SampleConfig
from charlm.errors import InputError, command_line
from charlm.runs import checkpoint, run_folder
from charlm.training import warm_start
from charlm.training.startup_timer import Timeline

FIXED = ("model", "data")  # parts of the configuration that a run keeps for life,
MOVABLE = ("corpus", "encoding")  # but for where its text lies: the text's fingerprint is checked;
# and the cell's layer may be Keras's own instead of ours, or ours again


@dataclass(frozen=True)
class RunConfig:
    """The run: what it begins with, and its folder."""

    preset: Literal[tuple(presets.PRESETS)] = presets.DEFAULT
    """Settings to begin with, by how long a run may take on two cores: a minute, ten, half an hour.
    Those with -gpu keep to that on a GPU (JAX, an NVIDIA H200). Flags beside it take precedence.
    Chosen for the LSTM."""
    name: str | None = None
    """Folder in --runs-dir; by default the corpus and the time."""
    resume: str | None = None
    """Go on with a run: its folder, one of its .weights.h5 files, or "latest"."""
    init_from: str | None = None
    """Begin with the weights of a trained run, its folder, a .weights.h5 file of one, or "latest",
    on another text; the vocabulary grows by what that needs. The model is the run's, with its
    dropouts, unless they are given; all else is the preset's."""
    overwrite: bool = False
    """Replace a run of the same name."""
    runs_dir: Path = Path("saved_models")
    """Where runs are."""
    tensorboard: bool = False
    """Write TensorBoard logs into the run's folder (extra "tensorboard")."""
    debug: bool = False
    """Show the traceback of an error."""


@dataclass(frozen=True)
class Train:
    """Trains a character model, or goes on training one.

    KERAS_BACKEND=jax or torch in the environment chooses another backend than TensorFlow.
    """

    run: RunConfig = field(default_factory=RunConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    sample: SampleConfig = field(default_factory=SampleConfig)

    def config(self) -> Config:
        """What defines the run, without the folder's options."""
        return Config(self.model, self.data, self.fit, self.sample)


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return cli.run(_main, argv)


def _main(argv):
    timeline = Timeline()
    run = cli.parse_part(RunConfig, "charlm train", argv)
    if run.resume is None:
        return _start(run, argv, timeline)
    folder, path = _saved(run)
    with run_folder.locked(folder):  # before it is read: another process may be about to save
        return _resume(run, folder, path, argv, timeline)


def default(run: RunConfig) -> Train:
    """What a new run is made of where its command line says nothing else."""
    p = presets.PRESETS[run.preset]
    return Train(run, p.model, p.data, p.fit, p.sample)


def _start(run, argv, timeline):
    given, path, first = default(run), None, None
    if run.init_from is not None:
        path, first = run_folder.read_best(run.runs_dir, run.init_from)
        given = replace(given, model=first.config.model)
    args = cli.parse(Train, "charlm train", argv, given)
    if first:
        _check_same_model(args.config(), first.config, path)
    corpus = cli.corpus(args.data)
    data = replace(args.data, corpus=corpus.name)
    folder = run_folder.new(run.runs_dir, run.name, corpus.name, run.overwrite)
    config = replace(args.config(), data=data)
    text = cli.text(corpus)
    begun = first and warm_start.warm_start(first, text, data.seed)
    training = _load(config, text, run, timeline, begun)
    with run_folder.locked(folder):
        run_folder.clear(folder, run.overwrite)
        cli.say(f"preset {run.preset}: {presets.flags(config)}")
        if begun:
            cli.say(f"begins with {path}: {warm_start.describe(first, text)}")
        return _train(training, folder, args.run, timeline)


def _check_same_model(config, first, path):
    for name, (asked, trained) in config.differences(first, "model").items():
        if name not in DROPOUTS:
            flag = "--" + name.replace("_", "-")
            raise InputError(
                f"expected {flag} {trained}, with which {path} was trained, found {flag} {asked}; "
                "leave it out, --init-from brings the model"
            )


def _saved(run):
    if (run.name, run.init_from, run.overwrite, run.preset) != (None, None, False, presets.DEFAULT):
        raise InputError(
            "expected --resume alone, found --name, --init-from, --overwrite or --preset with it"
        )
    found = run_folder.find(run.runs_dir, run.resume)
    path = run_folder.weights_file(found, (run_folder.LAST, run_folder.BEST))
    if not run_folder.is_run(path.parent):
        raise InputError(
            f"expected a weights file in its run's folder, found {path}, with no run around it; "
            "put it into a folder of its own as last.weights.h5 to go on with it there"
        )
    run_folder.check_places(path.parent)
    return path.parent, path


def _read(folder, path):
    best = folder / run_folder.BEST
    try:
        return checkpoint.read(path)
    except InputError as error:
        if path.name != run_folder.LAST or not os.path.isfile(best):
            raise
        again = command_line("train", "--resume", best)
        raise InputError(f"{error}; {again} goes on from the best epoch") from error


def _resume(run, folder, path, argv, timeline):
    if run.tensorboard:
        run_folder.logs_folder(folder)
    saved = _read(folder, path)
    kept = saved.config
    unnamed = replace(kept.data, corpus=None)  # to know whether it is given
    args = cli.parse(  # what is not given is as the run has it
        Train, "charlm train", argv, Train(run, kept.model, unnamed, kept.fit, kept.sample)
    )
    config = args.config()
    if args.data.corpus is None:
        config = replace(config, data=replace(args.data, corpus=kept.data.corpus))
    # weights from elsewhere have read none of the text yet, so how it is read is still open
    for part in FIXED if saved.optimizer else ("model",):
        for name, (asked, stored) in config.differences(kept, part).items():
            if name in MOVABLE or (
                name == "cell" and config.model.cell_name == kept.model.cell_name
            ):
                continue
            flag = "--" + name.replace("_", "-")
            raise InputError(
                f"expected {flag} {stored}, with which the run began, found {flag} {asked}; "
                "it cannot change on --resume, start a new run"
            )
    changes = [
        f"{name} {old} -> {new}"
        for part in ("fit", "sample", "data", "model")
        for name, (new, old) in config.differences(kept, part).items()
    ]
    if not saved.optimizer:
        changes.append("the optimizer begins anew, for the weights came without one")
    if config.fit.decay_epochs is None and config.fit.epochs != kept.fit.epochs:
        changes.append(f"the learning rate now falls over {config.fit.epochs} epochs")
    ended = saved.progress.epoch >= config.fit.epochs
    early = 0 < config.fit.patience <= saved.progress.stale_epochs
    if ended or early:  # it may have been killed after its last save and before its end
        run_folder.rewind_logs(folder, saved, cli.say)
        _draw(saved.progress, folder)
    if ended:
        raise InputError(
            f"expected epochs left to train, found {saved.progress.epoch} of {config.fit.epochs} "
            f"done; give --epochs, for example --epochs {saved.progress.epoch + 4}"
        )
    if early:
        raise InputError(
            f"expected a run to go on with, found one that stopped early, {config.fit.patience} "
            "epochs after its best; give a larger --patience, or --patience 0"
        )
    again = command_line("train", *argv)
    text = cli.text(cli.corpus(args.data, saved, again))
    if saved.progress.step:
        where = f"epoch {saved.progress.epoch + 1}, window {saved.progress.step + 1}"
    else:
        where = f"epoch {saved.progress.epoch + 1}"
    training = _load(config, text, run, timeline, saved)
    run_folder.rewind_logs(folder, saved, cli.say)
    cli.say(f"resuming {path} at {where}; changed: {', '.join(changes) or 'nothing'}")
    return _train(training, folder, run, timeline)


def _check_prompts(config, vocab):
    for prompt in config.sample.sample_prompts:
        try:
            vocab.encode(prompt)
        except InputError as error:
            raise InputError(f"--sample-prompts: {error}") from None


def _check_backend(name):
    known = ("tensorflow", "jax", "torch")
    if name and (name not in known or importlib.util.find_spec(name) is None):
        missing = "which is not installed" if name in known else "which is none of them"
        raise InputError(f"expected KERAS_BACKEND {', '.join(known)}, found {name!r}, {missing}")


def _load(config, text, run, timeline, saved=None):
    """All of a run, before anything of it is written."""
    timeline.done("corpus")
    _check_backend(os.environ.get("KERAS_BACKEND", ""))
    _check_prompts(config, (saved or text).vocab)
    if run.tensorboard:
        _require_tensorboard()
    with cli.quiet_stderr():
        import keras  # and its backend, which takes seconds

        _check_backend(keras.backend.backend())  # a keras.json may say which
        from charlm.training.trainer import Training

        timeline.done("import")
        training = Training(config, text, saved)
        timeline.done("build")
        return training


def _headline(training, folder, preset):
    from charlm.training import device

    sizes = training.config.model
    layer = next(x for x in training.network.layers if hasattr(x, "cell"))
    precision = training.config.fit.precision
    half = "" if precision == "fp32" else f" in {precision}"
    origin, backward_pass = (
        ("", layer.backward_pass()) if sizes.uses_own_layer else ("Keras's ", "Keras's")
    )
    held_out = f"{training.held_out.targets:,}"
    if 0 < training.config.data.max_held_out < len(training.text.held_out):
        held_out += f" of {len(training.text.held_out):,}"
    lines = [
        f"{device.describe()}; {origin}{type(layer).__name__} {sizes.layers} x {sizes.units}"
        f"{half}, {backward_pass} backward pass; {training.network.count_params():,} parameters; "
        f"{len(training.text.training):,} characters to train on, {held_out} held out; "
        f"vocabulary {len(training.vocab)}; {folder}"
    ]
    if hint := device.hint(preset):
        lines.append(f"hint: {hint}")
    return "\n".join(lines)


def _train(training, folder, run, timeline):
    from callbacks import NonFiniteLossError, Stopped

    begins = run.resume is None and run.init_from is None  # else the sizes are another run's
    cli.say(_headline(training, folder, run.preset if begins else None))
    stop, save, callbacks = _callbacks(training, folder, run, timeline)
    try:
        training.fit(callbacks)
    except NonFiniteLossError as error:
        print(f"stopped: {error}", file=sys.stderr)
        return cli.FAILED
    except Stopped as stopped:
        how = ", NOT saved; from what was before," if save.failure else " and saved;"
        again = command_line("train", "--resume", folder)
        cli.say(f"stopped by {stopped}{how} go on with: {again}")
        return 128 + stopped.number
    finally:
        stop.restore()
    if save.failure:
        raise _unsaved(folder, save.failure)
    p = training.progress
    curve = f"curve in {folder / run_folder.CURVE}; " if _draw(p, folder) else ""
    best = p.history[p.best_epoch - 1]["val_bpc"]
    cli.say(
        f"done: best held-out {best:.4f} bits/char in epoch {p.best_epoch}; {curve}"
        f"write text with: {command_line('sample', folder)}"
    )
    return 0


def _unsaved(folder, failure):
    message = f"cannot save the end of the run in {folder}: {failure}"
    if run_folder.is_run(folder):
        again = command_line("train", "--resume", folder)
        message += f"; when that is mended, {again} goes on from the last save"
    return OSError(message)


def _callbacks(training, folder, run, timeline):
    import keras

    from callbacks import (
        ReportEpoch,
        ReportStart,
        SampleText,
        SaveWeights,
        StopEarly,
        StopOnNaN,
        StopOnSignal,
        TrackProgress,
    )

    config, progress = training.config, training.progress
    windows = training.windows().steps
    track = TrackProgress(progress, config.data.batch_size * config.data.window, windows)
    every = config.fit.save_every
    save = SaveWeights(training.snapshot, folder, progress, windows, every, cli.say)
    stop = StopOnSignal(save.save, windows, config.fit.epochs, progress, cli.say)
    seed = config.data.seed
    callbacks = [
        StopOnNaN(progress),
        track,
        ReportStart(timeline, cli.say),
        ReportEpoch(progress, config.fit.epochs, cli.say),
        # before they are saved: what is saved knows how far samples.txt goes
        SampleText(training.sample, config.sample, seed, folder, cli.say),
        save,
        StopEarly(progress, config.fit.patience, cli.say),
        stop,
    ]
    if run.tensorboard:
        callbacks.append(keras.callbacks.TensorBoard(str(run_folder.logs_folder(folder))))
    return stop, save, callbacks


def _draw(progress, folder):
    """Whether there is a curve, and it could be written."""
    from charlm.plots import loss_curve, try_draw

    if not progress.history:
        return False
    path = folder / run_folder.CURVE
    picture = try_draw(lambda: loss_curve.draw(progress.history), path, cli.say)
    return bool(picture) and run_folder.try_write(folder, run_folder.CURVE, picture, cli.say)


def _require_tensorboard():
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        raise InputError(
            "expected the package tensorboard for --tensorboard, found it missing; "
            "pip install -e '.[tensorboard]' in charlm's folder brings it"
        ) from None


if __name__ == "__main__":
    sys.exit(main())
