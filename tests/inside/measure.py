"""Measures the page of the run that comes with charlm in Chromium, on an idle machine.

    python -m tests.inside.measure [--texts 100]

Prints the size of the page and the seconds to make it (without the search for cells), the seconds
from opening it to the first colours and until all is read, the longest time in which the page was
blocked, the milliseconds of a repaint after another cell was chosen, the characters a second that
it writes, and how many texts of 2,000 characters are those of `charlm sample --weights fp16`.
"""

import argparse
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

import charlm
from charlm.generation import generate
from charlm.inside import webpage, weights
from charlm.reference.network import Network
from tests.inside.test_browser import BROWSERS, TEXTS

WATCH = """
window.longest = 0;
new PerformanceObserver((list) => {
  for (const { duration } of list.getEntries()) window.longest = Math.max(window.longest, duration);
}).observe({ type: "longtask", buffered: true });
"""
REPAINT = """async () => {
  const times = [];
  for (let k = 0; k < 20; k++) {
    document.getElementById("cell").value = 17 * k;
    const began = performance.now();
    const before = passage.values;
    show();
    while (passage.values === before) await new Promise((resolve) => setTimeout(resolve, 0));
    passage.paintNow();
    times.push(performance.now() - began);
  }
  return times.sort((a, b) => a - b);
}"""


def seconds(page, condition):
    began = time.monotonic()
    while not page.evaluate(f"!!({condition})"):
        time.sleep(0.005)
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--texts", type=int, default=100)
    count = parser.parse_args().texts
    model = charlm.load("state-union")
    saved = model._checkpoint
    began = time.monotonic()
    text = generate.whole_texts(saved.to_network(), saved.vocab, 5000, [1.0], 1)[0]
    html = webpage.page(saved, "state-union", text)
    print(f"page: {len(html) / 1e6:.2f} MB, made in {time.monotonic() - began:.1f} s")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as p:
        Path(folder, "page.html").write_text(html, "utf-8")
        browser = p.chromium.launch(executable_path=BROWSERS["chromium"], args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.add_init_script(WATCH)
        began = time.monotonic()
        page.goto(f"file://{folder}/page.html", wait_until="commit")
        seconds(page, "typeof passage !== 'undefined' && passage.values?.length")
        page.screenshot()
        print(f"first colours, screenshot taken: {time.monotonic() - began:.2f} s")
        seconds(page, "ready")
        print(f"all read: {time.monotonic() - began:.2f} s")
        print(f"longest block of the page: {page.evaluate('longest'):.0f} ms")
        times = page.evaluate(REPAINT)
        print(f"another cell: median {times[10]:.0f} ms, longest {times[-1]:.0f} ms")
        asked = [(k // 4, (0, 0.5, 0.8, 1)[k % 4]) for k in range(count)]
        began = time.monotonic()
        found = page.evaluate(TEXTS, [{"seed": str(s), "temperature": t} for s, t in asked])
        print(f"writes {2000 * count / (time.monotonic() - began):,.0f} characters a second")
        rounded = weights.rounded(saved.weights, saved.config.model, "fp16")
        network = Network(rounded, len(saved.vocab), saved.config.model)
        same = sum(
            text == generate.whole_texts(network, saved.vocab, 2000, [t], s)[0]
            for (s, t), text in zip(asked, found, strict=True)
        )
        print(f"{same} of {count} texts are the same")
        browser.close()


if __name__ == "__main__":
    main()
