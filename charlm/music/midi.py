"""Writes a tune as a standard MIDI file (format 0: a single track)."""

import struct
from collections.abc import Sequence

from charlm.music.performance import Sound

TICKS = 480  # of a quarter note
NOTE_ON, VELOCITY = 0x90, 80
MARK = b"charlm"  # a text event, by which a file of charlm's is known
LONGEST = 2**28 - 1  # ticks between two events


def to_midi(sounds: Sequence[Sound], tempo: int = 120, program: int = 0) -> bytes:
    """Returns the bytes of a MIDI file.

    Args:
        sounds: the notes.
        tempo: quarter notes in a minute.
        program: number of the General MIDI instrument, from 0; 0 is a piano, 24 a guitar.
    """
    events = []
    for sound in sounds:
        begin, end = (round(x * 4 * TICKS) for x in (sound.start, sound.start + sound.length))
        events += [(begin, VELOCITY, sound.pitch), (max(end, begin + 1), 0, sound.pitch)]
    events.sort()  # at equal times notes end (velocity 0) before others begin
    microseconds = round(60_000_000 / tempo)
    track = bytearray(b"\x00\xff\x01" + bytes([len(MARK)]) + MARK)
    track += b"\x00\xff\x51\x03" + microseconds.to_bytes(3)
    track += bytes([0, 0xC0, program])
    now = 0
    for time, velocity, pitch in events:
        track += _variable(min(time - now, LONGEST)) + bytes([NOTE_ON, pitch, velocity])
        now = time
    track += b"\x00\xff\x2f\x00"  # the end of the track
    header = b"MThd" + struct.pack(">IHHH", 6, 0, 1, TICKS)
    return header + b"MTrk" + struct.pack(">I", len(track)) + bytes(track)


def _variable(number):
    """Returns a number in seven bits a byte; all bytes but the last have the highest bit."""
    found = [number & 0x7F]
    while number := number >> 7:
        found.insert(0, number & 0x7F | 0x80)
    return bytes(found)
