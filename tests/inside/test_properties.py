"""Law: a property is what a reader knows after each character."""

import numpy as np
import pytest

from charlm.errors import InputError
from charlm.inside import patterns, properties

MARKED = [  # x: a character with the property
    ("inside ( )", "a (b (c) d) e) (f\n\ng", "--xxxxxxxx-----xxx--"),
    ("inside [ ]", "[a] b]", "xx----"),
    ("inside quotation marks", 'he "said so" to\n“you”', "---xxxxxxxx-----xxxx-"),
    ("inside a string", "x = 'it\\'s' # 'no'", "----xxxxxx--------"),
    ("inside a string", '"""a\nb""" c', "xxxxxxxx---"),
    ("inside a comment", "a # b 'c'\n7 // 2", "--xxxxxxx-------"),
    ("inside a comment", "// a\nhttp://e /* f\n*/ g /*", "xxxx----------xxxxxxx-----"),
    ("inside a string", "don't (it's) b'x' '", "-------------xxx---"),
    ("first letter of a word", "to be, or", "x--x---x-"),
    ("inside a word", "to be, or", "xx-xx--xx"),
    ("capital letter", "A bC", "x--x"),
    ("in a word with a capital letter", "A bCd e", "x-xxx--"),
    ("in a word of capital letters", "A BC d", "--xx--"),
    ("in a number", "1,000 a2", "xxxxx--x"),
    ("punctuation", "a, b.", "-x--x"),
    ("at the end of a line", "a\nb\n", "-x-x"),
    ("in the indentation of a line", "a\n  b c", "--xx---"),
    ("in an indented line", "a\n  b c\nd", "--xxxxx--"),
    ("in a header line (ABC)", "X:1\nabc\nK:G", "xxx-----xxx"),
    ("in a web address or file name", "see a.b.c now", "----xxxxx----"),
]


@pytest.mark.parametrize(("name", "text", "marks"), MARKED)
def test_hand_marked(name, text, marks):
    found = properties.of_texts([text])[name]
    shown = "".join("x" if y else "-" for y in found)
    assert shown[: len(marks)] == marks
    assert len(found) == len(text)


def test_a_text_may_begin_within_a_docstring():
    code = "x = f(y)\n" * 30
    text = f'End of it.\n"""\n{code}"""Another."""\n{code}'
    found = properties.of_texts([text])["inside a string"]
    marked = "".join(c for c, y in zip(text, found, strict=True) if y)
    assert marked == 'End of it.\n"""""Another.""'.replace("\\", "")


def test_places_are_counted_from_their_start():
    text = "One two. Three four five six seven eight nine ten.\n" + "x" * 70 + "\nend"
    found = properties.of_texts([text])
    assert np.flatnonzero(found["first 10 characters of a line"]).tolist() == [
        *range(10), *range(51, 61), *range(122, 125)
    ]  # fmt: skip
    assert np.flatnonzero(found["after 60 characters of a line"]).tolist() == [*range(111, 122)]
    sentence = found["first 30 characters of a sentence"]
    assert sentence[:39].all()
    assert not sentence[39:51].any()


def test_nothing_reaches_into_the_next_text(rng):
    texts = ['a ("b', "c d", "x" * 200]
    found = properties.of_texts(texts)
    for name, labels in found.items():
        alone = [properties.PROPERTIES[name](text) for text in texts]
        assert np.array_equal(labels, np.concatenate(alone)), name


def test_random_texts_have_every_property(rng):
    for _ in range(20):
        text = "".join(rng.choice(list("aB1 .,()[]{}\"'#/\n\t\\:"), size=rng.integers(1, 60)))
        for name, labels in properties.of_texts([text]).items():
            assert labels.shape == (len(text),), name
            assert labels.dtype == bool, name


def test_a_pattern_of_the_user():
    found = properties.of_texts(["abab", "b"], ["b."])
    assert found["/b./"].tolist() == [False, True, True, False, False]
    for wrong in ("(", "(" * 3000 + ")" * 3000, "a{99999999999999999999}"):
        with pytest.raises(InputError, match=r"expected --pattern to be a regular expression"):
            properties.of_texts(["a"], [wrong])


def test_a_pattern_that_runs_away_is_stopped(monkeypatch):
    monkeypatch.setattr(patterns, "SECONDS", 0.2)
    with pytest.raises(InputError, match=r"match within 0.2 seconds.*give a simpler one"):
        properties.of_texts(["ab" * 40 + "c"] * 50, ["(?:(?:ab|b|a)+)+$"])


def test_distances_to_borders_by_hand(rng):
    for _ in range(10):
        labels = rng.random(30) < 0.2
        changes = [k for k in range(1, 30) if labels[k] != labels[k - 1]]
        for k, d in enumerate(properties.distance_to_border(labels)):
            near = [k - c + 1 if c <= k else c - k for c in changes]
            assert d == min(near, default=30)
