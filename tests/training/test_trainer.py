"""Law: a run trains on its training text in order; stopped and gone on, it is the same run."""

import keras
import numpy as np
import pytest
from keras import ops

from callbacks import StopOnNaN, StopOnSignal, TrackProgress
from charlm.config import Config, DataConfig, FitConfig, ModelConfig
from charlm.errors import InputError, NonFiniteLossError, Stopped
from charlm.text.encode import read
from charlm.text.vocab import Vocab
from charlm.training import network
from charlm.training.trainer import Training, _resolved
from corpora import Corpus, Document
from tests.conftest import SMALL_TEXT

B, T = 3, 16
LAST_WINDOW = 1908 // B // T - 1


def made(epochs=2, text=SMALL_TEXT, saved=None, restart_every=10, weight_drop=0.0, **fit):
    config = Config(
        ModelConfig(units=8, dropout=0.2, weight_drop=weight_drop),
        DataConfig(corpus="small", batch_size=B, window=T, seed=5, restart_every=restart_every),
        FitConfig(epochs=epochs, decay_epochs=4, **fit),
    )
    return Training(config, read(Corpus("small", (Document("small", text),))), saved)


def tracked(training):
    return TrackProgress(training.progress, B * T, training.windows().steps)


def weights(training):
    return np.concatenate([w.ravel() for w in network.weights(training.network).values()])


def losses(training):
    return [(row["loss"], row["val_loss"]) for row in training.progress.history]


def test_loss_falls():
    training = made(epochs=4, learning_rate=0.02)
    training.fit([tracked(training)])
    bits = [row["bpc"] for row in training.progress.history]
    assert bits[-1] < bits[0] - 1
    held_out = [row["val_bpc"] for row in training.progress.history]
    assert held_out[-1] < held_out[0]


