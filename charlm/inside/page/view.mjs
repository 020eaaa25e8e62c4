// A text whose characters are coloured, with a caret. A canvas behind one text node shows the colours,
// so that selection, search, screen readers and right-to-left text work as in any text. Only
// what can be seen is measured and painted.

import { colours, UNKNOWN } from "./colours.mjs";

const NEWLINE = 5; // pixels: a newline has no width, but values as any character

export class View {
  // passage: an element with a canvas and a <pre>, which scrolls. known: the vocabulary, a Set.
  // moved: called after the caret has moved.
  constructor(passage, known, moved) {
    this.passage = passage;
    this.canvas = passage.querySelector("canvas");
    this.pre = passage.querySelector("pre");
    this.known = known;
    this.moved = moved;
    this.setText("");
    new ResizeObserver(() => this.#changed()).observe(this.pre);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.paint());
    passage.addEventListener("scroll", () => this.paint());
    passage.addEventListener("keydown", (event) => this.#key(event));
    passage.addEventListener("click", (event) => this.#click(event));
  }

  setText(text) {
    this.pre.replaceChildren(document.createTextNode(""));
    this.characters = [];
    this.starts = [0]; // where each character begins in the document's text, which counts UTF-16
    this.values = [];
    this.caret = 0;
    this.append(text);
  }

  append(text) {
    for (const c of text) {
      this.characters.push(c);
      this.starts.push(this.starts.at(-1) + c.length);
    }
    this.pre.firstChild.appendData(text);
    this.#changed();
  }

  get showsEnd() {
    const { scrollTop, clientHeight, scrollHeight } = this.passage;
    return scrollTop + clientHeight >= scrollHeight - 2;
  }

  // values: a number between -1 and 1 for each character, NaN or none for those without a colour.
  colour(values) {
    this.values = values;
    this.paint();
  }

  // Returns the boxes of character k in the passage: [left, top, width, height]. A character that
  // is broken across lines has several, one that is not drawn none.
  boxes(k) {
    if (this.measured[k]) return this.measured[k];
    const range = document.createRange();
    range.setStart(this.pre.firstChild, this.starts[k]);
    range.setEnd(this.pre.firstChild, this.starts[k + 1]);
    const { left, top } = this.pre.getBoundingClientRect(); // it scrolls, and the page does
    const wide = (w) => (this.characters[k] === "\n" ? Math.max(w, NEWLINE) : w);
    return (this.measured[k] = Array.from(range.getClientRects(), (r) => [
      r.left - left,
      r.top - top,
      wide(r.width),
      r.height,
    ]));
  }

  // Returns the places of the first character that can be seen and of the one after the last.
  visible() {
    const { scrollTop, clientHeight } = this.passage;
    return [this.#firstBelow(scrollTop), this.#firstBelow(scrollTop + clientHeight + 40)];
  }

  // Returns the first character whose box ends below a height; boxes follow each other downwards.
  #firstBelow(height) {
    let [from, to] = [0, this.characters.length];
    while (from < to) {
      const middle = (from + to) >> 1;
      let k = middle;
      while (k > from && !this.boxes(k).length) k--;
      const [, y, , h] = this.boxes(k).at(-1) ?? [0, -1, 0, 0];
      if (y + h > height) to = middle;
      else from = middle + 1;
    }
    return from;
  }

  #changed() {
    this.measured = [];
    this.paint();
  }

  paint() {
    if (this.waits) return;
    this.waits = true;
    requestAnimationFrame(() => this.paintNow());
  }

  paintNow() {
    this.waits = false;
    const { passage, canvas } = this;
    const scale = window.devicePixelRatio || 1;
    const [width, height, from] = [passage.clientWidth, passage.clientHeight, passage.scrollTop];
    canvas.width = width * scale;
    canvas.height = height * scale;
    Object.assign(canvas.style, { width: `${width}px`, height: `${height}px`, top: `${from}px` });
    const context = canvas.getContext("2d", { willReadFrequently: true }); // thousands of small boxes
    context.scale(scale, scale);
    context.translate(0, -from);
    for (const { colour, boxes } of this.coloured()) {
      context.fillStyle = colour;
      for (const box of boxes) context.fillRect(...box);
    }
    if (this.caret >= this.characters.length) return;
    context.strokeStyle = getComputedStyle(document.body).color;
    context.lineWidth = 2;
    const [x, y, w, h] = this.boxes(this.caret)[0] ?? [-9, -9, 0, 0];
    context.strokeRect(x, y, Math.max(w, 3), h);
  }

  // Returns { colour, boxes, k } of the characters that can be seen and have a colour.
  coloured() {
    const colourOf = colours();
    const found = [];
    const [first, end] = this.visible();
    for (let k = first; k < end; k++) {
      const known = this.known.has(this.characters[k]);
      const colour = known ? colourOf(this.values[k] ?? NaN) : UNKNOWN;
      if (colour) found.push({ colour, boxes: this.boxes(k), k });
    }
    return found;
  }

  // Returns the places of the selection's first character and after its last, or null.
  selection() {
    const found = document.getSelection();
    if (!found.rangeCount || found.isCollapsed) return null;
    const range = found.getRangeAt(0);
    const node = this.pre.firstChild;
    if (!range.intersectsNode(node)) return null;
    const start = range.startContainer === node ? range.startOffset : 0; // it may begin before
    const end = range.endContainer === node ? range.endOffset : node.length; // and end after the text
    const place = (offset) => this.starts.findIndex((begin) => begin >= offset);
    return start < end ? [place(start), place(end)] : null;
  }

  moveTo(place, anchor = null) {
    this.caret = Math.max(0, Math.min(this.characters.length - 1, place));
    if (anchor !== null) {
      const [from, to] = [Math.min(anchor, this.caret), Math.max(anchor, this.caret) + 1];
      const { firstChild: node } = this.pre;
      document.getSelection().setBaseAndExtent(node, this.starts[from], node, this.starts[to]);
    }
    const { passage } = this;
    const [, y, , h] = this.boxes(this.caret)[0] ?? [0, 0, 0, 0];
    if (y < passage.scrollTop || y + h > passage.scrollTop + passage.clientHeight)
      passage.scrollTop = y - 40;
    this.paint();
    this.moved(this);
  }

  // Returns the nearest character in the line above (by -1) or below (by 1).
  #inOtherLine(by) {
    const [x, y, , h] = this.boxes(this.caret)[0] ?? [0, 0, 0, 20];
    let best = this.caret;
    let least = Infinity;
    for (let k = this.caret; k >= 0 && k < this.characters.length; k += by) {
      const [box] = this.boxes(k);
      if (!box) continue;
      const lines = Math.round((box[1] - y) / h);
      if (lines * by > 1) break;
      if (lines === by && Math.abs(box[0] - x) < least) [best, least] = [k, Math.abs(box[0] - x)];
    }
    return best;
  }

  #key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (!this.characters.length) return;
    const place = {
      ArrowLeft: () => this.caret - 1,
      ArrowRight: () => this.caret + 1,
      ArrowUp: () => this.#inOtherLine(-1),
      ArrowDown: () => this.#inOtherLine(1),
      Home: () => 0,
      End: () => this.characters.length - 1,
    }[event.key];
    if (!place) return;
    event.preventDefault();
    if (event.shiftKey) this.anchor ??= this.caret;
    else this.anchor = null;
    this.moveTo(place(), this.anchor);
  }

  #click({ clientX, clientY }) {
    const origin = this.pre.getBoundingClientRect();
    const [x, y] = [clientX - origin.left, clientY - origin.top];
    const outside = (at, from, size) => Math.max(from - at, 0, at - from - size);
    const [first, end] = this.visible();
    let [best, least] = [null, Infinity];
    for (let k = first; k < end; k++)
      for (const [left, top, w, h] of this.boxes(k)) {
        const far = 1000 * outside(y, top, h) + outside(x, left, w); // the line matters most
        if (far < least) [best, least] = [k, far];
      }
    this.anchor = null;
    if (best !== null && document.getSelection().isCollapsed) this.moveTo(best);
  }
}
