"""Copies a run's best weights without what only training needs, to keep them in the repository.

python -m charlm.experiments.publish RUN FOLDER
"""

import sys
from dataclasses import replace
from pathlib import Path

from charlm.runs import checkpoint, lookup


def publish(run: Path, folder: Path) -> Path:
    """Writes the best weights of a run, without its optimizer and carried states.

    Args:
        run: a run's folder.
        folder: where to write best.weights.h5; created if needed.

    Returns:
        The file.
    """
    _, saved = lookup.read_with_contexts(run.parent, run.name)
    folder.mkdir(parents=True, exist_ok=True)
    progress = replace(saved.progress, samples_size=0)
    small = replace(saved, optimizer=[], carried=[], metrics=[], progress=progress)
    checkpoint.write(folder / lookup.BEST, small)
    return folder / lookup.BEST


if __name__ == "__main__":
    print(publish(Path(sys.argv[1]), Path(sys.argv[2])))
