"""Law: bars add up exactly where their notes, upbeats and what completes them fill the metre."""

from fractions import Fraction

import pytest

from charlm.music import bars, notation

HEADER = "X:1\nT:t\nM:{metre}\nL:1/8\nK:D Major\n"
LETTERS = "DEFGABcdefga"
METRES = {"6/8": 6, "9/8": 9, "4/4": 8, "C": 8, "C|": 8, "2/4": 4, "3/4": 6}


def filled(rng, eighths):
    """Music that takes so many eighths."""
    found = []
    while eighths > 0:
        note = rng.choice([*LETTERS])
        ways = {
            1: [note, "z", f"{{{note}}}{note}", f"{note}/{note}/", f"[{note}A]"],
            2: [f"{note}2", f"(3{note}AB", f"{note}>A", f"A<{note}", f'"D"{note}A',
                f"{note}-{note}"],
            3: [f"{note}3", f"{note}2A", f"{note}3/2A3/2"],
            4: [f"{note}4", f"{note}3A", f"(3{note}2A2B2"],
        }  # fmt: skip
        size = int(rng.choice([n for n in ways if n <= eighths]))
        found.append(str(rng.choice(ways[size])))
        eighths -= size
    return " ".join(found)


def made(rng, metre, changed=0):
    """A tune in which all bars add up, but one in the middle that is longer by `changed` eighths.

    Returns also the number of bars, and the number of that bar.
    """
    whole = METRES[metre]
    upbeat = int(rng.integers(whole))
    music, number, wrong = "", 0, 0

    def bar(eighths):
        nonlocal number
        number += 1
        return filled(rng, eighths)

    for part in range(2):
        if upbeat:
            music += bar(upbeat) + "|"
        music += bar(whole) + "|" + bar(whole + (0 if part else changed)) + "|\n"
        wrong = wrong or number
        music += bar(whole) + "|" + "\n" * int(rng.integers(2))
        if rng.random() < 0.5:
            music += "[1 " + bar(whole - upbeat) + ":|[2 " + bar(whole - upbeat)
        else:
            music += bar(whole - upbeat)
        music += "|]" if part else "||"
    return HEADER.format(metre=metre) + music + "\n", number, wrong


@pytest.mark.parametrize("metre", METRES)
def test_made_to_add_up_they_do(rng, metre):
    for _ in range(30):
        text, count, _ = made(rng, metre)
        verdict = bars.check(text)
        assert verdict.adds_up, (text, verdict)
        assert verdict.strict, (text, verdict)
        assert len(bars.measures(notation.read(text))) == count


@pytest.mark.parametrize("metre", METRES)
def test_a_bar_that_does_not_add_up_is_named(rng, metre):
    for changed in (-2, -1, 1, 2) * 8:
        text, _, wrong = made(rng, metre, changed)
        (problem,) = bars.check(text).problems
        assert problem.reason.endswith(f"in bar {wrong}"), (text, problem)
        assert problem.at == bars.measures(notation.read(text))[wrong - 1].at


@pytest.mark.parametrize(
    ("music", "problem"),
    [
        ("A|ABc def|A2B c2:|", None),
        ("A|ABc def|A2B c3:|", None),  # an upbeat that nothing completes, as in many collections
        ("A|ABc def|A2B c:|", "found 1/2 in bar 3"),
        ("ABc def|A2B c2:|", "found 5/8 in bar 2"),
        ("ABc de|ABc def:|", None),  # an upbeat of five
        ("ABc def|ABc de|ABc def:|", "found 5/8 in bar 2"),
        ("ABc deff|ABc def:|", "found 7/8 in bar 1"),
        ("A|ABc def|A2B|[1 c2A|ABc de:|[2 c2d|ABc d2|]", None),
        ("A|ABc def|[1 A2B c2:|[2 A2B c3|]", None),
        ("A|ABc def|A2B c2:|\nM:9/8\nA|ABc def gfe|ABc def d2|]", None),
        ("ABc def", "expected a bar line at the end"),
        ("|:ABc def|", "expected a repeat that closes with :|"),
        ("|:ABc def|1 ABc def:|", "expected a second ending after the first"),
        ("|:ABc def|1 ABc def:|ABc def|", "expected a second ending after the first"),
        ("|:ABc def|1 ABc def:| |2 ABc def|]", None),
        ("|:ABc def|1 ABc def:|\n|2 ABc def|]", None),
        ("|:ABc def|1 ABc def:|\n[2 ABc def|]", None),
        ("|:ABc def|\nX:2\n", "expected an empty line before the next tune"),
        ("|:ABc def|:ABc def:|", "expected :| before |:"),
        ("ABc de-f|", "expected the tied note again"),
        ("ABc def-|]", "expected a note after the tie"),
        ("", "expected music after the header, found none"),
        ("A|ABc def|A2B c2|", None),  # it ends without a double bar
        ("C|", "found 1/8 in bar 1"),
        ("ABc def|\n|ABc de|ABc def|]", "found 5/8 in bar 2"),  # two bar lines are no double one
        ("[A-c]3 [Ac]3|]", None),
        ("[A-c]3 c3|]", "expected the tied note again"),
    ],
)
def test_upbeats_endings_and_repeats(music, problem):
    verdict = bars.check(HEADER.format(metre="6/8") + music + "\n")
    assert verdict.strict == (problem is None), verdict
    assert problem is None or problem in verdict.problems[0].reason


def test_free_metre_has_bars_of_any_length():
    text = HEADER.format(metre="none") + "ABc|d|efg abcd|]\n"
    assert bars.check(text).strict
    assert [m.whole for m in bars.measures(notation.read(text))] == [None] * 3


def test_a_missing_field_is_named():
    verdict = bars.check("K:D\nABcd efga|]\n")
    assert verdict.adds_up
    assert [p.reason for p in verdict.problems] == [
        "expected the field X: in the header, found none",
        "expected the field T: in the header, found none",
    ]
    assert bars.check("K:D\nABcd efga|]\n", required="K").strict
    assert bars.measures(notation.read("X:1\nM:2/4\nK:D\nA4|]"))[0].length == Fraction(1, 4)
