"""Output files of a command: checked before it does its work, written afterwards."""

import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from charlm.cli.terminal import say
from charlm.errors import InputError, require
from charlm.errors import flag as flag_of
from charlm.notes import note
from charlm.plots import SOFTWARE, try_draw
from charlm.runs import atomic

MARKS = (
    *(b'{\n "run": "', b'{\n "command": "', b"network,layer,state,", b"# charlm bench"),
    b"<!doctype html>\n<!-- charlm show -->\n",
    *(b"<!doctype html>\n<!-- charlm tunes -->\n", b"% charlm tunes\n"),
)
"""Beginnings of the files of commands."""
KNOWN = ".json", ".png", ".csv", ".html", ".abc"  # endings


def files(stem: str, endings: Iterable[str]) -> list[Path]:
    """Returns the files with this stem and these endings.

    Args:
        stem: what the user typed: the files' names without their endings, or with one of `KNOWN`.
        endings: of the files.
    """
    path = Path(stem)
    if path.suffix in KNOWN:
        path = path.with_suffix("")
    return [path.with_name(f"{path.name}{ending}") for ending in endings]


def write(
    stem: str, endings: tuple[str, str], data: bytes, draw: Callable[[], bytes | None]
) -> int:
    """Writes a data file and a picture, and prints their names; reports failures.

    Args:
        stem: the files' names without their endings.
        endings: of the data file and of the picture.
        data: contents of the data file.
        draw: returns a PNG, or None.

    Returns:
        An exit code: 0 if the data was written, even without the picture, else 1.
    """
    file, picture = files(stem, endings)
    with contextlib.suppress(OSError):  # which writing the files reports
        atomic.make_folder(file.parent)
    written = [file] * atomic.try_write(file, data, note)
    drawn = try_draw(draw, picture, note)
    if drawn is not None and atomic.try_write(picture, drawn, note):
        written.append(picture)
    print("", ", ".join(map(str, written)), sep="\n")
    return 0 if file in written else 1


def write_page(stem: str, ending: str, data: bytes) -> bool:
    """Writes a page and prints its size; returns False, after a note, if that failed."""
    (file,) = files(stem, [ending])
    with contextlib.suppress(OSError):  # which writing the file reports
        atomic.make_folder(file.parent)
    written = atomic.try_write(file, data, note)
    if written:
        say(f"{file}: {len(data) / 1e6:.1f} MB; it holds the model and the text that it shows")
    return written


def check_stem(flag: str, stem: str, endings: Iterable[str]) -> None:
    """Raises InputError unless all of `files` can be written.

    Args:
        flag: the option's name.
        stem: as the user typed it, because a Path drops a slash at its end.
        endings: of the files.
    """
    expected = "the name of files, without an ending"
    require(os.path.basename(stem) not in ("", ".", ".."), flag, expected, stem or "none")
    require(not os.path.isdir(stem), flag, expected, f"the folder {stem}")
    check_own(flag, files(stem, endings))


def stem(given: str | None, default: Path, endings: Iterable[str]) -> str:
    """Returns the files' names without their endings.

    Args:
        given: --output, which was checked; None if it was not given.
        default: used instead.
        endings: of the files.

    Raises:
        InputError: the default files cannot be written.
    """
    if given is not None:
        return given
    if os.path.isdir(default.parent):  # or else it is made later
        check_stem("output", str(default), endings)
    return str(default)


def check_own(flag: str, paths: Sequence[Path]) -> None:
    """Raises InputError unless files can be written; replaces none that no command has written.

    Args:
        flag: the option's name.
        paths: data files, and pictures of the same data.
    """
    for path in paths:
        check_file(flag, path)
    heads = {path: _head(path) for path in paths if os.path.isfile(path)}
    known = any(head.startswith(MARKS) for head in heads.values())
    for path, head in heads.items():
        # a picture without charlm's name in it goes with its data
        if not (head.startswith(MARKS) or SOFTWARE in head or (known and path.suffix == ".png")):
            raise InputError(
                f"expected {flag_of(flag)} to be a new file or one of charlm's, found {path}, a "
                f"file of something else; give another name"
            )


def _head(path):
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return file.read(512)
    return b""


def check_file(flag: str, path: Path) -> None:
    """Raises InputError unless a file can be written there, or replaced."""
    _check_place(flag, path)
    there = os.path.lexists(path)
    require(
        not there or os.path.isfile(path), flag, "a file or a new one", f"{path}, {_kind(path)}"
    )


def check_replaceable(
    flag: str, path: Path, overwrite: bool, hint: str = "--overwrite replaces it"
) -> None:
    """Raises InputError unless a regular file can be written there; with `overwrite`, replaced."""
    check_file(flag, path)
    # the writer would replace the link
    require(not path.is_symlink(), flag, "a regular file or a new one", f"{path}, a link")
    if path.exists() and not overwrite:
        raise InputError(f"cannot write {path}: it already exists; {hint}")


def check_new_folder(flag: str, path: Path) -> None:
    """Raises InputError unless a folder can be created there."""
    free = not os.path.lexists(path)
    require(free, flag, "a folder or a new one", f"{path}, {_kind(path)}")
    _check_place(flag, path)


def _check_place(flag, path):
    require(path.name, flag, "a name", f"the folder {path}")
    require(os.path.isdir(path.parent), flag, "in a folder that exists", path)
    ok = os.access(path.parent, os.W_OK | os.X_OK)
    require(ok, flag, "in a folder that can be written in", path)
    try:
        os.lstat(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        require(False, flag, "a valid file name", f"{path} ({error.strerror})")


def _kind(path):
    if os.path.isdir(path):
        return "a folder"
    return "a file" if os.path.isfile(path) else "a pipe, a device or a link to nothing"
