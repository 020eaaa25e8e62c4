"""Law: machine code draws the text that the NumPy network and the sampler draw."""

import numpy as np
import pytest

from charlm.config import ModelConfig
from charlm.generation import constraints, generate, sampler
from charlm.kernels.draw import pick
from charlm.kernels.generate import Drawing
from charlm.kernels.panels import ALONE, ROWS
from charlm.reference.network import Network, initial_weights, shapes
from charlm.text.vocab import Vocab
from tests.kernels.test_compiled import CELLS

V, H = 7, 4
LAYERS = [{"layers": 1}, {"layers": 3}, {"layers": 3, "skip": "add"}]


def network(rng, **settings):
    config = ModelConfig(**{"units": H} | settings)
    weights = {path: rng.normal(size=shape) for path, shape in shapes(config, V).items()}
    return Network(weights, V, config)


def random_states(rng, net, n):
    return [
        tuple(rng.normal(size=s.shape).astype(np.float32) for s in layer)
        for layer in net.initial_states(n)
    ]


@pytest.mark.product(24)
@pytest.mark.usual(2)
@pytest.mark.parametrize("n", [1, ALONE - 1, ROWS - 1, 2 * ROWS + 3])
@pytest.mark.parametrize("layers", LAYERS, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_blocks(rng, cell, layers, n):
    net = network(rng, cell=cell, **layers)
    states, ids = random_states(rng, net, n), rng.integers(V, size=n)
    temperatures = rng.choice([0.0, 0.5, 1.0, 2.0], size=n)
    uniform = rng.random((21, n))
    expected, last = sampler.block_from_step(net.step)(ids, states, temperatures, uniform)
    given = [[s.copy() for s in layer] for layer in states], ids.copy()
    block = Drawing(net)
    drawn, middle = block(ids, states, temperatures, uniform[:10])
    np.testing.assert_equal(([list(layer) for layer in states], ids), given)
    more, after = block(drawn[-1], middle, temperatures, uniform[10:])
    np.testing.assert_array_equal(np.concatenate([drawn, more]), expected)
    for found, wanted in zip(after, last, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("temperature", [0.0, 5e-324, 1e-5, 0.7, 1e5, 1.7e308])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 3e38])
def test_picks_what_the_sampler_draws(rng, scale, temperature):
    logits = (scale * rng.uniform(-1, 1, size=(50, V))).astype(np.float32)
    logits[:9, 2] = logits[:9].max(axis=1)  # the first of the largest counts
    uniform = rng.random(50)
    uniform[:2] = 0, np.nextafter(1, 0)
    expected = constraints.draw(constraints.probabilities(logits, temperature), uniform)
    padded = np.pad(logits, ((0, 0), (0, 3)), constant_values=np.nan)
    found = [pick(row, temperature, u, np.empty(V)) for row, u in zip(padded, uniform, strict=True)]
    assert found == expected.tolist()


@pytest.mark.product(2)
@pytest.mark.full
@pytest.mark.parametrize("cell", CELLS)
def test_other_activations(rng, cell):
    gates = {} if cell == "rnn" else {"recurrent_activation": "hard_sigmoid"}
    net = network(rng, cell=cell, layers=2, activation="relu", **gates)
    for weights in net.weights.values():
        weights *= 0.3  # or states of relu would grow out of bounds
    states, ids, uniform = net.initial_states(13), rng.integers(V, size=13), rng.random((9, 13))
    found = Drawing(net)(ids, states, np.ones(13), uniform)[0]
    expected = sampler.block_from_step(net.step)(ids, states, np.ones(13), uniform)[0]
    np.testing.assert_array_equal(found, expected)


def test_an_array_of_another_shape_or_an_unknown_id_is_refused(rng):
    net = network(rng, layers=2)
    states, ids, uniform = random_states(rng, net, 3), np.array([0, 6, 2]), rng.random((4, 3))
    block, ones = Drawing(net), np.ones(3)
    for other in (ids[:2], ids - 1, ids + 1, ids[None]):
        with pytest.raises(ValueError, match=r"^Expected "):
            block(other, states, ones, uniform)
    with pytest.raises(ValueError, match=r"^Expected temperatures"):
        block(ids, states, ones[:2], uniform)
    for other in ([tuple(s[:2] for s in layer) for layer in states], states[:1]):
        with pytest.raises(ValueError, match=r"^Expected states"):
            block(ids, other, ones, uniform)


