"""Puts the page's JavaScript modules, its data and its policy into one HTML file."""

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Sequence
from importlib.resources import files

PAGE = files("charlm.inside") / "page"
IMPORT = re.compile(r'^import \{[^}]*\} from "\./([a-z]+)\.mjs";\n', re.MULTILINE)


def script(entry: str) -> str:
    """Returns a module and those that it imports as one script, each once, the imported first.

    Args:
        entry: name of the module, without its ending.
    """
    parts: dict[str, str] = {}

    def add(name):
        if name in parts:
            return
        source = (PAGE / f"{name}.mjs").read_text(encoding="utf-8")
        parts[name] = ""  # a circle would import nothing
        for other in IMPORT.findall(source):
            add(other)
        del parts[name]
        parts[name] = re.sub(r"^export ", "", IMPORT.sub("", source), flags=re.MULTILINE)

    add(entry)
    return "\n".join(parts.values())


def to_json(data: object) -> str:
    """Returns JSON that can stand in a script element: nothing in it can end the element."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def packed_bytes(data: bytes) -> str:
    """Returns bytes compressed, in letters."""
    return base64.b64encode(gzip.compress(data, mtime=0)).decode("ascii")


def policy(scripts: Sequence[str], styles: Sequence[str]) -> str:
    """Returns a content security policy that allows these inline scripts and styles alone.

    The page may load nothing; it may run WebAssembly and a worker of its own making.
    """
    return (
        f"default-src 'none'; script-src {_hashes(scripts)} 'wasm-unsafe-eval'; "
        f"style-src {_hashes(styles)}; img-src data:; worker-src blob:; base-uri 'none'; "
        "form-action 'none'"
    )


def _hashes(sources):
    digests = (hashlib.sha256(x.encode("utf-8")).digest() for x in sources)
    return " ".join(f"'sha256-{base64.b64encode(d).decode('ascii')}'" for d in digests)
