"""Options that several commands have, each with its help text."""

from pathlib import Path
from typing import Annotated

import tyro

from charlm.runs.lookup import RUNS_DIR  # noqa: F401 - where runs are, if no flag says so

Run = Annotated[str, tyro.conf.arg(help='A run folder, a .weights.h5 file in one, or "latest".')]
RunsDir = Annotated[Path, tyro.conf.arg(help="Folder that holds the runs.")]
Quiet = Annotated[
    bool, tyro.conf.arg(help="Show no progress; results and warnings are still printed.")
]
Debug = Annotated[bool, tyro.conf.arg(help="Show the traceback of an error.")]
