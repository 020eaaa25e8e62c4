"""Law: what a layer is given is Keras's contract, and is checked before machine code reads it.

Static shapes of outputs, shapes of initial states, ids, graphs that are saved or compiled.
"""

import gc
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from charlm.layers import LSTM
from charlm.training.loss import CrossEntropy
from tests.cells import KINDS, NAMESAKES, normal, set_random
from tests.oracle import outputs

B, T, D, H, V = 2, 5, 3, 4, 7
BACKEND = keras.backend.backend()
only_tensorflow = pytest.mark.skipif(BACKEND != "tensorflow", reason="graphs of TensorFlow")
MODES = {
    "plain": {},
    "last": {"return_sequences": False},
    "backwards": {"go_backwards": True},
    "mask": {"mask": True},
    "mask to zeros": {"mask": True, "zero_output_for_mask": True},
    "dropout": {"dropout": 0.3},
    "recurrent dropout": {"recurrent_dropout": 0.3},
    "unroll": {"unroll": True},
    "relu": {"activation": "relu"},
    "elu": {"activation": "elu"},
    "half": {"dtype": "mixed_bfloat16"},
    "double": {"dtype": "float64"},
}


@pytest.fixture(params=NAMESAKES[:1] if BACKEND == "jax" else NAMESAKES, ids=str)
def case(request):
    return request.param


@pytest.fixture(params=KINDS[:1] if BACKEND == "jax" else KINDS, ids=str)
def kind(request):
    return request.param


@pytest.mark.product(3)
@pytest.mark.usual(6)
@only_tensorflow
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("mode", [*MODES, "plain, XLA", "mask, XLA"])
def test_static_shapes_are_keras_own(case, mode, training):
    import tensorflow as tf

    mode, xla = mode.removesuffix(", XLA"), mode.endswith("XLA")
    options = {"return_sequences": True, "return_state": True} | MODES[mode]
    masked = options.pop("mask", False)
    specs = [(None, T, D), (None, None, D), (B, T, D)]
    found = []
    for made in (case.kind, case.keras_kind):
        layer = case.make(H, kind=made, **options)
        layer.build((None, None, D))
        shapes = []
        for spec in specs:
            if options.get("unroll") and spec[1] is None:
                continue

            def call(x, mask=None, layer=layer):
                return layer(x, training=training, mask=mask)

            given = [tf.TensorSpec(spec, layer.compute_dtype)]
            given += [tf.TensorSpec(spec[:2], "bool")] if masked else []
            graph = tf.function(call, jit_compile=xla).get_concrete_function(*given)
            shapes.append([tuple(y.shape) for y in keras.tree.flatten(graph.structured_outputs)])
        found.append(shapes)
    assert found[0] == found[1]


