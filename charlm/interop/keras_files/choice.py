"""Finds what a model's ids stand for: reads them as asked, and measures whether that fits."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from charlm.errors import InputError
from charlm.interop.keras_files import vocabulary
from charlm.interop.keras_files.measure import UNIGRAM, Measured, held_out, measure
from charlm.interop.keras_files.readings import (
    ORDERS,
    Progress,
    Reading,
    TextReadings,
    of_characters,
)
from charlm.reference.network import Network

MANY = 10  # times as many ids as characters: those of words


class Choice:
    """The readings of one model's ids.

    Args:
        file: the model's, for messages. V: the number of its ids.
        network: makes the model with the ids of a reading's vocabulary.
        text: the readings that a text leaves open, None without a text.
        progress: (what, total, unit), shows how far measuring is; see `charlm.cli.progress`.
    """

    def __init__(
        self,
        file: Path,
        V: int,
        network: Callable[[Reading], Network],
        text: TextReadings | None,
        progress: Progress,
    ):
        self.file, self.V, self.network = file, V, network
        self.text: Any = text  # all but `given` need one
        self.progress = progress
        self.notes: list[str] = []
        """What was taken for granted of the ids."""

    def in_order(self, order: str) -> Measured:
        """The reading of the text's characters in an order. A guess must be measured.

        Raises:
            InputError: the text has another number of characters.
        """
        wanted = self._in_order(order)
        if not wanted:
            n = len(self.text.text.vocab)
            words = " (is it a model of words?)" if self.V // n >= MANY else ""
            raise InputError(
                f"expected a vocabulary of {self.V} characters, as {self.file} has{words}, found "
                f"{n} in {self.text.corpus.title}; --vocab-from names the text that the model was "
                'trained on, --vocab a JSON list of its characters, with "" for an id that stands '
                "for none, such as one for padding"
            )
        return self._best(wanted)

    def in_file(self, path: Path) -> Measured:
        """The reading that a JSON file gives.

        Raises:
            InputError: it is none of the forms, of another size, or lacks a character of the text.
        """
        characters, ids = vocabulary.read(path)
        count = ids.stop
        if ids == range(1, self.V + 1):  # of a Tokenizer, less one
            characters, count = {k - 1: x for k, x in characters.items()}, self.V
            self.notes.append(f"ids 1 to {self.V} of {path} are taken for 0 to {self.V - 1}")
        if count != self.V:
            raise InputError(
                f"expected a vocabulary of {self.V} characters, as {self.file} has, found {count} "
                f"in {path}; {self._cure(count)}"
            )
        if self.text is None:
            self.notes.append(
                f"nobody has checked whether the ids stand for the characters of {path}; "
                "--vocab-from with a text like the one it was trained on does"
            )
        return self.given(characters, path)

    def given(self, characters: dict[int, str], source: Path) -> Measured:
        """The reading that {id: character} is.

        Args:
            source: the file that says so.

        Raises:
            InputError: it lacks a character of the text.
        """
        if self.text is None:
            return Measured(of_characters(characters))
        reading = self.text.of(characters)
        if reading is None:
            others = sorted({*self.text.text.vocab.characters} - {*characters.values()})
            raise InputError(
                f"expected the characters of {source} in {self.text.corpus.title}, found others: "
                f"{''.join(others[:20])!r}; leave --vocab-from out to import without measuring"
            )
        return self._best([reading])

    def refuse(self, found: Measured, order: str | None, assumed: Sequence[str] = ()) -> NoReturn:
        """Raises InputError for a reading that is worse than the unigram model.

        Args:
            order: that of the reading, None for a file's; the others are tried.
            assumed: of the model, because its file does not say it.
        """
        without = "" if order else " without --vocab"
        tried = [
            (f"--vocab-order {other}{without}", self._best(wanted))
            for other in ORDERS
            if other != order and (wanted := self._in_order(other))
        ]
        told = [
            f"{flag} gives {x.bits:.2f}{', which fits' if x.useful else ''}" for flag, x in tried
        ]
        if not any(x.useful for _, x in tried):
            told.append(
                "give the text that the model was trained on as --vocab-from, or its characters as "
                "--vocab; --allow-worse-than-unigram imports it as it is"
            )
        assumed = [*assumed, *self.notes]
        doubt = f" (or what was assumed is wrong: {'; '.join(assumed)})" if assumed else ""
        raise InputError(
            f"expected at most the {found.unigram:.2f} bits/char of {UNIGRAM}, on "
            f"{self.text.corpus.title}, found {found.bits:.2f}: the ids of {self.file} seem to "
            f"stand for other characters{doubt}, or it has hardly been trained; {'; '.join(told)}"
        )

    def _cure(self, count):
        """What to do about a vocabulary of that many characters."""
        if count == self.V - 1:
            return 'if id 0 stands for no character, make it a list with "" first'
        return "give that of the text that the model was trained on"

    def _in_order(self, order):
        found = self.text.in_order(order)
        return [x for x in found if not x.notes(self.V) or held_out(x.text)]

    def _best(self, wanted):
        """The first reading in which the model is useful, or else the first."""
        measured = []
        for reading in wanted:
            measured.append(self._measured(reading))
            if measured[-1].useful:
                return measured[-1]
        return measured[0]

    def _measured(self, reading):
        windows = held_out(reading.text)
        if windows is None:
            return Measured(reading)
        name = self.text.corpus.title
        with self.progress(f"measuring on {name}", windows.targets, "char") as tell:
            return measure(reading, self.network(reading), windows, tell)