@pytest.mark.usual(1)
@pytest.mark.parametrize("steps", [1, None])
def test_fit_reads_every_window_of_every_epoch_in_order(steps, monkeypatch):
    """Keras shuffles batches unless told not to, and carried states would mean nothing."""
    monkeypatch.setattr("charlm.training.dataset.CHUNK", 5 * B * T)
    training, seen = (
        made(epochs=2, learning_rate=1e-12, restart_every=0),
        [],
    )  # weights all but fixed
    steps = training.streams.steps_per_execution = steps or training.streams.steps_per_execution

    class Look(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(ops.convert_to_numpy(self.model.carried["training"][0]).copy())

    expected = []
    for epoch in range(2):
        windows, states = training.windows(epoch), [np.zeros((B, 8), "float32")] * 2
        for k in range(len(windows)):
            (ids, _), _ = windows[k]
            _, *states = training.network([ids, *map(ops.convert_to_numpy, states)])
            if (k + 1) % steps == 0 or k == LAST_WINDOW:
                expected.append(ops.convert_to_numpy(states[0]))
    training.fit([tracked(training), Look()])
    np.testing.assert_allclose(seen, expected, atol=1e-5)


@pytest.mark.soak
@pytest.mark.parametrize("cut", [1, 2, 3])
def test_stopped_after_an_epoch_and_gone_on_equals_straight_on(cut):
    drop = {"weight_drop": 0.3}
    straight = made(epochs=4, **drop)
    straight.fit([tracked(straight)])
    first = made(epochs=cut, **drop)
    first.fit([tracked(first)])
    second = made(epochs=4, saved=first.snapshot(), **drop)
    second.fit([tracked(second)])
    assert losses(second) == losses(straight)
    np.testing.assert_array_equal(weights(second), weights(straight))


@pytest.mark.soak
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_in_half_precision_too(precision):
    straight = made(epochs=2, precision=precision)
    straight.fit([tracked(straight)])
    first = made(epochs=1, precision=precision)
    first.fit([tracked(first)])
    saved = first.snapshot()
    kept = [*saved.weights.values(), *saved.carried]
    assert {x.dtype.name for x in kept if x.dtype.kind not in "iu"} == {"float32"}
    second = made(epochs=2, precision=precision, saved=saved)
    second.fit([tracked(second)])
    expected = straight.progress.history[-1]
    assert losses(second) == losses(straight)
    np.testing.assert_array_equal(weights(second), weights(straight))
    plain = made(epochs=2)
    plain.fit([tracked(plain)])
    assert expected["loss"] == pytest.approx(plain.progress.history[-1]["loss"], rel=1e-3)
    assert np.abs(weights(straight) - weights(plain)).max() > 1e-6  # so it was not float32


@pytest.mark.full
def test_precision_may_change_and_the_loss_scale_begins_anew():
    first = made(epochs=1, precision="fp16")
    first.fit([tracked(first)])
    for precision in ("fp32", "fp16"):
        saved = first.snapshot()
        second = made(epochs=2, precision=precision, saved=saved)
        again = second.snapshot()
        n = len(again.optimizer)
        assert (n < len(saved.optimizer)) == (precision == "fp32")
        for a, b in zip(again.optimizer, saved.optimizer[-n:], strict=True):
            np.testing.assert_array_equal(a, b)
    back = made(epochs=2, precision="fp16", saved=made(epochs=2, saved=first.snapshot()).snapshot())
    for a, b in zip(back.snapshot().optimizer, saved.optimizer, strict=True):
        assert a.shape == b.shape


@pytest.mark.full
def test_a_step_of_fp16_beyond_its_range_is_left_out_and_the_run_goes_on():
    training = made(epochs=1, precision="fp16")
    scale = training.streams.optimizer.dynamic_scale
    scale.assign(2.0**40)
    look = []

    class Look(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            look.append((float(scale), int(training.streams.optimizer.iterations)))

    training.fit([StopOnNaN(training.progress), tracked(training), Look()])
    at_once = training.streams.steps_per_execution  # each halves the scale
    assert look[0] == (2.0 ** (40 - at_once), 0)
    assert look[-1][0] < look[0][0]
    assert look[-1][1] > 0
    assert training.snapshot().finite()


@pytest.mark.product(1)
@pytest.mark.full
@pytest.mark.parametrize(("window", "steps"), [(0, None), (7, None), (LAST_WINDOW, None), (6, 1)])
def test_stopped_within_an_epoch_and_gone_on_equals_straight_on(window, steps):
    straight = made(epochs=3)
    straight.fit([tracked(straight)])
    first = made(epochs=3)
    steps = first.streams.steps_per_execution = steps or first.streams.steps_per_execution
    track, kept = tracked(first), []

    def save():
        _ = track.model  # on JAX, brings the weights up to date
        kept.append(first.snapshot())

    stop = StopOnSignal(save, first.windows().steps, 3, first.progress, print=lambda text: None)
    ask = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs=None: (
            stop.ask(2) if first.progress.epoch == 1 and batch <= window < batch + steps else None
        )
    )
    with pytest.raises(Stopped):
        first.fit([ask, track, stop])
    if window == LAST_WINDOW:  # then the epoch is finished as ever, and saved by another callback
        kept.append(first.snapshot())
        assert (kept[0].progress.epoch, kept[0].progress.step) == (2, 0)
    else:
        done = window // steps * steps + steps
        assert (kept[0].progress.epoch, kept[0].progress.step) == (1, done)
    second = made(epochs=3, saved=kept[0])
    second.fit([tracked(second)])
    assert losses(second) == losses(straight)
    np.testing.assert_array_equal(weights(second), weights(straight))


def test_held_out_text_never_trains():
    cut = len(SMALL_TEXT) - int(len(SMALL_TEXT) * 0.1)
    other = SMALL_TEXT[:cut] + "t" * (len(SMALL_TEXT) - cut)
    runs = [made(epochs=1, text=text) for text in (SMALL_TEXT, other)]
    for run in runs:
        run.fit([tracked(run)])
    np.testing.assert_array_equal(weights(runs[0]), weights(runs[1]))
    losses = [run.progress.history[0]["val_loss"] for run in runs]
    assert losses[0] != losses[1]


@pytest.mark.soak
def test_sampling_leaves_the_run_untouched():
    straight, sampled = made(epochs=2), made(epochs=2)
    straight.fit([tracked(straight)])
    look = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: sampled.sample("It", 20, (0.0, 1.0), seed=epoch)
    )
    sampled.fit([tracked(sampled), look])
    np.testing.assert_array_equal(weights(straight), weights(sampled))


