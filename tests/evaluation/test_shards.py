"""Law: a text measured in parts has the figures of the whole text, to the last digit."""

import json
import re

import pytest

from charlm import score
from charlm.errors import InputError
from charlm.evaluation import losses, shards
from charlm.evaluation.shards import Part

RUN = ["--run", "state-union", "--unknown", "skip", "--quiet"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("shards")
    (place / "texts").mkdir()
    for k in range(140):
        (place / "texts" / f"{k:03}.txt").write_text(f"The state of the Union, {k}. " * (k % 3 + 1))
    return place


@pytest.fixture
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    return place


def printed(capsys, *argv):
    assert score.main([*map(str, argv), *([] if "--merge" in argv else RUN)]) == 0
    return capsys.readouterr().out


def test_merged_parts_are_the_whole(here, capsys):
    whole = printed(capsys, "texts")
    parts = []
    for k in (3, 1, 2):
        parts.append(here / f"{k}.json")
        parts[-1].write_text(printed(capsys, "texts", "--shard", f"{k}/3"))
    assert printed(capsys, "--merge", *parts) == whole
    rows = [row for path in parts for row in json.loads(path.read_text())["rows"]]
    assert sorted(row[0] for row in rows) == [*range(140)]


def test_a_part_has_the_groups_of_the_whole(rng):
    for _ in range(50):
        lengths = rng.integers(1, 9, rng.integers(1, 400)).tolist()
        every = losses.groups(lengths)
        n = int(rng.integers(1, len(every) + 1))
        documents = [range(x) for x in lengths]
        found = []
        for k in range(1, n + 1):
            kept = shards.documents_of(f"{k}/{n}", documents)
            assert kept == sorted(kept)
            found += [[kept[x] for x in g] for g in losses.groups([lengths[x] for x in kept])]
        assert sorted(found) == sorted(every)


def part(shard="1/2", measured="x", rows=((0, "a", [8.0, 4.0, 1.0, 4.0]),), **changed):
    made = json.loads(Part(shard, ["word"], list(rows), measured).to_json())
    return json.dumps(made | changed)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (part(), part(), "expected the parts 1/2 to 2/2, once each, found 1/2, 1/2"),
        (part(), part("1/3"), "expected the parts 1/2 to 2/2, once each, found 1/2, 1/3"),
        (
            part(),
            part("2/2", "y"),
            "parts of one text, .*; 1 is of another text, or of other weights, than 0",
        ),
        (part(), part("2/2", units=["word", "token"]), "1 is of another text"),
        (part(), "{", "prints in 1, found"),
        (part(), "[]", "prints in 1, found"),
        (part(), part("3/2"), "prints in 1, found"),
        (part(), part(format=2), "found format 2, where this charlm reads 1"),
        (part(), part("2/2", rows=[(0, "a", [1.0])]), "a number, a name and four figures"),
        (part(), part("2/2", rows=[(0, 1, [1.0] * 4)]), "a number, a name and four figures"),
        (part(), part("2/2", rows=[(0, "a", ["1"] * 4)]), "a number, a name and four figures"),
        (part(), part("2/2", units=["page"]), "found a wrong field"),
        (part(), part("2/2", units=["word"] * 3), "found a wrong field"),
        (part(), part(shard=1), "found a wrong field"),
        (part(), part("2/2", 1), "found a wrong field"),
        (part(), part("1/3000000000"), "prints in 1, found"),
        (part(), part("1/300000000"), "expected the parts 1/2 to 2/2"),
        (part("1/300000000"), part(), "expected the parts 1/300000000 to"),
        (part(), part("2/2"), "some missing or twice"),
        (part(rows=[]), part("2/2", rows=[]), "some missing or twice"),
        (part(), part("2/2", rows=[(1, "\ud800", [1.0] * 4)]), "a number, a name and four"),
        (part(), part("2/2", rows=[(1, "a", [1.0, 0, 1, 1])]), "a number, a name and four"),
        (part(), part("2/2", rows=[(1, "a", [float("nan")] * 4)]), "a number, a name and four"),
        (part(), part("2/2", rows=[(1, "a", [10**400] * 4)]), "a number, a name and four"),
        (part(), part("2/2", rows=[(1, "a")]), "found something else"),
        (part(), part("2/2", more=1), "found something else"),
    ],
)
def test_parts_that_do_not_fit_are_refused(tmp_path, monkeypatch, first, second, message):
    monkeypatch.chdir(tmp_path)
    for name, text in (("0", first), ("1", second)):
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as error:
        shards.merged([tmp_path.__class__(name) for name in "01"])
    assert re.search(message, str(error.value))


@pytest.mark.parametrize(
    "shard", ["0/2", "3/2", "1", "1/", "/2", "a/b", "-1/2", "1/2/3", f"1/{'1' * 5000}", "1/2\n"]
)
def test_a_shard_has_a_form(shard):
    with pytest.raises(InputError, match="expected --shard K/N, K from 1 to N, found"):
        shards.parse(shard)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["texts", "--shard", "1/4"],
            "with N at most 3, found 1/4; parts are groups of 64 documents, and the text has 140",
        ),
        (["texts", "--merge", "a"], "FILE has no effect with --merge"),
        (["texts", "--shard", "1/2", "--per-character"], "--per-character has no effect with"),
        ([], "expected a text to measure, found none"),
        (["--merge", "none.json"], "none.json"),
    ],
)
def test_what_does_not_go_together_is_refused(here, capsys, argv, message):
    assert score.main([*argv, *RUN]) != 0
    assert message in capsys.readouterr().err
