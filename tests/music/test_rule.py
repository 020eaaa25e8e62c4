"""Law: a tune is read bar by bar; nothing in it that is right is refused or changes its notes."""

import itertools
import re
from dataclasses import replace

import pytest

from charlm.generation.rules import state_after
from charlm.music import bars, notation, performance
from charlm.music.fields import header, numbered, only_fields
from charlm.music.rule import END, TuneRule
from charlm.music.tune import Bar, Metre, Note, Tune
from tests.music.test_bars import HEADER, METRES, made
from tests.music.test_notation import irish, mutations  # noqa: F401 - a fixture

LONG = "X:1\nT:A tune\nM:6/8\nL:1/8\nK:D Major\n"


def states(rule, text):
    """(number of characters read, state), to the end or to the first wrong character."""
    state = rule.begin()
    yield 0, state
    for k, character in enumerate(text, 1):
        state = rule.read(state, character)
        if state is None:
            return
        yield k, state


def refused_at(rule, text):
    """The place of the first wrong character; None if there is none."""
    try:
        state_after(rule, text)
    except ValueError as error:
        return error.args[0]
    return None


def bar_lines(text):
    """(begin, end) of each bar line, with the number of an ending directly after it."""
    for event in notation.read(text).events:
        if isinstance(event, Bar):
            end = event.at + len(event.sign)
            yield event.at, end + len(re.match(r"\d*", text[end:])[0])


@pytest.mark.parametrize("metre", METRES)
def test_a_tune_whose_bars_add_up_is_accepted_bar_by_bar(rng, metre):
    rule = TuneRule()
    for _ in range(3):
        text, count, _ = made(rng, metre)
        text += "\n"
        music, lines = len(HEADER.format(metre=metre)), [*bar_lines(text)]
        for k, state in states(rule, text):
            settled = k - rule.unfinished(state)
            last = max([end for _, end in lines if end < k], default=music)
            header = text.rfind("\n", 0, k) + 2  # the letter of a field stays
            assert settled <= header if k <= music else settled >= last
            assert k <= music or text[last:settled].strip() == ""
            assert rule.is_finished(state) == (k == len(text))
            assert rule.missing(state) == (k < len(text))
        assert k == len(text), text[:k]
        assert text.endswith(END)
        assert state.bar == count + 1
        assert bars.check(text).strict


@pytest.mark.parametrize("metre", METRES)
@pytest.mark.parametrize("changed", [-2, -1, 1, 2])
def test_a_wrong_bar_is_refused_after_its_bar_line_and_not_before(rng, metre, changed):
    for _ in range(2):
        text, _, wrong = made(rng, metre, changed)
        at = bars.measures(notation.read(text))[wrong - 1].at
        expected = next(end for begin, end in bar_lines(text) if begin > at)
        assert refused_at(TuneRule(), text + "\n") == expected
        *_, (_, state) = states(TuneRule(), text)
        assert TuneRule().place(state) == f"bar {wrong}"
        assert len(state.text) - TuneRule().unfinished(state) <= at


@pytest.mark.parametrize(
    ("music", "wrong"),
    [
        ("|:ABc def|\n|:ABc", 13),  # a repeat that is open
        ("ABc def|:ABc def|:A", 18),
        ("ABc def|:ABc def|A2B c3:|:A", None),
        ("ABc def|:ABc deff|:A", 19),
        ("ABc def|ABc deff|:A", 18),
        ("ABc def|ABc deff|1 A", 18),
        ("ABc def|\nD:|A", 12),  # a bar, and no field D:
        ("ABc deff|A", 9),
        ("ABc def|ABc deff::A", 18),
        ("ABc def|ABc deff[|A", 18),
        ("ABc def|ABc %|\ndeff|A", 20),
        ("ABc def|[K:G]ABc deff|A", 22),
        ('ABc def|\nw:say "hi\nABc deff|A', 28),  # a quotation mark of the words
        ("ABc def|\nw:la|la\nABc def|A", None),
        ("ABc de-f|g", 9),  # a tie to another note
        ("ABc def-|gBc def|A", 17),
        ("ABc def-|fBc def|A", None),
        ("ABc def|(3ABc d2 e|f", 19),  # too short
        ("ABc def|[ABc def]A|c", 19),  # no note of a chord
        ("A2B>|A", 5),
        ("ABc def|A2B c2:|c", 16),
        ("A|ABc def|A2B c3:|c", 18),  # the upbeat is not completed
        ("A|ABc def|A2B c2:|c", None),
        ("ABc def|]\n\n", None),
        ("ABc def\n\n", 8),  # it ends without a bar line
        ("|:ABc def|]\n\n", 12),  # or with an open repeat
        ("\n", 0),  # no music
        ("A" * 120, 100),  # an endless bar
        ("ABc def|\nM:9/8\nABc def gfe|A", None),
        ("ABc def|\nM:9/8\nABc def|A", 23),
        ("w:la|la\nABc def|A", None),
    ],
)
def test_music_is_refused_after_the_bar_that_is_wrong(music, wrong):
    text = LONG + music
    at = refused_at(TuneRule(), text)
    assert at == (wrong if wrong is None else len(LONG) + wrong), text[:at]


