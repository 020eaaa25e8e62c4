"""Law: examples/dates.py writes and reads dates correctly, and looks at the right characters."""

import itertools
import re
import subprocess
import sys
from datetime import date, datetime

import keras
import numpy as np
import pytest

from tests.examples import EXAMPLES, module, said

dates = module("dates")
YEARS = 1600, 1899, 1998, 2000, 2399
DAYS = [date(y, m, d) for y in YEARS for m in range(1, 13) for d in (1, 2, 3, 9, 11, 12, 22, 28)]
SUFFIX = re.compile(r"(?<=\d)(st|nd|rd|th)", re.IGNORECASE)
UNITS = 4


def read_back(text, form):
    """The day that a text names in a format, by strptime, which reads neither %e, %n nor %o."""
    form = form.replace("%e", "%d").replace("%n", "%m").replace("%o", "")
    return datetime.strptime(SUFFIX.sub("", text), form).date()


@pytest.mark.parametrize("form", dates.FORMATS)
def test_a_date_reads_back(form):
    for day, case in itertools.product(DAYS, dates.CASES):
        text, fields = dates.written(day, form, case)
        assert len(text) == len(fields) <= dates.S
        assert {*text} <= {*dates.SOURCE[1:]}
        assert read_back(text, form) == day
        weekday = re.match("%[Aa]", form) and text.split()[0].strip(",").title()
        assert not weekday or day.strftime("%A").startswith(weekday)


def test_suffixes_of_ordinals():
    found = [dates.written(date(2000, 1, d), "%e%o")[0] for d in (1, 2, 3, 4, 11, 12, 13, 21, 31)]
    assert found == ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "31st"]


@pytest.mark.parametrize("form", dates.FORMATS)
def test_fields_are_the_characters_that_name_year_month_and_day(form):
    for day in DAYS:
        text, fields = dates.written(day, form)
        runs = [(f, [*g]) for f, g in itertools.groupby(enumerate(fields), key=lambda x: x[1])]
        parts = {f: "".join(text[k] for k, _ in g) for f, g in runs if f}
        assert sorted(f for f, _ in runs if f) == [dates.YEAR, dates.MONTH, dates.DAY]
        year, month, number = (parts[f] for f in (dates.YEAR, dates.MONTH, dates.DAY))
        assert int(year) == day.year
        assert int(number) == day.day
        known = {"%B": f"{day:%B}", "%b": f"{day:%b}", "%m": f"{day:%m}", "%n": str(day.month)}
        assert month == next(x for directive, x in known.items() if directive in form)


def test_a_text_names_one_day():
    named = {}
    for day, form in itertools.product(DAYS, dates.FORMATS):
        text, _ = dates.written(day, form)
        assert named.setdefault(text, day) == day, text


def test_held_out_days_are_in_no_training_example(monkeypatch):
    monkeypatch.setattr(dates, "Examples", lambda days, rng: days)
    training, held_out = dates.examples(seed=3)
    assert (len(training), len(held_out)) == (dates.TRAINING, dates.HELD_OUT) == (32_000, 1000)
    assert len({*training, *held_out}) == 33_000
    assert min(*training, *held_out) >= 0
    assert date.fromordinal(dates.FIRST.toordinal() + dates.DAYS) == date(2400, 1, 1)
    assert max(*training, *held_out) < dates.DAYS


def test_examples_are_ids_of_texts_and_answers(rng):
    days = rng.integers(dates.DAYS, size=200)
    data = dates.Examples(days, rng)
    for n, k in enumerate(days):
        day = date.fromordinal(dates.FIRST.toordinal() + int(k))
        assert "".join(dates.TARGET[i] for i in data.target[n]) == day.isoformat()
        assert "".join(dates.SOURCE[i] for i in data.source[n]).rstrip("_") == data.texts[n]
        assert any(
            dates.written(day, form, case)
            == (data.texts[n], [*data.fields[n][: len(data.texts[n])]])
            for form, case in itertools.product(dates.FORMATS, dates.CASES)
        )
    assert len({re.sub("[A-Za-z]+", "a", re.sub(r"\d", "0", x)) for x in data.texts}) > 15
    read = dates.shifted(data.target)
    assert (read[:, 0] == 0).all()
    np.testing.assert_array_equal(read[:, 1:], data.target[:, :-1])


@pytest.fixture(scope="module", params=[True, False], ids=["attention", "without"])
def made(request):
    """A network with random weights, its parts, and examples."""
    keras.utils.set_random_seed(1)
    model, encoder = dates.network(UNITS, request.param)
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(size=w.shape, scale=0.7) for w in model.get_weights()])
    data = dates.Examples(rng.integers(dates.DAYS, size=12), rng)
    return model, dates.decoder_step(model), dates.first_states(encoder, data.source), data


def test_a_step_of_the_decoder_is_that_of_the_trained_network(made):
    model, step, states, data = made
    expected = model.predict([data.source, dates.shifted(data.target)], verbose=0)
    for t, ids in enumerate(dates.shifted(data.target).T):
        logits, states = step(ids, states)
        np.testing.assert_allclose(logits, expected[:, t], atol=1e-4)


def test_weights_of_attention_are_those_of_the_trained_network(made):
    model, step, states, data = made
    found = dates.looked_at(step, states, data.target)
    if "attention" not in {layer.name for layer in model.layers}:
        return
    attends = keras.Model(model.inputs, model.get_layer("attention").output[1])
    expected = attends.predict([data.source, dates.shifted(data.target)], verbose=0)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-5)
    assert (found.swapaxes(1, 2)[data.source == 0] == 0).all()


