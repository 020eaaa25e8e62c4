"""A queue for requests: one is worked on at a time, in order of arrival."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

from charlm.serving.fields import RequestError

MOST = 8  # requests, the one that is worked on included


class Places:
    """The places of the queue.

    Args:
        most: number of places.
    """

    def __init__(self, most: int = MOST):
        self.most, self.taken = most, 0
        self._turn = asyncio.Lock()  # first come, first served

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """Takes a place within the context.

        Raises:
            RequestError: none is free.
        """
        if self.taken >= self.most:
            raise RequestError(
                f"expected at most {self.most} requests at a time, found one more; try again later",
                code="rate_limit_exceeded",
                status=429,
            )
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Waits until the requests before are done; the next one waits until the context ends."""
        async with self._turn:
            yield