@pytest.mark.parametrize(
    "music",
    [
        "|:ABc def|A2B c3:|]",  # a repeat from the beginning on
        "[|ABc def|]",
        "ABc def|[M:9/8]ABc def gfe|]",
        "ABc def|[K:G Major]ABc def|]",
        'ABc "^a|b"def|"C:"ABc def|]',
        "ABc [r:a]def|]",
        "ABc def|[1 ABc def:|[2 ABc def|]",
        "ABc def|1 ABc def:|2 ABc def|]",
        "ABc def| [1,3 ABc def:| [2-2 ABc def|]",
        "z6|\nABc def|]%|ABc\n",
        "ABc def|]\nw:la|la\n",
    ],
)
def test_what_is_strict_is_accepted(music):
    text = (LONG + music).rstrip("\n") + END
    assert bars.check(text).strict
    at = refused_at(TuneRule(), text)
    assert at is None, text[:at]


def test_no_bar_is_read_twice_in_one_state(rng):
    """States are never changed: all continuations of a state are as after a fresh start."""
    rule = TuneRule()
    text, *_ = made(rng, "6/8")
    kept = [state for _, state in states(rule, text + "\n")]
    for k in rng.integers(len(text), size=40):
        for c in rng.choice([*"AB|:]2\n[-^z{(3"], size=3):
            following = rule.read(kept[k], str(c))
            assert (following is None) == (refused_at(rule, text[:k] + str(c)) is not None)
    again = [state for _, state in states(rule, text + "\n")]
    assert [(s.text, s.settled, s.bar, s.reader and s.reader.events) for s in kept] == [
        (s.text, s.settled, s.bar, s.reader and s.reader.events) for s in again
    ]


# --- the header ---

VALUES = {"X": ("1", "12"), "T": ("t", "The", "The other"), "L": ("1/8", "1/16"),
          "M": ("6/8", "6/4", "9/8", "C", "C|", "none", "12/8"),
          "K": ("D", "D Major", "D Minor", "Dm", "G", "")}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_a_given_field_is_forced(name):
    for given, value in itertools.product(VALUES[name], repeat=2):
        before = "" if name == "X" else "X:1\n"
        rule = TuneRule({name: given})
        lines = f"{value}\n", f"{given}\n"
        same = next((k for k, (a, b) in enumerate(zip(*lines, strict=False)) if a != b), None)
        at = None if value == given else len(before) + 2 + same
        assert refused_at(rule, f"{before}{name}:{value}\n") == at
        for k, state in states(rule, f"{before}{name}:{given}\n"):
            assert rule.unfinished(state) == 0 or k < len(
                before
            )  # only the wrong character is left out


def test_the_key_waits_for_the_fields_that_are_missing(rng):
    for _ in range(200):
        names = [str(x) for x in rng.permutation([*"XTMLRN"])][: rng.integers(6)]
        given = {"M": "6/8"} if rng.random() < 0.5 else {}
        required = "".join(rng.permutation([*"XTK"])[: rng.integers(4)])
        text = "".join(f"{x}:{ {'M': '6/8', 'L': '1/8'}.get(x, '1') }\n" for x in names)
        missing = ({*given} | {*required} - {"K"}) - {*names}
        rule = TuneRule(given, required)
        assert refused_at(rule, text + "K:D\n") == (len(text) if missing else None)
        if not missing:
            assert state_after(rule, text + "K:D\n").bar == 1
            assert rule.place(state_after(rule, text + "K:D\n")) == "bar 1"
        assert rule.place(state_after(rule, text)) == "the header"


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("\n", 0), ("1:", 0), (" X", 0), ("%", 0), ("é:", 0), ("XY", 1), ("X\n", 1), ("X:1\n\n", 4),
        ("M:5/7\n", 5), ("M:0/8\n", 5), ("M:six\n", 5), ("L:1/7\n", 5),
        ("T:" + "x" * 300, 200), ("K:H Major\n", 9), ("K:G Majoo\n", 9), ("K:D %\n", 5),
        ("M:6/8\nM", 6), ("L:1/8\nX:1\nL", 10), ("T:a\nT:b\nK:D\n", None), ("K:D\nK:G\n", None),
    ],
)  # fmt: skip
def test_the_header_has_fields_and_each_of_some_once(text, at):
    assert refused_at(TuneRule(), text) == at


