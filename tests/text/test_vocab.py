"""Law: decode(encode(s)) == s for a text of the vocabulary, and any other is refused by name."""

import numpy as np
import pytest

from charlm.errors import InputError
from charlm.text.vocab import UnknownCharacterError, Vocab


@pytest.mark.parametrize("text", ["to be", "ab\n\tba", "naïve — 𝔘𝔫𝔦 😀 é", "\ud800x", "a"])
def test_decode_undoes_encode(text):
    vocab = Vocab.of([text])
    assert vocab.decode(vocab.encode(text)) == text


def test_ids_are_places_in_code_point_order():
    vocab = Vocab.of(["cab", "d"])
    assert vocab.characters == "abcd"
    assert vocab.encode("dab").tolist() == [3, 0, 1]
    assert vocab.encode("dab").dtype == np.int32


@pytest.mark.parametrize(("text", "character", "position"), [("abzc", "z", 2), ("Aabc", "A", 0)])
def test_unknown_character_is_named_with_its_position(text, character, position):
    with pytest.raises(UnknownCharacterError, match=rf"'{character}' .* at position {position}"):
        Vocab("abc").encode(text)


def test_known_drops_the_rest():
    assert Vocab("abc").known("axbyc") == "abc"


@pytest.mark.parametrize("characters", ["ba", "aa"])
def test_refuses_what_is_no_vocabulary(characters):
    with pytest.raises(InputError):
        Vocab(characters)
