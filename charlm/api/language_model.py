"""A trained model: generates text, measures text, gives access to its weights and settings."""

import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args, overload

import numpy as np

from charlm import notes
from charlm.api import arguments
from charlm.api.page import Page
from charlm.config import Config
from charlm.errors import InputError, require
from charlm.evaluation import losses
from charlm.generation import generate
from charlm.generation.constraints import SamplingConstraints
from charlm.inside.weights import Kind
from charlm.runs.checkpoint import Checkpoint
from corpora.normalizing import normalized

if TYPE_CHECKING:  # loading it takes seconds
    import keras


class LanguageModel:
    """A trained character model.

    `charlm.load` reads one from a run, `charlm.fit` trains one. It samples and measures with NumPy
    and compiled kernels; only `to_keras` loads TensorFlow.

    Args:
        checkpoint: the run's weights, settings and vocabulary.
        path: the weights file that it was read from.
        context: see `in_context`.

    >>> model = charlm.load("saved_models/speeches")  # doctest: +SKIP
    >>> model.generate("My fellow", length=40, seed=1)  # doctest: +SKIP
    [' Americans, we have the strength to build']
    """

    def __init__(
        self, checkpoint: Checkpoint, path: Path | None = None, context: str | None = None
    ):
        self._trained, self.path, self._context = checkpoint, path, context
        self._checkpoint = checkpoint.in_context(context)
        self._network = self._checkpoint.to_network()

    @property
    def config(self) -> Config:
        """The settings of the run."""
        return self._trained.config

    @property
    def contexts(self) -> Sequence[str]:
        """The values of the field that the model was conditioned on in training (--context)."""
        return self._trained.contexts.names if self._trained.contexts else ()

    def in_context(self, name: str | None = None) -> "LanguageModel":
        """Returns the model for one of its `contexts`; None for the mean of all.

        Raises:
            InputError: there is no such context, or the run has none.
        """
        if name is not None and not isinstance(name, str):
            raise TypeError(f"expected the name of a context, a str, found {type(name).__name__}")
        return LanguageModel(self._trained, self.path, name)

    @property
    def vocabulary(self) -> Sequence[str]:
        """The characters or tokens that the model knows, in the order of their ids: a string of
        characters, or a list of tokens, in which a byte of a part of a character is \\xff."""
        vocab = self._checkpoint.vocab
        return vocab.texts or vocab.characters

    @property
    def weights(self) -> dict[str, np.ndarray]:
        """The arrays by their paths in a Keras weights file. They are read-only."""
        found = {name: w.view() for name, w in self._checkpoint.weights.items()}
        for w in found.values():
            w.flags.writeable = False
        return found

    @property
    def history(self) -> list[dict]:
        """A dictionary for each epoch: its number, losses in nats (per character or token) and in
        bits per character ("bpc", "val_bpc"), characters per second, learning rate."""
        return [dict(row) for row in self._checkpoint.progress.history]

    def generate(
        self,
        prompt: str = "",
        length: int = 500,
        temperature: float = 0.8,
        n: int = 1,
        seed: int | None = None,
        top_k: int = 0,
        top_p: float = 1.0,
        repetition_penalty: float = 1.0,
        stop: str | Sequence[str] = (),
        min_length: int = 0,
        repetition_length: int = SamplingConstraints.repetition_length,
    ) -> list[str]:
        """Draws n texts that continue a prompt.

        A text depends on the seed, its place among the n, the temperature and the constraints, not
        on n or `length`: `generate(n=3, seed=1)[0]` equals `generate(n=1, seed=1)[0]`.

        Args:
            prompt: text to continue; it is not part of the result.
            length: maximum number of characters of each text.
            temperature: logits are divided by it; 0 always takes the most probable character.
            n: number of texts.
            seed: random seed; None draws other texts in each call.
            top_k: draw from the k most probable characters (or tokens) only; 0 for all.
            top_p: draw from the smallest set of them whose probabilities sum to top_p
                (nucleus sampling).
            repetition_penalty: divides the probability of a character that would repeat
                `repetition_length` characters of the text, its prompt included; 1 for none.
            stop: a text ends after the first of these strings; by default, a model of records
                stops where a record ends.
            min_length: number of characters before which `stop` has no effect.
            repetition_length: length of the repetitions that `repetition_penalty` makes less
                probable.

        Returns:
            n strings.

        Raises:
            InputError: a setting is out of range or has another type, or a character is not in the
                vocabulary.
            TypeError: the prompt is not a str.
        """
        rules = arguments.constraints(top_k, top_p, repetition_penalty, repetition_length)
        pieces = self._pieces(prompt, length, temperature, n, seed, stop, min_length, rules)
        return ["".join(text) for text in zip(*pieces, strict=True)]

    def stream(
        self,
        prompt: str = "",
        length: int = 500,
        temperature: float = 0.8,
        seed: int | None = None,
        top_k: int = 0,
        top_p: float = 1.0,
        repetition_penalty: float = 1.0,
        stop: str | Sequence[str] = (),
        min_length: int = 0,
        repetition_length: int = SamplingConstraints.repetition_length,
    ) -> Iterator[str]:
        """Yields one text piece by piece, as it is drawn. Args: see `generate`."""
        rules = arguments.constraints(top_k, top_p, repetition_penalty, repetition_length)
        pieces = self._pieces(prompt, length, temperature, 1, seed, stop, min_length, rules)
        return (piece for (piece,) in pieces if piece)

    def _pieces(self, prompt, length, temperature, n, seed, stop, min_length, rules):
        vocab = self._checkpoint.vocab
        with arguments.named_as_arguments():
            stops = arguments.checked(length, temperature, n, seed, stop, min_length)
            prompt, *stops = (self._normalized(text) for text in (prompt, *stops))
            for text in (prompt, *stops):
                vocab.encode(text)
            seed = secrets.randbits(32) if seed is None else seed
            options = rules, tuple(stops), min_length, self.config.data.separator
            args = prompt, length, [temperature] * n, seed, *options
            return generate.texts(self._network, vocab, *args)

    @overload
    def score(self, text: str, per_character: Literal[False] = False) -> float: ...

    @overload
    def score(self, text: str, per_character: Literal[True]) -> np.ndarray: ...

    def score(self, text: str, per_character: bool = False) -> float | np.ndarray:
        """Measures a text in bits per character: lower is more probable.

        The text is read from its first character, from a zero state. The first character is not
        measured, because nothing was read before it.

        Args:
            text: m characters, 2 or more.
            per_character: return the bits of each character instead of their mean.

        Returns:
            The mean, or an array (m - 1,). A model of tokens does not measure the first token, and
            spreads the bits of the others evenly over their characters.

        Raises:
            InputError: a character is not in the vocabulary, or there are fewer than 2 characters
                or tokens.
            TypeError: the text is not a str.
        """
        text = self._normalized(text)
        if len(text) < 2:
            raise InputError(f"expected a text of 2 characters or more, found {len(text)}")
        with notes.without_progress():
            vocab = self._checkpoint.vocab
            ids = vocab.encode(text)
            if len(ids) < 2:
                raise InputError("expected a text of 2 tokens or more, found 1")
            (found,) = losses.stateful_losses(self._network, [ids])
        found = losses.by_character(found, ids, vocab.lengths)
        return found / np.log(2) if per_character else losses.bits([found])

    def _normalized(self, text):
        """Returns a text in the Unicode form of the run's text."""
        if not isinstance(text, str):
            raise TypeError(f"expected a str, found {type(text).__name__}")
        return normalized(text, self.config.data.normalize)

    def show(self, text: str | None = None, weights: Kind = "fp16") -> Page:
        """Makes a page that runs the model in the browser; a notebook shows it.

        Its `html` holds the model and the text. `charlm show` also looks for cells.

        Args:
            text: a text to show, coloured by any cell or gate; None for one that the model writes.
            weights: bits of the weights in the page, fp32, fp16 or int8.

        Raises:
            InputError: the model is too large for a page, or it knows no character of the text.
            TypeError: the text is not a str.
        """
        from charlm.inside import webpage

        self._checkpoint.vocab.require_characters("show the model")
        saved, name = self._checkpoint, self.path.resolve().parent.name if self.path else "a model"
        with arguments.named_as_arguments(), notes.without_progress():
            require(weights in get_args(Kind), "weights", "fp32, fp16 or int8", weights)
            text = text and self._normalized(text)
            return Page(webpage.page(saved, name, text, kind=weights))

    def to_keras(self) -> "keras.Model":
        """Builds the model from stock Keras layers: ids (B, T) -> logits (B, T, V).

        States start at zero. An id is an index in `vocabulary`. A cell that Keras lacks
        is converted to an LSTM.

        Raises:
            InputError: the cell cannot be converted to Keras's layers.
        """
        from charlm.interop import keras_model

        saved = self._checkpoint
        return keras_model.text_model(saved.config.model, saved.weights, len(saved.vocab))

    def __repr__(self) -> str:
        model = self.config.model
        weights = self._checkpoint.weights.values()  # states of random numbers are integers
        count = sum(w.size for w in weights if w.dtype.kind == "f")
        parts = [f"{model.cell} {model.layers} x {model.units}", f"{count:,} parameters"]
        vocab = self._checkpoint.vocab
        parts.append(f"vocabulary of {vocab}{'' if vocab.texts else ' characters'}")
        if self.contexts:
            parts.append(f"in context {self._context or f'unknown of {len(self.contexts)}'}")
        best = self._checkpoint.progress.best_bits
        if best is not None:
            parts.append(f"{best:.4f} held-out bits per character")
        where = f" from {self.path}" if self.path else ""
        return f"<LanguageModel {', '.join(parts)}{where}>"
