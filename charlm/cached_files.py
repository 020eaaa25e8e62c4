"""Small files of the cache, each with a checksum; `charlm.paths` says which are trusted."""

import contextlib
import hashlib
import os
import threading
from pathlib import Path

from charlm import paths


def read(path: Path) -> bytes | None:
    """Reads what `write` wrote.

    Returns:
        The data; None if there is none or it is damaged; None, with a message, if another user may
        have written it.
    """
    try:
        with open(path, "rb", opener=paths.opener) as file:
            digest, data = file.read().split(b"\n", 1)
    except paths.NotOursError as error:
        paths.say_once(f"NOTE: {path} is not used ({error.strerror}); it is made again")
        return None
    except (OSError, ValueError):  # missing, unreadable or too short
        return None
    return data if hashlib.sha256(data).hexdigest().encode() == digest else None


def write(path: Path, data: bytes) -> None:
    """Writes a file, which other processes see as a whole or not at all; may fail silently."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}")
    with contextlib.suppress(OSError):  # a full disk ends no run
        try:
            with open(temporary, "xb", opener=paths.opener) as file:
                file.write(hashlib.sha256(data).hexdigest().encode() + b"\n" + data)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
