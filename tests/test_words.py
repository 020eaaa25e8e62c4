"""Law: docstrings, comments, messages and pages use plain words."""

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [
    path
    for folder in ("charlm", "callbacks", "corpora")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
STARTS = {"Of", "That", "What", "Where", "Which", "Who", "Whose", "Those", "How", "Such", "So"}
BANNED = {  # word: instead
    "anew": "again, or is reset",
    "any more": "no longer",
    "as ever": "as usual, or does not change",
    "begun": "started",
    "beside": "next to, in addition to, or compared with",
    "gone on with": "resumed, or continued",
    "go on with": "resume, or continue",
    "goes on with": "resumes, or continues",
    "going on with": "resuming, or continuing",
    "made good": "corrected",
    "made ready": "prepared",
}
WORDS = re.compile(rf"\b({'|'.join(BANNED)})\b", re.IGNORECASE)


def docstrings(tree):
    """(line, text) of each docstring, those under fields included: they are help texts."""
    for node in ast.walk(tree):
        body = getattr(node, "body", ())
        for part in body if isinstance(body, list) else ():  # a lambda's is an expression
            value = part.value if isinstance(part, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield part.lineno, value.value


def prose(text):
    """(line, text) of each string and of each block of comments."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
    block, last = "", -1
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            line = token.start[0]
            block = f"{block} {token.string.lstrip('# ')}" if line == last + 1 else token.string
            last = line
            yield line, block


def banned(line, text):
    """The lines that say which banned words a text has."""
    text = " ".join(text.split())
    return {f"{line}: {word!r}; write {BANNED[word.lower()]}" for word in WORDS.findall(text)}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_words_of_the_sources(path):
    text = path.read_text()
    found = [
        f"{line}: begins with {first!r}; begin with a verb, or name the thing"
        for line, doc in docstrings(ast.parse(text))
        if (first := doc.split(maxsplit=1)[0].strip(",.:")) in STARTS
    ]
    for line, piece in prose(text):
        found += banned(line, piece)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_words_of_the_pages(path):
    found = [x for k, part in enumerate(re.split(r"\n\s*\n", path.read_text()), 1)
             for x in banned(f"paragraph {k}", part)]  # fmt: skip
    assert not found, "\n".join(found)


def test_a_banned_word_and_a_bad_beginning_are_found():
    tree = ast.parse('def f():\n    """Of the gates."""\n')
    assert [text.split()[0] for _, text in docstrings(tree)] == ["Of"]
    assert [line for line, text in prose("x = 1  # begins\n# a\n# new: made\n# ready\n")
            if banned(line, text)] == [4]  # fmt: skip
    assert not banned(1, "besides, it has begotten")
