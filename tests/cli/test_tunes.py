"""Law: `charlm tunes` writes valid tunes, and says in one line why it cannot."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from charlm import sample, train, tunes
from charlm.config import DataConfig
from charlm.generation import rules
from charlm.generation import tunes as drawing
from charlm.music import bars
from charlm.music.fields import header
from charlm.music.tune import tunes as pieces

pytestmark = pytest.mark.full

METRES = {"6/8": ["ABc", "B2A", "d3", "G3"], "2/4": ["AB", "c2", "GE", "dB"]}


def written(rng, n):
    """Tunes in two metres and keys, of which a small network learns most."""
    found = []
    for k in range(n):
        metre, key = rng.choice([*METRES]), rng.choice(["D Major", "A Dorian"])
        first, second, third, fourth = ("".join(rng.choice(METRES[metre], 2)) for _ in range(4))
        music = f"{first}|{second}|{third}:|\n{first}|{second}|{fourth}|]"
        found.append(f"X:{k}\nT:Tune {k}\nM:{metre}\nL:1/8\nK:{key}\n{music}\n")
    return "\n".join(found)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a file of tunes and a run, `fiddle`, that was trained on it."""
    found = tmp_path_factory.mktemp("tunes")
    (found / "tunes.abc").write_text(written(np.random.default_rng(1), 200))
    argv = [str(found / "tunes.abc"), "--abc-fields", "MK", "--name", "fiddle", "--quiet",
            "--runs-dir", str(found), "--units", "48", "--epochs", "5", "--sample-length", "0",
            "--learning-rate", "0.03", "--batch-size", "8",
            "--context", "upbeat", "--context-scale", "1"]  # fmt: skip
    assert train.main(argv) == 0
    return found


def call(folder, capsys, *argv, command=tunes):
    """Returns the exit code, standard output and standard error."""
    capsys.readouterr()
    code = command.main([*argv, "--runs-dir", str(folder)])
    return code, *capsys.readouterr()


def test_what_it_writes_is_valid_and_as_asked(folder, capsys):
    given = "fiddle", "-n", "5", "--seed", "2", "--temperature", "1.2"
    code, out, _ = call(folder, capsys, *given, "--metre", "2/4", "--key", "Ador", "--title", "Fox")
    found = [*pieces(out)]
    assert code == 0
    assert [header(t) for t in found] == [
        {"X": str(k), "T": "Fox", "M": "2/4", "L": "1/8", "K": "A Dorian"} for k in range(1, 6)
    ]
    assert all(bars.check(t).strict for t in found)
    assert out == call(folder, capsys, *given, "--metre", "2/4", "--key", "A Dorian",
                       "--title", "Fox")[1]  # fmt: skip
    metres = [header(t)["M"] for t in pieces(call(folder, capsys, *given)[1])]
    assert {*metres} == {"6/8", "2/4"}


def test_all_are_in_the_context_that_is_asked_for(folder, capsys):
    given = "fiddle", "-n", "6", "--seed", "2", "--no-rules", "-o", str(folder / "one")
    _, out, err = call(folder, capsys, *given, "--context", "2/4 0")
    assert [header(t)["M"] for t in pieces(out)] == ["2/4"] * 6
    page = (folder / "one.html").read_text()
    assert json.loads(page.split('id="data">')[1].split("<")[0])["contexts"] == []
    assert "mean of the run's contexts" not in err
    call(folder, capsys, *given)
    page = (folder / "one.html").read_text()
    listed = json.loads(page.split('id="data">')[1].split("<")[0])["contexts"]
    assert [x["name"] for x in listed] == ["2/4 0", "6/8 0"]
    assert sum(x["weight"] for x in listed) == 180
    assert [x["header"] for x in listed] == [{"M": "2/4"}, {"M": "6/8"}]
    assert call(folder, capsys, *given[:5], "--context", " 6/8  0", "--metre", "6/8")[0] == 0


