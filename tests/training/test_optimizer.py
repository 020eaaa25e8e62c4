"""Law: our Adam updates as Keras's does."""

import keras
import numpy as np
import pytest
from keras import ops

from charlm.training.optimizer import Adam

SHAPES = (5, 3), (4,)


def after(kind, gradients, **options):
    """Variables after updates by all of the gradients, and the optimizer's."""
    rng = np.random.default_rng(1)
    variables = [
        keras.Variable(rng.normal(size=shape).astype("float32"), name=f"weight_{k}")
        for k, shape in enumerate(SHAPES)
    ]
    schedule = keras.optimizers.schedules.CosineDecay(0.0, 5, warmup_target=0.1, warmup_steps=2)
    optimizer = kind(schedule, **options)
    optimizer.build(variables)
    apply = optimizer.apply
    if keras.backend.backend() == "tensorflow":  # as `fit` calls it
        import tensorflow as tf

        apply = tf.function(apply)
    for each in gradients:
        apply(each)
    return {v.name: ops.convert_to_numpy(v) for v in (*variables, *optimizer.variables)}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"global_clipnorm": 1.0},
        {"clipvalue": 0.5},
        {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 0.1},
        {"amsgrad": True},
        {"weight_decay": 0.1},
        {"use_ema": True},
    ],
    ids=str,
)
def test_updates_are_keras_s(options, rng):
    gradients = [
        [ops.convert_to_tensor(rng.normal(size=s), "float32") for s in SHAPES] for _ in range(6)
    ]
    mine = after(Adam, gradients, **options)
    theirs = after(keras.optimizers.Adam, gradients, **options)
    assert list(mine) == list(theirs)
    for name, value in mine.items():
        np.testing.assert_allclose(value, theirs[name], rtol=1e-4, atol=1e-7, err_msg=name)


def test_keras_s_own_where_it_is_as_quick():
    """Keras chooses torch's operations on lists by the very class."""
    own = keras.backend.backend() != "tensorflow"
    assert (Adam is keras.optimizers.Adam) == own


def test_gradient_of_a_gather():
    """Which TensorFlow gives as slices; an id that is there twice has two."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("others give a tensor")
    import tensorflow as tf

    def slices(*ids):
        rows = tf.IndexedSlices(tf.ones((len(ids), 3)), tf.constant(ids), tf.constant(SHAPES[0]))
        return [rows, tf.zeros(SHAPES[1])]

    given = [slices(1, 1), slices(3, 0)]
    dense = [[tf.convert_to_tensor(g) for g in each] for each in given]
    expected = after(Adam, dense)
    for name, value in after(Adam, given).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)
