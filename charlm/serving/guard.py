"""Checks every request before the application sees it: host, origin, token, size of the body.

A page of another site can make a browser send requests to a server on the same machine (cross-site
requests), and can give its own name the address 127.0.0.1 (DNS rebinding) to read the answers. The
Origin header shows the first, the Host header the second. Starlette's TrustedHostMiddleware
compares names without ports and refuses [::1], so both are checked here.
"""

import asyncio
import base64
import binascii
import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from charlm.serving import answer
from charlm.serving.fields import RequestError

MAX_BODY = 2**20  # bytes
MAX_DRAINED = 2**26  # bytes of a refused body that are read, so that its sender reads the answer
SECONDS = 30.0  # for a body to arrive
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",  # the page's own policy holds, too
}
LOOPBACK = "127.0.0.1", "localhost", "[::1]"


class _Gone(Exception):
    """The client left before its request was complete."""


class Guard:
    """An ASGI application that hands only checked requests to another, with their whole body.

    Args:
        app: the application.
        host, port: where it is served.
        token: without it, the Host header must name this machine and `port`; with it, every
            request must have it.
    """

    def __init__(self, app: ASGIApp, host: str, port: int, token: str | None = None):
        self.app, self.token = app, None if token is None else token.encode()
        ports = ("", f":{port}") if port == 80 else (f":{port}",)
        own = f"[{host}]" if ":" in host else host
        self.hosts = {name + end for name in (*LOOPBACK, own) for end in ports}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        body = _Body(Headers(scope=scope), receive)
        try:
            try:
                self._check(scope["path"], body.headers)
                data = await body.read()
            except RequestError as error:
                await self._refuse(scope, body, with_headers, error)
                return
        except _Gone:
            return
        messages = [{"type": "http.request", "body": data, "more_body": False}]

        async def again() -> Message:
            return messages.pop() if messages else await receive()

        await self.app(scope, again, with_headers)

    def _check(self, path, headers):
        """Raises RequestError unless a request comes from where it may come from."""
        host = headers.get("host", "").lower()
        allowed = self.hosts if self.token is None else {host}
        if host not in allowed:
            raise RequestError(
                f"expected the header Host to be {min(self.hosts)} or localhost, found "
                f"{host[:100]!r}",
                code="host_refused", status=403,
            )  # fmt: skip
        for origin in headers.getlist("origin"):
            scheme, _, site = origin.lower().partition("://")
            if scheme not in ("http", "https") or site not in allowed:
                raise RequestError(
                    f"expected no request from another site, found one from {origin[:100]!r}",
                    code="origin_refused", status=403,
                )  # fmt: skip
        if self.token is not None and not self._has_token(path, headers.get("authorization", "")):
            raise RequestError(
                "expected the header Authorization: Bearer TOKEN with the server's token, found "
                "none or another",
                code="invalid_api_key", status=401,
            )  # fmt: skip

    def _has_token(self, path, given):
        """Returns whether a request has the token.

        A browser asks for a password (Basic) to show the page. It then sends it on its own, so
        that is not accepted for anything else.
        """
        scheme, _, value = given.partition(" ")
        found = value.strip().encode()
        if path == "/" and scheme.lower() == "basic":
            try:
                found = base64.b64decode(found, validate=True).partition(b":")[2]
            except binascii.Error:
                return False
        elif scheme.lower() != "bearer":
            return False
        return secrets.compare_digest(found, self.token)

    async def _refuse(self, scope, body, send, error):
        """Answers with an error, after reading a bounded part of the rest of the body."""
        whole = await body.drain()
        headers = {} if whole else {"Connection": "close"}
        if error.status == 401:
            kind = 'Basic realm="charlm"' if scope["path"] == "/" else "Bearer"
            headers["WWW-Authenticate"] = kind
        data = answer.to_json(answer.refusal(error))
        response = Response(data, error.status, headers, "application/json")
        await response(scope, body.receive, send)


class _Body:
    """Reads the body of a request."""

    def __init__(self, headers: Headers, receive: Receive):
        self.headers, self.receive = headers, receive
        self.whole, self.size = False, 0  # whether all was read; bytes so far

    async def read(self) -> bytes:
        """Returns the body.

        Raises:
            RequestError: it is too large or too slow.
        """
        announced = self.headers.get("content-length", "0")
        if not announced.isdecimal() or int(announced[:20]) > MAX_BODY:
            raise self._too_large(announced[:20])
        parts = []
        try:
            async with asyncio.timeout(SECONDS):
                while not self.whole:
                    parts.append(await self._next())
                    if self.size > MAX_BODY:
                        raise self._too_large("more")
        except TimeoutError:
            message = f"expected the body within {SECONDS:.0f} seconds, found a part of it"
            raise RequestError(message, code="timeout", status=408) from None
        return b"".join(parts)

    async def drain(self) -> bool:
        """Reads the rest of the body, but not without bounds; returns whether that was all."""
        if "expect" in self.headers and not self.size:
            return False  # the client waits for an answer before it sends the body
        try:
            async with asyncio.timeout(SECONDS):
                while not self.whole and self.size < MAX_DRAINED:
                    await self._next()
        except TimeoutError:
            pass
        return self.whole

    async def _next(self):
        message = await self.receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        self.whole = not message.get("more_body", False)
        self.size += len(message.get("body", b""))
        return message.get("body", b"")

    def _too_large(self, found):
        return RequestError(
            f"expected a body of at most {MAX_BODY:,} bytes, found {found}",
            code="body_too_large",
            status=413,
        )