def test_a_context_of_the_preset_is_left_out_where_all_tunes_share_one(folder, capsys):
    text = "\n".join(t for t in written(np.random.default_rng(2), 60).split("\n\n") if "6/8" in t)
    (folder / "jigs.abc").write_text(text.replace("\nX:", "\n\nX:"))
    tiny = "--epochs", "1", "--units", "4", "--quiet", "--sample-length", "0"
    argv = str(folder / "jigs.abc"), "--preset", "tunes", "--name", "jigs", *tiny
    code, _, err = call(folder, capsys, *argv, command=train)
    assert code == 0
    assert "NOTE: without the preset's --context upbeat: expected two or more values of " in err
    found = json.loads((folder / "jigs" / "run.json").read_text())["config"]
    assert (found["data"]["context"], found["model"]["context_scale"]) == (None, 1 / 32)
    code, _, err = call(folder, capsys, *argv, "--context", "upbeat", "--overwrite", command=train)
    assert code == 2
    assert err.startswith("error: expected two or more values of 'upbeat'")
    argv = str(folder / "jigs.abc"), "--context-scale", "2", "--name", "x", *tiny
    code, _, err = call(folder, capsys, *argv, command=train)
    assert code == 2
    assert err.endswith("\nerror: --context-scale has no effect without --context; leave it out\n")
    assert not (folder / "x").exists()
    argv = str(folder / "tunes.abc"), "--init-from", "fiddle", "--preset", "tunes", "--name", "more"
    tiny = "--epochs", "1", "--quiet", "--sample-length", "0"
    code, _, err = call(folder, capsys, *argv, *tiny, command=train)
    assert code == 0, err
    found = json.loads((folder / "more" / "run.json").read_text())["config"]
    assert found["model"]["context_scale"] == 2


def test_files_are_written_and_replaced(folder, capsys):
    given = "fiddle", "-n", "2", "--seed", "3", "-o", str(folder / "new"), "--midi", "--wav"
    names = {f"new{x}" for x in (".abc", ".html", "-1.mid", "-2.mid", "-1.wav", "-2.wav")}
    for _ in range(2):
        code, out, _ = call(folder, capsys, *given)
        assert code == 0
    made = {p.name: p.read_bytes() for p in folder.iterdir() if p.name.startswith("new")}
    assert made.keys() == names
    assert made["new.abc"].decode().split("\n", 1)[1].strip() in out
    assert made["new-1.mid"][:4] == b"MThd"
    assert made["new-2.wav"][:4] == b"RIFF"
    code, _, _ = call(folder, capsys, str(folder / "new.abc"), "-o", str(folder / "again"))
    assert code == 0
    assert (folder / "again.abc").read_bytes() == made["new.abc"]
    _, _, err = call(folder, capsys, "fiddle", "-o", str(folder / "new"), "--midi")
    kept = "new-1.wav, new-2.mid, new-2.wav"
    assert f"NOTE: {kept}: from an earlier call, of other tunes\n" in err


def test_after_an_interrupt_the_tunes_so_far_are_written(folder, capsys, monkeypatch):
    draw = drawing.Writer.draw

    def interrupted(self, given, temperature, seed, k, *others):
        if k == 2:
            raise KeyboardInterrupt
        return draw(self, given, temperature, seed, k, *others)

    monkeypatch.setattr(drawing.Writer, "draw", interrupted)
    given = "fiddle", "-n", "5", "--seed", "3", "-o", str(folder / "half"), "--midi"
    code, out, _ = call(folder, capsys, *given)
    assert code == 130
    assert len([*pieces((folder / "half.abc").read_text())]) == 2
    assert {p.name for p in folder.glob("half*")} == {
        "half.abc", "half.html", "half-1.mid", "half-2.mid"
    }  # fmt: skip
    assert len([*pieces(out)]) == 2


def test_a_name_may_have_its_ending_and_a_tune_without_notes_has_no_sound(folder, capsys):
    file = folder / "rests.abc"
    file.write_text("X:1\nT:Rests\nM:C\nL:1/4\nK:G\nz4|z4|]\n")
    code, _, err = call(folder, capsys, str(file), "-o", str(folder / "silent.abc"), "--wav")
    assert code == 1
    assert "NOT SAVED: tune 1 as wav: expected a tune with notes, found none\n" in err
    assert {p.name for p in folder.glob("silent*")} == {"silent.abc", "silent.html"}