@pytest.mark.product(1)
@pytest.mark.full
def test_a_short_last_batch_trains_on_every_step(rng, case):
    """A time-distributed layer above needs the length; pooled, a lost one would go unseen."""
    x, y = normal(rng, 10, 20, D), normal(rng, 10, 2)
    losses = []
    for made in (case.kind, case.keras_kind):
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [
                keras.Input((20, D)),
                case.make(H, kind=made, return_sequences=True),
                keras.layers.TimeDistributed(keras.layers.Dense(3)),
                keras.layers.GlobalAveragePooling1D(),
                keras.layers.Dense(2),
            ]
        )
        model.compile(keras.optimizers.SGD(0.1), "mse")
        fitted = model.fit(x, y, batch_size=4, epochs=2, verbose=0, shuffle=False)
        losses.append(fitted.history["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-5)


WRONG = [(1, H + 1), (2 * B, H), (B, 1), (B, 100 * H), (B, H, 1), (1,), (), (0, H)]


@pytest.mark.product(8)
@pytest.mark.usual(2)
@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_an_initial_state_is_broadcast_or_refused(rng, case, training, compiled):
    ours, theirs = (case.make(H, kind=k) for k in (case.kind, case.keras_kind))
    x = normal(rng, B, T, D)
    for layer in (ours, theirs):
        layer.build(x.shape)
    set_random(rng, ours, theirs)
    ours.compiled_training = ours.compiled_inference = compiled
    S = len(case.cell.states)

    def call(layer, states):
        states = [ops.convert_to_tensor(s) for s in states]
        return outputs(layer, x, initial_state=states, training=training)

    for shape in ((1, H), (H,)):
        states = [normal(rng, *shape) for _ in range(S)]
        whole = [np.broadcast_to(s, (B, H)) for s in states]
        np.testing.assert_allclose(call(ours, states), call(theirs, whole), atol=1e-5)
    for shape in WRONG:
        for k in range(S):
            states = [normal(rng, *(shape if k == j else (B, H))) for j in range(S)]
            with pytest.raises(ValueError, match=r"Expected . initial state.*Received: shapes"):
                call(ours, states)
    with pytest.raises(ValueError, match=r"Expected . initial state|length|states"):
        call(ours, [normal(rng, B, H)] * (S + 1))


@only_tensorflow
@pytest.mark.parametrize("training", [True, False])
def test_a_batch_known_only_when_the_graph_runs_is_checked_then(rng, case, training):
    """As of an encoder's states that are handed to a decoder."""
    import tensorflow as tf

    layer = case.make(H, return_sequences=True)
    layer.build((None, T, D))
    shapes = [(None, T, D), *[(None, H)] * len(case.cell.states)]

    @tf.function(input_signature=[tf.TensorSpec(s) for s in shapes])
    def call(x, *states):
        return layer(x, initial_state=list(states), training=training)

    x, states = normal(rng, B, T, D), [normal(rng, B, H) for _ in shapes[1:]]
    whole = call(x, *states).numpy()
    same = [np.repeat(s[:1], B, 0) for s in states]
    found, expected = call(x, *[s[:1] for s in states]), call(x, *same)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert whole.shape == (B, T, H)
    with pytest.raises(tf.errors.InvalidArgumentError):
        call(x, *[np.repeat(s, 2, 0) for s in states])


BAD_IDS = [-1, V, 2**32 + 3, 2.7, float("nan")]
WAYS = [(True, True), (True, False), (False, True), (False, False)]  # training, compiled


def reads_ids(rng, kind, compiled=True, **options):
    layer = kind.make(H, vocab_size=V, return_sequences=True, **options)
    layer.build((B, T))
    set_random(rng, layer)
    layer.compiled_training = layer.compiled_inference = compiled
    return layer


def with_bad(rng, wrong):
    ids = rng.integers(V, size=(B, T))
    ids = ids.astype("float32" if isinstance(wrong, float) else "int64")
    ids[1, 2] = wrong
    return ids


def refused(kind=Exception):
    return pytest.raises(kind, match=rf"Expected ids to be whole numbers from 0 to {V - 1}")


@pytest.mark.parametrize(("training", "compiled"), WAYS)
@pytest.mark.parametrize("options", [{}, {"dropout": 0.3}], ids=str)
def test_an_id_out_of_range_is_refused(rng, kind, training, compiled, options):
    layer = reads_ids(rng, kind, compiled, **options)
    assert not np.isnan(outputs(layer, rng.integers(V, size=(B, T)), training=training)[0]).any()
    for wrong in BAD_IDS:
        if BACKEND == "jax" and wrong == 2**32 + 3:
            continue  # JAX has no int64 unless told so: it is another id there
        with refused():
            outputs(layer, with_bad(rng, wrong), training=training)


@pytest.mark.parametrize(("dtype", "count"), [("uint8", 256), ("int8", 200), ("uint16", 65_536)])
@pytest.mark.parametrize("compiled", [True, False])
def test_ids_of_small_types_are_what_they_are(rng, dtype, count, compiled):
    layer = KINDS[0].make(H, vocab_size=count)
    layer.build((B, T))
    layer.compiled_training = compiled
    ids = rng.integers(100, size=(B, T))
    for training in (True, False):
        expected = outputs(layer, ids, training=training)[0]
        found = outputs(layer, ids.astype(dtype), training=training)[0]
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_a_mask_may_have_an_axis_more(rng, kind, training):
    layer = kind.make(H, return_sequences=True)
    layer.build((B, T, D))
    x, mask = normal(rng, B, T, D), rng.random((B, T)) < 0.5
    expected = outputs(layer, x, mask=mask, training=training)
    found = outputs(layer, x, mask=mask[..., None], training=training)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    with pytest.raises(ValueError, match=r"Expected a mask of shape"):
        layer(x, mask=mask[:, :2], training=training)


def test_targets_may_have_an_axis_more(rng):
    for shape in ((2, 5), (5, 5), (1, 5)):
        targets = rng.integers(V, size=shape)
        logits = ops.convert_to_tensor(normal(rng, *shape, V))
        loss = CrossEntropy(reduction=None)
        found = ops.convert_to_numpy(loss(targets[..., None], logits))
        np.testing.assert_allclose(found, ops.convert_to_numpy(loss(targets, logits)), atol=1e-6)


def test_a_cell_on_its_own_refuses_too(rng, kind):
    cell = kind.kind.CELL(H, vocab_size=V)
    for wrong in (-1, V):
        with refused():
            cell(np.array([1, wrong]), cell.get_initial_state(2))


@pytest.mark.product(8)
@only_tensorflow
@pytest.mark.parametrize(("training", "compiled"), WAYS)
def test_in_a_graph_it_is_refused_when_it_runs(rng, kind, training, compiled):
    import tensorflow as tf

    layer = reads_ids(rng, kind, compiled)
    call = tf.function(lambda ids: layer(ids, training=training))
    for wrong in BAD_IDS:
        with refused(tf.errors.InvalidArgumentError) as error:
            call(tf.constant(with_bad(rng, wrong)))
        assert re.search(rf"Received: .*{str(wrong)[:3]}", str(error.value), re.S)


@pytest.mark.product(4)
@pytest.mark.skipif(BACKEND == "torch", reason="it compiles nothing here")
@pytest.mark.parametrize("training", [True, False])
def test_where_nothing_can_be_refused_it_is_nan_from_there_on(rng, kind, training):
    """Under XLA."""
    layer = reads_ids(rng, kind, compiled=False)
    ids = rng.integers(V, size=(4, T)).astype("float32")
    ids[1, 2], ids[2, 2], ids[3, 2] = -1, V, 2.7

    def call(ids):
        return layer(ids, training=training)

    if BACKEND == "tensorflow":
        import tensorflow as tf

        found = tf.function(call, jit_compile=True)(ids).numpy()
    else:
        import jax

        fixed = [v.value for v in layer.variables]
        n = len(layer.trainable_variables)
        found = jax.jit(
            lambda ids: layer.stateless_call(fixed[:n], fixed[n:], ids, training=training)[0]
        )(ids)
    found = np.isnan(found).any(-1)
    assert found[1:, 2:].all()
    assert not found[0].any()
    assert not found[:, :2].any()


def test_a_target_out_of_range_is_refused(rng):
    logits = ops.convert_to_tensor(normal(rng, B, T, V))
    for wrong in (-1, V, 2.7):
        with pytest.raises(Exception, match="Expected targets to be whole numbers from 0 to 6"):
            CrossEntropy()(with_bad(rng, wrong), logits)


@pytest.mark.full
@only_tensorflow
def test_a_graph_with_machine_code_cannot_be_saved(rng, tmp_path, monkeypatch):
    import tensorflow as tf

    # for its message TensorFlow looks through all of memory, which takes a minute
    monkeypatch.setattr(gc, "get_referrers", lambda *_: [])
    layer = KINDS[0].make(H)
    model = keras.Sequential([keras.Input((T, D)), layer])

    def export(training):
        archive = keras.export.ExportArchive()
        archive.track(model)
        spec = [tf.TensorSpec((None, T, D))]
        archive.add_endpoint("run", lambda x: model(x, training=training), spec)
        archive.write_out(tmp_path / "saved", verbose=False)
        loaded = tf.saved_model.load(tmp_path / "saved")
        return loaded.run(x)

    x = normal(rng, B, T, D)
    np.testing.assert_allclose(export(False), model(x), atol=1e-6)
    with pytest.raises(AssertionError, match=r"charlm: .* set layer.compiled_training = False"):
        export(True)
    layer.compiled_training = False
    np.testing.assert_allclose(export(True), model(x), atol=1e-6)


@pytest.mark.full
@only_tensorflow
def test_xla_around_a_graph_with_machine_code_says_what_to_do(rng):
    import tensorflow as tf

    layer = KINDS[0].make(H)
    x = tf.constant(normal(rng, B, T, D))
    layer.build(x.shape)
    options = {"jit_compile": True}
    for compiled in (True, False):
        layer.compiled_training = compiled
        inner = tf.function(lambda x: layer(x, training=True))
        expected = inner(x)
        outer = tf.function(lambda x, inner=inner: inner(x), **options)
        if compiled:
            with pytest.raises(
                tf.errors.InvalidArgumentError, match=r"set_layer.compiled_training"
            ):
                outer(x)
        else:
            np.testing.assert_allclose(outer(x), expected, atol=1e-5)


FORKED = """if True:
    import os, signal, sys
    import numpy as np
    from charlm.kernels import batch_loop, buffer_pool, dense, float32, jit, loss
    from charlm.kernels.generate import Drawing
    from charlm.config import ModelConfig
    from charlm.reference.network import Network, initial_weights
    from charlm.evaluation import losses
    rng = np.random.default_rng(0)
    config = ModelConfig(units=8)
    net = Network(initial_weights(config, 5, rng), 5, config)
    f = lambda *shape: rng.normal(size=shape).astype("float32")
    batch = batch_loop.Batch(f(8, 32), f(64, 8), f(64, 8), x=f(64, 9, 3), W=f(3, 32))
    x, K, b = f(200, 40), f(40, 33), f(33)

    def run():
        cell = jit.cell("lstm")
        states, last, kept = batch_loop.forward(cell, float32, batch)
        gradients = batch_loop.backward(cell, float32, batch, states, kept, states[0], last)
        drawn, _ = Drawing(net)(
            np.zeros(64, int), net.initial_states(64), np.ones(64), np.ones((5, 64)) / 3
        )
        scored = losses.stateful_losses(net, [np.arange(50) % 5] * 40)
        return [states[0], gradients.U, dense.forward(x, K, b), drawn, *scored]

    expected = run()
    shared = buffer_pool.empty(100_000)
    shared[:] = 1
    child = os.fork()
    if not child:
        signal.alarm(60)
        shared[:] = 2
        found = run()
        os._exit(not all(np.array_equal(a, b) for a, b in zip(found, expected)))
    _, status = os.waitpid(child, 0)
    assert "tensorflow" not in sys.modules
    print(status, shared.max())
"""


@pytest.mark.full
def test_a_forked_process_computes_as_its_parent():
    run = [sys.executable, "-W", "error", "-c", FORKED]
    done = subprocess.run(run, capture_output=True, text=True, timeout=300)
    assert done.stdout.split() == ["0", "1.0"], done.stderr


def test_a_refused_call_leaves_no_dropout_masks_to_the_next(rng):
    layer = LSTM(H, dropout=0.5, recurrent_dropout=0.5)
    x = normal(rng, 1, T, D)
    with pytest.raises(ValueError, match="Expected a mask of shape"):
        layer(x, mask=np.ones((1, T + 1), bool), training=True)
    y = ops.convert_to_numpy(layer(np.repeat(x, 7, axis=0), training=True))
    assert len({row.tobytes() for row in y}) > 1


def test_ways_that_were_set_outlive_a_copy():
    layer = LSTM(H)
    assert not {"compiled_training", "compiled_inference"} & {*layer.get_config()}
    layer.compiled_training, layer.compiled_inference = False, True
    pair = keras.layers.Bidirectional(layer)
    copies = [pair.forward_layer, pair.backward_layer, LSTM.from_config(layer.get_config())]
    for copy in copies:
        assert (copy.compiled_training, copy.compiled_inference) == (False, True)
