"""A training run as an object: model, data and progress together, saved and restored together."""

import keras
import numpy as np
from keras import ops

from charlm import compose, model
from charlm.batches import Batches
from charlm.checkpoint import Checkpoint, Progress
from charlm.config import Config
from charlm.errors import InputError
from charlm.reference.network import Network
from charlm.vocab import Vocab
from charlm.windows import HeldOutWindows, TrainingWindows
from corpora import Corpus


class Training:
    """All a run needs, made from its settings and its text; nothing is written.

    Args:
        config: settings. vocab: of the run. corpus: its text.
        saved: a checkpoint to go on from, else the run begins anew.

    Raises:
        InputError: the text is too short, or does not fit `saved`.
    """

    def __init__(
        self, config: Config, vocab: Vocab, corpus: Corpus, saved: Checkpoint | None = None
    ):
        self.config, self.vocab = config, vocab
        self.corpus_sha256 = corpus.sha256()
        if saved and saved.corpus_sha256 != self.corpus_sha256:
            raise InputError(
                f"expected the text the run was trained on (sha256 {saved.corpus_sha256[:12]}), "
                f"found another ({self.corpus_sha256[:12]}); --corpus says where the text is now, "
                "and another text needs a new run"
            )
        self.progress = saved.progress if saved else Progress()
        training, held_out = corpus.split()
        ids = vocab.encode("".join(d.text for d in training))
        self.characters = len(ids)
        self.held_out = HeldOutWindows([vocab.encode(d.text) for d in held_out])
        self._ids = ids
        windows = self.windows()
        keras.utils.set_random_seed(config.data.seed)
        self.network = model.build(
            config.model, len(vocab), config.data.seed, precision=config.fit.precision
        )
        self.streams = model.Streams(self.network, config.data.batch_size, len(self.held_out.ids))
        model.compile_for(self.streams, config.fit, windows.steps)
        if saved:
            self._restore(saved)

    def windows(self, epoch: int = 0, first: int = 0) -> TrainingWindows:
        """The windows from window `first` of `epoch` on."""
        data = self.config.data
        return TrainingWindows(
            self._ids, data.batch_size, data.window, data.seed, data.restart_every, epoch, first
        )

    def fit(self, callbacks: list[keras.callbacks.Callback]) -> None:
        """Trains to the end, from wherever `progress` stands."""
        epochs = self.config.fit.epochs
        if self.progress.step:  # the rest of an epoch that was cut short
            epoch = self.progress.epoch
            self._fit(self.windows(epoch, self.progress.step), epoch, epoch + 1, callbacks)
        if not self.streams.stop_training and self.progress.epoch < epochs:
            self._fit(self.windows(self.progress.epoch), self.progress.epoch, epochs, callbacks)

    def _fit(self, windows, begin, end, callbacks):
        self.streams.fit(
            Batches(windows),
            validation_data=Batches(self.held_out),
            initial_epoch=begin,
            epochs=end,
            callbacks=callbacks,
            shuffle=False,  # or Keras shuffles the windows, and the carried states mean nothing
            verbose=0,
        )

    def snapshot(self) -> Checkpoint:
        """All of the run as it is now."""
        return Checkpoint(
            config=self.config,
            vocab=self.vocab,
            corpus_sha256=self.corpus_sha256,
            progress=self.progress,
            weights=model.weights(self.network),
            optimizer=[ops.convert_to_numpy(v) for v in self.streams.optimizer.variables],
            carried=[ops.convert_to_numpy(v) for v in self.streams.carried["training"]],
            versions={
                "keras": keras.__version__,
                "backend": keras.backend.backend(),
                "numpy": np.__version__,
            },
        )

    def _restore(self, saved):
        model.set_weights(self.network, saved.weights)
        if not saved.optimizer:  # weights from elsewhere: the optimizer begins anew
            return
        mine, theirs = self.streams.optimizer.variables, saved.optimizer
        if saved.config.fit.precision != self.config.fit.precision:
            # Adam's stand last; before them, in fp16 alone, is the loss scale, which begins anew
            optimizer = self.streams.optimizer
            n = len(getattr(optimizer, "inner_optimizer", optimizer).variables)
            mine, theirs = mine[-n:], theirs[-n:]
        pairs = {
            "optimizer": (mine, theirs),
            "carried states": (self.streams.carried["training"], saved.carried),
        }
        for what, (variables, values) in pairs.items():
            found = [tuple(v.shape) for v in values]
            if [tuple(v.shape) for v in variables] != found:
                raise InputError(f"expected {what} of this model, found arrays of shapes {found}")
        for variables, values in pairs.values():
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)

    def sample(self, prompt: str, length: int, temperatures, seed: int) -> list[str]:
        """Texts after `prompt`, from a copy of the weights: the run itself is not touched."""
        network = Network(model.weights(self.network), len(self.vocab), self.config.model)
        pieces = compose.texts(network, self.vocab, prompt, length, temperatures, seed)
        return ["".join(text) for text in zip(*pieces, strict=True)]
