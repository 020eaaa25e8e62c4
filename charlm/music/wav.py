"""Plays a tune as the sound of plucked strings, in a WAV file.

A string is a loop of samples that is filled with noise and read round and round. Each sample is
replaced by the mean of itself and its neighbour, so high tones fade first (Karplus and Strong,
Digital Synthesis of Plucked-String and Drum Timbres, 1983).
"""

import functools
import struct
from collections.abc import Sequence

import numpy as np

from charlm.music.performance import Sound

RATE = 44_100  # samples a second
LOOP = 200  # samples of the string's loop, which is played at a speed that gives the pitch
FADE = 0.15  # seconds in which a note ends
LOUDEST = 0.9  # of the range of 16 bits
A4, CONCERT_PITCH = 69, 440.0
MOST = 600  # seconds
RINGS = 2**12  # turns of the loop, after which a string is silent


def to_wav(sounds: Sequence[Sound], tempo: int = 120) -> bytes:
    """Returns the bytes of a WAV file: one channel, 16 bits, 44.1 kHz.

    Args:
        sounds: the notes.
        tempo: quarter notes in a minute.

    Raises:
        ValueError: it takes more than ten minutes.
    """
    data = (samples(sounds, tempo) * (2**15 - 1)).astype("<i2").tobytes()
    form = struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16)  # PCM, one channel
    info = b"INFO" + _chunk(b"ISFT", b"charlm\0\0")  # by which a file of charlm's is known
    chunks = _chunk(b"fmt ", form) + _chunk(b"LIST", info) + _chunk(b"data", data)
    return _chunk(b"RIFF", b"WAVE" + chunks)


def _chunk(name, data):
    return name + struct.pack("<I", len(data)) + data


def samples(sounds: Sequence[Sound], tempo: int = 120) -> np.ndarray:
    """Returns the samples (n,), float64 from -1 to 1."""
    seconds = 4 * 60 / tempo  # of a whole note
    end = max((float(s.start + s.length) for s in sounds), default=0.0) * seconds
    if end > MOST:
        raise ValueError(f"expected a tune of up to {MOST} seconds, found {end:.0f}")
    found = np.zeros(round((end + FADE) * RATE) + 1 if sounds else 0)
    for sound in sounds:
        note = pluck(sound.pitch, float(sound.length) * seconds)
        begin = round(float(sound.start) * seconds * RATE)
        found[begin : begin + len(note)] += note[: len(found) - begin]
    loudest = np.abs(found).max(initial=0)
    return found * (LOUDEST / loudest) if loudest else found


@functools.lru_cache(64)
def pluck(pitch: int, seconds: float) -> np.ndarray:
    """Returns the sound of a plucked string, (n,).

    Args:
        pitch: MIDI number.
        seconds: time until it is damped; it fades out after that.
    """
    frequency = CONCERT_PITCH * 2 ** ((pitch - A4) / 12)
    n = round((seconds + FADE) * RATE)
    speed = frequency * (LOOP + 0.5) / RATE  # the mean of two neighbours delays by half a sample
    string = _string()
    found = np.interp(np.arange(n) * speed, np.arange(len(string)), string, right=0)
    found *= np.minimum(1, np.arange(n)[::-1] / (FADE * RATE))
    found.flags.writeable = False  # it is kept
    return found


@functools.cache
def _string():
    """Returns all turns of the loop, one after the other, until it is silent."""
    turn = np.random.default_rng(1).uniform(-1, 1, LOOP)
    turn -= turn.mean()  # or it would not fade to silence
    last, found = 0.0, np.empty((RINGS, LOOP))
    for k in range(RINGS):
        found[k] = turn
        before = np.concatenate([[last], turn[:-1]])
        last, turn = turn[-1], (turn + before) / 2
    return found.ravel()
