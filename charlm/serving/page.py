"""The page of a model that is served: the page of `charlm show`, without a search for cells."""

from charlm.errors import InputError
from charlm.inside import webpage
from charlm.notes import note
from charlm.runs.checkpoint import Checkpoint


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
    return webpage.page(saved, name)
