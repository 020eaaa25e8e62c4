// What is at a view's caret: the exact values of a cell, the surprise, and what the model expected.

import { askLatest } from "./questions.mjs";

const SHOWN = 6; // characters that the model expected
const NAMES = { "\n": "newline", " ": "space", "\t": "tab" };
const MEANINGS = {
  c: "cell state", h: "output", i: "input gate", f: "forget gate", g: "candidate",
  o: "output gate", z: "update gate", r: "reset gate",
};

const INVISIBLE = /^[\p{M}\p{C}\p{Z}]$/u; // marks, controls, separators

// Returns a name for a character that cannot be seen, or itself.
export function visible(character) {
  if (NAMES[character]) return NAMES[character];
  if (!INVISIBLE.test(character)) return character;
  return `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
}
export const meaning = (letter) => `${letter} (${MEANINGS[letter]})`;

export class Panel {
  // place: an element to fill. of: the name of the view's text. vocabulary: list of characters.
  // label: what a click on another character does. chosen: called with it and the caret's place.
  // next: the likeliest next characters are buttons, too, if the caret is at the end; their place is
  // the length of the text.
  constructor(place, of, vocabulary, { label, chosen, next }) {
    Object.assign(this, { of, vocabulary, chosen, next });
    const add = (kind) => place.appendChild(document.createElement(kind));
    this.title = add("p");
    this.values = add("table").createTBody();
    this.label = add("p");
    this.label.textContent = label;
    this.others = add("div");
    this.others.className = "buttons";
    this.nextLabel = add("p");
    this.likely = add("div");
    this.likely.className = "buttons";
  }

  show(view, { layer, cell }) {
    const k = view.caret;
    const here = view.characters[k];
    const parts = [this.values, this.others, this.likely];
    if (here === undefined || !view.known.has(here)) {
      for (const part of parts) part.replaceChildren();
      this.title.textContent = here === undefined ? "" : `Character ${k + 1}: ${visible(here)}`;
      this.label.hidden = true;
      this.nextLabel.textContent = here && "The model does not know this character, so it was not read.";
      return;
    }
    const answered = ({ values, bits, here: p, next }) => {
      if (view.caret !== k) return;
      this.title.textContent = `Character ${k + 1} of ${view.characters.length}: ${visible(here)}`;
      const surprise = Number.isNaN(bits) ? "none: it is the first" : `${bits.toFixed(2)} bits`;
      const named = Object.entries(values).map(([x, value]) => [meaning(x), value.toFixed(4)]);
      this.values.replaceChildren(...[...named, ["surprise", surprise]].map(row));
      this.label.hidden = p === null;
      this.others.replaceChildren(...this.#buttons(p, k));
      this.nextLabel.textContent = "Likeliest next:";
      const end = k === view.characters.length - 1;
      if (this.next && end) this.likely.replaceChildren(...this.#buttons(next, k + 1));
      else this.likely.textContent = this.#likeliest(next).map(([c, x]) => `${visible(c)} ${x}`).join(", ");
    };
    const question = { type: "exact", of: this.of, position: k, layer, cell };
    askLatest(`panel of ${this.of}`, question, answered);
  }

  #likeliest(p) {
    if (p === null) return [];
    const order = Array.from(p.keys()).sort((a, b) => p[b] - p[a]).slice(0, SHOWN);
    const share = (x) => (x < 0.01 ? "<1 %" : `${(100 * x).toFixed(0)} %`);
    return order.map((id) => [this.vocabulary[id], share(p[id])]);
  }

  #buttons(p, place) {
    return this.#likeliest(p).map(([character, share]) =>
      button(`${visible(character)} ${share}`, () => this.chosen(character, place)),
    );
  }
}

export function button(text, pressed) {
  const found = document.createElement("button");
  found.type = "button";
  found.textContent = text;
  found.addEventListener("click", pressed);
  return found;
}

function row([name, value]) {
  const found = document.createElement("tr");
  const head = document.createElement("th");
  head.scope = "row";
  head.textContent = name;
  found.append(head);
  found.insertCell().textContent = value;
  return found;
}
