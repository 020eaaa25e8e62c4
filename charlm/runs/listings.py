"""Listings of HDF5 files that this machine has read or written, kept in the cache.

Listing a file takes a process that loads the HDF5 library, a quarter of a second. The same bytes
have the same listing, so it is made once. At most 256 listings are kept.
"""

import contextlib
import hashlib
from pathlib import Path

from charlm import cached_files, paths

FOLDER = "listings"
LARGEST = 2**20  # bytes of a listing that is kept; those of runs have some thousand


def key(data: bytes | memoryview, program: str | Path, *settings: object) -> bytes:
    """Returns a hash of a file and of the program that lists it."""
    found = hashlib.sha256(Path(program).read_bytes() + repr(settings).encode())
    found.update(data)
    return found.hexdigest().encode()


def find(name: bytes) -> bytes | None:
    """Returns the listing that `keep` was given under this name, or None."""
    path = _path(name)
    found = path and cached_files.read(path)
    is_it = found is not None and found.startswith(name)
    return found[len(name) :] if is_it else None


def keep(name: bytes, listing: bytes) -> None:
    """Keeps a listing, in place of another one if there are many."""
    if len(listing) <= LARGEST and (path := _path(name)):
        cached_files.write(path, name + listing)


def _path(name):
    with contextlib.suppress(OSError):  # no cache folder: what else needs one says so
        folder = paths.usable_cache(FOLDER)
        return folder / name[:2].decode() if folder else None
    return None
