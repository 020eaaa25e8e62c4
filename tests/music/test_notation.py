"""Law: a tune in ABC notation is read as the standard says, or refused at a place."""

import contextlib
import os
import re
import subprocess
import time
from fractions import Fraction
from shutil import which

import pytest

import corpora
from charlm.music import bars, midi, notation, performance, wav
from charlm.music.signatures import key_signature
from charlm.music.tune import AbcError, Bar, Metre, Note, tunes, tunes_by_line

HEADER = "X:1\nT:t\nM:4/4\nL:1/8\nK:{key}\n"


def notes(music, key="C Major"):
    """(pitches, eighths) of each note."""
    events = notation.read(HEADER.format(key=key) + music).events
    return [(e.pitches, e.length * 8) for e in events if isinstance(e, Note)]


@pytest.mark.parametrize(
    ("music", "expected"),
    [
        ("C c c' C,", [((60,), 1), ((72,), 1), ((84,), 1), ((48,), 1)]),
        ("C2 C/ C// C3/2 C/4", [((60,), n) for n in (2, 0.5, 0.25, 1.5, 0.25)]),
        ("^C =C _C ^^C __C", [((n,), 1) for n in (61, 60, 59, 62, 58)]),
        ("^C c|C ^c C c|", [((n,), 1) for n in (61, 73, 60, 73, 61, 73)]),  # until the bar line
        ("^C-|C C|^D|D", [((n,), 1) for n in (61, 61, 60, 63, 62)]),  # and in a tied note
        ("z2 x C", [((), 2), ((), 1), ((60,), 1)]),
        ("[CEG]2 [C2E]", [((60, 64, 67), 2), ((60, 64), 2)]),
        ("(3CDE F", [((n,), Fraction(2, 3)) for n in (60, 62, 64)] + [((65,), 1)]),
        ("(3:2:2C2D E", [((60,), Fraction(4, 3)), ((62,), Fraction(2, 3)), ((64,), 1)]),
        ("(2CD", [((60,), 1.5), ((62,), 1.5)]),
        ("C>D C<D C>>D", [((n,), k) for n, k in
                          ((60, 1.5), (62, 0.5), (60, 0.5), (62, 1.5), (60, 1.75), (62, 0.25))]),
        ('"Am"C !trill!D ~E .F {AG}G', [((n,), 1) for n in (60, 62, 64, 65, 67)]),
        ("C % a comment\nD\\\nE", [((n,), 1) for n in (60, 62, 64)]),
        ("Z2|C", [((), 8), ((), 8), ((60,), 1)]),
        ("C[L:1/4]D", [((60,), 1), ((62,), 2)]),
        ("F[K:G Major]F", [((65,), 1), ((66,), 1)]),
        ("CD|!\nEF", [((n,), 1) for n in (60, 62, 64, 65)]),  # an old line break
    ],
)  # fmt: skip
def test_notes_and_lengths(music, expected):
    assert notes(music) == expected


def test_bar_lines_repeats_endings_ties_and_graces():
    events = notation.read(HEADER.format(key="C") + "|:C-|C:|[1 D|1 E:|2 {FG}F|]").events
    assert [(e.sign, e.ending) for e in events if isinstance(e, Bar)] == [
        ("|:", ""), ("|", ""), (":|", "1"), ("|", "1"), (":|", "2"), ("|]", ""),
    ]  # fmt: skip
    first, *_, last = [e for e in events if isinstance(e, Note)]
    assert first.tied == (60,)
    assert last.graces == (65, 67)
    assert events[0] == Metre(events[0].at, Fraction(1), 4)


SIGNATURES = {  # by number of sharps, the keys that have them
    0: "C Major, A Minor, D Dorian, G Mixolydian, E Phrygian, F Lydian, B Locrian, Am, Cmaj",
    1: "G Major, E Minor, A Dorian, D Mixolydian, G, Em, ADor, Dmix",
    2: "D Major, B Minor, E Dorian, A Mixolydian",
    4: "E Major, C# Minor, F# Dorian, B Mixolydian",
    6: "F# Major, D# Minor",
    -1: "F Major, D Minor, G Dorian, C Mixolydian",
    -3: "Eb Major, C Minor",
    -7: "Cb Major",
}
LETTERS = {1: "F", 2: "FC", 4: "FCGD", 6: "FCGDAE", 0: "", -1: "B", -3: "BEA", -7: "BEADGCF"}