def test_samples_are_texts_of_the_length_asked_for_and_the_same_for_a_seed():
    training = made()
    texts = training.sample("It was", 30, (0.0, 1.0), seed=3)
    assert [len(t) for t in texts] == [30, 30]
    assert texts == training.sample("It was", 30, (0.0, 1.0), seed=3)
    assert texts[1] != training.sample("It was", 30, (0.0, 1.0), seed=4)[1]


def test_a_loss_that_is_no_number_stops_the_run():
    training = made(epochs=2)
    broken = {k: v.copy() for k, v in network.weights(training.network).items()}
    broken["layers/dense/vars/1"][0] = np.nan
    network.set_weights(training.network, broken)
    with pytest.raises(NonFiniteLossError, match=r"epoch 1.*learning-rate"):
        training.fit([StopOnNaN(training.progress), tracked(training)])
    assert training.progress.history == []


@pytest.mark.full
def test_a_held_out_loss_that_is_no_number_stops_the_run_before_it_is_told():
    training = made(epochs=2)

    class Break(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch >= LAST_WINDOW:
                broken = network.weights(training.network)
                broken["layers/dense/vars/1"] = np.full_like(broken["layers/dense/vars/1"], np.nan)
                network.set_weights(training.network, broken)

    with pytest.raises(NonFiniteLossError, match=r"epoch 1; the files saved"):
        training.fit([StopOnNaN(training.progress), tracked(training), Break()])
    assert training.progress.history == []


def test_a_loss_beyond_reason_stops_the_run():
    training = made(epochs=3, learning_rate=1e20, clip_norm=0.0)
    with pytest.raises(NonFiniteLossError, match=r"the loss became"):
        training.fit([StopOnNaN(training.progress), tracked(training)])


def test_another_text_is_refused_on_resume():
    first = made(epochs=1)
    first.fit([tracked(first)])
    with pytest.raises(InputError, match="text the run was trained on"):
        made(epochs=2, text=SMALL_TEXT.replace("best", "bets"), saved=first.snapshot())


def test_a_run_keeps_the_vocabulary_it_began_with():
    """Its weights may come from a run on another text."""
    first = made(epochs=1)
    vocab = Vocab.of([SMALL_TEXT + "#"])
    wider = Training(first.config, first.text.translated(vocab))
    again = Training(first.config, first.text, wider.snapshot())
    assert again.vocab == vocab
    (ids, _), _ = again.windows()[0]
    (expected, _), _ = wider.windows()[0]
    np.testing.assert_array_equal(ids, expected)
    assert vocab.decode(ids) != first.vocab.decode(ids)


@pytest.mark.parametrize(("part", "named"), [("optimizer", "optimizer"), ("carried", "carried")])
def test_a_checkpoint_of_other_shapes_is_refused(part, named):
    saved = made(epochs=1).snapshot()
    getattr(saved, part)[-1] = np.zeros((1, 2, 3), "float32")
    with pytest.raises(InputError, match=f"expected {named}.*of this model"):
        made(epochs=2, saved=saved)


@pytest.mark.parametrize(
    ("settings", "pays", "expected"),
    [
        ({}, True, "bf16"),
        ({"cell": "gru"}, True, "bf16"),
        ({}, False, "fp32"),
        ({"cell": "keras-lstm"}, True, "fp32"),
        ({"cell": "gru", "reset": "before"}, True, "fp32"),
        ({"activation": "relu"}, True, "bf16"),
    ],
    ids=str,
)
def test_auto_is_half_precision_where_that_is_faster(settings, pays, expected, monkeypatch):
    monkeypatch.setattr("charlm.kernels.bfloat16.PAYS", pays)
    monkeypatch.setattr("charlm.kernels.bfloat16.AVAILABLE", True)
    config = Config(ModelConfig(**settings), fit=FitConfig(precision="auto"))
    assert _resolved(config).fit.precision == expected
    given = Config(ModelConfig(**settings), fit=FitConfig(precision="fp16"))
    assert _resolved(given) is given


def test_output_bias_begins_at_the_log_of_shares():
    text = read(Corpus("t", (Document("t", "aab" * 300),)))
    for how, expected in (("unigram", text.log_shares(text.vocab)), ("zeros", [0, 0])):
        config = Config(ModelConfig(units=3, output_bias=how), DataConfig(batch_size=2, window=8))
        bias = Training(config, text).network.get_layer("dense").bias
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(bias), expected)
