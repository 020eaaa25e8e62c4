"""Law: a model that goes over to another text keeps what it knew, and has rows for what is new."""

import numpy as np
import pytest

from charlm.config import Config, ModelConfig
from charlm.reference.network import Network, initial_weights
from charlm.runs.checkpoint import Checkpoint
from charlm.runs.progress import Progress
from charlm.text.encoded_text import Text
from charlm.text.vocab import Vocab
from charlm.training import warm_start

OLD, NEW = Vocab("bdfh"), Vocab("abch")


def saved(rng, **settings):
    config = Config(ModelConfig(**{"units": 5} | settings))
    weights = {k: w + 0.01 for k, w in initial_weights(config.model, len(OLD), rng).items()}
    weights["layers/dropout/seed_generator/vars/0"] = np.zeros(2, np.uint32)
    weights["layers/dense/vars/1"] = rng.normal(size=4).astype(np.float32)
    return Checkpoint(config, OLD, "old", Progress(epoch=3), weights, [np.ones(3)], [], {})


def text(vocab):
    ids = np.arange(40) % len(vocab)
    return Text(vocab, "new", ids, ids[:0], [])


@pytest.mark.parametrize(
    "settings", [{}, {"layers": 2, "cell": "gru"}, {"cell": "keras-rnn"}], ids=str
)
def test_what_it_knew_is_as_it_was(rng, settings):
    first = saved(rng, **settings)
    begun = warm_start.warm_start(first, text(NEW), seed=1)
    assert begun.vocab.characters == "abcdfh"
    assert (begun.corpus_sha256, begun.progress, begun.optimizer) == ("new", Progress(), [])
    assert begun.learned_before == ["old"]
    assert warm_start.warm_start(begun, text(NEW), seed=1).learned_before == ["old", "new"]
    before = Network(first.weights, len(OLD), first.config.model)
    after = Network(begun.weights, len(begun.vocab), begun.config.model)
    kept = begun.vocab.encode(OLD.characters)
    states = [before.initial_states(3), after.initial_states(3)]
    for ids in np.array([[0, 1, 3], [2, 2, 0]]):
        logits, states[0] = before.step(ids, states[0])
        found, states[1] = after.step(kept[ids], states[1])
        np.testing.assert_allclose(found[:, kept], logits, rtol=1e-6)
    for x, y in zip(*states, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-6)


def test_what_is_new_is_drawn_and_held_rare(rng):
    first = saved(rng)
    begun = warm_start.warm_start(first, text(NEW), seed=1)
    rows, kernel = begun.weights["layers/lstm/cell/vars/0"], begun.weights["layers/dense/vars/0"]
    bias, new = begun.weights["layers/dense/vars/1"], begun.vocab.encode("ac")
    assert (bias[new] == first.weights["layers/dense/vars/1"].min()).all()
    assert (np.ptp(rows[new], axis=0) > 0).all()
    assert (np.ptp(kernel[:, new], axis=1) > 0).all()
    again, other = (warm_start.warm_start(first, text(NEW), seed=n).weights for n in (1, 2))
    np.testing.assert_array_equal(again["layers/lstm/cell/vars/0"], rows)
    assert (other["layers/lstm/cell/vars/0"][new] != rows[new]).all()


def test_a_text_of_known_characters_changes_nothing(rng):
    first = saved(rng)
    begun = warm_start.warm_start(first, text(Vocab("bh")), seed=1)
    assert begun.vocab == OLD
    for path, value in begun.weights.items():
        np.testing.assert_array_equal(value, first.weights[path])


def test_it_is_told(rng):
    first = saved(rng)
    assert warm_start.describe(first, text(NEW)) == (
        "4 characters kept, 2 of them not in this text; 2 new ('ac')"
    )
    many = Vocab("".join(map(chr, range(0x400, 0x450))))
    assert "80 new ('ЀЁ" in warm_start.describe(first, text(many))
    assert warm_start.describe(first, text(many)).endswith("' and more)")
    assert warm_start.describe(first, text(OLD)) == (
        "4 characters kept, 0 of them not in this text; 0 new"
    )