@pytest.mark.parametrize("sharps", SIGNATURES)
def test_key_signatures(sharps):
    for key in SIGNATURES[sharps].split(", "):
        expected = dict.fromkeys(LETTERS[sharps], 1 if sharps > 0 else -1)
        assert key_signature(key) == expected, key
    assert notes("F B", "G Major") == [((66,), 1), ((71,), 1)]
    assert notes("=F F|F", "G Major") == [((65,), 1), ((65,), 1), ((66,), 1)]


@pytest.mark.parametrize(
    ("text", "at", "reason"),
    [
        ("", 0, "the field K:"),
        ("It was the best of times", 0, "expected a field such as T: or M:, found 'It was"),
        ("X:1\nK:H Major\nC", 4, "expected a key such as G Major or A Dorian, found 'H Major'"),
        ("X:1\nK:G Happy\nC", 4, "found 'G Happy'"),
        ("X:1\nK:G Dorian ^f\nC", 4, "found 'G Dorian ^f'"),
        ("X:1\nM:5/7\nK:C\nC", 4, "expected a metre such as 6/8, C or none, found '5/7'"),
        ("X:1\nM:3/4\nM:2/4\nK:C\nC", 10, "expected one field M: in the header"),
        ("X:1\n\nK:C\nC", 4, "expected a field such as T: or M:, found ''"),
        ("X:1\nL:1/7\nK:C\nC", 4, "expected a unit of lengths such as 1/8, found '1/7'"),
        ("X:1\nK:C\nCD?E", 10, "expected a note, a rest or a bar line, found '?'"),
        ("X:1\nK:C\n[CE", 8, "expected notes and ] after ["),
        ("X:1\nK:C\n(3CD|E", 12, "expected 1 more note of a tuplet, found a bar line"),
        ("X:1\nK:C\n(3CD", 12, "expected 1 more note of a tuplet, found the end"),
        ("X:1\nK:C\nC>|D", 10, "expected a note after > or <, found a bar line"),
        ("X:1\nK:C\n>C", 8, "expected notes on both sides of >, found none before it"),
        ("X:1\nK:C\n-C", 8, "expected a note before -, found none"),
        ("X:1\nM:4/4\nK:C\nZ65536|", 15, "expected a length from"),
        ("X:1\nM:4/4\nK:C\nZ100|", 14, "expected a number of bars up to 99 after Z, found 100"),
        ("X:1\nK:C\nC|[0 D", 10, "expected an ending such as 1, 1,3 or 1-3, found 0"),
        ("X:1\nK:C\nC|[5-3 D", 10, "expected an ending such as"),
        ("X:1\nK:C\nC٣", 9, "expected a note, a rest or a bar line, found '٣'"),
        ("X:1\nK:C\nC0", 9, "expected a length from"),
        ("X:1\nK:C\nc''''''C", 8, "expected a note that MIDI has"),
        ("X:1\nK:C\nV:2\nC", 8, "expected a single voice"),
        ("X:1\nK:C\nC\n\nD", 11, "expected the end of the tune after an empty line"),
        ("X:1\nK:C\n{Cz}D", 10, "expected grace notes in {}, found 'z'"),
    ],
)
def test_a_text_that_is_no_tune_is_refused_at_its_place(text, at, reason):
    with pytest.raises(AbcError) as raised:
        notation.read(text)
    assert reason in raised.value.reason
    assert raised.value.at == at


PLAIN = "X:1\nT:A plain one\nM:6/8\nL:1/8\nK:G Major\nD|GAB d2e|(3ded B AGE|[1 G3 G2:|[2 G3 G3|]\n"
SIGNS = "ABCDEFGabcdefg|:[]()123468/^_=,'>< -zZ{}\"!%XMKL\n\\~"


def mutations(text, rng, count=None):
    for at in range(len(text)) if count is None else rng.integers(len(text), size=count):
        yield text[:at] + text[at + 1 :]
        new = SIGNS[rng.integers(len(SIGNS))]
        yield text[:at] + new + text[at + 1 :]
        yield text[:at] + new + text[at:]


def test_every_text_ends_in_a_verdict(rng):
    for text in mutations(PLAIN, rng):
        verdict = bars.check(text)
        assert verdict.parses or len(verdict.problems) == 1
        assert verdict.strict == (not verdict.problems)
        for problem in verdict.problems:
            assert 0 <= problem.at <= len(text)
            assert re.match(r"\d+:\d+: expected .*, found ", problem.shown(text))
    for size in rng.integers(200, size=300):
        bars.check("X:1\nK:C\n" + "".join(rng.choice([*SIGNS], size=size)))


