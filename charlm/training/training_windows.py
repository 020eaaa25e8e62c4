"""The windows of a run's training text, from its settings; needs no backend."""

from charlm.config import DataConfig
from charlm.text.encoded_text import Text
from charlm.text.windows import TrainingWindows


def training_windows(
    text: Text, data: DataConfig, epoch: int = 0, first: int = 0
) -> TrainingWindows:
    """Returns the windows of `epoch`, from window `first` on.

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
    )
