"""Law: a text drawn under a rule follows it, with the model's own odds, or is refused."""

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from charlm.errors import InputError
from charlm.generation import generate, rules
from charlm.generation.constraints import SamplingConstraints, probabilities
from charlm.generation.rules import RuleError, draw_text, state_after
from tests.generation.test_generate import VOCAB, joined, network, until


@dataclass
class Made:
    """A rule by its definition; its state is the text."""

    right: Callable = lambda text: True
    opened: Callable = lambda text: 0
    needed: Callable = lambda text: 0
    finished: Callable = lambda text: False

    def begin(self):
        return ""

    def read(self, state, character):
        return state + character if self.right(state + character) else None

    def unfinished(self, state):
        return self.opened(state)

    def missing(self, state):
        return self.needed(state)

    def is_finished(self, state):
        return self.finished(state)

    def place(self, state):
        return f"place {len(state)}"


def words(size, right, most=1):
    """A rule of texts of `most` words of a size; a wrong word is drawn again as a whole."""
    return Made(
        right,
        opened=lambda text: len(text) % size,
        needed=lambda text: size * most - len(text),
        finished=lambda text: len(text) == size * most,
    )


def decided(rng):
    """A network whose odds differ much."""
    net = network(rng)
    for array in net.weights.values():
        array *= 3
    return type(net)(net.weights, 3, net.config)


def dice(odds, calls=None):
    """A fake model that does not look: fixed odds of a, b and c."""

    def step(ids, states):
        if calls is not None:
            calls.append(ids)
        return np.log(np.array([odds], np.float32)), states

    return step, None


@pytest.mark.parametrize("constraints", [{}, {"top_k": 2}, {"top_p": 0.8}], ids=str)
@pytest.mark.parametrize(("stops", "end"), [((), None), (("ca", "bb"), None), ((), "cb")])
def test_with_a_rule_that_accepts_all_a_text_is_that_without_one(rng, stops, end, constraints):
    net, temperatures = decided(rng), [1.0, 0.5, 0.0, 2.0]
    constraints = SamplingConstraints(**constraints)
    stops = generate.record_stops(stops, end)
    for prompt in ("", "ab"):
        args = VOCAB, prompt, 19, temperatures, 5, constraints, stops
        expected = joined(generate.texts(net, *args, separator=end))
        for n, temperature in enumerate(temperatures):
            args = VOCAB, prompt, 19, temperature, 5, n, constraints, stops, end
            found = draw_text(Made(), net, *args)
            assert found.text == expected[n]
            assert (found.characters_read, found.failures) == (len(found.text), 0)


def odds_after(net, text, temperature):
    states = net.initial_states(1)
    for k in VOCAB.encode(text)[:, None]:
        logits, states = net.step(k, states)
    return dict(zip(VOCAB.characters, probabilities(logits, temperature)[0], strict=True))


def right_texts(right, length):
    """All texts of a length that follow a rule."""
    found = [""]
    for _ in range(length):
        found = [x for text in found for c in VOCAB.characters if right(x := text + c)]
    return found


def expected_odds(net, prompt, temperature, right, size, length):
    """The probability of each text: of each word, among those words that are right there."""

    after = functools.cache(lambda text: odds_after(net, prompt + text, temperature))

    def free(text, begin):
        """The model's probability of text[begin:] after the rest."""
        return np.prod([after(text[:k])[text[k]] for k in range(begin, len(text))])

    found = {"": 1.0}
    for end in range(size, length + 1, size):
        every, following = right_texts(right, end), {}
        for text, p in found.items():
            each = {x: free(x, len(text)) for x in every if x.startswith(text)}
            total = sum(each.values())
            following |= {x: p * q / total for x, q in each.items()}
        found = following
    assert sum(found.values()) == pytest.approx(1)
    return found


WRONG = "aa", "ab", "bca", "cc", "caab"  # after "a" only "c" is right


