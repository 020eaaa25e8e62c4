"""The windows of a run's training text, from its settings; needs no backend."""

from charlm.config import DataConfig
from charlm.errors import InputError
from charlm.text.encoded_text import Text
from charlm.text.units import CharactersPerToken
from charlm.text.windows import HeldOutWindows, TrainingWindows


def training_windows(
    text: Text, data: DataConfig, epoch: int = 0, first: int = 0, own: slice = slice(None)
) -> TrainingWindows:
    """Returns the windows of `epoch`, from window `first` on, of the streams `own`.

    Raises:
        InputError: the text is too short.
    """
    separator = None if data.separator is None else text.vocab.encode(data.separator)
    return TrainingWindows(
        text.training,
        data.batch_size,
        data.window,
        data.seed,
        data.restart_every,
        epoch,
        first,
        separator,
        text.contexts.training if text.contexts else None,
        own,
    )


def held_out_windows(text: Text, data: DataConfig, devices: int = 1) -> HeldOutWindows:
    """Returns the windows to measure on after each epoch.

    Args:
        text: the text.
        data: its settings.
        devices: the number of streams is a multiple of it.

    Raises:
        InputError: no document has two characters, or tokens.
    """
    limit = data.max_held_out
    return HeldOutWindows(
        text.to_measure(limit),
        vocab_size=len(text.vocab),
        contexts=text.contexts_to_measure(limit),
        multiple_of=devices,
    )


def characters_per_token(text: Text, held_out: HeldOutWindows) -> CharactersPerToken:
    """Returns the mean numbers of characters of a text's ids and of the targets held out of it."""
    measured = float(text.vocab.lengths[held_out.ids[:, 1:][held_out.weights > 0]].mean())
    if not measured:  # every token is a part of the first character
        raise InputError(
            "expected a character after the first token of a held-out part, found none; give more "
            "text"
        )
    return CharactersPerToken(text.training_characters / len(text.training), measured)
