"""Finds, downloads and verifies NLTK's archives of speeches, and decodes their files."""

import hashlib
import io
import re
import socket
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from corpora import presidents
from corpora.document import CorpusError, CorpusNotFound, Speech

DOWNLOAD_TIMEOUT = 30  # seconds of silence
# Some speeches have these marks, the others write them in ASCII.
ASCII = str.maketrans(
    {"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "--", "…": "...", "\u3000": " "}
)


@dataclass(frozen=True)
class Archive:
    """An archive of NLTK, in an edition that is known by its checksum."""

    name: str
    sha256: str

    @property
    def member(self) -> str:
        """Path in NLTK's data folders."""
        return f"corpora/{self.name}.zip"

    def files(self) -> list[tuple[str, bytes]]:
        """Returns (name, bytes) of the archive's files, sorted by name and so by year.

        Raises:
            CorpusNotFound: it is not there and cannot be downloaded.
            CorpusError: it is damaged, or of another edition.
        """
        with zipfile.ZipFile(io.BytesIO(self._verified())) as archive:
            members = {Path(n).name: n for n in archive.namelist() if not n.endswith("/")}
            return [(name, archive.read(members[name])) for name in sorted(members)]

    def find(self) -> Path | None:
        """Returns where it is, in NLTK's data folders."""
        import nltk.data  # imported here because it takes 0.3 s

        for folder in nltk.data.path:
            path = Path(folder) / self.member
            if path.is_file():
                return path
        return None

    def _verified(self):
        path = self.find() or self._download()
        try:
            data = path.read_bytes()
        except OSError as error:
            raise CorpusError(f"cannot read {path}: {error.strerror}") from error
        found = hashlib.sha256(data).hexdigest()
        if found != self.sha256:
            raise CorpusError(
                f"expected sha256 {self.sha256[:16]}... of {path}, found {found[:16]}... "
                "(damaged or another edition); delete it and start again to download it again"
            )
        return data

    def _download(self):
        import nltk

        timeout = socket.getdefaulttimeout()
        socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
        told = io.StringIO()  # nltk prints errors even with quiet=True
        try:
            nltk.download(self.name, quiet=True, print_error_to=told)
            path = self.find()
        except Exception as error:  # nltk raises errors of many kinds
            path, reason = None, f"{type(error).__name__}: {error}"
        else:
            reason = " ".join(told.getvalue().replace("[nltk_data]", "").split())
        finally:
            socket.setdefaulttimeout(timeout)
        if path is None:
            missing = CorpusNotFound(
                f"cannot find {self.member} or download it; go online once, name its folder by "
                "NLTK_DATA, or choose another text: --corpus pydoc, --corpus FILE"
            )
            missing.add_note(
                f"looked in {', '.join(nltk.data.path)}; the download failed: {reason}"
            )
            raise missing
        return path


def speech(name: str, data: bytes, encodings: Mapping[str, str]) -> Speech:
    """Decodes a speech; the name of its file has the year and the president.

    Args:
        encodings: by file name, of those that are not UTF-8.
    """
    text = data.decode(encodings.get(name, "utf-8")).translate(ASCII)
    if not text.endswith("\n"):
        text += "\n"  # or its last word would be joined to the next speech's first
    ((year, president),) = re.findall(r"\A(\d{4})-(\w+?)(?:-\d)?\.txt\Z", name)
    president = presidents.person(president, int(year))
    party = presidents.PARTIES[president]
    return Speech(name.removesuffix(".txt"), text, int(year), president, party)
