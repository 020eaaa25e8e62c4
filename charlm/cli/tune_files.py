"""The files that `charlm tunes --output` writes: ABC, a page, MIDI and sound."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from charlm.cli import outputs, tune_checks
from charlm.cli.terminal import say, visible
from charlm.errors import InputError
from charlm.music.midi import to_midi
from charlm.music.notation import read
from charlm.music.performance import Sound, sounds
from charlm.music.tune import AbcError
from charlm.music.wav import to_wav
from charlm.notes import note
from charlm.runs import atomic
from charlm.runs.checkpoint import Checkpoint

ENDINGS = ".abc", ".html"
MARK = "% charlm tunes\n"  # by which a file of charlm's is known
WRITERS: dict[str, Callable[[Sequence[Sound]], bytes]] = {"midi": to_midi, "wav": to_wav}
SHOWN = 3  # names in a message
SUFFIXES = {"midi": ".mid", "wav": ".wav"}


def others(args: Any, numbers: Iterable[int]) -> Iterator[tuple[int, str, str]]:
    """Yields (number, kind, ending) of the files with MIDI and sound."""
    for k in numbers:
        for kind, suffix in SUFFIXES.items():
            if getattr(args, kind):
                yield k, kind, f"-{k}{suffix}"


def check_others(args: Any, numbers: Iterable[int]) -> None:
    """Raises InputError unless the files with MIDI and sound can be written."""
    endings = [ending for _, _, ending in others(args, numbers)]
    outputs.check_own("output", outputs.files(args.output, (*ENDINGS, *endings)))


def write(
    args: Any,
    tunes: Sequence[str],
    name: str,
    saved: Checkpoint | None = None,
    own: Sequence[str] = (),
) -> int:
    """Writes the files, and prints their names.

    Args:
        args: a `charlm.tunes.Tunes`.
        tunes: with their numbers.
        name: of the run or the file that they come from.
        saved: the run.
        own: its held-out tunes.

    Returns:
        An exit code: 1 if a file could not be written, or a tune not be played.
    """
    written, count = [], 0
    for ending, content in _contents(args, tunes, name, saved, own):
        count += 1
        (file,) = outputs.files(args.output, [ending])
        if content is not None and atomic.try_write(file, content, note):
            written.append(str(file))
    say(", ".join(written))
    if old := _sounds_of_others(args.output, written):
        more = f" and {len(old) - SHOWN:,} more" if len(old) > SHOWN else ""
        note(f"NOTE: {', '.join(old[:SHOWN])}{more}: from an earlier call, of other tunes")
    return 0 if len(written) == count else 1


def _sounds_of_others(output, written):
    """Returns the names of files with MIDI and sound that an earlier call has left."""
    (abc,) = outputs.files(output, [ENDINGS[0]])
    suffixes = "|".join(map(re.escape, SUFFIXES.values()))
    name = re.compile(rf"{re.escape(abc.name.removesuffix(ENDINGS[0]))}-\d+(?:{suffixes})")
    try:
        names = sorted(filter(name.fullmatch, os.listdir(abc.parent)))
    except OSError:  # a folder that cannot be listed
        return []
    return [x for x in names if str(abc.with_name(x)) not in written]


def _contents(args, tunes, name, saved, own):
    """Yields (ending, bytes) of each file, one at a time; None, after a note, if there are none."""
    from charlm.inside import tunes_page

    page = tunes_page.page(tunes, name, saved, own)
    data = {".abc": MARK + "\n".join(tunes), ".html": page}
    for ending, text in data.items():
        yield ending, text.encode("utf-8", "backslashreplace")
    for k, kind, ending in others(args, range(1, len(tunes) + 1)):
        try:
            content = WRITERS[kind](_notes(tunes[k - 1]))
        except (AbcError, ValueError) as error:
            note(f"NOT SAVED: tune {k} as {kind}: {error}")
            content = None
        yield ending, content


def _notes(tune):
    """Returns the sounds of a tune.

    Raises:
        ValueError: there are none.
    """
    if found := sounds(read(tune)):
        return found
    raise ValueError("expected a tune with notes, found none")


def show_file(args: Any) -> int:
    """Writes the files for a file of tunes; without --output, prints its tunes.

    Returns:
        An exit code.
    """
    tunes = [tune for _, tune in tune_checks.read_file(args.run, args.encoding)]
    if args.output is None:
        print(visible("\n".join(tunes)))
        return 0
    given, written = Path(args.run), outputs.files(args.output, ENDINGS)
    if any(os.path.exists(p) and os.path.samefile(p, given) for p in written):
        raise InputError(
            f"expected --output to be another name than the file of tunes, found {args.output}"
        )
    check_others(args, range(1, len(tunes) + 1))
    return write(args, tunes, Path(args.run).name)
