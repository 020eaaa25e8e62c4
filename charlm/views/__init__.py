"""Pictures of runs and models, drawn in memory."""

import io


def png(figure, dpi: int = 120) -> bytes:
    """A matplotlib figure as a PNG file's contents."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=dpi)
    return drawn.getvalue()
