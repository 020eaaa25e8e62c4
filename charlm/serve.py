"""`charlm serve RUN`: serves a model: its page, and a completions interface for other programs."""

import contextlib
import sys
from dataclasses import dataclass

import tyro

from charlm import cli
from charlm.cli.options import RUNS_DIR, Context, Debug, Quiet, Run, RunsDir
from charlm.errors import InputError, require
from charlm.runs import lookup
from charlm.serving import server

HOST, PORT = "127.0.0.1", 8000
LEAST_TOKEN = 8  # characters


@dataclass(frozen=True)
class Serve:
    """Serves a model on this machine: its page, and a completions interface.

    Programs that speak OpenAI's completions interface can use it at /v1: they continue texts and
    score them. A token is a character.
    """

    run: tyro.conf.Positional[Run] = lookup.LATEST
    port: int = PORT
    """Port to listen at; 0 finds a free one."""
    host: str = HOST
    """Address to listen at. Others than those of this machine alone need --token."""
    token: str | None = None
    """Password of 8 characters or more, which every request must have (Authorization: Bearer). A
    browser asks for it; any user name will do."""
    context: Context = None
    runs_dir: RunsDir = RUNS_DIR
    quiet: Quiet = False
    debug: Debug = False

    def __post_init__(self):
        require(0 <= self.port <= 65535, "port", "from 0 to 65535", self.port)
        require(self.host, "host", "an address", "none")
        token = self.token
        if token is not None and not (
            len(token) >= LEAST_TOKEN
            and token.isascii()
            and token.isprintable()
            and " " not in token
        ):
            what = f"{LEAST_TOKEN} or more letters, digits and signs of ASCII"
            raise InputError(f"expected --token to be {what}, found something else")
        if token is None and not server.is_loopback(self.host):
            raise InputError(
                f"expected --token with --host {self.host}, because others can reach that address; "
                "give a long random one"
            )


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return cli.run(_main, argv)


def _main(argv):
    args = cli.parse(Serve, "charlm serve", argv)
    server.check_installed()
    with contextlib.closing(server.listen(args.host, args.port)) as listening:
        path, saved = lookup.read_best(args.runs_dir, args.run, args.context)
        from charlm.serving import app, page
        from charlm.serving.completion import Writer

        name = path.parent.resolve().name
        writer, port = Writer(saved, name), listening.getsockname()[1]
        served = app.guarded(writer, page.page(saved, name), args.host, port, args.token)
        address = f"http://{server.address(args.host, port)}"
        cli.say(f"{name}: {address}/ shows it, {address}/v1 completes texts; Ctrl-C ends it")
        server.made(served).run(sockets=[listening])


if __name__ == "__main__":
    sys.exit(main())
