"""A page of a model, for notebooks and files."""

import html
from dataclasses import dataclass, field

HEIGHT = 900  # pixels of the frame in a notebook
FRAME = (
    '<iframe sandbox="allow-scripts allow-downloads" title="Inside a model" '
    'style="width: 100%; height: {height}px; border: 0" srcdoc="{page}"></iframe>'
)


@dataclass(frozen=True)
class Page:
    """A page that shows a model. A notebook shows it in a frame, also once saved as HTML.

    The frame is sandboxed: the page cannot reach the notebook.
    """

    html: str = field(repr=False)
    """A whole HTML document; written to a file, it opens in any browser."""

    def _repr_html_(self) -> str:
        return FRAME.format(height=HEIGHT, page=html.escape(self.html))
