"""A training run: its model, data and progress, which are saved and restored together."""

import contextlib
import json
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
from charlm.reference.contexts import in_context
from charlm.reference.network import Network
from charlm.runs import checkpoint
from charlm.runs.checkpoint import Checkpoint
from charlm.runs.progress import Progress
from charlm.text import tokenizing
from charlm.text.encoded_text import Text
from charlm.text.tokens import TokenVocab
from charlm.text.windows import TrainingWindows
from charlm.training import network as model
from charlm.training import resume
from charlm.training.dataset import batches, errors_of
from charlm.training.distribution import found_devices, over_devices
from charlm.training.processes import ALONE, Processes
from charlm.training.seeds import set_random_seed
from charlm.training.streams import Streams, compile_for
from charlm.training.training_windows import (
    characters_per_token,
    held_out_windows,
    training_windows,
)
from corpora.normalizing import normalized


def _resolved(config: Config) -> Config:
    """Replaces the precision "auto" by the one for this machine and model."""
    if config.fit.precision != "auto":
        return config
    half = numpy_op.load_kernel("bfloat16")
    pays = half is not None and half.PAYS
    pays = pays and model.backward_pass(config.model, "bf16") == "compiled"
    return replace(config, fit=replace(config.fit, precision="bf16" if pays else "fp32"))


def _agreed(config, text, saved):
    """Returns what processes that train together must have found alike."""
    settings = config.to_dict()
    for name in resume.MOVABLE:
        del settings["data"][name]
    arrays = sorted(saved.arrays().items()) if saved else []
    progress = [saved.progress.epoch, saved.progress.step] if saved else []
    contexts = text.known_contexts.sha256 if text.known_contexts else ""
    return {
        "text": text.sha256.encode(),
        "settings": json.dumps(settings).encode(),
        "vocabulary": json.dumps(text.vocab.stored()).encode(),
        "contexts": contexts.encode(),
        "weights to resume from": b"".join(
            [*(x.tobytes() for _, x in arrays), json.dumps(progress).encode()]
        ),
    }