def test_a_wrong_value_is_drawn_again_and_what_is_right_stays(rng):
    rule, text = TuneRule(), "X:1\nT:A tune\nR:reel\nM:C|\nK:D Dorian\n"
    for k, state in states(rule, text):
        line = text[:k].rpartition("\n")[2]
        assert rule.unfinished(state) == max(0, len(line) - 1)
    assert TuneRule({"T": "b"}).read(state_after(TuneRule({"T": "b"}), "T:b\n"), "T") is None


def test_without_bars_all_music_is_accepted(rng):
    rule = TuneRule({"M": "6/8"}, bars=False)
    for _ in range(30):
        music = "".join(rng.choice([*"AB|:]2\n[-^z{(3é%K"], size=40))
        music = re.sub(r"\n+", "\n", music).strip("\n") + END
        for k, state in states(rule, LONG + music):
            assert rule.is_finished(state) == (k == len(LONG + music))
            assert k <= len(LONG) or rule.unfinished(state) == 0
        assert k == len(LONG + music)
    assert refused_at(rule, LONG.replace("6", "9")) == LONG.index("6")


# --- texts that are almost tunes ---


def test_what_is_accepted_is_strict(rng):
    found = {True: 0, False: 0}
    for metre in ("6/8", "2/4"):
        for _ in range(4):
            text, *_ = made(rng, metre)
            for changed in mutations(text, rng, 8):
                changed = changed.partition(END)[0].rstrip("\n") + END
                at = refused_at(TuneRule(required="XTK"), changed)
                assert at is not None or bars.check(changed).strict, changed
                found[at is None] += 1
    assert min(found.values()) > 30


@pytest.mark.parametrize("step", [6, pytest.param(1, marks=pytest.mark.soak)])
def test_most_strict_tunes_are_accepted(irish, step):  # noqa: F811
    """The others have half of a bar on each side of an ending on another line."""
    strict = [text for text, _ in irish[::step] if bars.check(text).strict]
    accepted = sum(refused_at(TuneRule(), text.rstrip() + END) is None for text in strict)
    print(f"{accepted} of {len(strict)}")
    assert accepted >= 0.96 * len(strict) > 100


# --- a reader that goes on ---

ALL_SHARP = "^A^B^C^D^E^F^G"


def tied_and_sharp(rng, text):
    """The music with accidentals, and ties over bar lines."""
    head, _, music = text.partition("K:D Major\n")
    music = re.sub(
        r'("[^"]*")|(?=[A-Ga-g])',
        lambda m: m[1] or str(rng.choice(["", "", "", "^", "_", "="])),
        music,
    )
    music = re.sub(r"(?<=[A-Ga-g\d/])(?=\|)", lambda m: str(rng.choice(["", "-"])), music)
    return f"{head}K:D Major\n{music}"


