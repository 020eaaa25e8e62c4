"""Listens at an address and runs an application there. Loads Starlette and uvicorn only then."""

import importlib.util
import ipaddress
import os
import socket
from typing import Any

from charlm.errors import InputError, in_words

MAX_CONNECTIONS = 200
WAITING = 100  # connections that wait to be accepted
GRACE = 1  # seconds for answers to end after Ctrl-C


def check_installed() -> None:
    """Raises InputError unless the packages of the extra `serve` are installed."""
    for name in ("starlette", "uvicorn"):
        if importlib.util.find_spec(name) is None:
            raise InputError(f"cannot serve: {name} is not installed; pip install 'charlm[serve]'")


def is_loopback(host: str) -> bool:
    """Returns whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """Returns a socket that listens; the system chooses the port if it is 0.

    Raises:
        InputError: the port is taken, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=WAITING)
    except OSError as error:
        # the message of a socket repeats its address in Python's notation
        number = error.errno or 0  # negative for a name without an address
        reason = os.strerror(number) if number > 0 else in_words(error)
        raise InputError(
            f"cannot listen at {address(host, port)}: {reason}; give another --port (0 "
            "finds a free one) or --host"
        ) from error


def address(host: str, port: int) -> str:
    """Returns host and port as in an address of the web."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def made(app: Any) -> Any:
    """Returns a uvicorn server for an ASGI application; `run(sockets=[...])` runs it."""
    import uvicorn

    config = uvicorn.Config(
        app,
        # what fails is reported by the application
        log_config=None, log_level="critical", access_log=False, server_header=False,
        # the same protocol and loop, whatever else is installed
        http="h11", loop="asyncio", ws="none", lifespan="off", proxy_headers=False,
        limit_concurrency=MAX_CONNECTIONS, backlog=WAITING, timeout_graceful_shutdown=GRACE,
    )  # fmt: skip
    return uvicorn.Server(config)
