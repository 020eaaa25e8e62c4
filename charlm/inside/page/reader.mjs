// A text as a network reads it: every state and gate, and how surprising each character was.
//
// Values are kept in a byte each (127 times the value; c as tanh(c)), which is enough for colours.
// Exact ones are computed again from states that are kept now and then.

import { probabilities } from "./sampler.mjs";

const PIECE = 256; // characters between two copies of the states, and in an array of values
const LARGEST = 127;

export class Reader {
  // ids: of the characters; -1 for one that the network does not know. It is not read, but keeps
  // its place, with the values of the character before it.
  constructor(network, ids) {
    this.network = network;
    this.ids = Array.from(ids);
    const { cell, H, layers } = network;
    this.cells = layers.length * H;
    this.letters = cell.states + Array.from(cell.gates).filter((g) => !cell.states.includes(g)).join("");
    this.pieces = []; // for each PIECE characters, { letter: values, PIECE rows of `cells` }
    this.bits = []; // surprise, NaN where it is unknown
    this.done = 0;
    this.here = { states: network.initialStates(), gates: layers.map(({ gates }) => gates.slice()), logits: null };
    this.kept = [];
    this.known = 0; // characters that the network knows
    this.sums = layers.map(() => new Float64Array(H)); // of the state that remembers, over the text
  }

  // Reads the next n characters; returns whether there are more.
  read(n) {
    const end = Math.min(this.ids.length, this.done + n);
    for (; this.done < end; this.done++) {
      if (this.done % PIECE === 0) this.#nextPiece();
      const id = this.ids[this.done];
      this.bits.push(surprise(id, this.here.logits, this.network.V));
      this.here = this.after(this.here, id);
      this.known += id >= 0;
      this.#record(this.done, id >= 0);
    }
    return end < this.ids.length;
  }

  #nextPiece() {
    this.kept.push(this.here);
    const piece = {};
    for (const letter of this.letters) piece[letter] = new Int8Array(PIECE * this.cells);
    this.pieces.push(piece);
  }

  #record(t, known) {
    const { H, layers, cell } = this.network;
    const values = this.pieces[Math.floor(t / PIECE)];
    const row = (t % PIECE) * this.cells;
    for (let k = 0; k < layers.length; k++) {
      for (const letter of this.letters) {
        const source = this.#array(this.here, letter, k);
        const into = values[letter];
        const from = row + k * H;
        if (letter === "c") for (let j = 0; j < H; j++) into[from + j] = toByte(Math.tanh(source[j]));
        else for (let j = 0; j < H; j++) into[from + j] = toByte(source[j]);
      }
      if (!known) continue;
      const remembers = this.#array(this.here, cell.states.at(-1), k);
      for (let j = 0; j < H; j++) this.sums[k][j] += remembers[j];
    }
  }

  // Returns the bytes of a state or gate of a cell at all characters that were read.
  bytes(letter, layer, cell) {
    const found = new Int8Array(this.done);
    const place = layer * this.network.H + cell;
    for (let t = 0; t < found.length; t++)
      found[t] = this.pieces[Math.floor(t / PIECE)][letter][(t % PIECE) * this.cells + place];
    return found;
  }

  // Returns the bytes of a state or gate of all cells at a character.
  row(letter, t) {
    const from = (t % PIECE) * this.cells;
    return this.pieces[Math.floor(t / PIECE)][letter].subarray(from, from + this.cells);
  }

  // Returns the mean of the state that remembers (c, or h), of a cell.
  mean(layer, cell) {
    return this.sums[layer][cell] / Math.max(1, this.known);
  }

  // Returns the exact values of a cell once a character has been read, its surprise in bits, and
  // the probabilities of what could stand in its place and of the character after it.
  exact(position, layer, cell) {
    const before = this.at(position - 1);
    const at = this.after(before, this.ids[position]);
    const values = {};
    for (const letter of this.letters) values[letter] = this.#array(at, letter, layer)[cell];
    const p = ({ logits }) => logits && probabilities(logits, this.network.V, 1);
    return { values, bits: this.bits[position], here: p(before), next: p(at) };
  }

  // Reads the text again from a position. Yields after every character, and returns the surprise of
  // every character of the text, in bits.
  // ids: of the text, which may differ from `position` on. clamp: see Network.step.
  *reread(position, ids, clamp = null) {
    const found = Float32Array.from(this.bits);
    let at = this.at(position - 1);
    for (let t = position; t < found.length; t++) {
      found[t] = surprise(ids[t], at.logits, this.network.V);
      at = this.after(at, ids[t], clamp);
      yield t;
    }
    return found;
  }

  // Returns the network after a position; before the text for -1.
  at(position) {
    if (position >= this.done) throw new Error("the text is still being read");
    const k = Math.max(0, Math.floor(position / PIECE));
    let at = this.kept[k];
    for (let t = k * PIECE; t <= position; t++) at = this.after(at, this.ids[t]);
    return at;
  }

  // Returns the network after one character more. Its numbers are copies: others use it, too.
  after(at, id, clamp = null) {
    if (id < 0) return at;
    const states = this.network.step(id, at.states, clamp);
    const gates = this.network.layers.map((layer) => layer.gates.slice());
    return { states, gates, logits: this.network.logits.slice() };
  }

  // Returns the numbers of a state or gate of a layer.
  #array({ states, gates }, letter, layer) {
    const { cell, H } = this.network;
    if (cell.states.includes(letter)) return states[layer][letter];
    const from = cell.gates.indexOf(letter) * H;
    return gates[layer].subarray(from, from + H);
  }
}

function surprise(id, logits, V) {
  if (id < 0 || logits === null) return NaN;
  let largest = -Infinity;
  for (let k = 0; k < V; k++) largest = Math.max(largest, logits[k]);
  let sum = 0;
  for (let k = 0; k < V; k++) sum += Math.exp(logits[k] - largest);
  return (Math.log(sum) + largest - logits[id]) / Math.LN2;
}

function toByte(x) {
  return Math.round(LARGEST * Math.min(1, Math.max(-1, x)));
}
