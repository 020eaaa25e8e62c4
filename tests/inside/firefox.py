"""Drives Firefox by WebDriver BiDi, with the part of Playwright's interface that the tests use.

Playwright itself needs its own build of Firefox; this takes Debian's.
Source: https://www.w3.org/TR/webdriver-bidi/
"""

import copy
import itertools
import json
import re
import subprocess
import tempfile
import time
from pathlib import Path

from websockets.sync.client import connect

KEYS = {
    "ArrowLeft": "\ue012", "ArrowRight": "\ue014", "End": "\ue010", "Enter": "\ue007",
    "Shift": "\ue008", "Tab": "\ue004",
}  # fmt: skip
SCHEMES = {"dark": 0, "light": 1}
SECONDS = 60  # for an answer
EVENTS = ["log.entryAdded", "network.beforeRequestSent", "browsingContext.userPromptOpened"]


class Firefox:
    """Browsers of both colour schemes, which start when they are first used."""

    def __init__(self, path):
        self.path, self.started = path, {}

    def new_page(self, viewport=None, color_scheme="light"):
        """Opens an empty tab."""
        if color_scheme not in self.started:
            self.started[color_scheme] = _Browser(self.path, color_scheme)
        return Page(self.started[color_scheme], viewport or {"width": 1280, "height": 720})

    def close(self):
        """Ends the browsers."""
        for browser in self.started.values():
            browser.close()


class _Browser:
    def __init__(self, path, scheme):
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        preference = "layout.css.prefers-color-scheme.content-override"
        Path(self.folder.name, "user.js").write_text(
            f'user_pref("{preference}", {SCHEMES[scheme]});\n'
        )
        command = [path, "--headless", "--no-remote", "--profile", self.folder.name]
        log = Path(self.folder.name, "log")
        with open(log, "w") as file:
            self.process = subprocess.Popen(
                [*command, "--remote-debugging-port", "0"], stdout=file, stderr=file
            )
        ends = time.monotonic() + SECONDS
        while not (found := re.search(r"listening on (ws://\S+)", log.read_text())):
            assert self.process.poll() is None, log.read_text()
            assert time.monotonic() < ends, log.read_text()
            time.sleep(0.05)
        self.socket = connect(f"{found[1]}/session", max_size=None, open_timeout=SECONDS)
        self.numbers, self.pages = itertools.count(1), {}
        self.ask("session.new", capabilities={})
        self.ask("session.subscribe", events=EVENTS)

    def ask(self, method, **params):
        """Sends a command and returns its result; events that come before it reach their pages."""
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            answer = json.loads(self.socket.recv(timeout=SECONDS))
            if answer.get("id") == number:
                assert answer["type"] == "success", answer
                return answer["result"]
            if answer["type"] == "event":
                params = answer["params"]
                context = params.get("context") or params.get("source", {}).get("context")
                if context in self.pages:
                    self.pages[context].happened(answer["method"], params)

    def close(self):
        self.ask("browser.close")
        self.socket.close()
        self.process.wait(SECONDS)
        self.folder.cleanup()


class _Event:
    def __init__(self, text="", url=""):
        self.text, self.url = text, url

    def __str__(self):
        return self.text


class Page:
    """A tab. Its methods are those of Playwright's `Page`."""

    def __init__(self, browser, viewport):
        self.browser, self.handlers = browser, {}
        self.context = browser.ask("browsingContext.create", type="tab")["context"]
        browser.pages[self.context] = self
        self.set_viewport_size(viewport)
        self.keyboard = self  # whose `press` needs no selector

    @property
    def frames(self):
        """The tab and the frames in it."""
        (tree,) = self.browser.ask("browsingContext.getTree", root=self.context)["contexts"]
        found = [self]
        for child in tree["children"]:
            found.append(copy.copy(self))
            found[-1].context = child["context"]
        return found

    def on(self, name, handler):
        self.handlers[name] = handler

    def happened(self, method, params):
        name, event = {
            "log.entryAdded": ("console", _Event(params.get("text") or "")),
            "network.beforeRequestSent": (
                "request", _Event(url=params.get("request", {}).get("url", "")),
            ),
            "browsingContext.userPromptOpened": ("dialog", _Event(params.get("message") or "")),
        }[method]  # fmt: skip
        if name in self.handlers:
            self.handlers[name](event)

    def set_viewport_size(self, viewport):
        self.browser.ask("browsingContext.setViewport", context=self.context, viewport=viewport)

    def add_init_script(self, source):
        self.browser.ask(
            "script.addPreloadScript", functionDeclaration=f"() => {{ {source} }}",
            contexts=[self.context],
        )  # fmt: skip

    def goto(self, address):
        self.browser.ask(
            "browsingContext.navigate", context=self.context, url=address, wait="complete"
        )

    def reload(self):
        self.browser.ask("browsingContext.reload", context=self.context, wait="complete")

    def close(self):
        del self.browser.pages[self.context]
        self.browser.ask("browsingContext.close", context=self.context)

    def evaluate(self, expression, argument=None):
        """Returns an expression's value, or what a function gives for an argument, as JSON."""
        source = (
            f"(async () => {{ const x = ({expression}); const y = typeof x === 'function' ? "
            f"x({json.dumps(argument)}) : x; return JSON.stringify(await y) ?? 'null'; }})()"
        )
        found = self.browser.ask(
            "script.evaluate", expression=source, target={"context": self.context},
            awaitPromise=True,
        )  # fmt: skip
        assert found["type"] == "success", found["exceptionDetails"]["text"]
        return json.loads(found["result"]["value"])

    def _of(self, selector, body, argument=None):
        selector, _, n = selector.partition(" >> nth=")
        place = f"document.querySelectorAll({json.dumps(selector)})[{n or 0}]"
        return self.evaluate(f"(value) => {{ const e = {place}; {body} }}", argument)

    def focus(self, selector):
        self._of(selector, "e.focus();")

    def inner_text(self, selector):
        return self._of(selector, "return e.innerText;")

    def input_value(self, selector):
        return self._of(selector, "return e.value;")

    def is_disabled(self, selector):
        return self._of(selector, "return e.matches(':disabled');")

    def select_option(self, selector, value):
        change = "e.value = value; e.dispatchEvent(new Event('change', { bubbles: true }));"
        self._of(selector, change, value)

    def fill(self, selector, text):
        insert = "document.execCommand(value ? 'insertText' : 'delete', false, value);"
        self._of(selector, f"e.focus(); e.select(); {insert}", text)

    def press(self, selector, key=None):
        if key is None:
            key = selector
        else:
            self.focus(selector)
        names = [KEYS[name] for name in key.split("+")]
        actions = [{"type": "keyDown", "value": x} for x in names]
        actions += [{"type": "keyUp", "value": x} for x in reversed(names)]
        self._act({"type": "key", "id": "keys", "actions": actions})

    def click(self, selector, position=None):
        x, y = self._of(
            selector,
            "e.scrollIntoView({ block: 'center', behavior: 'instant' });"
            "const r = e.getBoundingClientRect();"
            "return value ? [r.left + value.x, r.top + value.y]"
            " : [r.left + r.width / 2, r.top + r.height / 2];",
            position,
        )
        move = {"type": "pointerMove", "x": round(x), "y": round(y)}
        press = [{"type": name, "button": 0} for name in ("pointerDown", "pointerUp")]
        self._act({"type": "pointer", "id": "mouse", "actions": [move, *press]})

    def _act(self, source):
        self.browser.ask("input.performActions", context=self.context, actions=[source])