@pytest.mark.full
def test_sizes_beyond_a_panel(rng):
    net = network(rng, cell="gru", units=75, layers=2)
    states, ids, uniform = net.initial_states(13), rng.integers(V, size=13), rng.random((9, 13))
    found = Drawing(net)(ids, states, np.ones(13), uniform)[0]
    expected = sampler.block_from_step(net.step)(ids, states, np.ones(13), uniform)[0]
    np.testing.assert_array_equal(found, expected)


def test_what_there_is_no_machine_code_for_is_stepped_by_numpy(rng):
    net = network(rng, cell="gru", reset="before")
    with pytest.raises(ImportError, match="no machine code"):
        Drawing(net)
    pieces = list(generate.texts(net, Vocab("abcdefg"), "", 40, [1.0, 0.5], 3))
    assert [len("".join(text)) for text in zip(*pieces, strict=True)] == [40, 40]


@pytest.mark.usual(2)
@pytest.mark.parametrize("layers", LAYERS, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_steps_and_blocks_agree_to_the_bit(rng, cell, layers):
    """So a text does not depend on constraints without effect, or on how it is cut into blocks."""
    net, n = network(rng, cell=cell, units=33, **layers), ROWS + 3
    drawing, ids, states = Drawing(net), rng.integers(V, size=n), random_states(rng, net, n)
    uniform, temperatures = rng.random((9, n)), rng.choice([0.0, 0.7, 1.0], size=n)
    given = ids, states, temperatures, uniform
    found, expected = sampler.block_from_step(drawing.step)(*given), drawing(*given)
    for a, b in zip((found[0], *found[1]), (expected[0], *expected[1]), strict=True):
        np.testing.assert_array_equal(a, b)
    logits, _ = drawing.step(ids, states)
    np.testing.assert_allclose(logits, net.step(ids, states)[0], rtol=1e-4, atol=1e-5)
    assert logits.dtype == np.float32


@pytest.mark.parametrize("rules", [{}, {"top_k": V}, {"top_p": 0.9}], ids=str)
def test_texts_do_not_depend_on_their_length_their_number_or_their_pieces(rng, rules, monkeypatch):
    net, vocab = network(rng, layers=2, units=33), Vocab("abcdefg")

    def texts(length, n=11, given=rules):
        temperatures = [1.0, 0.5, 0.0, *[1.0] * 8][:n]
        given = constraints.SamplingConstraints(**given)
        pieces = generate.texts(net, vocab, "bad", length, temperatures, 3, given)
        return ["".join(text) for text in zip(*pieces, strict=True)]

    most = texts(90)
    assert len(set(most)) == 11
    if rules == {"top_k": V}:
        assert most == texts(90, given={})
    for n in (1, 3, 4, 5):
        assert texts(90, n) == most[:n]
    assert texts(45) == [text[:45] for text in most]
    monkeypatch.setattr(sampler, "PIECE", 7)
    assert texts(90) == most


@pytest.mark.full
@pytest.mark.parametrize("settings", [{}, {"layers": 2}, {"cell": "gru"}], ids=str)
def test_a_text_is_the_same_to_the_bit_whatever_is_drawn_beside_it(rng, settings):
    """In NumPy and in machine code, at a size where a library rounds one row and several apart."""
    config, most = ModelConfig(**{"units": 96} | settings), 2 * ROWS + 3
    net = Network(initial_weights(config, V, rng), V, config)
    ids, uniform = rng.integers(V, size=most), rng.random((20, most))

    def in_numpy(n):
        groups = generate._Groups(net)
        logits, states = groups.step(ids[:n], net.initial_states(n))
        return groups.step(logits.argmax(axis=-1), states)[0]

    def in_code(n):
        zeros = net.initial_states(n)
        drawn, states = Drawing(net)(ids[:n], zeros, np.ones(n), uniform[:, :n])
        return np.concatenate([drawn, *(s.T for layer in states for s in layer)]).T

    logits, states = net.step(ids, net.initial_states(most))
    logits, _ = net.step(logits.argmax(axis=-1), states)
    np.testing.assert_allclose(in_numpy(most), logits, rtol=1e-4, atol=1e-5)
    for texts in (in_numpy, in_code):
        expected = texts(most)
        assert len(np.unique(expected, axis=0)) > 2
        for n in (1, 2, ALONE, ROWS - 1, ROWS, ROWS + 1):
            np.testing.assert_array_equal(texts(n), expected[:n])
