"""Law: what is heard is what is written, in order, in tune and in time."""

import io
import struct
import subprocess
import wave
from fractions import Fraction

import numpy as np
import pytest

from charlm.music import bars, midi, notation, performance, wav
from charlm.music.performance import Sound
from tests.music.test_notation import irish  # noqa: F401 - a fixture

HEADER = "X:1\nT:t\nM:2/4\nL:1/4\nK:C Major\n"


def tune(music):
    return notation.read(HEADER + " " + music + "\n")  # "C:" would begin a field


@pytest.mark.parametrize(
    ("music", "expected"),
    [
        ("C|D|]", "CD"),
        ("C:|D|]", "CCD"),
        ("C|:D:|E|]", "CDDE"),
        ("C:|D:|", "CCDD"),
        ("|:C::D:|", "CCDD"),
        ("|:C:||:D:|", "CCDD"),
        ("C|[1D:|[2E|]", "CDCE"),
        ("C|1D:|2E|]F|G:|", "CDCEFGFG"),
        ("|:C|[1,3D:|[2E:|", "CDCECD"),
        ("|:C|[1-2D:|[3E|]", "CDCDCE"),
        ("C|[1D:|[2E:|", "CDCE"),
        ("C|]D:|E|]", "CDDE"),
        ("|:C| :|D|]", "CCD"),
        ("|:C|[1D||E:|[2F|]G|]", "CDECFG"),
        ("C|\nD:|\nE|]", "CDCDE"),  # no field D:
    ],
)
def test_repeats_and_endings(music, expected):
    played = performance.order(bars.measures(tune(music)))
    letters = [{60: "C", 62: "D", 64: "E", 65: "F", 67: "G"}[b.notes[0].pitches[0]] for b in played]
    assert "".join(letters) == expected


def test_ties_chords_rests_and_graces():
    found = performance.sounds(tune("C-|C z|[C-E] [CE]|{DE}F2|]"))
    eighth = Fraction(1, 4)
    assert [(s.pitch, s.start / eighth, s.length / eighth) for s in found] == [
        (60, 0, 2), (60, 3, 2), (64, 3, 1), (64, 4, 1),
        (62, 5, Fraction(1, 8)), (64, 5 + Fraction(1, 8), Fraction(1, 8)),
        (65, 5 + Fraction(2, 8), 2 - Fraction(2, 8)),
    ]  # fmt: skip


def read_midi(data):
    """(start, pitch, end) of each note of a MIDI file, in whole notes."""
    _, tracks, division = struct.unpack(">HHH", data[8:14])
    at, notes = 14, []
    for _ in range(tracks):
        (size,) = struct.unpack(">I", data[at + 4 : at + 8])
        p, at, now, status, sounding = at + 8, at + 8 + size, 0, 0, {}

        def number():
            nonlocal p
            found = 0
            while True:
                byte, p = data[p], p + 1
                found = found << 7 | byte & 0x7F
                if not byte & 0x80:
                    return found

        while p < at:
            now += number()
            if data[p] & 0x80:
                status, p = data[p], p + 1
            if status == 0xFF:
                p += 1
            if status >= 0xF0:
                skipped = number()
                p += skipped
            elif status >> 4 in (8, 9):
                pitch, velocity, p = data[p], data[p + 1], p + 2
                if status >> 4 == 9 and velocity:
                    sounding.setdefault(pitch, []).append(now)
                elif sounding.get(pitch):
                    begin = sounding[pitch].pop(0)
                    notes.append((begin / division / 4, pitch, now / division / 4))
            else:
                p += 1 if status >> 4 in (0xC, 0xD) else 2
    return sorted(notes)


def random_sounds(rng, count):
    starts = np.sort(rng.integers(64, size=count))
    pitches, lengths = rng.integers(40, 90, size=count), rng.integers(1, 9, size=count)
    rows = zip(starts.tolist(), pitches.tolist(), lengths.tolist(), strict=True)
    return [Sound(p, Fraction(a, 16), Fraction(n, 16), 0) for a, p, n in rows]


def test_a_midi_file_has_the_notes(rng):
    for count in (0, 1, 40):
        sounds = [*{(s.pitch, s.start): s for s in random_sounds(rng, count)}.values()]
        found = read_midi(midi.to_midi(sounds, tempo=90))
        expected = sorted((float(s.start), s.pitch) for s in sounds)
        assert [(a, p) for a, p, _ in found] == expected
    assert midi.to_midi([], 60)[14:].count(b"\xff\x51\x03" + (1_000_000).to_bytes(3)) == 1


def read_wav(data):
    with wave.open(io.BytesIO(data)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2"), file.getframerate()


@pytest.mark.parametrize("pitch", [40, 60, 69, 76, 93])
def test_a_note_is_in_tune(pitch):
    found, rate = read_wav(wav.to_wav([Sound(pitch, Fraction(0), Fraction(1), 0)]))
    spectrum = np.abs(np.fft.rfft(found * np.hanning(len(found)), 8 * len(found)))
    expected = 440 * 2 ** ((pitch - 69) / 12)
    hertz = np.arange(len(spectrum)) * rate / (8 * len(found))
    near = (hertz > expected / 1.06) & (hertz < expected * 1.06)
    strongest = hertz[near][spectrum[near].argmax()]
    assert abs(1200 * np.log2(strongest / expected)) < 2
    assert spectrum[near].max() > 0.1 * spectrum.max()  # it is no overtone's neighbour


def test_notes_begin_in_time_and_fade(rng):
    sounds = [Sound(69, Fraction(k, 4), Fraction(1, 8), 0) for k in range(8)]
    found, rate = read_wav(wav.to_wav(sounds, tempo=60))
    assert len(found) == pytest.approx(rate * (7 + 0.5 + wav.FADE), abs=2)
    for k in range(8):
        loud = np.abs(found[rate * k :][: rate // 2]) > 1000
        assert loud.argmax() < rate / 1000  # within a millisecond
        before = found[max(0, rate * k - rate // 100) : rate * k]
        assert np.abs(before).max(initial=0) < 1000
    assert len(read_wav(wav.to_wav([]))[0]) == 0


def test_midi_is_what_abc2midi_writes(irish, tmp_path):  # noqa: F811
    same = count = 0
    for text, _ in irish[::4]:
        if not bars.check(text).parses:
            continue
        (tmp_path / "one.abc").write_text(text + "\n")
        argv = ["abc2midi", "one.abc", "-o", "one.mid"]
        subprocess.run(argv, cwd=tmp_path, capture_output=True)
        theirs = read_midi((tmp_path / "one.mid").read_bytes())
        mine = read_midi(midi.to_midi(performance.sounds(notation.read(text))))
        pairs = list(zip(mine, theirs, strict=False))
        count += 1
        same += len(mine) == len(theirs) and all(
            a[1] == b[1] and abs(a[0] - b[0]) < 0.01 for a, b in pairs
        )
    print(f"{same} of {count}")
    assert same >= 0.95 * count
