"""Law: whatever is asked for, a command does it or says in one line why not; nothing is half made.

A row is a command line, its exit code and what its line must say; `{...}` are files made below.
"""

import contextlib
import os
import shlex
import shutil
import zipfile

import pytest

from charlm.__main__ import main
from tests.cli.test_commands import TRAIN, one_line_and_nothing_made, snapshot
from tests.conftest import SMALL_TEXT

ON = "train --corpus small.txt"  # a text that can be trained on
HUGE = "9" * 30

INTEGERS = {
    "train": [
        "--units", "--layers", "--batch-size", "--window", "--restart-every", "--max-held-out",
        "--seed", "--epochs", "--decay-epochs", "--warmup-steps", "--patience", "--sample-length",
        "--save-every",
    ],
    "sample": [
        "--length", "-n", "--seed", "--top-k", "--min-length", "--repetition-length", "--beam",
    ],
    "evaluate": ["--window", "--order", "--passages", "--seed"],
    "reference": ["--epochs", "--sample-length", "--text-length"],
    "show": ["--max-characters", "--seed"],
    "serve": ["--port"],
    "bench": ["--batch-size", "--window", "--rounds", "--threads", "--quality-epochs", "--units"],
    "gradients": ["--units", "--layers", "--steps", "--streams", "--seed"],
}  # fmt: skip
REALS = {
    "train": [
        "--dropout", "--learning-rate", "--final-rate", "--clip-norm", "--clip-value",
        "--sample-temperatures",
    ],
    "sample": ["--temperature", "--top-p", "--repetition-penalty"],
    "evaluate": ["--samples --temperature"],
    "reference": ["--learning-rate", "--decay", "--clip-value", "--sample-temperatures"],
    "gradients": ["--clip-norm", "--clip-value", "--gain"],
}  # fmt: skip


def numbers():
    for flags, values in (
        (INTEGERS, {"-1": "", **dict.fromkeys(("nan", "1.5", "''"), " to be (a )?whole number")}),
        (REALS, {"-1": "", "nan": "", "inf": "", "x": " to be (a )?number"}),
    ):
        for command, names in flags.items():
            reads = command in ("train", "gradients", "reference")
            start = f"{command} --corpus small.txt" if reads else command
            for name in names:
                for value, words in values.items():
                    yield f"{start} {name} {value}", name.split()[-1].replace("-", ".") + words