def test_the_tunes_of_a_file_are_divided_by_empty_lines():
    text = "\n\nwords\n\nwords\nX:1\nK:C\nC\n \t\n\nX:2\nK:C\nD\n"
    first, second = "X:1\nK:C\nC\n", "X:2\nK:C\nD\n"
    assert [*tunes(text)] == [first, second]
    assert [*tunes_by_line(text.rstrip())] == [(6, first), (11, second)]
    assert [*tunes("words")] == []


# --- the real file, next to abc2midi ---


@pytest.fixture(scope="session")
def irish(tmp_path_factory):
    """The tunes of irish.abc, and what abc2midi says about the bars of each."""
    path = os.environ.get("CHARLM_ABC", "")
    if not os.path.exists(path) or not which("abc2midi"):
        pytest.skip("needs abc2midi, and the file of tunes that CHARLM_ABC names")
    (document,) = corpora.load(path).documents
    found, folder = [], tmp_path_factory.mktemp("abc")
    for text in tunes("".join(document.pieces())):
        (folder / "one.abc").write_text(text + "\n")
        argv = ["abc2midi", "one.abc", "-o", "one.mid"]
        said = subprocess.run(argv, cwd=folder, capture_output=True, text=True).stdout
        found.append((text, said))
    return found


DIFFERENCES = [  # how tunes that are judged differently look
    r"\[1",  # abc2midi does not join two parts of a bar at an ending
    r"\nM:.*\n(?s:.*)\nM:",  # it counts an upbeat by the metre before it
    r"K:.*\n?\Z",  # no music at all, which it accepts
    r"fsedf",  # it passes over letters that are no notes
    r"\|\]!\nA\|",  # it takes a repeat without |: back to the beginning
]


def test_bars_add_up_where_abc2midi_says_so(irish):
    agree = read = 0
    for text, said in irish:
        if "Error" in said:  # mostly an ending after a part of a bar, which it does not know
            continue
        read += 1
        if bars.check(text).adds_up == ("time units" not in said):
            agree += 1
        else:
            assert any(re.search(how, text) for how in DIFFERENCES), text
    print(f"{agree} of {read}, {len(irish)} in all")
    assert agree >= 0.979 * read
    assert sum(bars.check(text).strict for text, _ in irish) >= 0.97 * len(irish)


def test_changed_tunes_end_in_a_verdict(irish, rng):
    for text, _ in irish[::16]:  # 50 of them
        for changed in mutations(text, rng, 15):
            bars.check(changed)


def test_random_numbers_are_no_tunes(rng):
    for _ in range(100):
        text = "".join(map(chr, rng.integers(1, 0x300, size=50)))
        assert not bars.check("X:1\nK:C\n" + text).strict
    assert not bars.check("X:1\nK:C\n" + "\0").parses
    assert not bars.check("").parses


H = "X:1\nT:t\nM:6/8\nL:1/8\nK:C\n "
ODD = [
    "C" + "1" * 5000, "C/" + "1" * 5000, "(3:" + "1" * 5000 + ":1C|", "(9:1:" + "9" * 25 + "C|",
    "(3:99:99" + "C" * 99 + "|", "C|[" + "1" * 5000 + "D:|[2E|]", "|:C|[1 D:|[100 E:|]",
    "C6|" + "".join(f"C/{n}" for n in range(1, 65)) + "|", "|:C6|" + "[1-99C6:|" * 300,
    "!" + "a" * 20000, "[K:" + " " * 20000, "w:x" + " " * 20000 + "x", "Z99|" * 300, "[" * 20000,
    "{" * 20000, "(" * 20000, "C>" * 5000, "C-" * 5000, "|:" * 5000, ":|" * 5000, "C|\n\n" * 3000,
    "c,c" * 5000, '"' * 9999, "V:" * 5000, "\n".join(["K:C"] * 5000), "C999|" * 50,
]  # fmt: skip


@pytest.mark.parametrize("music", ODD, ids=range(len(ODD)))
def test_odd_music_takes_little_time_and_memory(music):
    began = time.process_time()
    verdict = bars.check(H + music)
    assert all(len(p.shown(H + music)) < 300 for p in verdict.problems)
    if verdict.parses:
        sounds = performance.sounds(notation.read(H + music))
        assert len(midi.to_midi(sounds)) < 10**7
        with contextlib.suppress(ValueError):
            assert len(wav.to_wav(sounds)) < 10**8
    assert time.process_time() - began < 10
