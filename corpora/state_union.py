"""The State of the Union speeches, 1945 to 2006, as NLTK distributes them, decoded and repaired.

NLTK declares the whole corpus to be ISO-8859-2, which silently decodes the six speeches that are
not UTF-8 into wrong characters. The archive's checksum is verified, so the table below is exact.
"""

from corpora.document import Corpus, Document
from corpora.nltk_archive import Archive, speech

ARCHIVE = Archive("state_union", "366c1dc82b2abf896f42b2ec50ba802a0141a29f75d29ca48a7a243ce5bfbe8d")
ENCODINGS = {"1954-Eisenhower.txt": "latin-1"} | dict.fromkeys(
    [f"{year}-Nixon.txt" for year in range(1970, 1975)], "cp950"
)


def load() -> Corpus:
    """Loads all 65 speeches in order of year; 87 distinct characters."""
    files = [(name, data) for name, data in ARCHIVE.files() if name != "README"]
    return Corpus("state_union", tuple(speech(*file, ENCODINGS) for file in files))


def load_original() -> Corpus:
    """Loads the exact text of the original Keras notebook: 1,915,949 characters, 57 distinct.

    It includes the README, leaves out files that are not UTF-8, is in lower case, has no newlines
    (so some words are joined) and one space between files.
    """
    texts = []
    for _, data in ARCHIVE.files():
        try:
            texts.append(data.decode("utf-8").lower().replace("\n", ""))
        except UnicodeDecodeError:
            continue
    return Corpus("state_union_original", (Document("all speeches", " ".join(texts)),))