TABLE = [
    # corpora
    ("train --corpus {empty}", "expected text in corpus .*found none"),
    ("train --corpus {nothing}", "which is none of them"),
    ("train --corpus {binary}", "binary data"),
    ("train --corpus {nul}", "zero byte at offset"),
    ("train --corpus {utf16}", "looks like utf-16-le: give --encoding utf-16-le$"),
    ("train --corpus {japanese}", "looks like iso-2022-jp: give --encoding iso-2022-jp"),
    ("train --corpus {latin}", "expected utf-8 text in .*latin.* looks like cp1252: give --enc"),
    (
        "train --corpus {shiftjis}",
        "byte .* at offset 0; it looks like cp932 .Shift-JIS.: give --encoding cp932$",
    ),
    ("train --corpus {blanks}", "only spaces, newlines and the like; give a text with letters"),
    ("train --corpus {tiny}", "expected at least 17 characters to train on"),
    ("train --corpus {tiny} --batch-size 1 --window 1", "2 characters or more in a held-out part"),
    ("train --corpus {tiny} --normalize nfg", "--normalize"),
    ("train --corpus {short} --batch-size 32 --window 32", "expected at least 1,025 characters"),
    ("train --corpus {same}", "at least 2 distinct characters"),
    ("train --corpus {pipe}", "pipe"),
    ("train --corpus /dev/zero", "/dev/zero"),
    ("train --corpus /dev/null", "/dev/null"),
    ("train --corpus {loop}", "loop"),
    ("train --corpus {dangling}", "dangling"),
    ("train --corpus {nobody}/x.txt", "which is none of them"),
    ("train --corpus {emptyfolder}", "emptyfolder"),
    ("train --corpus {folder_of_binary}", "expected text in .*only binary data .*x.txt"),
    ("train --corpus '*.nothing'", "which is none of them"),
    ("train --corpus ''", "a file, a folder or a glob, found '', which is none of them"),
    ("train --corpus state_union", "cannot find corpora/state_union.zip"),
    ("train --corpus state_union_original", "cannot find corpora/state_union.zip"),
    ("train --corpus {unreadable}", "unreadable"),
    ("train --corpus {zipped}", "zipped"),
    ("train --corpus {latin} --encoding ascii", "expected ascii text"),
    ("train --corpus small.txt --encoding klingon", "encoding Python knows"),
    ("train --corpus small.txt --encoding rot13", "encoding Python knows"),
    ("train --corpus small.txt --encoding ''", "encoding Python knows"),
    ("train --corpus small.txt --encoding utf-16", "expected utf-16 text"),
    ("train --corpus {alphabet} --units 512", "weights files have at most 2.1 GB"),
    # records
    (f"{ON} --records ''", "--records to be blank, line, or a text of 1 to 100 characters, found"),
    (f"{ON} --records {'x' * 101}", "--records to be blank, line, or a text of 1 to 100"),
    (f"{ON} --records", "expected --records to be text, found none"),
    (f"{ON} --records blank", r"that end with '\\n\\n' in small.txt, found one text; give what"),
    (f"{ON} --records '%'", "that end with '%' in small.txt, found one text; give what"),
    (f"{ON} --column text", "expected a column 'text' in small.txt, which has It was the best"),
    (f"{ON} --column ''", "--column to be the name of a column, found ''"),
    ("train --corpus {binary} --records line", "binary data"),
    # numbers beyond reason, and what belongs together
    (f"{ON} --units 16385", "--units to be from 1 to 16384, found 16385"),
    (f"{ON} --units １６３８５", "--units to be from 1 to 16384, found 16385"),
    (f"{ON} --units {HUGE}", "--units to be from 1 to 16384"),
    (f"{ON} --units 0", "--units to be from 1 to 16384, found 0"),
    (f"{ON} --layers 0", "--layers"),
    (f"{ON} --layers {HUGE}", "--layers"),
    (f"{ON} --batch-size {HUGE}", "expected at least .* characters to train on"),
    (f"{ON} --batch-size 0", "--batch-size"),
    (f"{ON} --window {HUGE}", "expected at least .* characters to train on"),
    (f"{ON} --seed {HUGE}", "--seed to be from 0 to 4294967295"),
    (f"{ON} --max-held-out 1", "--max-held-out to be 0, or 2 or more"),
    (f"{ON} --dropout 1", "--dropout to be from 0 to below 1"),
    (f"{ON} --learning-rate 0", "--learning-rate"),
    (f"{ON} --learning-rate 1e999", "--learning-rate"),
    (f"{ON} --final-rate 1.5", "--final-rate"),
    (f"{ON} --clip-norm 1 --clip-value 1", "--clip-value to be 0 unless --clip-norm is 0"),
    (f"{ON} --cell transformer", "--cell to be one of"),
    (f"{ON} --cell keras-coupled", "--cell to be one of"),
    (f"{ON} --cell ../lstm", "--cell to be one of"),
    (f"{ON} --activation gelu", "--activation"),
    (f"{ON} --recurrent-initializer identity", "--recurrent-initializer to be"),
    (f"{ON} --cell rnn --forget-bias 2", "--forget-bias to be 1 for a cell without"),
    (f"{ON} --reset before", "--reset to be left out"),
    (f"{ON} --skip add", "--skip to be left out for a single layer"),
    (f"{ON} --precision fp8", "--precision"),
    (f"{ON} --sample-temperatures", "--sample-temperatures to be one or more"),
    (f"{ON} --sample-prompts", "--sample-prompts to be one or more"),
    (f"{ON} --sample-prompts Z", "'Z'"),
    (f"{ON} --sample-prompts '\udc80'", "--sample-prompts"),
    # flags and names
    ("train --unit 3", "did you mean --units"),
    ("train --corpus", "--corpus"),
    ("score", "expected a text to measure, found none; see charlm score --help"),
    ("score {nothing} --shard 2", "expected --shard K/N, K from 1 to N, found '2'"),
    ("score {nothing} --shard 1/2 --by-context", "--shard has no effect with --by-context"),
    ("score --merge nothing.json", "cannot read the part nothing.json: No such file"),
    ("sample a --first-seed 1 --seed 1", "expected --first-seed without --seed, --between and"),
    ("sample a --first-seed -1", "expected --first-seed to be 0 or more, found -1"),
    ("train --continue", "expected --name with --continue, found none"),
    ("train --continue --name x --resume a", "expected --continue without --resume and --overw"),
    ("train --continue --name ../a", "expected --name"),
    ("train --distribute both", "expected --distribute to be one of auto, none, found both"),
    (
        "train --corpus small.txt --distribute auto",
        "KERAS_BACKEND=jax for --distribute auto, found",
    ),
    ("train small.txt --corpus small.txt", "expected one text, found small.txt and --corpus small"),
    (
        "train small.txt other",
        "expected one CORPUS, found other too; quote a name with spaces or a",
    ),
    ("train {nothing}", "found 'nothing', which is none of them"),
    (
        "train --no-such-flag",
        "expected an option of this command, found --no-such-flag; see charlm",
    ),
    ("train --lr 0.1", "found --lr; did you mean --learning-rate.; see charlm train --help"),
    ("train -lr 0.1", "found -lr; did you mean --learning-rate"),
    ("train --bs=8 --hidden_size=9", "found --bs, --hidden_size; did you mean --batch-.*--units"),
    ("train --optimizer sgd", "found --optimizer; the optimizer is always Adam"),
    ("train --temperature 1", "did you mean --sample-temperatures"),
    ("sample a --temp 1", "found --temp; did you mean --temperature"),
    ("sample a --lenght 5", "found --lenght; did you mean --length"),
    ("sample a --max-length 5", "did you mean --length"),
    ("sample a -t 1", "found -t; did you mean --temperature"),
    ("gradients --epochs 3", "found --epochs; see charlm"),
    ("bench x", "expected options only, found x"),
    ("completion", "expected charlm completion bash or zsh, found none"),
    ("completion fish", "expected charlm completion bash or zsh, found fish"),
    ("help trian", "found 'trian'; did you mean charlm train"),
    ("generate", "found 'generate'; did you mean charlm sample"),
    ("small.txt", "found 'small.txt'; did you mean charlm train small.txt"),
    ("fine-tune", "did you mean charlm train --init-from"),
    (f"{ON} --name ../a", "--name to be the name of a folder"),
    (f"{ON} --name a/b", "--name to be the name of a folder"),
    (f"{ON} --name ''", "--name to be the name of a folder"),
    (f"{ON} --name .", "--name to be the name of a folder"),
    (f"{ON} --name latest", "--name to be the name of a folder"),
    (f"{ON} --name {'x' * 300}", "--name to be the name of a folder"),
    (f"{ON} --name a", "found a run"),
    (f"{ON} --name thesis", "something that is not a run"),
    (f"{ON} --runs-dir small.txt", "small.txt, which is not a folder"),
    # going on
    ("train --resume nowhere", "which does not exist"),
    ("train --resume ''", "found"),
    ("train --resume thesis", "which has no weights in it"),
    ("train --resume small.txt", "with no run around it"),
    ("train --resume latest --runs-dir {emptyfolder}", "expected a run in .*found none"),
    ("train --resume a --name b", "--resume alone"),
    ("train --resume a --overwrite", "--resume alone"),
    ("train --resume a", "expected epochs left to train, found 2 of 2 done"),
    ("train --resume a --epochs 1", "expected epochs left to train"),
    ("train --resume a --epochs 3 --units 9", "the run has --units 8"),
    ("train --resume a --epochs 3 --cell gru", "the run has --cell lstm"),
    ("train --resume a --epochs 3 --window 8", "the run has --window 16"),
    ("train --resume a --epochs 3 --seed 2", "the run has --seed 1"),
    ("train --resume a --epochs 3 --normalize nfc", "the run has --normalize none"),
    ("train --resume a --epochs 3 --corpus {other}", "text the run was trained on"),
    ("train --resume a --epochs 3 --corpus {nothing}", "which is none of them"),
    ("train --resume saved_models/cut", "damaged"),
    ("train --resume saved_models/pipes", "pipe|no weights"),
    # sampling
    ("sample nowhere", "which does not exist"),
    ("sample ''", "found"),
    ("sample thesis", "which has no weights in it"),
    ("sample small.txt", "small.txt: expected"),
    ("sample {binary}", "binary: expected"),
    ("sample {empty}", "empty: expected"),
    ("sample saved_models/cut", "damaged"),
    ("sample a --length 0", "--length to be 1 or more"),
    ("sample a -n 0", "-n to be from 1 to 10000"),
    (f"sample a -n {HUGE}", "-n to be from 1 to 10000"),
    ("sample a --prompt Zebra", "'Z'"),
    ("sample a --prompt 'It \udc80'", "prompt"),
    ("sample a --prompt It --prompt-file small.txt", "found both"),
    ("sample a --prompt-file {nothing}", "cannot read UTF-8 text in"),
    ("sample a --prompt-file {latin}", "expected UTF-8 text in .* e9 at offset 3; .*like cp1252"),
    ("sample a --prompt-file {emptyfolder}", "expected UTF-8 text in"),
    ("sample a --unknown guess", "--unknown"),
    ("sample a b", "b"),
    ("sample a --temperature 0 --top-k 3", "--top-k has no effect at temperature 0"),
    ("sample a --temperature 0 --top-p 0.5", "--top-p has no effect at temperature 0"),
    ("sample a --top-p 1.5", "--top-p to be above 0 and at most 1"),
    ("sample a --repetition-length 5", "--repetition-length to be left out without"),
    ("sample a --repetition-penalty 0.5", "--repetition-penalty to be from 1"),
    ("sample a --min-length 5", "--min-length has no effect without --stop"),
    ("sample a --length 5 --min-length 6 --stop .", "--min-length to be from 0 to --length 5"),
    ("sample a --between It", "--between to be 2 texts, found It"),
    ("sample a --between It was it", "--between to be 2 texts, found It was it"),
    ("sample a --between It ''", "--between to be two texts"),
    ("sample a --between It it --temperature 0 --draws 3", "--draws has no effect at temperature"),
    ("sample a --between It ZZZ --unknown skip", "second text of --between to have from 1 to 1000"),
    ("sample a --between It Zebra", "'Z'"),
    ("sample a --between It was --stop .", "--stop has no effect with --between"),
    ("sample a --between It was --prompt It", "--prompt has no effect with --between"),
    ("sample a --between It was --beam 3", "--beam has no effect with --between"),
    ("sample a --between It was --draws 0", "--draws to be from 1 to 10000"),
    ("sample a --between It was --length 1001", "--length to be at most 1000 with --between"),
    ("sample a --between It was --temperature 1 --temperature 2", "one --temperature"),
    ("sample a --draws 9", "--draws has no effect without --between"),
    ("sample a --stop ''", "--stop to be one character or more"),
    ("sample a --stop Zebra", "--stop to have characters of the vocabulary only, found 'Zebra'"),
    ("sample a --beam 1001", "--beam to be from 1 to 1000"),
    ("sample a --beam 2 -n 3 --length 9", "-n to be at most --beam 2"),
    ("sample a --beam 2 --length 1001", "--length to be at most 1000 with --beam"),
    ("sample a --beam 2 --temperature 1", "--temperature has no effect with --beam"),
    ("sample a --beam 2 --seed 1", "--seed has no effect with --beam"),
    ("sample a --beam 2 --top-k 2", "--top-k.* no effect with --beam"),
    ("sample a -n 4000 --temperature 1 --temperature 2 --temperature 3", "-n to be from 1 to 3333"),
    # serving
    ("serve nowhere --port 0", "which does not exist"),
    ("serve saved_models/cut --port 0", "damaged"),
    ("serve a --port 65536", "--port to be from 0 to 65535, found 65536"),
    ("serve a --host 0.0.0.0", "--token with --host 0.0.0.0, because others can reach that"),
    ("serve a --host ''", "--host to be an address, found none"),
    ("serve a --host nowhere.invalid --token longenough", "cannot listen at nowhere.invalid:8000"),
    ("serve a --token short", "--token to be 8 or more letters, digits and signs of ASCII"),
    ("serve a --token 'with spaces'", "--token to be 8 or more"),
    # measuring
    ("score {nothing} --run a", "which is none of them"),
    ("score {empty} --run a", "two characters or more"),
    ("score {binary} --run a", "binary data"),
    ("score {latin} --run a", "expected utf-8 text"),
    ("score {latin} --run a --encoding latin-1", "latin: expected char.*--unknown skip"),
    ("score small.txt --run nowhere", "which does not exist"),
    ("score small.txt --run saved_models/cut", "damaged"),
    ("evaluate nowhere", "which does not exist"),
    ("evaluate a --corpus {empty}", "two characters or more"),
    ("evaluate a --corpus {short}", "short: expected characters.*--unknown skip"),
    ("evaluate a --corpus {nothing}", "which is none of them"),
    ("evaluate a --temperature 1", "--temperature has no effect without --samples"),
    ("evaluate a --output {nobody}/x", "--output to be in a folder that exists"),
    # beginning with another run
    (f"{ON} --preset fast", "--preset"),
    (f"{ON} --init-from nowhere", "which does not exist"),
    (f"{ON} --init-from saved_models/cut", "damaged"),
    (f"{ON} --init-from a --units 9", "expected --units 8, as .* was trained with it"),
    (f"{ON} --init-from a --cell gru", "expected --cell lstm"),
    ("train --resume a --epochs 3 --init-from a", "--resume alone"),
    (f"{ON} --init-from ''", "which does not exist|has no weights"),
    ("reference --corpus small.txt --init-from a", "found --init-from; did you mean --init"),
    (f"{ON} --preset best --cell keras-lstm", "--weight-drop to be 0 for Keras's own layers"),
    ("train --resume a --preset quick", "--resume alone"),
    # weights in and out
    ("import", "expected an argument, found none: weights file; see charlm import --help"),
    ("import {nothing} --vocab-from small.txt", "nothing: cannot read a file of weights"),
    ("import {pipe} --vocab-from small.txt", "pipe"),
    ("import /dev/zero --vocab-from small.txt", "pipe or device"),
    ("import {emptyfolder} --vocab-from small.txt", "a folder"),
    ("import {empty} --vocab-from small.txt", "empty: expected .weights.h5, .*: 0 bytes"),
    ("import small.txt", "small.txt: expected .*, found none of them"),
    ("import {zipped} --vocab-from small.txt", "expected metadata.json"),
    ("import saved_models/a/last.weights.h5 --vocab-from small.txt", "charlm's own"),
    ("export nowhere", "which does not exist"),
    ("export a --format tflite", "--format"),
    ("export a --output small.txt", "small.txt"),
    ("export a --output {nobody}/x.keras", "x.keras|nobody"),
    # the others
    ("reference --cell keras-lstm --corpus small.txt", "expected a cell of"),
    ("reference --corpus small.txt --dropout 0.5", "no dropout"),
    ("reference --corpus small.txt --init nowhere", "which does not exist"),
    ("reference --corpus small.txt --text-file {nobody}/x", "--text-file to be in a folder"),
    ("reference --corpus {empty}", "found none"),
    ("bench --only nothing", "--only"),
    ("bench --peers nobody", "--peers"),
    ("bench --units 0", "--units"),
    (f"bench --units {HUGE}", "--units"),
    ("bench --device tpu", "--device"),
    ("bench --out small.txt", "small.txt"),
    ("gradients nowhere", "which does not exist"),
    ("gradients --cells transformer", "--cells|transformer"),
    ("trian", "expected a command"),
    ("--no-such-flag", "expected a command"),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a finished run named a, made once."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "small.txt").write_text(SMALL_TEXT)
    with contextlib.chdir(folder):
        argv = ["train", "--corpus", "small.txt", "--name", "a", "--epochs", "2", *TRAIN]
        assert main(argv) == 0
    return folder


@pytest.fixture(scope="module")
def place(trained):
    """The same with all that a row may name."""
    files = {
        "empty": b"", "binary": bytes(range(256)) * 20, "nul": b"ab\0cd" * 900,
        "utf16": SMALL_TEXT.encode("utf-16-le"), "latin": b"caf\xe9 " * 900, "short": b"abc" * 100,
        "same": b"a" * 5000, "alphabet": "".join(map(chr, range(0x10000, 0x110000))).encode(),
        "shiftjis": "私は今日学校に行きました。".encode("shift_jis") * 90,
        "blanks": b" \n\t" * 900, "tiny": b"The cat sat.",
        "japanese": "\u543e\u8f29\u306f".encode("iso-2022-jp") * 99,
        "other": b"It was the age of wisdom.\n" * 90,
    }  # fmt: skip
    for name, data in files.items():
        (trained / name).write_bytes(data)
    os.mkfifo(trained / "pipe")
    (trained / "loop").symlink_to("loop")
    (trained / "dangling").symlink_to("gone")
    (trained / "emptyfolder").mkdir()
    (trained / "folder_of_binary").mkdir()
    (trained / "folder_of_binary" / "x.txt").write_bytes(bytes(200))
    (trained / "unreadable").write_text(SMALL_TEXT)
    (trained / "unreadable").chmod(0)
    with zipfile.ZipFile(trained / "zipped", "w") as archive:
        archive.writestr("../../escaped.txt", SMALL_TEXT)
    runs = trained / "saved_models"
    (runs / "thesis").mkdir()
    (runs / "thesis" / "thesis.txt").write_text("precious")
    shutil.copytree(runs / "a", runs / "cut")
    for name in ("last", "best"):
        path = runs / "cut" / f"{name}.weights.h5"
        path.write_bytes(path.read_bytes()[:5000])
    (runs / "pipes").mkdir()
    os.mkfifo(runs / "pipes" / "last.weights.h5")
    names = [*files, "pipe", "loop", "dangling", "emptyfolder", "folder_of_binary", "unreadable"]
    return trained, {name: name for name in [*names, "zipped", "nothing", "nobody"]}


@pytest.fixture
def here(place, monkeypatch, capsys):
    folder, names = place
    monkeypatch.chdir(folder)
    monkeypatch.setattr("nltk.data.path", [])
    monkeypatch.setattr("nltk.download", lambda *a, **k: False)
    capsys.readouterr()
    return folder, names


ROWS = [*TABLE, *numbers()]


def test_the_table_is_long_enough():
    assert len({line for line, _ in ROWS}) == len(ROWS) >= 150


@pytest.mark.product(160)
@pytest.mark.usual(150)
@pytest.mark.parametrize(("line", "expected"), ROWS)
def test_refused(here, capsys, line, expected):
    folder, names = here
    if "{unreadable}" in line and os.access(folder / "unreadable", os.R_OK):
        pytest.skip("for this user every file can be read")
    for name, path in names.items():
        line = line.replace("{" + name + "}", path)
    before = snapshot(folder)
    code = main(shlex.split(line))
    one_line_and_nothing_made(capsys, before, code, expected, folder)
    assert not (folder.parent / "escaped.txt").exists()