class Training:
    """The model, data, optimizer and progress of a run; writes nothing.

    Args:
        config: the run's settings.
        text: to train and measure on.
        saved: a checkpoint to continue from; None for a new run.
        distribute: divide the streams among the devices of JAX, if there are several.
        processes: those that train this run together; they have joined.

    Raises:
        InputError: the text is too short, or does not fit `saved`.
    """

    def __init__(
        self,
        config: Config,
        text: Text,
        saved: Checkpoint | None = None,
        distribute: bool = True,
        processes: Processes = ALONE,
    ):
        config = _resolved(config)
        if saved:
            resume.check_same_text(saved, text)
            text = text.translated(saved.vocab)  # the weights may come from another text
        self.config, self.text = config, text
        self.vocab, self.corpus_sha256 = text.vocab, text.sha256
        processes.require_same(lambda: _agreed(config, text, saved))
        self.progress = saved.progress if saved else Progress()
        self.learned_before = saved.learned_before if saved else []
        self.contexts = text.known_contexts
        self.processes, B = processes, config.data.batch_size
        self.distribution = over_devices(B, processes.count) if distribute else None
        self._found_devices = found_devices() if distribute else 1
        self.held_out = held_out_windows(text, config.data, self.devices)
        self.per_token = characters_per_token(text, self.held_out)
        of_tokens = isinstance(self.vocab, TokenVocab)
        self._tokenizers = {"tokenizers": tokenizing.version()} if of_tokens else {}
        self.held_out_characters = round(self.per_token.held_out * self.held_out.targets)
        windows = self.windows()
        C = len(self.contexts.names) if self.contexts else 0
        checkpoint.check_size_limits(config, self.vocab, self.contexts)
        if self.progress.step >= windows.steps:
            raise InputError(
                f"expected a run that stopped within an epoch of {windows.steps} windows, found "
                f"one that stopped after {self.progress.step}"
            )
        keras.config.set_floatx("float32")  # overrides a keras.json; files and code need it
        set_random_seed(config.data.seed)
        self.means: list[np.ndarray] = []  # that the next epoch begins with
        with self._distributed():
            self.network = model.build(
                config.model, len(self.vocab), config.data.seed, precision=config.fit.precision,
                contexts=C,
            )  # fmt: skip
            self.streams = Streams(self.network, B, len(self.held_out.ids))
            compile_for(self.streams, config.fit, windows.steps)
            if saved:
                self._restore(saved)
            elif config.model.output_bias == "unigram":
                self.network.get_layer("dense").bias.assign(text.log_shares(self.vocab))

    @property
    def devices(self) -> int:
        """The number of devices that the streams are divided among."""
        return self.distribution.device_mesh.devices.size if self.distribution else 1

    def idle_devices(self) -> str | None:
        """Returns a line about devices that get no streams, because the others would get more."""
        found, B = self._found_devices, self.config.data.batch_size
        if found == self.devices:
            return None
        return (
            f"NOTE: the {B} streams are divided among {self.devices} of {found} devices; with a "
            f"--batch-size that is a multiple of {found}, all are used"
        )

    def _distributed(self):
        return self.distribution.scope() if self.distribution else contextlib.nullcontext()

    def windows(self, epoch: int = 0, first: int = 0) -> TrainingWindows:
        """Returns this process's windows of `epoch`, from window `first` on."""
        own = self.processes.own(self.config.data.batch_size)
        return training_windows(self.text, self.config.data, epoch, first, own)

    def fit(self, callbacks: list[keras.callbacks.Callback]) -> None:
        """Trains from the current `progress` to the end."""
        epochs = self.config.fit.epochs
        if self.progress.step:  # the rest of an epoch that was cut short
            epoch = self.progress.epoch
            self._fit(self.windows(epoch, self.progress.step), epoch, epoch + 1, callbacks)
        if not self.streams.stop_training and self.progress.epoch < epochs:
            self._fit(self.windows(self.progress.epoch), self.progress.epoch, epochs, callbacks)

    def _fit(self, windows, begin, end, callbacks):
        turn = keras.callbacks.LambdaCallback(on_epoch_begin=lambda e, logs: self._turn(windows, e))
        with self._distributed(), errors_of(windows):
            self.streams.fit(
                batches(windows),
                validation_data=batches(self.held_out, self.processes.own(len(self.held_out.ids))),
                initial_epoch=begin,
                epochs=end,
                callbacks=[turn, *callbacks],
                shuffle=False,  # the carried states need the windows in their order
                verbose=0,
            )

    def _turn(self, windows, epoch):
        windows.set_epoch(epoch)
        for variable, value in zip(self.streams.metrics_variables, self.means, strict=False):
            variable.assign(value)  # Keras has reset it to zero
        self.means = []

    def _running_means(self):
        """Returns the metrics' running means in the current epoch; none between epochs."""
        variables = self.streams.metrics_variables if self.progress.step else []
        return [ops.convert_to_numpy(v) for v in variables]

    def snapshot(self) -> Checkpoint:
        """Returns the current state of the run as a checkpoint; all processes must call it."""
        return Checkpoint(
            config=self.config,
            vocab=self.vocab,
            corpus_sha256=self.corpus_sha256,
            progress=self.progress,
            weights=model.weights(self.network),
            optimizer=[ops.convert_to_numpy(v) for v in self.streams.optimizer.variables],
            carried=[self._whole(v) for v in self.streams.carried["training"]],
            metrics=self._running_means(),
            learned_before=self.learned_before,
            contexts=self.contexts,
            versions={
                "keras": keras.__version__,
                "backend": keras.backend.backend(),
                "numpy": np.__version__,
            }
            | self._tokenizers,
        )

    def _whole(self, variable):
        """Returns a variable whose rows may be divided among processes."""
        alone = self.processes.count == 1
        return ops.convert_to_numpy(variable) if alone else self.processes.gathered(variable.value)

    def to_network(self) -> Network:
        """Returns the network in NumPy, with a copy of the weights; for an unknown context."""
        weights, V = model.weights(self.network), len(self.vocab)
        if self.contexts:
            weights = in_context(weights, self.config.model, V)
        return Network(weights, V, self.config.model)

    def _restore(self, saved):
        if not saved.optimizer:  # imported or fine-tuned weights: the optimizer state is new
            model.set_weights(self.network, saved.weights)
            return
        mine, theirs = self.streams.optimizer.variables, saved.optimizer
        if saved.config.fit.precision != self.config.fit.precision:
            # Adam's variables are last; only fp16 has a loss scale before them, which is reset
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
        """Samples texts that continue `prompt`, with a copy of the weights."""
        prompt = normalized(prompt, self.config.data.normalize)
        args = length, temperatures, seed, self.config.data.separator, prompt
        return generate.whole_texts(self.to_network(), self.vocab, *args)
