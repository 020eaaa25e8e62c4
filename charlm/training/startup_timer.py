"""What the time from a command's start to its first result went into."""

import time


class Timeline:
    """Seconds by phase, from when it was made on; a phase that comes twice is added up.

    >>> timeline = Timeline()
    >>> timeline.done("import")
    >>> list(timeline.seconds)
    ['import']
    """

    def __init__(self):
        self.seconds = {}
        self.last = time.perf_counter()

    def done(self, phase: str) -> None:
        """Says what the time since the last call, or since the beginning, went into."""
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self.last
        self.last = now

    def __str__(self):
        phases = ", ".join(f"{phase} {seconds:.1f}" for phase, seconds in self.seconds.items())
        return f"{sum(self.seconds.values()):.1f} s: {phases}"
