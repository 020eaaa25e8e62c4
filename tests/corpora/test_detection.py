"""Law: a byte order mark decides; otherwise an encoding is named, and never used without a word."""

import codecs

import pytest

import corpora
from corpora import CorpusError, decoding, detection, files
from tests.corpora import words

LANGUAGES = {
    "gb18030": ["zh"],
    "cp932": ["ja"],
    "koi8-r": ["ru"],
    "cp1251": ["ru"],
    "cp1252": ["fr", "de", "es"],
    "utf-16-le": ["zh", "ja", "ru", "fr"],
    "utf-16-be": ["zh", "ja", "ru", "de"],
    "utf-32-le": ["zh", "ru", "fr"],
    "utf-32-be": ["ja", "de"],
}
MARKED = {
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}


def write(folder, **contents):
    for name, data in contents.items():
        (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def binaries(rng):
    """Zero bytes or bytes of all kinds: pictures, numbers, compressed and compiled files."""
    yield rng.bytes(5000)
    yield bytes(200)
    yield b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + rng.bytes(900)
    yield (rng.normal(size=999) * 3000).astype("<i2").tobytes()
    yield rng.integers(0, 90, 999).astype("<u2").tobytes()
    yield rng.normal(size=999).astype("<f4").tobytes()
    yield rng.integers(1, 90_000, 999).astype("<i4").tobytes()
    yield rng.integers(1, 120, 999).astype("<i4").tobytes()
    yield b"one\0two\0three\0" * 99
    yield b"ab\0cd" * 99
    yield b"%PDF-1.4\n" + bytes(k for k in rng.bytes(5000) if k)


@pytest.mark.parametrize("encoding", LANGUAGES)
def test_the_encoding_of_texts_of_half_a_kilobyte_to_twenty_is_named(rng, encoding):
    name = detection.NAMES.get(encoding, encoding)
    for language in LANGUAGES[encoding]:
        texts = [words.text(language, int(500 * 40 ** rng.random()), rng) for _ in range(8)]
        found = [detection.likely(t.encode(encoding, "ignore")[:20_000])[:1] for t in texts]
        assert found.count([name]) >= 7, (language, found)


@pytest.mark.parametrize("begin", ["", "x"])
def test_a_sample_may_end_within_a_character(rng, begin):
    text = begin + words.text("zh", 15_000, rng).replace("\n", "")
    assert detection.likely(text.encode("gb18030")) == ["gb18030"]


def test_disorderly_texts_are_named_by_their_letters(rng):
    """Sentences so long that charset-normalizer finds them hardly likely."""
    found = []
    for _ in range(8):
        rows = ("".join(rng.choice(words.WORDS["ja"].split(), 15)) for _ in range(40))
        found.append(detection.likely("。".join(rows).encode("cp932")))
    assert found.count(["cp932 (Shift-JIS)"]) >= 6


def test_no_utf_16_is_named_for_what_has_no_letters_of_a_language(rng):
    text = "".join(rng.choice(words.WORDS["ja"].split(), 600))
    assert "utf-16" not in str(detection.likely(text.encode("cp932")))


def test_few_letters_beyond_ascii_are_enough():
    text = (
        "It was the best of times.\n" * 800 + "The café.\n" + "It was the worst of times.\n" * 800
    )
    assert detection.likely(text.encode("cp1252"))[0] == "cp1252"


def test_no_encoding_is_named_for_binary_data(rng):
    for data in binaries(rng):
        assert detection.is_binary(data, "utf-8"), data[:40]
        assert not detection.likely(data) or b"\0" not in data


def test_a_few_bytes_are_taken_for_binary_data_rather_than_utf_16():
    for data in (b"a\0", b"ab\0c", b"\0"):
        assert detection.likely(data) == []
        assert detection.is_binary(data, "utf-8")


@pytest.mark.parametrize("encoding", [*LANGUAGES, "utf-8"])
def test_text_is_not_binary_in_any_encoding(rng, encoding):
    for language in LANGUAGES.get(encoding, [*words.WORDS]):
        data = words.text(language, 2000, rng).encode(encoding, "ignore")
        for asked in ("utf-8", encoding):
            assert not detection.is_binary(data, asked)


def test_another_encoding_is_refused_with_its_name_and_can_be_given(tmp_path, rng):
    for encoding in ("gb18030", "cp932", "koi8-r", "cp1251", "utf-16-le", "utf-16-be"):
        text = words.text(LANGUAGES[encoding][0], 900, rng)
        (tmp_path / "f").write_bytes(text.encode(encoding))
        with pytest.raises(CorpusError, match=rf"found .*; it looks like {encoding}.*give --enc"):
            corpora.load(str(tmp_path / "f")).documents[0].text  # noqa: B018
        assert corpora.load(str(tmp_path / "f"), encoding).documents[0].text == text


@pytest.mark.parametrize("encoding", MARKED)
def test_a_byte_order_mark_decides_and_is_reported(tmp_path, encoding):
    data = MARKED[encoding] + "né 中文😀\r\n".encode(encoding)
    write(tmp_path, a="plain", b=data, c=data, d=codecs.BOM_UTF8 + b"x")
    corpus = corpora.load(str(tmp_path))
    assert [d.text for d in corpus.documents] == ["plain", *["né 中文😀\n"] * 2, "x"]
    (note,) = corpus.notes
    family = encoding[:6]
    assert (
        note == f"NOTE: read {tmp_path}/b, {tmp_path}/c as {family} because of its byte order mark"
    )
    assert corpora.load_stored(str(tmp_path), "utf-8").documents == corpus.documents


def test_an_encoding_that_was_given_is_kept(tmp_path):
    write(tmp_path, f=codecs.BOM_UTF16_LE + b"a\xe9")
    assert corpora.load(str(tmp_path / "f"), "latin-1").documents[0].text == "ÿþaé"


@pytest.mark.parametrize("pattern", ["", "/*"])
def test_binary_files_in_a_folder_are_skipped_and_named(tmp_path, rng, pattern):
    found = [*binaries(rng)]
    write(tmp_path, **{f"{k}.bin": data for k, data in enumerate(found)}, t="text", u="naïve")
    corpus = corpora.load(f"{tmp_path}{pattern}")
    assert [d.text for d in corpus.documents] == ["text", "naïve"]
    (note,) = corpus.notes
    n = len(found)
    assert note.startswith(
        f"NOTE: skipped {n} of {n + 2} files, which are binary: {tmp_path}/0.bin"
    )
    assert note.endswith(f"and {n - 3} more")
    assert not corpora.load(f"{tmp_path}/[tu]").notes


def test_a_binary_file_is_refused_if_it_is_named_or_there_is_no_other(tmp_path, rng):
    for data in binaries(rng):
        write(tmp_path, f=data)
        with pytest.raises(CorpusError, match=r"found (a zero )?byte"):
            corpora.load(str(tmp_path / "f")).documents[0].text  # noqa: B018
        with pytest.raises(CorpusError, match=r"found only binary data .*/f"):
            corpora.load(str(tmp_path))


def test_text_in_another_encoding_is_not_skipped(tmp_path, rng):
    write(tmp_path, a="plain", b=words.text("ru", 900, rng).encode("koi8-r"))
    with pytest.raises(CorpusError, match="looks like koi8-r"):
        [d.text for d in corpora.load(str(tmp_path)).documents]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32", "gb18030"])
def test_marks_within_joined_files_are_removed_and_counted(tmp_path, monkeypatch, rng, encoding):
    monkeypatch.setattr(files, "PIECE", 7)
    parts = ["né", "x" * 9, "", "中文\n"]
    marked = [f"{decoding.MARK}{part}" for part in parts]
    mark = b"" if encoding in ("utf-8", "gb18030") else "".encode(encoding)
    native = "-le" if mark else ""
    write(tmp_path, f=b"".join(x.encode(encoding + native) for x in marked), g="plain")
    corpus = corpora.load(str(tmp_path), encoding if encoding == "gb18030" else "utf-8")
    assert not corpus.marks
    for _ in range(2):  # as training does
        assert [d.text for d in corpus.documents] == ["".join(parts), "plain"]
        assert corpus.marks == {str(tmp_path / "f"): 3}
