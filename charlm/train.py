"""`charlm train`: trains a run in `saved_models/`, or resumes one."""

import contextlib
import sys
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

import tyro

from charlm import cli, notes, presets
from charlm.api import runs
from charlm.api.run_training import Reporting
from charlm.cli.options import RUNS_DIR, Debug, Quiet, RunsDir, Text, with_text
from charlm.config import Config, DataConfig, FitConfig, ModelConfig, SampleConfig
from charlm.errors import InputError, command_line
from charlm.runs import lookup, names, run_folder
from charlm.training import backend, processes, resume


@dataclass(frozen=True)
class RunConfig:
    """The run's starting point and its folder."""

    preset: Literal[tuple(presets.PRESETS)] = presets.DEFAULT  # type: ignore[valid-type]  # a table's
    """Default settings by training time on two cores: quick 1 minute, default 10, best 30.
    quick-bpe, default-bpe and best-bpe train on byte pairs (see --tokens) in the same time;
    quick-gpu, default-gpu and best-gpu take as long on a GPU (JAX, NVIDIA H200). tunes trains on
    tunes in ABC notation, for charlm tunes. Chosen for the LSTM. Flags that you give override
    them."""
    name: str | None = None
    """Name of the new folder in --runs-dir. Default: the corpus and the time."""
    resume: str | None = None
    """Resume a run: its folder, one of its .weights.h5 files, or "latest"."""
    continue_run: Annotated[bool, tyro.conf.arg(name="continue")] = False
    """Resume the run --name if there is one, else start it; with a run that is finished, do
    nothing. For schedulers that start a job again with the same command."""
    init_from: str | None = None
    """Fine-tune: start a new run on another text from the weights of a trained run (its folder, a
    .weights.h5 file in one, or "latest"). New characters are added to the vocabulary. The model's
    settings come from that run, and only --dropout and --weight-drop may differ; the other settings
    come from the preset."""
    overwrite: bool = False
    """Replace a run of the same name."""
    runs_dir: RunsDir = RUNS_DIR
    tensorboard: bool = False
    """Write TensorBoard logs into the run's folder; needs the extra "tensorboard"."""
    record_cells: bool = False
    """Record what every cell does on 1,000 held-out characters after 0, 10, 30, 100, 300 ...
    updates and after each epoch; the page of charlm show gets a slider over training. Also write
    gradient norms and update ratios by weight (updates.csv; with --tensorboard, scalars too)."""
    distribute: Literal["auto", "none"] | None = None
    """With KERAS_BACKEND=jax, on several GPUs or TPUs: divide the streams (--batch-size) among them
    (auto, the default), or train on one device, in one process (none). The run is the same."""
    quiet: Quiet = False
    debug: Debug = False


