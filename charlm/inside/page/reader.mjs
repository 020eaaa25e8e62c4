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
    this.here = { states: network.initialStates(), gates: layers.map(({ gates }) => gates.slice()), logits: null };
    this.kept = [];
  }

  // Reads the next n characters; returns whether there are more.
  read(n) {
    const end = Math.min(this.ids.length, this.done + n);
    for (; this.done < end; this.done++) {
      if (this.done % KEPT_EVERY === 0) this.kept.push(this.here);
      this.bits[this.done] = this.#surprise(this.ids[this.done], this.here.logits);
      this.here = this.#after(this.here, this.ids[this.done], null);
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
    const at = this.#at(position);
    const values = {};
    for (const letter of this.letters) values[letter] = this.#array(at, letter, layer)[cell];
    const next = at.logits && probabilities(at.logits, this.network.V, 1);
    return { values, bits: this.bits[position], next };
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
    let at = this.#at(position - 1);
    for (let t = position; t < ids.length; t++) {
      found[t] = this.#surprise(ids[t], at.logits);
      at = this.#after(at, ids[t], clamp);
    }
    return found;
  }

  // Returns the network after a position; before the text for -1.
  #at(position) {
    if (position >= this.done) throw new Error("the text is still being read");
    const k = Math.max(0, Math.floor(position / KEPT_EVERY));
    let at = this.kept[k];
    for (let t = k * KEPT_EVERY; t <= position; t++) at = this.#after(at, this.ids[t], null);
    return at;
  }

  // Returns the network after one character more. Its numbers are copies: others use it, too.
  #after(at, id, clamp) {
    if (id < 0) return at;
    const states = this.network.step(id, at.states, clamp);
    const gates = this.network.layers.map((layer) => layer.gates.slice());
    return { states, gates, logits: this.network.logits.slice() };
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
    const { H, layers } = this.network;
    for (const letter of this.letters)
      for (let k = 0; k < layers.length; k++) {
        const source = this.#array(this.here, letter, k);
        const from = (t * layers.length + k) * H;
        for (let j = 0; j < H; j++) this.values[letter][from + j] = toByte(source[j], letter);
      }
  }

  // Returns the numbers of a state or gate of a layer.
  #array({ states, gates }, letter, layer) {
    const { cell, H } = this.network;
    if (cell.states.includes(letter)) return states[layer][letter];
    const from = cell.gates.indexOf(letter) * H;
    return gates[layer].subarray(from, from + H);
  }
}

export function toByte(x, letter) {
  const bounded = letter === "c" ? Math.tanh(x) : Math.min(1, Math.max(-1, x));
  return Math.round(LARGEST * bounded);
}