@pytest.mark.parametrize("metre", METRES)
def test_a_reader_that_goes_on_reads_what_one_from_the_beginning_does(rng, metre):
    kinds = set()
    for _ in range(4):
        text, *_ = made(rng, metre)
        text = tied_and_sharp(rng, text)
        lines = [*bar_lines(text)]
        between = rng.choice([" [L:1/4]", "\nK:G Minor\n", "\nM:3/4\n", "[M:C]", "{^ge}", "(3DEF"])
        at = lines[len(lines) // 2][1]
        if not text.startswith("\n", at):
            text = text[:at] + str(between) + text[at:]
        whole = notation.read(text)
        kinds |= {type(event) for event in whole.events}
        reader = notation.Reader(text[: text.index("\n", text.index("K:")) + 1])
        reader.read_header()
        for _, end in (*bar_lines(text), (0, len(text))):
            before = [*reader.events]
            reader.continued(f"{reader.text}{ALL_SHARP}").read_music()  # which changes nothing
            following = reader.continued(text[:end])
            following.read_music()
            assert reader.events == before
            other = notation.Reader(text[:end])
            other.read_header()
            other.read_music()
            assert following.events == other.events
            reader = following
        reader.end()
        assert reader.tune == whole
        assert any(e.tied for e in whole.events if isinstance(e, Note))
    assert kinds == {Note, Bar, Metre}


# --- fields and ornaments ---

ORNAMENTS = [
    " ", "  ", '"Am"', '"^slow: 2|3"', "!trill!", "!fermata!", "{d}", "{/ef}", ".", "~", "(", ")",
    "`", "u", "H", "[r:a|b]", "[Q:1/4=9]", "[K:G Major]", "[L:1/16]", "[M:3/4]", "\\\n", " % a|b\n",
    "\nw:la la-la\n", "\nK:A Dorian\n", "\nN:a|b\n", "\nL:1/4\n", " $ ",
]  # fmt: skip


def ornamented(rng, metre, unit):
    """A tune with ornaments between its notes, and with or without the fields M: and L:."""
    text, *_ = made(rng, metre or "6/8")
    music = text.partition("K:D Major\n")[2]
    chosen = rng.choice(ORNAMENTS, size=music.count(" "))
    music = "".join(a + str(b) for a, b in itertools.zip_longest(
        re.split(" (?![0-9])", music), chosen[: len(re.split(" (?![0-9])", music)) - 1],
        fillvalue=""))  # fmt: skip
    lines = ["X:7", "T:A tune % of mine", "R:reel", f"M:{metre}", f"L:{unit} ", "O:a|b", "T:b"]
    dropped = {"M:": not metre, "L:": not unit}
    head = [x for x in rng.permutation(lines) if not dropped.get(x[:2])]
    return "\n".join(["%abc", *map(str, head), "K:D Major", music])


def played(text):
    """(pitch, start, length) of each note, without grace notes."""
    tune = notation.read(text)
    events = [replace(e, graces=()) if isinstance(e, Note) else e for e in tune.events]
    found = performance.sounds(Tune(tune.fields, events))
    return [(s.pitch, s.start, s.length) for s in found]


FIELDS = "", "K", "MK", "MKL", "TMK"
LEFT_OUT = re.compile(r'["!{}%~.`$\\)uH]|\((?!\d)|^[wN]:|\[[rQ]:|\n\n', re.MULTILINE)


@pytest.mark.parametrize("unit", ["", "1/4", "1/8", "1/16"])
@pytest.mark.parametrize("metre", ["", "none", *METRES])
def test_leaving_out_fields_and_ornaments_keeps_the_notes(rng, metre, unit):
    for _ in range(2):
        text = ornamented(rng, metre if metre != "none" else "", unit)
        text = text.replace("R:reel", "M:none") if metre == "none" else text
        for fields in FIELDS:
            found = only_fields(text, fields)
            assert played(found) == played(text), (text, found)
            names = [line[0] for line in found.splitlines() if line[1:2] == ":"]
            head = names[: names.index("K") + 1]
            assert {*head} - {"L"} == ({*fields} & {*header(text)} | {"K"}) - {"L"}
            assert only_fields(found, fields) == found
            assert not LEFT_OUT.search(found, found.index("K:") + 2), found


@pytest.mark.parametrize(
    ("head", "music"),
    [
        ("M:2/4\nL:1/4\n", "|:CD|\nD:|"),  # no field D:
        ("M:2/4\n", "A2B2|"),  # its unit of lengths is that of its metre
        ("M:6/8\nL:1/8\n", "(5ABcde|"),  # in the time of 3, in this metre
        ("M:6/8\nL:1/8\n", "ABcdef|Z|Z2|"),
        ("M:2/4\nL:1/8\n", "{^c}dc|c2|"),  # the grace note's sharp holds
        ("M:2/4\nL:1/4\n", 'CD|EF|"x":|GA|]'),
        ("M:2/4\nL:1/4\n", 'CD|"x"|EF|GA|"x":|'),
        ("M:2/4\nL:1/4\n", 'CD|"x"{d}|EF|GA|"x":|'),
        ("M:2/4\nL:1/4\n", 'F"D"[K:G Major]F|'),
        ("M:2/4\nL:1/4\n", "F{d}[L:1/8]F2|"),
        ("M:2/4\nL:1/4\n", 'C"100%"D|EF|'),
        ("M:2/4\nL:1/4\n", "C!D|EF|!"),
        ("", "AB|"),
    ],
)
def test_notes_that_hang_on_what_is_left_out_stay_the_same(head, music):
    text = f"X:1\nT:t\n{head}K:C\n{music}\n"
    for fields in FIELDS:
        assert played(only_fields(text, fields)) == played(text), only_fields(text, fields)


@pytest.mark.parametrize(
    ("metre", "unit", "fields", "kept"),
    [("6/8", "1/8", "MK", False), ("6/8", "1/8", "K", False), ("2/4", "1/16", "MK", False),
     ("2/4", "1/16", "K", True), ("2/4", "1/8", "MK", True), ("2/4", "1/8", "K", False),
     ("C", "1/4", "", True), ("C", "1/8", "L", True)],
)  # fmt: skip
def test_the_unit_of_lengths_is_kept_where_lengths_need_it(metre, unit, fields, kept):
    text = f"M:{metre}\nL:{unit}\nK:D\nAB|\n"
    assert (f"L:{unit}\n" in only_fields(text, fields)) == kept


def test_nothing_takes_the_place_of_an_ornament():
    music = '"A"A"D"B{c}d.e(fg)|!trill!a{^c}b[r:x]c|[M:9/8]d"x"[df](5:3ABcde|'
    found = only_fields(f"X:1\nM:6/8\nL:1/8\nK:C\n{music}\n", "")
    assert found == "K:C\nABdefg|a{^c}bc|[M:9/8]d[df](5:3ABcde|\n"


def test_comments_are_left_out():
    text = "%abc\nX:1 % a\nT:t % b\nM:6/8%c\nK:D Major % d\nABc|%e\n%f\ndef|]%g\n"
    found = only_fields(text, "XTM")
    assert found == "X:1\nT:t\nM:6/8\nK:D Major\nABc|\ndef|]\n"


def test_a_header_has_the_first_of_each_field():
    text = "%abc\nX:1\nT:a % b\nT:c\nM: 6/8\nK:D Major\nK:G\nA|B|]\n"
    assert header(text) == {"X": "1", "T": "a", "M": "6/8", "K": "D Major"}
    assert header("A|B|]\n") == {}


def test_a_tune_gets_its_number_and_a_title_if_it_has_none(rng):
    for fields in FIELDS:
        text = only_fields(ornamented(rng, "6/8", "1/8"), fields)
        found = numbered(text, 12, "New: 1")
        fields_of = header(found)
        assert fields_of["X"] == "12"
        assert fields_of["T"] == header(text).get("T", "New: 1")
        assert {k: v for k, v in fields_of.items() if k not in "XT"} == {
            k: v for k, v in header(text).items() if k not in "XT"
        }
        assert played(found) == played(text)
        assert not {"X", "T", "K"} - {*notation.read(found).fields}
        assert numbered(found, 12, "Other") == found
        assert found.startswith("X:12\n")
        assert found.endswith("\n")
        assert not found.endswith("\n\n")


@pytest.mark.parametrize("sign", ["|", "|:", "[|", "||"])
def test_a_tune_may_begin_with_any_bar_line(sign):
    text = f"{LONG}{sign}ABc def|ABc def:|{END}"
    assert bars.check(text).strict
    assert refused_at(TuneRule(), text) is None


def test_a_first_ending_has_to_end():
    for music, right in (
        ("ABc def|1 ABc def:|2 ABc def|]", True),
        ("ABc def|1 ABc def|]ABc def|]", False),
        ("ABc def|[1 ABc def|[1 ABc def:|2 ABc def|]", False),
    ):
        assert (refused_at(TuneRule(), LONG + music + END) is None) == right


@pytest.mark.parametrize("sign", ["|4|", "|]]", "|||", ":::|", "|1 |"])
def test_odd_bar_lines_are_not_drawn(sign):
    assert refused_at(TuneRule(), f"{LONG}ABc def{sign}ABc def|]{END}") is not None


def test_a_decoration_after_a_bar_line_is_no_end_of_a_line():
    assert refused_at(TuneRule(), LONG + "ABc def|!trill!ABc def|]" + END) is None
    assert refused_at(TuneRule(), LONG + "ABc def|!\nABc def|]!" + END) is None
