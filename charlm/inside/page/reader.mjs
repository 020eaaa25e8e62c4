// A text as a network reads it: every state and gate, and how surprising each character was.
//
// Values are kept in a byte each (127 times the value; c as tanh(c)), which is enough for colours.
// Exact ones are computed again from states that are kept now and then.

import { probabilities } from "./sampler.mjs";

const KEPT_EVERY = 256; // characters between two copies of the states
const LARGEST = 127;

export class Reader {
  // ids: of the characters; -1 for one that the network does not know. It is not read, but keeps
  // its place, with the values of the character before it.
  constructor(network, ids) {
    this.network = network;
    this.ids = ids;
    const { cell, H, layers } = network;
    const L = layers.length;
    this.letters = cell.states + Array.from(cell.gates).filter((g) => !cell.states.includes(g)).join("");
    this.values = Object.fromEntries(
      Array.from(this.letters, (letter) => [letter, new Int8Array(ids.length * L * H)]),
    );
    this.bits = new Float32Array(ids.length).fill(NaN); // surprise, NaN where it is unknown
    this.done = 0;
    this.kept = [];
    this.states = network.initialStates();
    this.before = null; // the logits before the next character
  }

  // Reads the next n characters; returns whether there are more.
  read(n) {
    const end = Math.min(this.ids.length, this.done + n);
    for (; this.done < end; this.done++) {
      if (this.done % KEPT_EVERY === 0)
        this.kept.push({ states: this.states, before: this.before && Float32Array.from(this.before) });
      this.bits[this.done] = this.#surprise(this.ids[this.done], this.before);
      this.#step(this.ids[this.done], null);
      this.#record(this.done);
    }
    return end < this.ids.length;
  }

  // Returns the bytes of a state or gate of a cell at all characters.
  bytes(letter, layer, cell) {
    const { H, layers } = this.network;
    const values = this.values[letter];
    const found = new Int8Array(this.ids.length);
    for (let t = 0, at = layer * H + cell; t < found.length; t++, at += layers.length * H)
      found[t] = values[at];
    return found;
  }

  // Returns the exact values of a cell once a character has been read, its surprise in bits, and
  // the probabilities of the character after it.
  exact(position, layer, cell) {
    this.#rewind(position);
    const { network } = this;
    const found = {};
    for (const letter of this.letters) found[letter] = this.#value(letter, layer, cell);
    const next = this.before ? probabilities(this.before, network.V, 1) : null;
    return { values: found, bits: this.bits[position], next };
  }

  // Returns the surprise of every character, in bits, with a cell whose state keeps a value.
  clamped(clamp) {
    return this.#bitsFrom(0, this.ids, clamp);
  }

  // Returns the surprise of every character with another one at a position.
  whatIf(position, id) {
    const ids = Int32Array.from(this.ids);
    ids[position] = id;
    return this.#bitsFrom(position, ids, null);
  }

  #bitsFrom(position, ids, clamp) {
    const found = Float32Array.from(this.bits);
    this.#rewind(position - 1);
    for (let t = position; t < ids.length; t++) {
      found[t] = this.#surprise(ids[t], this.before);
      this.#step(ids[t], clamp);
    }
    return found;
  }

  // Brings the states to those after a position; before the text for -1.
  #rewind(position) {
    const k = Math.max(0, Math.floor(position / KEPT_EVERY));
    const { states, before } = this.kept[k];
    this.states = states;
    this.before = before;
    for (let t = k * KEPT_EVERY; t <= position; t++) this.#step(this.ids[t], null);
  }

  #step(id, clamp) {
    if (id < 0) return;
    this.states = this.network.step(id, this.states, clamp);
    this.before = this.network.logits;
  }

  #surprise(id, logits) {
    if (id < 0 || logits === null) return NaN;
    const { V } = this.network;
    let largest = -Infinity;
    for (let k = 0; k < V; k++) largest = Math.max(largest, logits[k]);
    let sum = 0;
    for (let k = 0; k < V; k++) sum += Math.exp(logits[k] - largest);
    return (Math.log(sum) + largest - logits[id]) / Math.LN2;
  }

  #record(t) {
    const { H, layers, cell } = this.network;
    for (const letter of this.letters) {
      const values = this.values[letter];
      layers.forEach(({ gates }, k) => {
        const state = cell.states.includes(letter) ? this.states[k][letter] : null;
        const from = state ? 0 : cell.gates.indexOf(letter) * H;
        const source = state ?? gates;
        const at = (t * layers.length + k) * H;
        for (let j = 0; j < H; j++) values[at + j] = toByte(source[from + j], letter);
      });
    }
  }

  #value(letter, layer, cell) {
    const { network, states } = this;
    if (network.cell.states.includes(letter)) return states[layer][letter][cell];
    return network.layers[layer].gates[network.cell.gates.indexOf(letter) * network.H + cell];
  }
}

export function toByte(x, letter) {
  const bounded = letter === "c" ? Math.tanh(x) : Math.min(1, Math.max(-1, x));
  return Math.round(LARGEST * bounded);
}
