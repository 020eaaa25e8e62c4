"""The inaugural addresses of presidents of the United States, 1789 to 2021, as NLTK has them.

NLTK declares the whole corpus to be ISO-8859-1; the address of 2005 is in a Chinese encoding, and
those since 2013 in UTF-8. The archive's checksum is verified.
"""

from corpora.document import Corpus
from corpora.nltk_archive import Archive, speech

ARCHIVE = Archive("inaugural", "7c5fb5793e31fbeae12bf1aa0ffda5336468f07cedb50654c6d31ca384e2046b")
ENCODINGS = {"2005-Bush.txt": "cp950"}


def load() -> Corpus:
    """Loads all 59 addresses in order of year; 77 distinct characters."""
    files = [(name, data) for name, data in ARCHIVE.files() if name != "README"]
    return Corpus("inaugural", tuple(speech(*file, ENCODINGS) for file in files))
