"""Law: each tune is drawn in one context of a run, as often as training tunes are in it."""

from collections import Counter

import numpy as np
import pytest

from charlm.config import Config, DataConfig
from charlm.generation import generate
from charlm.generation.sampler import random_numbers
from charlm.generation.tunes import CONTEXT, TOGETHER, Writer, header_of
from charlm.music.rule import END
from charlm.reference.network import layer_path
from charlm.runs.checkpoint import Checkpoint
from charlm.runs.progress import Progress
from charlm.text.contexts import KnownContexts
from charlm.text.vocab import Vocab
from tests.inside.test_engine import network

NAMES, COUNTS = ("6/8 0", "6/8 1/8", "C 0", "C 1/4"), (10, 50, 30, 10)


def writer(rng, counts=COUNTS):
    """Returns a writer with a random network, on which contexts have a strong effect."""
    vocab = Vocab("".join(sorted({*"MK:68/C|ABCDG2\n "})))
    net = network(rng, vocab=len(vocab))
    first = f"{layer_path(net.config, 0)}/0"
    rows = 100 * rng.normal(size=(len(NAMES), net.weights[first].shape[1]))
    weights = net.weights | {first: np.concatenate([net.weights[first], rows]).astype("float32")}
    config = Config(net.config, DataConfig(abc_fields="MK", context="upbeat"))
    known = KnownContexts(NAMES, "0" * 64, counts)
    return Writer(
        Checkpoint(config, vocab, "0" * 64, Progress(), weights, [], [], {}, contexts=known)
    )


def test_contexts_are_as_frequent_as_in_training_and_fit_the_metre(rng):
    found = writer(rng)

    def share(given):
        drawn = Counter(found._context(np.random.default_rng(k), given) for k in range(1000))
        return [drawn[name] / 1000 for name in NAMES]

    np.testing.assert_allclose(share({}), np.array(COUNTS) / 100, atol=0.05)
    np.testing.assert_allclose(share({"M": "C"}), [0, 0, 0.75, 0.25], atol=0.05)
    assert share({"M": "9/8"}) == [0, 0, 0, 0]  # the mean of all
    found = writer(rng, ())  # of a run that was stored before contexts were counted
    np.testing.assert_allclose(share({}), [0.25] * 4, atol=0.05)


@pytest.mark.parametrize("count", [3, TOGETHER + 3])
def test_free_tunes_are_those_of_the_network_in_their_contexts(rng, count):
    found = writer(rng)
    texts = [*found.free(0.8, 5, count)]
    assert len(texts) == count
    assert texts[:3] == [*found.free(0.8, 5, 3)]
    chosen = set()
    for k in (0, 1, 2, count - 1):
        random = random_numbers(5, k, CONTEXT)
        context = found._context(random, {})
        net = found.saved.in_context(context).to_network()
        seeds = [int(random.integers(2**62))]
        assert [texts[k]] == generate.whole_texts(net, found.vocab, 2000, [0.8], seeds, END)
        chosen.add(context)
    assert len(chosen) > 1 or count == 3
    assert len({*texts}) > count // 2


def test_a_context_says_what_the_header_has(rng):
    found = writer(rng)
    for k in range(9):
        name = found._context(random_numbers(3, k, CONTEXT), {})
        assert f"M:{name.split(' ')[0]}\n" in found.draw({}, 0.8, 3, k, bars=False).text


def test_no_field_is_implied_that_tunes_may_not_have():
    assert header_of("upbeat", "C 0", "MK") == {"M": "C"}
    assert header_of("upbeat", "C 0", "K") == header_of("upbeat", "none 0") == {}
    assert header_of("K", "D Dorian") == {"K": "D Dorian"}
    assert header_of("folder", "C 0") == header_of(None, "C 0") == {}
