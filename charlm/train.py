"""`charlm train`: the main job. Settings to a run in `saved_models/`, or a run that goes on."""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from charlm import cli, presets
from charlm.api import runs
from charlm.api.training import Reporting
from charlm.config import Config, DataConfig, FitConfig, ModelConfig, SampleConfig
from charlm.errors import InputError, command_line
from charlm.runs import run_folder
from charlm.training import resume


@dataclass(frozen=True)
class RunConfig:
    """The run: what it begins with, and its folder."""

    preset: Literal[tuple(presets.PRESETS)] = presets.DEFAULT  # type: ignore[valid-type]  # a table's
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
    """Runs the command; returns its exit code."""
    return cli.run(_main, argv)


def _main(argv):
    run = cli.parse_part(RunConfig, "charlm train", argv)
    reporting = Reporting(tensorboard=run.tensorboard)
    train = _start if run.resume is None else _resume
    train(run, argv, reporting)


def default(run: RunConfig) -> Train:
    """Every setting of a new run whose command line gives none."""
    p = presets.PRESETS[run.preset]
    return Train(run, p.model, p.data, p.fit, p.sample)


def _start(run, argv, reporting):
    given, first = default(run), None
    if run.init_from is not None:
        first = run_folder.read_best(run.runs_dir, run.init_from)
        given = replace(given, model=first[1].config.model)
    args = cli.parse(Train, "charlm train", argv, given)
    if first:
        resume.check_same_model(args.config(), first[1].config, first[0])
    corpus = cli.corpus(args.data)
    runs.start(
        args.config(), corpus, reporting, run.runs_dir, run.name, run.preset, run.overwrite, first
    )


def _resume(run, argv, reporting):
    if (run.name, run.init_from, run.overwrite, run.preset) != (None, None, False, presets.DEFAULT):
        raise InputError(
            "expected --resume alone, found --name, --init-from, --overwrite or --preset with it"
        )
    path = runs.find(run.runs_dir, run.resume)
    with run_folder.locked(path.parent):  # before it is read: another process may be about to save
        if run.tensorboard:
            run_folder.logs_folder(path.parent)
        saved = runs.read(path)
        kept = saved.config
        unnamed = replace(kept.data, corpus=None)  # to know whether it is given
        args = cli.parse(  # what is not given is as the run has it
            Train, "charlm train", argv, Train(run, kept.model, unnamed, kept.fit, kept.sample)
        )
        config = args.config()
        if args.data.corpus is None:
            config = replace(config, data=replace(args.data, corpus=kept.data.corpus))
        again = command_line("train", *argv)
        runs.resume_run(path, saved, config, lambda: cli.corpus(args.data, saved, again), reporting)


if __name__ == "__main__":
    sys.exit(main())
