"""Finds the characters of a model's ids, and checks them by measuring the model on a text."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from charlm.errors import InputError
from charlm.interop.keras_files import vocabulary
from charlm.interop.keras_files.measure import UNIGRAM, Measured, held_out, measure
from charlm.interop.keras_files.readings import (
    ORDERS,
    Reading,
    TextReadings,
    of_characters,
)
from charlm.notes import progress
from charlm.reference.network import Network

MANY = 10  # this many times more ids than characters: a model of words


class Choice:
    """Chooses among the readings of a model's ids.

    Args:
        file: the model's file, for messages.
        V: the number of its ids.
        network: makes the model with the ids of a reading's vocabulary.
        text: the possible readings for a text; None without a text.
    """

    def __init__(
        self,
        file: Path,
        V: int,
        network: Callable[[Reading], Network],
        text: TextReadings | None,
    ):
        self.file, self.V, self.network = file, V, network
        self.text: Any = text  # all but `given` need one
        self.notes: list[str] = []
        """Assumptions about the ids."""

    def in_order(self, order: str) -> Measured:
        """Returns the best reading with the text's characters in an order, measured if possible.

        Raises:
            InputError: the number of characters does not fit.
        """
        wanted = self._in_order(order)
        if not wanted:
            n = len(self.text.text.vocab)
            words = " (is it a model of words?)" if self.V // n >= MANY else ""
            raise InputError(
                f"expected a vocabulary of {self.V} characters, as {self.file} has{words}, found "
                f"{n} in {self.text.corpus.title}; give the model's training text as --vocab-from, "
                'or a JSON list of its characters as --vocab, with "" for an id that stands for no '
                "character, such as padding"
            )
        return self._best(wanted)

    def in_file(self, path: Path) -> Measured:
        """Returns the reading of a JSON file of characters.

        Raises:
            InputError: the file has another form or size, or lacks a character of the text.
        """
        characters, ids = vocabulary.read(path)
        count = ids.stop
        if ids == range(1, self.V + 1):  # a Tokenizer's ids, reduced by 1
            characters, count = {k - 1: x for k, x in characters.items()}, self.V
            self.notes.append(f"assumed: ids 1 to {self.V} of {path} mean 0 to {self.V - 1}")
        if count != self.V:
            raise InputError(
                f"expected a vocabulary of {self.V} characters, as {self.file} has, found {count} "
                f"in {path}; {self._cure(count)}"
            )
        if self.text is None:
            self.notes.append(
                f"not checked whether the ids stand for the characters of {path}; --vocab-from "
                "with a text like the training text checks it"
            )
        return self.given(characters, path)

    def given(self, characters: dict[int, str], source: Path) -> Measured:
        """Returns the reading of given characters, measured if there is a text.

        Args:
            characters: {id: character}.
            source: the file that they come from.

        Raises:
            InputError: a character of the text is missing.
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
            found: the reading.
            order: its order; None for a file of characters. The other orders are tried.
            assumed: assumptions about the model.
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
        """Returns advice for a vocabulary of the wrong size."""
        if count == self.V - 1:
            return 'if id 0 stands for no character, make it a list with "" first'
        return "give the vocabulary of the model's training text"

    def _in_order(self, order):
        found = self.text.in_order(order)
        return [x for x in found if not x.notes(self.V) or held_out(x.text)]

    def _best(self, wanted):
        """Returns the first reading in which the model is useful, or else the first."""
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
        with progress(f"measuring on {name}", windows.targets) as tell:
            return measure(reading, self.network(reading), windows, tell)