def test_the_order_of_fields_does_not_matter():
    assert DataConfig(abc_fields="MK") == DataConfig(abc_fields="KM")


def test_a_run_is_checked_by_temperature(folder, capsys):
    code, out, err = call(folder, capsys, "fiddle", "--check", "-n", "8", "--temperature", "0.5",
                          "--temperature", "1.5")  # fmt: skip
    assert code == 0, err
    rows = json.loads((folder / "fiddle" / "tunes.json").read_text())["tunes"]
    assert (folder / "fiddle" / "tunes.png").read_bytes()[:4] == b"\x89PNG"
    assert [row["of"] for row in rows] == [
        "training", "held out", "temperature 0.5", "temperature 1.5",
        "temperature 0.5, with rules", "temperature 1.5, with rules",
    ]  # fmt: skip
    assert all(row["of"] in out for row in rows)
    shares = [row["strict"] for row in rows]
    assert shares[:2] == shares[4:] == [1.0, 1.0]
    assert shares[3] < 1
    assert rows[4]["read"] <= rows[5]["read"] <= 20


def test_a_file_is_checked_and_its_mistakes_named(folder, capsys):
    file = folder / "wrong.abc"
    file.write_text("X:1\nT:Fine\nM:C\nL:1/4\nK:G\nGABc|d4|]\n\n"
                    "X:2\nT:Løng\nM:C\nL:1/4\nK:G\nGABc|\nd4c|G5|]\n",
                    encoding="latin-1")  # fmt: skip
    code, out, _ = call(folder, capsys, str(file), "--check", "--encoding", "latin-1")
    assert code == 1
    places = re.findall(r"wrong.abc:(\d+:\d+): expected a bar of 1 of .* \(Løng\)\n", out)
    assert places == ["14:1", "14:5"]
    assert "wrong.abc      2" in out
    assert "50.0%" in out


REFUSED = [
    (("fiddle", "--metre", "7/8"), "expected --metre to be a metre of the training tunes: "),
    (("fiddle", "--metre", "7"), "expected --metre to be a metre such as 6/8 or C, found 7"),
    (("fiddle", "--key", "H"), "expected --key to be a key such as G Major or A Dorian, found H"),
    (("fiddle", "--key", "C Minor"), "expected --key to be a key of the training tunes: "),
    (
        ("fiddle", "--title", "a\nb"),
        "expected --title to be a line of at most 100 characters without %, found ",
    ),
    (("fiddle", "--check", "--metre", "C"), "--metre has no effect with --check; leave it out"),
    (
        ("fiddle", "--context", "2/4 0", "--context", "6/8 0"),
        "expected one --context, found several; give one of them",
    ),
    (("fiddle", "--context", "7/8 0"), "expected a context that the run was trained on, found "),
    (
        ("fiddle", "--context", "2/4 0", "--metre", "6/8"),
        "expected a --context that goes with --metre 6/8, found 2/4 0; leave one of them out",
    ),
    (("noise", "--context", "2/4 0"), "expected a run with contexts, found one without; "),
    (("fiddle", "--midi"), "--midi has no effect without --output; leave it out"),
    (("fiddle", "-n", "0"), "expected -n to be from 1 to 10000, found 0"),
    (("speech",), "expected a run that was trained on tunes in ABC notation"),
    (("noise", "--seed", "1"), "no text that follows the rule in 1,000 attempts; most of them "),
    (("none.txt",), "expected tunes in ABC notation, which begin with X:, in "),
    (("tunes.abc", "--metre", "C"), "--metre has no effect with "),
    (("no.abc",), "expected a file of tunes, found "),
    (("fiddle", "--encoding", "latin-1"), "--encoding has no effect without a file of tunes"),
]


