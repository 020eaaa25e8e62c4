"""`charlm.fit`: trains a model from Python, as `charlm train` does."""

import contextlib
import difflib
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import fields
from os import PathLike, fspath
from pathlib import Path

import numpy as np

from charlm import cli, notes, presets
from charlm.api import runs
from charlm.api.arguments import named_as_arguments
from charlm.api.language_model import LanguageModel
from charlm.api.load import load
from charlm.api.run_training import Reporting
from charlm.config import Config
from charlm.errors import InputError
from charlm.runs import lookup
from charlm.runs.lookup import RUNS_DIR
from charlm.training import allocator
from corpora import Corpus


def fit(
    corpus: str | PathLike[str] | Corpus,
    *,
    preset: str = presets.DEFAULT,
    name: str | None = None,
    init_from: str | PathLike[str] | None = None,
    overwrite: bool = False,
    runs_dir: str | PathLike[str] = RUNS_DIR,
    quiet: bool = False,
    distribute: str = "auto",
    **settings: object,
) -> LanguageModel:
    """Trains a model on a text, as `charlm train` does, and saves it in a run's folder.

    Args:
        corpus: a file, a folder, a glob or the name of a corpus ("state_union", "pydoc" ...),
            or a `corpora.Corpus`.
        preset: name of the default settings: "quick", "default", "best" and others.
        name: name of the folder in `runs_dir`; by default the corpus and the time.
        init_from: a trained run whose weights to start from (fine-tuning).
        overwrite: replace a run of the same name.
        runs_dir: folder that holds the runs.
        quiet: print nothing.
        distribute: "auto" divides the streams among the devices of JAX; "none" trains on one.
        settings: any setting of model, data, training or samples that `charlm train` has as a flag,
            with underscores: `units=128`, `epochs=3`, `learning_rate=0.005`. They override the
            preset.

    Returns:
        The model with the lowest held-out loss.

    Raises:
        InputError: a setting is unknown or out of range, or the text cannot be read.
        NonFiniteLossError: the loss is NaN, infinite or has exploded.
        Stopped: Ctrl-C, which is handled while it trains; the run is saved, and a note of the
            exception has the command that continues it.
        OSError: the end of the run could not be saved.

    >>> model = charlm.fit("mine.txt", preset="quick", quiet=True)  # doctest: +SKIP
    """
    if not isinstance(corpus, str | PathLike | Corpus):
        raise TypeError(f"expected corpus to be a str, a path or a Corpus, found {corpus!r:.40}")
    folder = Path(runs_dir)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # errors are raised; the rest is noise
    allocator.ask_for_reuse(os.environ)
    with named_as_arguments(), _quiet(quiet) as say:
        if distribute not in ("auto", "none"):
            raise InputError(f'expected distribute to be "auto" or "none", found {distribute!r}')
        reporting = Reporting(say, distribute="none" if distribute == "none" else None)
        if preset not in presets.PRESETS:
            listed = ", ".join(presets.PRESETS)
            raise InputError(f"expected preset to be one of {listed}, found {preset!r}")
        base, first = presets.PRESETS[preset], None
        if init_from is not None:
            first = lookup.read_best(folder, fspath(init_from))
            base = presets.with_model_of(first[1].config, base)
        if not isinstance(corpus, Corpus):
            settings["corpus"] = fspath(corpus)
        elif "encoding" in settings or not corpus.name:
            raise InputError("expected a Corpus with a name, and no encoding, as it is decoded")
        config = with_settings(base, settings)
        if isinstance(corpus, Corpus):
            found = cli.read_as(config.data, corpus)
        else:
            found = cli.corpus(config.data)
        where = folder, name, preset, overwrite
        path = runs.start(config, found, reporting, *where, first, settings)
    return load(path)


def with_settings(base: Config, settings: dict[str, object]) -> Config:
    """Replaces settings by their names.

    Raises:
        InputError: a name is unknown, or a value is of another type or out of range.
    """
    stored = base.to_dict()
    places = {f.name: part for part in stored for f in fields(getattr(base, part))}
    for name, value in settings.items():
        if isinstance(value, np.generic):
            value = value.item()
        if name in ("resume", "tensorboard", "record_cells", "debug"):
            raise InputError(f"{name} is an option of `charlm train` only")
        if name not in places:
            close = difflib.get_close_matches(name, places, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise InputError(f"expected a setting of `charlm train`, found {name}{hint}")
        wants_float = isinstance(stored[places[name]][name], float)
        stored[places[name]][name] = float(value) if wants_float and type(value) is int else value
    return Config.from_dict(stored)


@contextlib.contextmanager
def _quiet(quiet: bool) -> Iterator[Callable[[str], object]]:
    """Yields what prints a line; silences notes and TensorFlow's warnings if that is nothing."""
    if not quiet:
        yield cli.say
        return
    logger = logging.getLogger("tensorflow")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with notes.silenced():
            yield lambda line: None
    finally:
        logger.setLevel(before)
