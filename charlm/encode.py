"""`charlm encode TEXT -o FOLDER`: encodes a text of many gigabytes before training."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from charlm import cli
from charlm.cli.options import Debug, Quiet
from charlm.config import DataConfig
from charlm.errors import InputError, command_line, require
from charlm.kernels.parallel import threads
from charlm.text import sharding
from corpora.document import ENCODED


@dataclass(frozen=True)
class Encode:
    """Encodes a text of many gigabytes into a folder, in parallel; charlm train reads it.

    charlm train encodes a text by itself, in one process, into one file of the cache. This command
    uses all cores and writes many files, for texts that are too large for that, and for several
    machines that share a disk. It reads the text twice. If it is interrupted, start it again: it
    reads the text again, and writes only the files that are missing.

    A file of the text is never divided, so cut very large files first, for example with split.
    """

    text: tyro.conf.Positional[str]
    """Text to encode: a file, folder, glob or name of a corpus."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"], metavar="FOLDER")] = None
    """Folder for the encoded text (required); give it to charlm train as the text."""
    encoding: str = "utf-8"
    """Encoding of the files. A byte order mark of UTF-16 or UTF-32 overrides utf-8."""
    normalize: Literal["none", "nfc", "nfd", "nfkc"] = "none"
    """Unicode normalization of the text; charlm train needs the same --normalize."""
    file_size: Annotated[int, tyro.conf.arg(metavar="MB")] = 1000
    """Megabytes of text in a file of the folder, about."""
    workers: int | None = None
    """Number of processes. Default: one for each core."""
    quiet: Quiet = False
    debug: Debug = False

    def __post_init__(self):
        if self.output is None or self.output == Path():
            found = "none" if self.output is None else "''"
            raise InputError(f"expected -o FOLDER, a folder for the encoded text, found {found}")
        require(self.file_size >= 1, "file_size", "1 or more", self.file_size)
        require(self.workers is None or self.workers >= 1, "workers", "1 or more", self.workers)


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return cli.run(_main, argv)


def _main(argv):
    args = cli.parse(Encode, "charlm encode", argv)
    if args.text == "-":
        raise InputError("expected files, found - (standard input), which can be read only once")
    if os.path.isfile(Path(args.text) / ENCODED):
        raise InputError(f"expected a text, found {args.text}, which is encoded already")
    data = DataConfig(corpus=args.text, encoding=args.encoding, normalize=args.normalize)
    corpus = cli.corpus(data)
    _check_outside(args)
    size, workers = args.file_size * 10**6, args.workers or threads()
    try:
        index = sharding.write(corpus, args.output, args.normalize, size, workers, cli.note)
    except KeyboardInterrupt:
        cli.note("files that are complete stay; start it again to write the others")
        raise
    cli.note_reading(corpus)
    trained, held_out = sum(index.training), sum(n - 1 for part in index.held_out for n in part)
    more = ("--normalize", args.normalize) if args.normalize != "none" else ()
    print(
        f"{args.output}: {trained:,} characters to train on, {held_out:,} held out, "
        f"{len(index.vocabulary):,} distinct, in {len(index.training):,} "
        f"file{'s' * (len(index.training) > 1)}; train on it with: "
        f"{command_line('train', args.output, *more)}"
    )


def _check_outside(args):
    """Raises InputError if the text would hold its own encoded form."""
    folder = Path(args.text).absolute()
    if folder.is_dir() and args.output.absolute().is_relative_to(folder):
        raise InputError(
            f"expected a folder outside the text, found --output {args.output} in {args.text}; "
            "name another one"
        )


if __name__ == "__main__":
    sys.exit(main())
