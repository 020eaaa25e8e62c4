"""Draws pictures of runs and models in memory."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


SOFTWARE = b"charlm"  # in the metadata of every picture


def png(figure: "Figure", dpi: int = 120) -> bytes:
    """Renders a matplotlib figure as the contents of a PNG file."""
    drawn = io.BytesIO()
    metadata = {"Software": SOFTWARE.decode()}
    figure.savefig(drawn, format="png", dpi=dpi, metadata=metadata)
    return drawn.getvalue()


def try_draw(
    draw: Callable[[], bytes | None], path: Path, say: Callable[[str], object]
) -> bytes | None:
    """Calls `draw`; reports a failure instead of raising it, because a picture is optional.

    Args:
        draw: returns a PNG, or None.
        path: the picture's file, for the message.
        say: prints the message.
    """
    try:
        return draw()
    except Exception as error:  # matplotlib needs fonts, a folder for its cache, memory
        what = " ".join(str(error).split())[:200]
        say(f"NOT SAVED: {path} (drawing it failed: {what}); continuing without it")
        return None
