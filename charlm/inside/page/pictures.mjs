// Two pictures of the characters around a view's caret: every state and gate of the chosen cell,
// and one state or gate of all cells.

import { colours } from "./colours.mjs";
import { visible } from "./panel.mjs";
import { askLatest } from "./questions.mjs";

const STRIP = 61; // characters in the strip
const MAP = 121; // and in the map
const ROW = 20; // pixels

// Returns the places of n characters around the caret.
function around({ caret, characters }, n) {
  const from = Math.max(0, Math.min(caret - (n >> 1), characters.length - n));
  return [from, Math.min(characters.length, from + n)];
}

export class Pictures {
  // picked: called with a cell's layer and number when it is clicked in the map.
  constructor(strip, map, picked) {
    Object.assign(this, { strip, map });
    map.addEventListener("click", ({ offsetY }) => {
      if (!this.order) return;
      const row = Math.floor((offsetY / map.clientHeight) * this.order.length);
      const place = this.order[Math.max(0, Math.min(this.order.length - 1, row))];
      picked(Math.floor(place / this.units), place % this.units);
    });
  }

  show(view, of, { kind, layer, cell }, units) {
    this.units = units;
    const [a, b] = [around(view, STRIP), around(view, MAP)];
    const caret = view.caret;
    askLatest("strip", { type: "strip", of, layer, cell, from: a[0], to: a[1] }, ({ rows }) =>
      this.#drawStrip(view.characters, caret, a[0], rows),
    );
    askLatest("map", { type: "map", of, kind, from: b[0], to: b[1] }, ({ rows, order }) => {
      if (rows.length) this.#drawMap(rows, order, caret - b[0], layer * units + cell);
    });
  }

  #drawStrip(characters, caret, from, rows) {
    const letters = Object.keys(rows);
    const context = prepared(this.strip, 16 + 14 * STRIP, ROW * (letters.length + 1));
    const colourOf = colours();
    context.font = "14px ui-monospace, monospace";
    context.textBaseline = "middle";
    const ink = getComputedStyle(document.body).color;
    letters.forEach((letter, row) => {
      rows[letter].forEach((value, k) => {
        context.fillStyle = colourOf(value / 127);
        context.fillRect(16 + 14 * k, ROW * row, 14, ROW - 2);
      });
      context.fillStyle = ink;
      context.fillText(letter, 2, ROW * (row + 0.5));
    });
    for (let k = 0; k < STRIP && from + k < characters.length; k++) {
      const c = characters[from + k];
      const hidden = visible(c) !== c && c !== " ";
      context.fillText(c === "\n" ? "\u21b5" : hidden ? "\u25a1" : c, 18 + 14 * k, ROW * (letters.length + 0.5));
    }
    context.strokeStyle = ink;
    context.strokeRect(16 + 14 * (caret - from), 1, 14, ROW * (letters.length + 1) - 2);
  }

  #drawMap(rows, order, caret, chosen) {
    this.order = order;
    this.map.style.height = `${order.length}px`; // none of the rows is left out
    const context = prepared(this.map, rows.length, order.length, 1);
    const image = context.createImageData(rows.length, order.length);
    const style = getComputedStyle(document.documentElement);
    const numbers = (name) => style.getPropertyValue(name).split(",").map(Number);
    const [high, low] = [numbers("--high"), numbers("--low")];
    rows.forEach((row, x) =>
      order.forEach((place, y) => {
        const value = row[place];
        const [r, g, b] = value > 0 ? high : low;
        image.data.set([r, g, b, 2 * Math.abs(value)], 4 * (y * rows.length + x));
      }),
    );
    context.putImageData(image, 0, 0);
    context.fillStyle = getComputedStyle(document.body).color;
    const y = order.indexOf(chosen);
    context.fillRect(0, y, 3, 1);
    context.fillRect(rows.length - 3, y, 3, 1);
    context.globalAlpha = 0.5;
    context.fillRect(caret, 0, 1, order.length);
  }
}

// Makes a canvas of a size in pixels empty, and returns its context.
function prepared(canvas, width, height, scale = window.devicePixelRatio || 1) {
  canvas.width = width * scale;
  canvas.height = height * scale;
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  return context;
}
