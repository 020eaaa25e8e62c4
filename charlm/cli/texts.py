"""Prints texts while they are drawn."""

import sys
from collections.abc import Iterable, Sequence

from charlm.cli.terminal import visible


def show(prompt: str, pieces: Iterable[Sequence[str]], titles: Sequence[str]) -> None:
    """Prints the first text while it is generated, then the others, generated together with it.

    Args:
        prompt: printed before each.
        pieces: the next characters of each text.
        titles: one for each text.
    """
    others: list[list[str]] = [[] for _ in titles[1:]]
    if others:
        print(f"--- {titles[0]} ---")
    sys.stdout.write(visible(prompt))
    for first, *rest in pieces:
        print(visible(first), end="", flush=True)
        for text, piece in zip(others, rest, strict=True):
            text.append(piece)
    print()
    for title, text in zip(titles[1:], others, strict=True):
        print(visible(f"--- {title} ---\n{prompt}{''.join(text)}"))
