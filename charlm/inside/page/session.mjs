// Answers a page's questions about a network. It runs in a worker, so that the page never waits,
// and works in pieces of a few milliseconds, so that a new question never waits for an old one.

import { Reader } from "./reader.mjs";
import { Writer } from "./sampler.mjs";
import { networkOf } from "./weights.mjs";

const PIECE = 30; // milliseconds
const AT_ONCE = 8; // characters between two looks at the clock

export class Session {
  // post: sends a message to the page. later: calls a function once other messages were answered.
  constructor(post, later = (work) => setTimeout(work, 0)) {
    this.post = post;
    this.later = later;
    this.reading = 0; // a number for each text; work for an older one ends
    this.writing = 0;
  }

  // Answers a message { type, id, ... } with { type, id, ... }; `id` is the page's own.
  answer({ type, id, ...asked }) {
    try {
      this[`on_${type}`](asked, (answer) => this.post({ type, id, ...answer }));
    } catch (error) {
      this.post({ type: "failed", id, message: String(error.message) });
    }
  }

  // The network of a page: its description, the bytes of its weights, and product.wasm or null.
  on_open({ page, buffer, product }, reply) {
    this.network = networkOf(page, buffer, product);
    this.vocabulary = page.vocabulary;
    this.ids = new Map(page.vocabulary.map((character, k) => [character, k]));
    reply({ letters: new Reader(this.network, []).letters });
  }

  // A text to read. Replies with the number of characters read so far, until all are read.
  on_read({ text }, reply) {
    const number = ++this.reading;
    const ids = this.#encode(text);
    this.reader = new Reader(this.network, ids);
    this.#inPieces(
      () => number === this.reading && this.reader.read(AT_ONCE),
      () => number === this.reading && reply({ done: this.reader.done, all: ids.length }),
    );
  }

  // The bytes of a cell's state or gate at every character, and the characters' surprise in bits.
  on_cell({ letter, layer, cell }, reply) {
    reply({ bytes: this.reader.bytes(letter, layer, cell), bits: this.reader.bits.slice() });
  }

  on_exact({ position, layer, cell }, reply) {
    reply(this.reader.exact(position, layer, cell));
  }

  on_clamp({ layer, cell, value }, reply) {
    reply({ bits: this.reader.clamped({ layer, cell, value }) });
  }

  on_what_if({ position, character }, reply) {
    const [id] = this.#encode(character);
    if (id < 0) throw new Error(`the model does not know ${JSON.stringify(character)}`);
    reply({ bits: this.reader.whatIf(position, id) });
  }

  // Continues a prompt, as `charlm sample` does for the same options. Replies with what is new,
  // and at the end, or once stopped, with `ended`.
  on_write({ prompt, length, stops = [], ...options }, reply) {
    const number = ++this.writing;
    const ids = this.#encode(prompt);
    const unknown = Array.from(prompt).filter((_, k) => ids[k] < 0);
    if (unknown.length)
      throw new Error(`the model does not know ${unknown.map((c) => JSON.stringify(c)).join(", ")}`);
    const writer = new Writer(this.network, options);
    writer.read(ids.length ? ids : [this.ids.get("\n") ?? 0]);
    const drawn = [];
    let sent = 0;
    let ended = false;
    this.#inPieces(
      () => {
        for (let k = 0; k < AT_ONCE && !ended; k++) {
          drawn.push(this.vocabulary[writer.next()]);
          ended = drawn.length >= length || stops.some((stop) => endsWith(drawn, stop));
        }
        ended ||= number !== this.writing;
        return !ended;
      },
      () => {
        reply({ text: drawn.slice(sent).join(""), ended });
        sent = drawn.length;
      },
    );
  }

  on_stop(_, reply) {
    this.writing++;
    reply({});
  }

  // Returns the ids of a text's characters (code points, as in Python); -1 for unknown ones.
  #encode(text) {
    return Int32Array.from(Array.from(text), (c) => this.ids.get(c) ?? -1);
  }

  // Calls `work` while it returns true; after each piece calls `told`, and lets messages in.
  #inPieces(work, told) {
    const began = Date.now();
    let more = true;
    while (more && Date.now() - began < PIECE) more = work();
    told();
    if (more) this.later(() => this.#inPieces(work, told));
  }
}

function endsWith(characters, stop) {
  const wanted = Array.from(stop);
  return wanted.length <= characters.length && characters.slice(-wanted.length).join("") === stop;
}
