"""The time limit of a benchmark: what may not end within it is not started."""

import math
import time


class TimeLimit:
    """Decides whether there is time for the next measurement, and lists those left out.

    A measurement is expected to take as long as the longest one before it.

    Args:
        seconds: limit, from now on; None for none.
    """

    def __init__(self, seconds: float | None = None):
        self.last = time.monotonic()
        self.ends = math.inf if seconds is None else self.last + seconds
        self.longest = 0.0
        self.left_out: list[str] = []

    def allows(self, name: str) -> bool:
        """Returns whether to start a measurement; call it when those before it have ended."""
        now = time.monotonic()
        self.longest, self.last = max(self.longest, now - self.last), now
        allowed = now + self.longest < self.ends
        if not allowed:
            self.left_out.append(name)
        return allowed

    def wait(self, seconds: float) -> float:
        """Returns how long to wait for an answer: `seconds`, but not beyond the limit."""
        return max(0.0, min(seconds, self.ends - time.monotonic()))
