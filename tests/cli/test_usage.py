"""Law: of a value that an option cannot take, the line says what it takes and what was found."""

import re

import pytest

from charlm import (
    bench,
    cli,
    encode,
    evaluate,
    export,
    gradients,
    import_weights,
    memory,
    sample,
    score,
    serve,
    show,
    train,
    tunes,
)
from charlm.cli import option_table, usage
from charlm.errors import InputError
from charlm.reference import __main__ as reference

KINDS = [
    train.Train, sample.Sample, evaluate.Evaluate, score.Score, show.Show, serve.Serve,
    gradients.Gradients, reference.Reference, bench.Bench, import_weights.Import, export.Export,
    encode.Encode, tunes.Tunes, memory.Memory,
]  # fmt: skip


REQUIRED = {encode.Encode: ("a.txt", "-o", "b")}  # or that they are missing is said first


def refusal(kind, *argv):
    with pytest.raises(InputError) as caught:
        cli.parse(kind, "charlm x", list(argv))
    return str(caught.value)


def typed():
    """(command, flag, what it takes) of every option that does not take any text."""
    for kind in KINDS:
        for name, hint in usage._hints(kind).items():
            words, flag = str(hint), f"--{name.replace('_', '-')}"
            several = words.startswith("tuple")
            if "int" in words and "Literal" not in words:
                yield kind, flag, "whole numbers" if several else "a whole number"
            elif "float" in words:
                yield kind, flag, "numbers" if several else "a number"
            elif "Literal" in words:
                first = re.search(r"Literal\['(\w+)'", words)[1]
                yield kind, flag, f"one {'or more ' * several}of {first}, "


TYPED = [row for row in typed() if row[1] not in ("--file", "--run", "--runs")]


def test_every_command_has_some():
    assert {kind for kind, *_ in TYPED} == set(KINDS)
    assert len(TYPED) > 70


@pytest.mark.product(40)
@pytest.mark.parametrize(("kind", "flag", "words"), TYPED)
def test_what_is_expected(kind, flag, words):
    shown = "-n" if flag == "--n" else flag
    for argv in ([flag, "three"], [f"{flag}=three"], [flag.replace("-", "_").replace("__", "--", 1),
                 "three"]):  # fmt: skip
        message = refusal(kind, *REQUIRED.get(kind, ()), *argv)
        assert message.startswith(f"expected {shown} to be {words}")
        assert message.endswith(", found three; see charlm x --help")


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--epochs", ""], "a whole number, found ''"),
        (["--epochs"], "a whole number, found none"),
        (["--epochs", "--units", "3"], "a whole number, found none"),
        (["--units", "3", "--epochs", "1e3", "--layers", "2"], "a whole number, found 1e3"),
        (
            ["--sample-temperatures", "0.1", "x", "--units", "3"],
            "numbers, found 0.1 x",
        ),
        (["--decay-epochs", "1 2"], "a whole number, found '1 2'"),
        (["--cell"], "text, found none"),
        (["--epochs", "x" * 500], "a whole number, found x{100};"),
    ],
)
def test_what_is_found(argv, expected):
    assert re.search(rf"^expected --\S+ to be {expected}", refusal(train.Train, *argv))


def test_an_option_that_is_given_several_times_takes_one_value_each_time():
    found = refusal(sample.Sample, "--temperature", "1", "--temperature", "x")
    assert found.startswith("expected --temperature to be a number, found 1 x;")


@pytest.mark.parametrize("kind", KINDS)
def test_options_that_have_one_value_and_are_given_twice_are_named(kind):
    options = option_table.every(kind)
    once = ["x", "--other", "-1", *(f"{option.flags[0]}=1" for option in options if option.flags)]
    assert usage.overridden(kind, once) == []
    single = [option.flags[-1] for option in options if option.flags and not option.repeated]
    for k in (0, -1):  # under another name, if there is one, with underscores or without a space
        again = [option.flags[k] for option in options if option.flags]
        again = [x if x.startswith("--") else f"{x}2" for x in again]
        again = [f"--{x[2:].replace('-', '_')}" if x.startswith("--") else x for x in again]
        assert usage.overridden(kind, [*once, *again]) == single


def test_a_context_given_twice_is_not_silently_the_last(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    score.main(["x.txt", "--context", "A", "--context", "B"])
    err = capsys.readouterr()[1]
    assert "NOTE: --context is given more than once; the last one counts\n" in err
