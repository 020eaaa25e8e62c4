"""Measures the phases from a command's start to its first result."""

import time


class Timeline:
    """Seconds by phase since its creation; the times of a repeated phase are added up.

    >>> timeline = Timeline()
    >>> timeline.done("import")
    >>> list(timeline.seconds)
    ['import']
    """

    def __init__(self):
        self.seconds = {}
        self.last = time.perf_counter()

    def done(self, phase: str) -> None:
        """Adds the time since the last call, or since the start, to a phase."""
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self.last
        self.last = now

    def __str__(self):
        phases = ", ".join(f"{phase} {seconds:.1f}" for phase, seconds in self.seconds.items())
        return f"{sum(self.seconds.values()):.1f} s: {phases}"
