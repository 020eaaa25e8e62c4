"""Law: examples/captions.py writes right captions of held-out digits, and looks at each of them."""

import re
import subprocess
import sys

import numpy as np
import pytest

from tests.examples import EXAMPLES, module, said

captions = module("captions")
D, F, T, S = captions.D, captions.F, captions.T, captions.S
N = 200


def program(*argv, before="", **options):
    """Runs the program, after the code `before`."""
    code = f"{before}\nimport runpy, sys\nsys.argv = {['captions.py', *argv]}\n"
    code += f"sys.path.insert(0, {str(EXAMPLES)!r})\n"
    code += f"runpy.run_path({str(EXAMPLES / 'captions.py')!r}, run_name='__main__')"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=900, **options
    )


@pytest.fixture
def scenes(rng):
    """Scenes of images, each of which is one gray of its own, and numbers that the image tells."""
    images = np.arange(1, 21, dtype="float32")[:, None, None] / 20 * np.ones((20, D, D), "float32")
    return captions.Scenes(images, np.arange(20) % 10, N, rng)


def test_scenes_show_what_their_captions_say(scenes):
    for picture, text, axis in zip(
        scenes.pictures[..., 0], scenes.captions, scenes.axes, strict=True
    ):
        assert (picture > 0).sum() == 2 * D * D  # no overlap
        halves = np.split(picture, 2, axis=axis)
        grays = [np.unique(half[half > 0]) for half in halves]  # one digit in each half
        first, second = (captions.NAMES[round(float(gray.item()) * 20 - 1) % 10] for gray in grays)
        assert text == f"{first} {('above', 'left of')[axis]} {second}"
    assert {0, 1} == set(scenes.axes)


def test_a_scene_has_one_caption(scenes):
    for used, corners, text in zip(scenes.used, scenes.corners, scenes.captions, strict=True):
        apart = np.abs(corners[0] - corners[1])
        assert apart.max() >= D > 4 >= apart.min()  # the relation is clear
        for order in (slice(None), slice(None, None, -1)):
            assert captions.caption(used[order] % 10, corners[order])[0] == text


def test_ids_are_the_captions(scenes):
    assert scenes.ids.shape == (N, T + 1)
    for ids, text in zip(scenes.ids, scenes.captions, strict=True):
        words = [captions.WORDS[k] for k in ids]
        assert " ".join(words).removesuffix(" START") == f"START {text} END"


def test_held_out_images_are_not_in_training():
    pytest.importorskip("sklearn")
    parts = captions.digits(np.random.default_rng(1))
    training, held_out = ({image.tobytes() for image in images} for images, _ in parts)
    assert len(held_out) == captions.HELD_OUT
    assert len(training) == 1797 - captions.HELD_OUT
    assert not training & held_out
    for images, numbers in parts:
        assert images.max() == 1
        assert set(numbers) == set(range(10))


def test_attention_is_measured_on_the_half_of_the_named_digit():
    side = captions.G
    weights = np.zeros((2, T, side, side))
    weights[0, :, : side // 2] = 1.0  # the upper half
    weights[1, 0, 0, 0], weights[1, 0, 0, -1] = 0.75, 0.25  # the first is in the left half
    weights[1, 3, -1, -1] = 1.0
    written = [["two", "above", "six"], ["two", "left", "of", "six"]]
    weights /= weights.sum(axis=(2, 3), keepdims=True).clip(1e-9)
    weights, axes = weights.reshape(2, T, S), np.array([0, 1])
    assert captions.on_half(written[:1], weights[:1], axes[:1]) == pytest.approx((1 + 0) / 2)
    assert captions.on_half(written[1:], weights[1:], axes[1:]) == pytest.approx((0.75 + 1) / 2)
    assert captions.on_half(written, weights, axes) == pytest.approx((1 + 0 + 0.75 + 1) / 4)


def test_writing_word_by_word_is_reading_all_words_at_once(scenes):
    for attends in (True, False):
        model = captions.Captioner(8, attends)
        weights = model.model.get_weights()
        model.model.set_weights([w * 3 for w in weights])  # so that captions differ
        written, looked = model.write(scenes.pictures)
        assert looked.shape == (N, T, S)
        np.testing.assert_allclose(looked.sum(axis=-1), float(attends), atol=1e-5)
        full = [words for words in written if len(words) == T]
        assert full
        assert len({tuple(words) for words in full}) > 1
        pictures = scenes.pictures[[len(words) == T for words in written]]
        ids = np.array([[captions.START, *map(captions.WORDS.index, words)] for words in full])
        logits = model.model.predict([pictures, ids[:, :-1]], verbose=0)
        top = np.take_along_axis(logits, ids[:, 1:, None], axis=-1)[..., 0]
        np.testing.assert_allclose(top, logits.max(axis=-1), atol=1e-4)


@pytest.mark.soak
def test_without_scikit_learn_one_line_says_so(tmp_path):
    done = program(before="import sys; sys.modules['sklearn'] = None", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = said(done.stderr)
    assert re.fullmatch(r"error: .*pip install 'charlm\[examples\]'", line)


@pytest.mark.parametrize(
    "argv",
    [["--epochs", "0"], ["--units", "1"], ["--seed", "-1"], ["-o", "x.jpg"], ["-o", "no/x.png"],
     ["--epochs", "x"], ["--other"]],
)  # fmt: skip
def test_a_bad_option_is_one_line(argv, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert captions.cli.run(captions.main, argv) == 2
    found = capsys.readouterr()
    assert found.out == ""
    assert re.fullmatch(r"error: .+\n", found.err)


ROW = r"^attention +([\d.]+)% +([\d.]+)% +[\d,]+ +\d+$"


@pytest.mark.full
def test_a_table_captions_and_a_picture_are_made(tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn")
    monkeypatch.setattr(captions, "TRAINING", 320)
    monkeypatch.setattr(captions, "TEST", 40)
    captions.main(["--epochs", "1", "-o", str(tmp_path / "looks.png")])
    out = capsys.readouterr().out
    assert "Captions of 40 scenes of held-out digits" in out
    assert re.search(ROW, out, re.MULTILINE)
    assert re.search(r"^mean-pooled +[\d.]+% +- ", out, re.MULTILINE)
    assert (tmp_path / "looks.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.soak
def test_attention_writes_right_captions_and_looks_at_the_digits(tmp_path):
    """docs/lectures.md has the figures."""
    pytest.importorskip("sklearn")
    done = program("--seed", "1", "-o", "looks.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    row = re.search(ROW, done.stdout, re.MULTILINE)
    assert float(row[1]) >= 90
    assert float(row[2]) >= 70