@dataclass(frozen=True)
class Train:
    """Trains a recurrent language model of characters (or of tokens, --tokens), or resumes a run.

    On a text of less than a million characters, --window, --batch-size, --epochs, --units,
    --dropout, --patience and a preset's --tokens adapt to its size unless you give them.

    Prints progress and samples after each epoch, and saves the weights with the lowest held-out
    (validation) loss. The environment variable KERAS_BACKEND chooses the backend: tensorflow
    (default), jax or torch.
    """

    run: RunConfig = field(default_factory=RunConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    sample: SampleConfig = field(default_factory=SampleConfig)
    text: Text = None

    def config(self) -> Config:
        """Returns the settings that define the run, without the options of its folder."""
        return Config(self.model, self.data, self.fit, self.sample)


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return cli.run(_main, argv)


def _main(argv):
    run = cli.parse_part(RunConfig, "charlm train", argv)
    reporting = Reporting(
        tensorboard=run.tensorboard,
        record_cells=run.record_cells,
        distribute=run.distribute,
        processes=_processes(run),
    )
    train = _start if run.resume is None else _resume
    if run.continue_run:
        run, train = _continued(run)
    with contextlib.ExitStack() as stack:
        if not reporting.processes.writes:
            reporting.say = lambda line: None
            stack.enter_context(notes.silenced())
        train(run, argv, reporting)


def _continued(run):
    """Returns the options and the function of --continue."""
    if run.name is None:
        raise InputError("expected --name with --continue, found none")
    if run.resume is not None or run.overwrite:
        raise InputError("expected --continue without --resume and --overwrite, found one of them")
    names.check_name(run.name, run.runs_dir)
    if not lookup.is_run(run.runs_dir / run.name):
        return run, _start
    return replace(run, resume=str(run.runs_dir / run.name), name=None), _resume


def _processes(run):
    """Returns the processes to train with: those that a launcher started, under JAX."""
    found = processes.launched()
    if found.count == 1 or run.distribute == "none":
        return processes.ALONE
    if backend.chosen() != "jax":
        if run.name is not None:
            raise InputError(
                f"expected KERAS_BACKEND=jax, which joins the {found.count} processes "
                f"({found.launcher}) that train --name {run.name}; without --name, each trains a "
                "run of its own"
            )
        cli.note(
            f"NOTE: this is process {found.index} of {found.count} ({found.launcher}), and each "
            "trains a run of its own; KERAS_BACKEND=jax joins them"
        )
        return processes.ALONE
    return found


def default(run: RunConfig) -> Train:
    """Returns the settings of a new run for which no flags are given."""
    p = presets.PRESETS[run.preset]
    return Train(run, p.model, p.data, p.fit, p.sample)


def _parse(argv, default):
    return with_text(cli.parse(Train, "charlm train", argv, default))


def _start(run, argv, reporting):
    given, first = default(run), None
    if run.init_from is not None:
        first = lookup.read_best(run.runs_dir, run.init_from)
        kept = presets.with_model_of(first[1].config, presets.PRESETS[run.preset])
        given = replace(given, model=kept.model, data=kept.data)
    args = _parse(argv, given)
    corpus = cli.corpus(args.data)
    where = run.runs_dir, run.name, run.preset, run.overwrite
    runs.start(args.config(), corpus, reporting, *where, first, cli.given(argv))


def _resume(run, argv, reporting):
    alone = (run.name, run.init_from, run.overwrite, run.preset)
    if not run.continue_run and alone != (None, None, False, presets.DEFAULT):
        raise InputError(
            "expected --resume alone, found --name, --init-from, --overwrite or --preset with it"
        )
    path, writes = runs.find(run.runs_dir, run.resume), reporting.processes.writes
    if lookup.is_shipped(path):
        _, config = _changed(run, argv, runs.read(path).config)
        if writes:  # the others read the same weights
            path = runs.copy_of_shipped(path, run.runs_dir, config, reporting)
    # before reading: another process may be about to save
    with run_folder.locked(path.parent) if writes else contextlib.nullcontext():
        if run.tensorboard and writes:
            run_folder.logs_folder(path.parent)
        saved = runs.read(path)
        args, config = _changed(run, argv, saved.config)
        if run.continue_run and resume.is_over(saved.progress, config.fit):
            resume.check_changes(saved.config, config, bool(saved.optimizer))
            if config.data.corpus != saved.config.data.corpus:
                found = cli.corpus(args.data, saved, "")
                resume.check_same_text(saved, cli.text(found, config.data.context))
            if writes:
                runs.repair(path.parent, saved, reporting.say)
            reporting.say(f"{path.parent} is finished: {saved.progress.epoch} epochs are done")
            return
        again = command_line("train", *argv)
        runs.resume_run(path, saved, config, lambda: cli.corpus(args.data, saved, again), reporting)


def _changed(run, argv, kept):
    """Returns the options, with a run's settings as defaults, and the settings to continue with."""
    unnamed = replace(kept.data, corpus=None)  # to know whether it is given
    args = _parse(argv, Train(run, kept.model, unnamed, kept.fit, kept.sample))
    config = args.config()
    if args.data.corpus is None:
        config = replace(config, data=replace(args.data, corpus=kept.data.corpus))
    return args, config


if __name__ == "__main__":
    sys.exit(main())
