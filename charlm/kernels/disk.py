"""Machine code on disk, by Numba's own cache, which opens only what nobody else can have written.

Numba's two files of a function, an index and the code, are pickles: whoever can write one can run
anything in the process that reads it. So every file is opened by `charlm.paths`.
"""

import contextlib
import inspect
import types
from pathlib import Path

import numba
from numba.core import caching

from charlm import paths

LOCATOR = caching.UserProvidedCacheLocator


def keep(dispatcher, *inner: str) -> None:
    """Lets a compiled function keep its code in the cache folder, if there is a usable one.

    It sets Numba's configuration, which is the process's, so it is for one thread at a time.

    Args:
        dispatcher: from `numba.njit`. inner: names of folders, each in the one before it.
    """
    source = inspect.getfile(dispatcher.py_func)
    try:
        folder = paths.usable_cache(*inner)
        # Numba would make this one, with a mode that may let others write in it
        if folder and paths.usable_cache(*inner, LOCATOR.get_suitable_cache_subpath(source)):
            _enable(dispatcher, folder)
    except OSError as error:
        paths.say_once(
            f"NOTE: compiled code is not kept, which costs seconds in every run: no cache folder "
            f"({error.strerror}); {paths.VARIABLE} names another"
        )


def _enable(dispatcher, folder):
    # the only place where Numba may look, whatever its environment variables say
    with (
        _set("CACHE_DIR", str(folder)),
        _set("CACHE_LOCATOR_CLASSES", LOCATOR.__name__),
        contextlib.suppress(RuntimeError),  # the folder cannot be written in
    ):
        dispatcher.enable_caching()
        kept = dispatcher._cache
        stamp = kept._impl.locator.get_source_stamp()
        kept._cache_file = _Files(kept.cache_path, kept._impl.filename_base, stamp)


@contextlib.contextmanager
def _set(name, value):
    before = getattr(numba.config, name)
    setattr(numba.config, name, value)
    try:
        yield
    finally:
        setattr(numba.config, name, before)


def _open(path, mode):
    """In the place of `open` in Numba's functions."""
    try:
        return open(path, mode.replace("w", "x"), opener=paths.opener)
    except paths.NotOursError as error:
        paths.say_once(f"NOTE: {path} is not used ({error.strerror}); this code is compiled again")
        raise FileNotFoundError(error.errno, error.strerror, path) from error


def _opening_by_us(method):
    """One of Numba's functions, with our `open`."""
    return types.FunctionType(method.__code__, method.__globals__ | {"open": _open})


_load_index = _opening_by_us(caching.IndexDataCacheFile._load_index)


class _Files(caching.IndexDataCacheFile):
    """Numba's files of a function. One that cannot be read counts as none, and is replaced."""

    _load_data = _opening_by_us(caching.IndexDataCacheFile._load_data)
    _open_for_write = contextlib.contextmanager(
        _opening_by_us(caching.IndexDataCacheFile._open_for_write.__wrapped__)
    )

    def _load_index(self):
        try:
            return _load_index(self)
        except Exception:  # whatever a damaged file raises
            return {}

    def load(self, key):
        try:
            return super().load(key)
        except Exception:
            return None

    def save(self, key, data):
        # two processes that save at once might give one file's name to the code of both
        with (
            contextlib.suppress(OSError),
            paths.locked(Path(self._cache_path)),
        ):  # a full disk ends no run
            super().save(key, data)
