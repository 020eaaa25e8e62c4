"""A training run as an object: model, data and progress together, saved and restored together."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from keras import ops

from charlm.config import Config
from charlm.errors import InputError
from charlm.generation import generate
from charlm.layers import numpy_op
from charlm.reference.network import Network
from charlm.runs import checkpoint
from charlm.runs.checkpoint import Checkpoint, Progress
from charlm.text.encoded_text import Text
from charlm.text.windows import HeldOutWindows, TrainingWindows
from charlm.training import network as model
from charlm.training.dataset import batches, errors_of
from charlm.training.streams import Streams, compile_for


def _resolved(config: Config) -> Config:
    """With the precision that "auto" means here."""
    if config.fit.precision != "auto":
        return config
    half = numpy_op.load_kernel("bfloat16")
    pays = half is not None and half.PAYS
    pays = pays and model.backward_pass(config.model, "bf16") == "compiled"
    return replace(config, fit=replace(config.fit, precision="bf16" if pays else "fp32"))


class Training:
    """All a run needs, made from its settings and its text; nothing is written.

    Args:
        config: settings. text: to train and measure on.
        saved: a checkpoint to go on from, else the run begins anew.

    Raises:
        InputError: the text is too short, or does not fit `saved`.
    """

    def __init__(self, config: Config, text: Text, saved: Checkpoint | None = None):
        config = _resolved(config)
        if saved:
            if saved.corpus_sha256 != text.sha256:
                raise InputError(
                    f"expected the text the run was trained on (sha256 {saved.corpus_sha256[:12]}),"
                    f" found another ({text.sha256[:12]}); --corpus says where the text is now, "
                    "and another text needs a new run (--init-from)"
                )
            text = text.translated(saved.vocab)  # weights may have begun on another text
        self.config, self.text = config, text
        self.vocab, self.corpus_sha256 = text.vocab, text.sha256
        self.progress = saved.progress if saved else Progress()
        self.learned_before = saved.learned_before if saved else []
        self.held_out = HeldOutWindows(text.to_measure(config.data.max_held_out))
        windows = self.windows()
        checkpoint.check_size_limits(config, self.vocab)
        if self.progress.step >= windows.steps:
            raise InputError(
                f"expected a run stopped within an epoch of {windows.steps} windows, found one "
                f"after {self.progress.step}"
            )
        keras.config.set_floatx("float32")  # whatever a keras.json says: files and code count on it
        keras.utils.set_random_seed(config.data.seed)
        self.network = model.build(
            config.model, len(self.vocab), config.data.seed, precision=config.fit.precision
        )
        self.streams = Streams(self.network, config.data.batch_size, len(self.held_out.ids))
        compile_for(self.streams, config.fit, windows.steps)
        self.means: list[np.ndarray] = []  # that the next epoch begins with
        if saved:
            self._restore(saved)
        elif config.model.output_bias == "unigram":
            self.network.get_layer("dense").bias.assign(text.log_shares(self.vocab))

    def windows(self, epoch: int = 0, first: int = 0) -> TrainingWindows:
        """The windows from window `first` of `epoch` on."""
        ids, data = self.text.training, self.config.data
        return TrainingWindows(
            ids, data.batch_size, data.window, data.seed, data.restart_every, epoch, first
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
        turn = keras.callbacks.LambdaCallback(on_epoch_begin=lambda e, logs: self._turn(windows, e))
        with errors_of(windows):
            self.streams.fit(
                batches(windows),
                validation_data=batches(self.held_out),
                initial_epoch=begin,
                epochs=end,
                callbacks=[turn, *callbacks],
                shuffle=False,  # or Keras shuffles the windows, and the carried states mean nothing
                verbose=0,
            )

    def _turn(self, windows, epoch):
        windows.set_epoch(epoch)
        for variable, value in zip(self.streams.metrics_variables, self.means, strict=False):
            variable.assign(value)  # Keras has just set it to zero
        self.means = []

    def _running_means(self):
        """Of the epoch begun; between epochs there are none, whatever Keras still holds."""
        variables = self.streams.metrics_variables if self.progress.step else []
        return [ops.convert_to_numpy(v) for v in variables]

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
            metrics=self._running_means(),
            learned_before=self.learned_before,
            versions={
                "keras": keras.__version__,
                "backend": keras.backend.backend(),
                "numpy": np.__version__,
            },
        )

    def _restore(self, saved):
        if not saved.optimizer:  # weights from elsewhere: the optimizer begins anew
            model.set_weights(self.network, saved.weights)
            return
        mine, theirs = self.streams.optimizer.variables, saved.optimizer
        if saved.config.fit.precision != self.config.fit.precision:
            # Adam's stand last; before them, in fp16 alone, is the loss scale, which begins anew
            optimizer: Any = self.streams.optimizer
            n = len(getattr(optimizer, "inner_optimizer", optimizer).variables)
            mine, theirs = mine[-n:], theirs[-n:]
        means = self.streams.metrics_variables if saved.progress.step else []
        pairs = {
            "optimizer": (mine, theirs),
            "carried states": (self.streams.carried["training"], saved.carried),
            "running means": (means, saved.metrics),
        }
        for what, (variables, values) in pairs.items():
            found = [tuple(v.shape) for v in values]
            if [tuple(v.shape) for v in variables] != found:
                raise InputError(f"expected {what} of this model, found arrays of shapes {found}")
        model.set_weights(self.network, saved.weights)  # checks them all before it changes any
        for what in ("optimizer", "carried states"):
            for variable, value in zip(*pairs[what], strict=True):
                variable.assign(value)
        self.means = saved.metrics

    def sample(
        self, prompt: str, length: int, temperatures: Sequence[float], seed: int
    ) -> list[str]:
        """Texts after `prompt`, from a copy of the weights: the run itself is not touched."""
        network = Network(model.weights(self.network), len(self.vocab), self.config.model)
        pieces = generate.texts(network, self.vocab, prompt, length, temperatures, seed)
        return ["".join(text) for text in zip(*pieces, strict=True)]