def test_the_decoder_depends_on_the_source_and_not_on_its_padding(made):
    model, _, _, data = made
    read = dates.shifted(data.target)
    whole = model.predict([data.source, read], verbose=0)
    changed = data.source.copy()
    changed[:, 0] = changed[:, 0] % 9 + 1
    assert np.abs(model.predict([changed, read], verbose=0) - whole).max(axis=(1, 2)).min() > 1e-3


def test_one_beam_is_greedy_and_more_beams_are_at_least_as_probable(made):
    _, step, states, _ = made
    one, p = dates.search(step, states, 1)
    np.testing.assert_array_equal(one, dates.greedy(step, states))
    assert (dates.search(step, states, 5)[1] >= p * (1 - 1e-6)).mean() > 0.9


def test_beam_search_finds_the_most_probable_text():
    first, after = (
        np.log([0.5, 0.3, 0.2]),
        np.log([[0.4, 0.3, 0.3], [0.02, 0.96, 0.02], [1 / 3] * 3]),
    )

    def step(ids, states):  # the first id is drawn from `first`, each other one from a row
        (begins,) = states
        return np.where(begins[:, None], first, after[ids]), (np.zeros_like(begins),)

    def probability(ids):
        pairs = itertools.pairwise(ids)
        return np.exp(first[ids[0]] + sum(after[x, y] for x, y in pairs))

    states = (np.ones(1, bool),)
    best = max(itertools.product(range(3), repeat=dates.T), key=probability)
    assert best == (1,) * dates.T
    (found,), (p,) = dates.search(step, states, 3)
    assert (*found,) == best
    assert p == pytest.approx(probability(best))
    assert (*dates.greedy(step, states)[0],) == (0,) * dates.T


def test_digits_are_aligned_if_the_largest_weight_is_on_their_field():
    text, fields = dates.written(date(1998, 3, 14), "%d %b %Y")
    assert text == "14 Mar 1998"
    fields = np.array([fields + [0] * (dates.S - len(text))])
    weights = np.full((1, dates.T, dates.S), 0.01)
    for t, k in enumerate([7, 8, 9, 10, 0, 3, 5, 0, 0, 1]):
        weights[0, t, k] = 0.5
    assert dates.aligned(weights, fields) == 1
    weights[0, 4] = weights[0, 0]  # a hyphen, which is not counted
    assert dates.aligned(weights, fields) == 1
    weights[0, 0, 6] = 0.6  # the space before the year
    assert dates.aligned(weights, fields) == 7 / 8
    weights[0, 9, 10] = 0.6  # the year, for a digit of the day
    assert dates.aligned(weights, fields) == 6 / 8


def test_the_picture(rng):
    data = dates.Examples(np.arange(6), rng)
    answers = [day.isoformat() for day in data.dates]
    weights = rng.random((6, dates.T, dates.S))
    assert dates.draw(data.texts, answers, weights).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "argv",
    [
        *(["--epochs", "0"], ["--units", "1"], ["--beam", "0"], ["--seed", "-1"]),
        *(["--units", "many"], ["--nothing"], ["-o", "dates.jpg"], ["-o", "missing/dates.png"]),
        *(["--read", "3 März 1998"], ["--read", ""], ["--read", "3 March 1998 " * 3]),
    ],
    ids=" ".join,
)
def test_bad_options_end_with_one_line(argv, capsys):
    assert dates.main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1


@pytest.mark.soak
def test_bad_options_in_a_process(tmp_path):
    argv = [sys.executable, str(EXAMPLES / "dates.py"), "--beam", "0"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert said(done.stderr) == ["error: expected --beam to be from 1 to 100, found 0"]


def rows_of(out):
    """The shares in % of each row of the printed table."""
    return {
        line[:17].strip(): [float(x) for x in re.findall(r"([\d.]+)%", line)]
        for line in out.splitlines()
        if "%" in line
    }


@pytest.mark.full
def test_a_table_translations_and_a_picture_are_made(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(dates, "TRAINING", 640)
    monkeypatch.setattr(dates, "HELD_OUT", 40)
    monkeypatch.chdir(tmp_path)
    flags = "--epochs", "1", "--units", "8", "--beam", "2"
    assert dates.main([*flags, "--read", "3 March 1998"]) == 0
    out = capsys.readouterr().out
    assert "Whole dates right, of 40 held-out ones" in out
    assert {name: len(shares) for name, shares in rows_of(out).items()} == {
        "with attention": 3, "without attention": 2,
    }  # fmt: skip
    assert re.search(r"with attention +3 March 1998 +[-\d]{10} +probability ", out)
    assert (tmp_path / "dates.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.soak
def test_dates_are_translated_and_digits_aligned(tmp_path):
    """docs/lectures.md has the figures."""
    argv = [sys.executable, str(EXAMPLES / "dates.py"), "--read", "3 March 1998"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = rows_of(done.stdout)
    greedy, beam, aligned = rows["with attention"]
    assert min(greedy, beam) >= 99
    assert aligned >= 90
    assert max(rows["without attention"]) < min(greedy, beam)
    assert re.search("with attention +3 March 1998 +1998-03-03 +probability ", done.stdout)
