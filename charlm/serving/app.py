"""The web application: the page of a model, and its completions interface."""

import asyncio
import functools
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from charlm import notes
from charlm.serving import answer
from charlm.serving.answer import Answer
from charlm.serving.completion import Writer
from charlm.serving.fields import RequestError
from charlm.serving.guard import Guard
from charlm.serving.places import Places
from charlm.serving.request import Completion, parse

JSON, EVENTS = "application/json", "text/event-stream"
STALLED = 30.0  # seconds after which a client that does not read its answer loses its place
WAYS = "GET /, GET /v1/models, GET /v1/models/NAME or POST /v1/completions"


def guarded(
    writer: Writer, page: str | None, host: str, port: int, token: str | None = None
) -> Guard:
    """Returns the whole application.

    Args:
        writer: the model.
        page: HTML that shows the model; None for no page.
        host, port, token: see `Guard`.
    """
    service = _Service(writer, page)
    routes = [
        Route("/", service.page, methods=["GET"]),
        Route("/v1/models", service.models, methods=["GET"]),
        Route("/v1/models/{name}", service.model, methods=["GET"]),
        Route("/v1/completions", service.completions, methods=["POST"]),
    ]
    handlers: Any = {RequestError: _refused, HTTPException: _no_route, Exception: _failed}
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.router.redirect_slashes = False
    return Guard(app, host, port, token)


class _Service:
    """The answers of the routes."""

    def __init__(self, writer: Writer, page: str | None):
        self._writer, self._page, self._places = writer, page, Places()
        # One thread: the writer is not for several at once, and a piece that is drawn for a client
        # who has left ends before the next client's begins.
        self._thread = ThreadPoolExecutor(1, "writer")

    async def page(self, request: Request) -> Response:
        """Shows the model."""
        if self._page is None:
            raise RequestError("the model is too large for a page", code="no_page", status=404)
        return HTMLResponse(self._page)

    async def models(self, request: Request) -> Response:
        """Lists the model."""
        return _json({"object": "list", "data": [self._about()]})

    async def model(self, request: Request) -> Response:
        """Describes the model."""
        name = request.path_params["name"]
        self._writer.prepared(Completion(model=name))
        return _json(self._about())

    async def completions(self, request: Request) -> Response:
        """Continues or scores texts."""
        kind = request.headers.get("content-type", "")
        if kind.partition(";")[0].strip().lower() != JSON:
            message = f"expected the header Content-Type to be {JSON}, found {kind[:100]!r}"
            raise RequestError(message, code="content_type", status=415)
        wanted = self._writer.prepared(parse(await request.body()))
        return _Turn(wanted, self._writer, self._places, self._thread)

    def _about(self):
        return {"id": self._writer.name, "object": "model", "created": 0, "owned_by": "charlm"}


class _Turn(Response):
    """The response to a request for completions: waits for its turn, then does the work.

    The work ends when the client leaves.
    """

    def __init__(
        self, wanted: Completion, writer: Writer, places: Places, thread: ThreadPoolExecutor
    ):
        super().__init__(media_type=EVENTS if wanted.stream else JSON)
        del self.headers["content-length"]
        self._wanted, self._places, self._thread = wanted, places, thread
        self._left = threading.Event()
        self._pieces = writer.pieces(wanted, lambda: not self._left.is_set())
        self._answer = Answer(wanted, writer.name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._places.place():
            work = asyncio.ensure_future(
                (self._stream if self._wanted.stream else self._whole)(send)
            )
            leaving = asyncio.ensure_future(_leaving(receive))
            try:
                await asyncio.wait((work, leaving), return_when=asyncio.FIRST_COMPLETED)
                if work.done():
                    work.result()
            finally:
                self._left.set()
                for task in (work, leaving):
                    task.cancel()
                await asyncio.gather(work, leaving, return_exceptions=True)

    async def _whole(self, send):
        async with self._places.turn():
            data = await self._in_thread(functools.partial(self._answer.whole, self._pieces))
        self.headers["content-length"] = str(len(data))
        await self._start(send)
        await send({"type": "http.response.body", "body": data})

    async def _stream(self, send):
        started = False
        async with self._places.turn():
            events = self._answer.events(self._pieces)
            try:
                while data := await self._in_thread(functools.partial(next, events, b"")):
                    if not started:
                        await self._start(send)
                        started = True
                    async with asyncio.timeout(STALLED):
                        await send({"type": "http.response.body", "body": data, "more_body": True})
            except TimeoutError:
                return  # the server closes the connection
            except RequestError as error:
                if not started:
                    raise
                refusal = answer.event(answer.refusal(error))
                await send({"type": "http.response.body", "body": refusal, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _start(self, send):
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)

    def _in_thread(self, function: Callable[[], bytes]) -> Awaitable[bytes]:
        return asyncio.get_running_loop().run_in_executor(self._thread, function)


async def _leaving(receive):
    """Returns when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _json(value, status=200, headers=None):
    return Response(answer.to_json(value), status, headers, JSON)


async def _refused(request, error):
    headers = {"Retry-After": "1"} if error.status == 429 else None
    return _json(answer.refusal(error), error.status, headers)


async def _no_route(request, error):
    found = f"{request.method} {request.url.path}"
    chat = "; chat is not supported" if "chat" in found else ""
    message = f"expected {WAYS}, found {found[:100]}{chat}"
    code = "unknown_path" if error.status_code == 404 else "wrong_method"
    return _json(
        answer.error(message, error.status_code, code=code), error.status_code, error.headers
    )


async def _failed(request, error):
    """Reports an error that is not the client's, here and to the client."""
    what = f"{type(error).__name__}: {error}"
    notes.note(f"error: a request failed: {what}")
    return _json(answer.error("the server failed to answer; its terminal says why", 500), 500)
