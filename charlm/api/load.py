"""Reads a trained model."""

import os
from os import PathLike
from pathlib import Path

from charlm.api.language_model import LanguageModel
from charlm.runs import lookup


def load(
    run: str | PathLike[str] = lookup.LATEST,
    runs_dir: str | PathLike[str] = lookup.RUNS_DIR,
    context: str | None = None,
) -> LanguageModel:
    """Loads a trained model.

    Args:
        run: a run's folder or its name in `runs_dir`, a `.weights.h5` file in one, or "latest".
            From a folder, the weights with the lowest held-out loss are read.
        runs_dir: folder that holds the runs.
        context: see `LanguageModel.in_context`.

    Returns:
        A `LanguageModel`.

    Raises:
        InputError: there is no such run or context, or its weights file is damaged.
    """
    path, checkpoint = lookup.read_with_contexts(Path(runs_dir), os.fspath(run))
    return LanguageModel(checkpoint, path, context)
