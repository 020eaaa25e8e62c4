"""The page of a model that is served: the page of `charlm show`, without a search for cells."""

import numpy as np

from charlm.errors import InputError
from charlm.generation import generate
from charlm.inside import states, webpage
from charlm.inside.finding import Report
from charlm.notes import note
from charlm.runs.checkpoint import Checkpoint

LENGTH = 2000  # characters of the passage: a second or so
NOTHING_FOUND = "No single cell of this network was found to follow a property of the text."
NOT_LOOKED = "The model wrote this text. `charlm show` looks for cells that follow a text."


def page(saved: Checkpoint, name: str) -> str | None:
    """Returns the page, which shows a text that the model writes; None, after a note, if too large.

    Args:
        saved: the run.
        name: of the model.
    """
    try:
        webpage.check_size(saved, "fp16")
    except InputError:
        note("NOTE: the model is too large for a page, so only /v1 is served")
        return None
    text = generate.whole_texts(saved.to_network(), saved.vocab, LENGTH, [1.0], 1)[0]
    letter = states.state_letter(saved.config.model)
    report = Report(letter, len(text), [], [], [], np.zeros((0, 0)), {})
    return webpage.page(saved, name, text, report).replace(NOTHING_FOUND, NOT_LOOKED)
