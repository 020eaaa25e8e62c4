"""Machine code on disk: Numba's cache, limited to files that nobody else can have written.

Numba's two files of a function, an index and the code, are pickles: whoever can write one can run
any code in the process that reads it. So `charlm.paths` opens every file.
"""

import contextlib
import inspect
import types
from pathlib import Path
from typing import Any

import numba
from numba.core import caching

from charlm import paths
from charlm.kernels import object_code

LOCATOR = caching.UserProvidedCacheLocator


def keep(dispatcher: Any, *inner: str) -> None:
    """Makes a compiled function keep its code in the cache folder, if that is usable.

    This changes Numba's configuration, which all threads share: call it from one at a time.

    Args:
        dispatcher: from `numba.njit`.
        inner: names of folders, each in the one before it.
    """
    source = inspect.getfile(dispatcher.py_func)
    folder = object_code.folder(*inner)
    # Numba would create this one, with a mode that may let others write in it
    if folder and object_code.folder(*inner, LOCATOR.get_suitable_cache_subpath(source)):
        _enable(dispatcher, folder)


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
        index = Path(kept._cache_file._index_path)
        dispatcher.compile = _in_turn(dispatcher.compile, index)


def _in_turn(compile_, index):
    """Lets only one of several processes that start together compile a function."""

    def compile_or_load(signature):
        if index.exists():
            return compile_(signature)
        with paths.in_turn(index.with_suffix(".lock"), "compiles kernels"):
            return compile_(signature)

    return compile_or_load


@contextlib.contextmanager
def _set(name, value):
    before = getattr(numba.config, name)
    setattr(numba.config, name, value)
    try:
        yield
    finally:
        setattr(numba.config, name, before)


def _open(path, mode):
    """Replaces `open` in Numba's functions."""
    try:
        return open(path, mode.replace("w", "x"), opener=paths.opener)
    except paths.NotOursError as error:
        paths.say_once(f"NOTE: {path} is not used ({error.strerror}); this code is compiled again")
        raise FileNotFoundError(error.errno, error.strerror, path) from error


def _opening_by_us(method):
    """Copies one of Numba's functions, with our `open`."""
    return types.FunctionType(method.__code__, method.__globals__ | {"open": _open})


_load_index = _opening_by_us(caching.IndexDataCacheFile._load_index)


class _Files(caching.IndexDataCacheFile):
    """Numba's files of a function. A file that cannot be read is ignored and replaced."""

    _load_data = _opening_by_us(caching.IndexDataCacheFile._load_data)
    _open_for_write = contextlib.contextmanager(
        _opening_by_us(inspect.unwrap(caching.IndexDataCacheFile._open_for_write))
    )

    def _load_index(self):
        try:
            return _load_index(self)
        except Exception:  # a damaged file may raise anything
            return {}

    def load(self, key):
        try:
            return super().load(key)
        except Exception:
            return None

    def save(self, key, data):
        # two processes saving at once could choose the same file name
        with (
            contextlib.suppress(OSError),
            paths.locked(Path(self._cache_path)),
        ):  # a full disk ends no run
            super().save(key, data)
