"""Plays a tune as the sound of plucked strings, in a WAV file.

A string is a loop of samples that is filled with noise and read round and round. Each sample is
replaced by the mean of itself and its neighbour, so high tones fade first (Karplus and Strong,
Digital Synthesis of Plucked-String and Drum Timbres, 1983).
"""

import functools
import io
import wave
from collections.abc import Sequence

import numpy as np

from charlm.music.performance import Sound

RATE = 44_100  # samples a second
LOOP = 200  # samples of the string's loop, which is played at a speed that gives the pitch
FADE = 0.15  # seconds in which a note ends
LOUDEST = 0.9  # of the range of 16 bits
A4, CONCERT_PITCH = 69, 440.0


def to_wav(sounds: Sequence[Sound], tempo: int = 120) -> bytes:
    """Returns the bytes of a WAV file: one channel, 16 bits, 44.1 kHz.

    Args:
        sounds: the notes.
        tempo: quarter notes in a minute.
    """
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes((samples(sounds, tempo) * (2**15 - 1)).astype("<i2").tobytes())
    return file.getvalue()


def samples(sounds: Sequence[Sound], tempo: int = 120) -> np.ndarray:
    """Returns the samples (n,), float64 from -1 to 1."""
    seconds = 4 * 60 / tempo  # of a whole note
    placed = [
        (round(float(s.start) * seconds * RATE), pluck(s.pitch, float(s.length) * seconds))
        for s in sounds
    ]
    found = np.zeros(max((begin + len(x) for begin, x in placed), default=0))
    for begin, x in placed:
        found[begin : begin + len(x)] += x
    loudest = np.abs(found).max(initial=0)
    return found * (LOUDEST / loudest) if loudest else found


@functools.lru_cache(256)
def pluck(pitch: int, seconds: float) -> np.ndarray:
    """Returns the sound of a plucked string, (n,).

    Args:
        pitch: MIDI number.
        seconds: time until it is damped; it fades out after that.
    """
    frequency = CONCERT_PITCH * 2 ** ((pitch - A4) / 12)
    n = round((seconds + FADE) * RATE)
    speed = frequency * (LOOP + 0.5) / RATE  # the mean of two neighbours delays by half a sample
    string = _string(int(n * speed) // LOOP + 3)
    found = np.interp(np.arange(n) * speed, np.arange(len(string)), string)
    found *= np.minimum(1, np.arange(n)[::-1] / (FADE * RATE))
    found.flags.writeable = False  # it is kept
    return found


@functools.lru_cache(8)
def _whole_string(turns: int) -> np.ndarray:
    turn = np.random.default_rng(1).uniform(-1, 1, LOOP)
    turn -= turn.mean()  # or it would not fade to silence
    last, found = 0.0, [turn]  # the sample before the turn
    for _ in range(turns - 1):
        before = np.concatenate([[last], turn[:-1]])
        last, turn = turn[-1], (turn + before) / 2
        found.append(turn)
    return np.concatenate(found)


def _string(turns):
    """Returns so many turns of the loop, and perhaps more, (n,)."""
    return _whole_string(1 << (turns - 1).bit_length())