@pytest.fixture(scope="module")
def others(folder):
    """Also runs on other texts, and a file without tunes."""
    (folder / "none.txt").write_text("one two\n" * 99)
    rng = np.random.default_rng(1)
    noise = "".join(rng.choice([*"|:K\nM"], 2000))
    for name, text in (("speech", "My fellow citizens, \n" * 90), ("noise", noise)):
        (folder / f"{name}.txt").write_text(text)
        argv = [str(folder / f"{name}.txt"), "--name", name, "--quiet", "--runs-dir", str(folder),
                "--units", "4", "--epochs", "1", "--sample-length", "0"]  # fmt: skip
        assert train.main(argv) == 0
    return folder


@pytest.mark.parametrize(("argv", "line"), REFUSED, ids=lambda x: str(x)[:40])
def test_bad_input_is_refused_in_one_line(others, capsys, argv, line):
    name, *rest = argv
    name = str(others / name) if "." in name else name
    code, out, err = call(others, capsys, name, *rest)
    assert code == 2
    assert out == ""
    assert err.startswith(f"error: {line}"), err
    assert err.count("\n") == 1


def test_where_a_rule_cannot_be_met_is_said(folder, capsys, monkeypatch):
    monkeypatch.setattr("charlm.music.rule._is_right", lambda tune: False)
    monkeypatch.setattr(rules, "MOST", 50)
    code, _, err = call(folder, capsys, "fiddle", "--seed", "1")
    assert code == 2
    assert err == (
        "error: no text that follows the rule in 50 attempts; most of them failed at bar 1\n"
    )


# --- rules of charlm sample


@pytest.fixture(scope="module")
def objects(folder):
    """A run, `json`, that was trained on JSON Lines."""
    rng = np.random.default_rng(1)
    rows = [{"a": [int(rng.integers(10))], "b": {"c": None, "d": "(x)"}} for _ in range(900)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    argv = [str(folder / "rows.jsonl"), "--name", "json", "--quiet", "--runs-dir", str(folder),
            "--units", "24", "--epochs", "2", "--sample-length", "0"]  # fmt: skip
    assert train.main(argv) == 0
    return folder


def test_samples_follow_the_rule(objects, capsys):
    given = "json", "--seed", "1", "--temperature", "2", "--length", "150"
    sampled = lambda *argv: call(objects, capsys, *given, *argv, command=sample)  # noqa: E731
    code, out, _ = sampled("--json", "--prompt", '{"b": [')
    assert code == 0
    (name, value), *_ = json.loads(out, object_pairs_hook=list)  # a name may come twice
    assert (name, type(value)) == ("b", list)
    code, out, _ = sampled("--json-lines")
    assert code == 0
    assert [json.loads(line) for line in out.split("\n") if line]
    code, out, _ = sampled("--balanced", "--prompt", '{"b": ((')
    text = out.removesuffix("\n")
    assert code == 0
    assert len(text) == 150 + len('{"b": ((')
    assert all(text.count(a) == text.count(b) for a, b in ("()", "[]", "{}"))


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (("--json", "--balanced"), "expected one rule, found --balanced and --json"),
        (("--json", "--beam", "2"), "--beam has no effect with --json; leave it out"),
        (("--json", "--repetition-penalty", "2"),
         "expected --repetition-penalty to be left out with a rule, found 2.0"),
        (("--json", "--prompt", '{"a"}'),
         "expected a prompt that --json allows, found '}' at character 5"),
        (("--balanced", "--length", "1", "--prompt", "(("),
         "expected --length to be 2 or more to complete the prompt, found 1"),
    ],
)  # fmt: skip
def test_a_rule_that_cannot_be_followed_is_refused(objects, capsys, argv, line):
    code, out, err = call(objects, capsys, "json", *argv, command=sample)
    assert (code, out, err) == (2, "", f"error: {line}\n")


def test_a_run_without_brackets_is_refused(others, capsys):
    code, _, err = call(others, capsys, "speech", "--balanced", command=sample)
    assert code == 2
    assert err.startswith("error: cannot follow --balanced: the run's text has no '(' '[' '{'; ")


def test_the_command_loads_no_keras(folder):
    argv = ["fiddle", "--seed", "1", "--runs-dir", str(folder)]
    code = f"import sys; from charlm import tunes; tunes.main({argv!r}); assert 'keras' not in sys."
    command = [sys.executable, "-c", f"{code}modules"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2])
    assert done.returncode == 0