@pytest.mark.parametrize(("size", "length", "temperature"), [(1, 3, 1.0), (2, 4, 0.6), (3, 3, 1.5)])
def test_texts_have_the_odds_of_the_model_among_those_that_are_right(
    rng, size, length, temperature
):
    """Whole words are drawn again, or single characters, where only these are excluded."""
    net, prompt, count = decided(rng), "bab", 250
    machine = generate.stepper(net)

    def right(text):
        return not text.endswith(WRONG)

    whole = words(size, right, length // size)
    rule = Made(
        lambda text: right(text[3:]),
        lambda text: whole.opened(text[3:]),
        lambda text: whole.needed(text[3:]),
        lambda text: whole.finished(text[3:]),
    )
    expected = expected_odds(net, prompt, temperature, right, size, length)
    found = dict.fromkeys(expected, 0)
    for n in range(count):
        drawn = draw_text(rule, net, VOCAB, prompt, 9, temperature, 1, n, machine=machine)
        found[drawn.text] += 1
    rest = sum(count * p for p in expected.values() if count * p < 3)  # too rare for a square
    squares = [(found[x] - count * p) ** 2 / (count * p) for x, p in expected.items()
               if count * p >= 3]  # fmt: skip
    assert len(squares) > 4
    assert rest < 0.1 * count
    assert sum(squares) < len(squares) + 4 * np.sqrt(2 * len(squares))


class Automaton:
    """A random rule: a table of states, of which some may be the last.

    Its exact distances to the nearest end are found by steps from the ends. From every end a
    character leads to an end. The state is (state of the table, characters since the last end).
    """

    def __init__(self, rng, size, whole):
        self.table = rng.integers(-1, size, size=(size, 3))  # -1 is wrong
        self.ends, self.whole = rng.random(size) < 0.3, whole
        self.ends[rng.integers(size)] = True
        for k in np.flatnonzero(self.ends):
            self.table[k, rng.integers(3)] = rng.choice(np.flatnonzero(self.ends))
        self.distance = np.where(self.ends, 0, 10**6)
        for _ in range(size):
            after = np.where(self.table >= 0, self.distance[self.table], 10**6).min(axis=1)
            self.distance = np.minimum(self.distance, after + 1)

    def begin(self):
        return 0, 0

    def read(self, state, character):
        k, n = int(self.table[state[0], VOCAB.characters.index(character)]), state[1] + 1
        return None if k < 0 else (k, 0 if self.ends[k] else n)

    def unfinished(self, state):
        return state[1] if self.whole else 0

    def missing(self, state):
        return int(self.distance[state[0]])

    def is_finished(self, state):
        return False

    def place(self, state):
        return f"state {state[0]}"


def can_end(rule, length, stops):
    """Whether there is a right text that ends with its first stop or, without one, at the length.

    A search of all texts, the shortest first.
    """
    texts = {"": rule.begin()}
    for left in reversed(range(length + 1)):
        for text, state in texts.items():
            if rule.missing(state) == 0 and (left == 0 or (text and text.endswith(stops))):
                return True
        texts = {
            text + c: following
            for text, state in texts.items()
            if not (stops and text.endswith(stops))
            for c in VOCAB.characters
            if (following := rule.read(state, c)) is not None
        }
    return False


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("stops", [(), ("b", "cca")], ids=str)
def test_a_text_follows_its_rule_and_ends_where_nothing_is_missing(rng, stops, whole, monkeypatch):
    monkeypatch.setattr(rules, "TRIES", 3)
    net = decided(rng)
    machine, impossible, again = generate.stepper(net), 0, 0
    for n in range(80):
        rule, length = Automaton(rng, int(rng.integers(2, 7)), whole), int(rng.integers(1, 7))
        args = "", length, 1.0, 3, n, SamplingConstraints(), stops, None, machine
        try:
            found = draw_text(rule, net, VOCAB, *args)
        except RuleError:
            assert not can_end(rule, length, stops)
            impossible += 1
            continue
        text = found.text
        assert rule.missing(state_after(rule, text)) == 0
        assert until(text, stops, 0) == text
        assert len(text) <= length
        ends = len(text) == length or text.endswith(stops or "none")
        assert ends or (whole and text)  # a word that was often too long is left out
        again += found.failures > 0
        assert found.characters_read >= len(text)
    assert impossible
    assert (again > 5) == whole


def test_a_text_that_is_too_long_is_drawn_again_if_it_misses_something_before(rng, monkeypatch):
    """Words end with c and the last one is empty; `missing` returns 1."""
    monkeypatch.setattr(rules, "TRIES", 2)

    def ended(text):
        return text.endswith("cc")

    rule = Made(opened=lambda text: len(text.split("c")[-1]), needed=lambda text: not ended(text),
                finished=ended)  # fmt: skip
    net, failures = decided(rng), 0
    for n in range(30):
        found = draw_text(rule, net, VOCAB, "", 7, 1.0, 3, n)
        assert ended(found.text)
        failures += found.failures
    assert failures


def test_a_last_word_that_is_always_too_long_is_left_out(rng):
    """The first word ends with c, and the second one never ends; then the first one is the text."""
    rule = Made(
        opened=lambda text: len(text) - 1 - text.find("c"),
        needed=lambda text: text.find("c") != len(text) - 1,
    )
    first = Made(opened=len, needed=rule.needed, finished=lambda text: text[-1:] == "c")
    net, told, lengths = decided(rng), [], set()
    for n in range(9):
        told.clear()
        args = net, VOCAB, "", 9, 1.0, 3, n
        found = draw_text(rule, *args, tell=lambda: told.append(1))
        assert found.text == draw_text(first, *args).text
        assert len(told) == found.characters_read
        assert found.failures >= rules.TRIES or len(found.text) == 9
        lengths.add(len(found.text))
    assert len(lengths) > 2
    rule.right = lambda text: "c" not in text
    with pytest.raises(RuleError):  # no empty text takes its place
        draw_text(rule, net, VOCAB, "", 3, 1.0, 3)


def test_a_stop_within_a_word_makes_no_shorter_text(rng, monkeypatch):
    """A stop that a text may not end with is drawn again, however often."""
    monkeypatch.setattr(rules, "TRIES", 2)
    rule = Made(opened=lambda text: len(text.split("c")[-1]), needed=lambda text: text[-2:] == "ab")
    failures = 0
    failures = 0
    for n in range(9):
        found = draw_text(rule, network(rng), VOCAB, "", 20, 1.0, 3, n, stops=["ab"])
        assert len(found.text) == 20
        assert "ab" not in found.text
        failures += found.failures
    assert failures


def test_characters_are_told_one_by_one(rng, monkeypatch):
    monkeypatch.setattr(rules, "MOST", 40)
    net, told = decided(rng), []
    rule = words(3, lambda text: not text.endswith(WRONG), most=4)
    for n in range(4):
        told.clear()
        found = draw_text(rule, net, VOCAB, "", 12, 1.0, 3, n, tell=lambda: told.append(1))
        assert len(told) == found.characters_read > 12
        assert found.failures
    told.clear()
    rule.right = lambda text: len(text) < 3
    with pytest.raises(RuleError) as raised:
        draw_text(rule, net, VOCAB, "", 12, 1.0, 3, tell=lambda: told.append(1))
    assert raised.value.failures == 40
    assert len(told) == raised.value.characters_read == 80


def test_a_prompt_counts_and_is_no_part_of_a_stop(rng):
    net = decided(rng)
    rule = Made(lambda text: text[:2] in ("b", "ba") and not text.endswith("cc"))
    for n in range(20):
        text = draw_text(rule, net, VOCAB, "bac", 5, 1.0, 3, n, stops=["ca"]).text
        assert text[:1] in ("a", "b")
        assert text[:2] != "ca"
        assert state_after(rule, "bac" + text) == "bac" + text
    with pytest.raises(ValueError, match=r"^1$"):
        draw_text(rule, net, VOCAB, "bb", 5, 1.0, 3)
    ended = Made(finished=lambda text: text == "bac")
    assert draw_text(ended, net, VOCAB, "bac", 5, 1.0, 3) == rules.RuledText("", 0, 0)


def test_a_wrong_word_that_the_prompt_began_is_drawn_again_after_the_prompt(rng):
    """Words end with c and have an even number of b's; the prompt stays as it is."""

    def right(text):
        return all(word.count("b") % 2 == 0 for word in text.split("c")[:-1])

    rule = Made(right, lambda text: len(text.split("c")[-1]), lambda text: text[-1:] != "c")
    net, failures = decided(rng), 0
    for prompt in ("ab", "abbcaab", "abbcb"):
        for n in range(8):
            found = draw_text(rule, net, VOCAB, prompt, 7, 1.0, 3, n)
            assert right(prompt + found.text)
            assert found.text.endswith("c")
            failures += found.failures
    assert failures


def test_the_network_computes_each_character_once_and_the_undone_ones(rng):
    calls = []
    rule = words(3, lambda text: len(text) % 3 != 2 or text[-1] != "b", most=5)
    found = draw_text(rule, network(rng), VOCAB, "", 15, 1.0, 1, machine=dice([1, 3, 1], calls))
    assert found.failures > 3
    assert found.characters_read == len(calls) - 1  # the first is that before the text
    assert found.characters_read == 15 + found.failures  # each undid one character
    assert len(found.text) == 15


def test_a_rule_that_cannot_be_met_is_given_up_at_its_place(rng, monkeypatch):
    monkeypatch.setattr(rules, "MOST", 33)
    net, calls = network(rng), []
    for right, opened, place in (
        (lambda text: len(text) < 8, lambda text: max(0, len(text) - 5), "place 5"),
        (lambda text: len(text) < 8, len, "place 0"),
        (lambda text: len(text) < 4, lambda text: 0, "place 2"),
    ):
        with pytest.raises(
            RuleError, match=f"in 33 attempts; most .* failed at {place}$"
        ) as raised:
            draw_text(Made(right, opened), net, VOCAB, "", 9, 1.0, 1, machine=dice([1] * 3, calls))
        assert raised.value.place == place
        assert isinstance(raised.value, InputError)
    assert len(calls) < 3 * 33 * 9
    with pytest.raises(RuleError, match=r"failed at place 3$"):
        draw_text(Made(lambda text: len(text) < 4), net, VOCAB, "aba", 9, 1.0, 1)


@pytest.mark.parametrize("size", [2, 3])
def test_what_leads_nowhere_is_left_again(rng, size):
    """A first word with a at its beginning is accepted, but then no second word is right.

    The sampler has to go back to the beginning of the first one, not to a place within it.
    """
    asked = []

    def right(text):
        asked.append(len(text) - 1)
        return not (len(text) == 2 * size and text[0] == "a")

    rule, trapped = words(size, right, most=3), 0
    net, machine = network(rng), dice([2, 1, 1])
    for n in range(12):
        asked.clear()
        found = draw_text(rule, net, VOCAB, "", 99, 1.0, 3, n, machine=machine)
        assert found.text[0] != "a"
        assert len(found.text) == 3 * size
        assert found.failures == 0 or rules.TRIES <= found.failures < 10 * rules.TRIES
        trapped += found.failures > 0
        again = {b for a, b in itertools.pairwise(asked) if b <= a}
        assert again <= {0, size}
        assert (0 in again) == (found.failures > 0)
    assert trapped > 2


def test_failures_at_many_places_are_no_reason_to_go_further_back(rng):
    """Each word is wrong with a probability of a half, so a text has more than `TRIES` of them."""
    rule = words(2, lambda text: len(text) % 2 or text[-1] != "b", most=40)
    net, machine = network(rng), dice([1, 2, 1])
    for n in range(3):
        found = draw_text(rule, net, VOCAB, "", 99, 1.0, 3, n, machine=machine)
        assert rules.TRIES < found.failures < 80
        assert found.characters_read == 80 + found.failures  # only the wrong words were undone


def test_what_leads_nowhere_much_later_is_left_too(rng, monkeypatch):
    """From the third word to the second one, and from there to the first one."""
    monkeypatch.setattr(rules, "TRIES", 3)
    rule = words(2, lambda text: not (len(text) == 6 and text[0] == "a"), most=4)
    net, machine, most = network(rng), dice([2, 1, 1]), 0
    for n in range(12):
        found = draw_text(rule, net, VOCAB, "", 99, 1.0, 3, n, machine=machine)
        assert found.text[0] != "a"
        assert found.failures == 0 or 3 <= found.failures < rules.MOST / 4
        most = max(most, found.failures)
    assert most > 3


def test_where_all_characters_are_wrong_the_one_before_is_drawn_again(rng):
    rule, failures = Made(lambda text: not (len(text) == 2 and text[0] == "a")), 0
    for n in range(12):
        found = draw_text(rule, network(rng), VOCAB, "", 5, 1.0, 3, n, machine=dice([2, 1, 1]))
        assert found.text[0] != "a"
        assert found.characters_read == 5 + found.failures
        failures += found.failures
    assert failures


def test_a_text_depends_on_its_seed_and_number_alone(rng):
    net = decided(rng)
    rule = words(3, lambda text: not text.endswith(WRONG), most=4)
    seeds = [(seed, n) for seed in (5, 6) for n in range(6)]
    found = {x: draw_text(rule, net, VOCAB, "", 12, 1.0, *x) for x in seeds}
    machine = generate.stepper(net)
    for x in reversed(seeds):
        assert draw_text(rule, net, VOCAB, "", 12, 1.0, *x, machine=machine) == found[x]
    assert len({text.text for text in found.values()}) > 8


@pytest.mark.parametrize(
    ("temperature", "constraints"),
    [(0.0, {}), (1e-9, {}), (1.0, {"top_k": 1}), (2.0, {"top_p": 1e-9}), (0.0, {"top_k": 2})],
)
def test_the_likeliest_right_characters_are_found_without_chance(rng, temperature, constraints):
    net, constraints = decided(rng), SamplingConstraints(**constraints)
    for _ in range(10):
        rule, expected = Automaton(rng, 5, whole=False), ""
        rule.table[:, 1] = 3  # one character is right everywhere
        state = rule.begin()
        for _ in range(9):
            odds = odds_after(net, "b" + expected, 1.0)
            right = [c for c in VOCAB.characters if rule.read(state, c)]
            expected += max(right, key=odds.get)
            state = rule.read(state, expected[-1])
        whole = Made(lambda text: len(text) < 2 or _follows(rule, text[1:]))  # noqa: B023
        for n in range(2):
            args = "b", 9, temperature, 1, n, constraints
            assert draw_text(whole, net, VOCAB, *args).text == expected


def _follows(rule, text):
    try:
        state_after(rule, text)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("below", [5.0, 7.2, 7.4, 7.44, 7.45, 7.5, 80.0])
def test_what_remains_may_be_as_unlikely_as_it_likes(rng, below):
    """At a low temperature its probability next to what is wrong is a tiny number, or none."""
    odds = np.exp([0, -below, -below])
    rule = Made(lambda text: "a" not in text)
    args = 60, 0.01, 1
    text = draw_text(rule, network(rng), VOCAB, "b", *args, machine=dice(odds)).text
    assert 15 < text.count("b") < 45
    assert text.count("b") + text.count("c") == 60


def test_a_repetition_penalty_is_refused():
    for n in (0, 1):
        rules.check_rules(SamplingConstraints(top_k=n, top_p=0.5))
    with pytest.raises(InputError, match="--repetition-penalty to be left out with a rule"):
        rules.check_rules(SamplingConstraints(repetition_penalty=1.5))


def test_the_place_of_the_first_wrong_character_is_told():
    rule = Made(lambda text: not text.endswith("ab"))
    assert state_after(rule, "acbba") == "acbba"
    with pytest.raises(ValueError, match=r"^3$"):
        state_after(rule, "bcabab")
