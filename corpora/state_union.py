"""The State of the Union speeches, 1945 to 2006, as NLTK distributes them, decoded and repaired.

NLTK declares the whole corpus to be ISO-8859-2, which silently decodes the six speeches that are
not UTF-8 into wrong characters. The archive's checksum is verified, so the table below is exact.
"""

import hashlib
import io
import re
import socket
import zipfile
from pathlib import Path

from corpora.document import Corpus, CorpusError, CorpusNotFound, Document, Speech

SHA256 = "366c1dc82b2abf896f42b2ec50ba802a0141a29f75d29ca48a7a243ce5bfbe8d"
MEMBER = "corpora/state_union.zip"
DOWNLOAD_TIMEOUT = 30  # seconds of silence

ENCODINGS = {"1954-Eisenhower.txt": "latin-1"} | dict.fromkeys(
    [f"{year}-Nixon.txt" for year in range(1970, 1975)], "cp950"
)
# The other speeches write these marks in ASCII.
ASCII = str.maketrans(
    {"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "--", "…": "...", "\u3000": " "}
)


def load() -> Corpus:
    """Loads all 65 speeches in order of year; 87 distinct characters."""
    return Corpus("state_union", tuple(_speech(n, b) for n, b in _files() if n != "README"))


def load_original() -> Corpus:
    """Loads the exact text of the original Keras notebook: 1,915,949 characters, 57 distinct.

    It includes the README, leaves out files that are not UTF-8, is in lower case, has no newlines
    (so some words are joined) and one space between files.
    """
    texts = []
    for _, data in _files():
        try:
            texts.append(data.decode("utf-8").lower().replace("\n", ""))
        except UnicodeDecodeError:
            continue
    return Corpus("state_union_original", (Document("all speeches", " ".join(texts)),))


def _speech(name: str, data: bytes) -> Speech:
    text = data.decode(ENCODINGS.get(name, "utf-8")).translate(ASCII)
    if not text.endswith("\n"):
        text += "\n"  # or its last word would be joined to the next speech's first
    ((year, president),) = re.findall(r"\A(\d{4})-(\w+?)(?:-\d)?\.txt\Z", name)
    return Speech(name.removesuffix(".txt"), text, int(year), president)


def _files() -> list[tuple[str, bytes]]:
    """Returns (name, bytes) of the archive's files, sorted by name and so by year."""
    data = _archive()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {Path(n).name: n for n in archive.namelist() if not n.endswith("/")}
        return [(name, archive.read(members[name])) for name in sorted(members)]


def _archive() -> bytes:
    path = _find() or _download()
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256:
        raise CorpusError(
            f"expected sha256 {SHA256[:16]}... of {path}, found {found[:16]}... "
            "(damaged or another edition); delete it and start again to download it again"
        )
    return data


def _find() -> Path | None:
    import nltk.data  # imported here because it takes 0.3 s

    for folder in nltk.data.path:
        path = Path(folder) / MEMBER
        if path.is_file():
            return path
    return None


def _download() -> Path:
    import nltk

    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
    told = io.StringIO()  # nltk prints errors even with quiet=True
    try:
        nltk.download("state_union", quiet=True, print_error_to=told)
        path = _find()
    except Exception as error:  # nltk raises errors of many kinds
        path, reason = None, f"{type(error).__name__}: {error}"
    else:
        reason = " ".join(told.getvalue().replace("[nltk_data]", "").split())
    finally:
        socket.setdefaulttimeout(timeout)
    if path is None:
        missing = CorpusNotFound(
            f"cannot find {MEMBER} or download it; go online once, name its folder by NLTK_DATA, "
            "or choose another text: --corpus pydoc, --corpus FILE"
        )
        missing.add_note(f"looked in {', '.join(nltk.data.path)}; the download failed: {reason}")
        raise missing
    return path
