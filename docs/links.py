"""MkDocs hook: on the site, a link to a file outside docs/ becomes the text of the link.

So pages can link to the source, which a code host shows and the site does not hold.
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(((?:\.\./)+[^)\s#]+)(#[^)\s]*)?\)")


def on_page_markdown(markdown: str, page, **_) -> str:
    """Replaces the links. A link to a file that does not exist stays, and the build reports it."""
    folder = (ROOT / "docs" / page.file.src_uri).parent

    def replace(match):
        target = (folder / match[2]).resolve()
        outside = target.is_relative_to(ROOT) and not target.is_relative_to(ROOT / "docs")
        return match[1] if outside and target.exists() else match[0]

    return LINK.sub(replace, markdown)
