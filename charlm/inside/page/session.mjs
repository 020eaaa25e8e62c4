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
    try {
      this.network = networkOf(page, buffer, product);
    } catch (error) {
      if (!(error instanceof WebAssembly.CompileError)) throw error;
      this.network = networkOf(page, buffer, null); // a browser without SIMD
    }
    this.page = page;
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
    this.#check(layer, cell);
    reply({ bytes: this.reader.bytes(letter, layer, cell), bits: this.reader.bits.slice() });
  }

  on_exact({ position, layer, cell }, reply) {
    this.#check(layer, cell);
    reply(this.reader.exact(position, layer, cell));
  }

  on_clamp({ layer, cell, value }, reply) {
    this.#check(layer, cell);
    reply({ bits: this.reader.clamped({ layer, cell, value }) });
  }

  on_what_if({ position, character }, reply) {
    const [id] = this.#encode(character);
    if (id < 0) throw new Error(`the model does not know ${JSON.stringify(character)}`);
    reply({ bits: this.reader.whatIf(position, id) });
  }

  // Continues a prompt, as `charlm sample` does for the same options. Replies with what is new,
  // and at the end, or once stopped, with `ended`. In a run of records a text begins after their
  // separator and ends with it.
  on_write({ prompt, length, ...options }, reply) {
    const number = ++this.writing;
    const { separator, normalize } = this.page;
    const known = normalize === "none" ? prompt : prompt.normalize(normalize.toUpperCase());
    const ids = this.#encode(known);
    const unknown = Array.from(known).filter((_, k) => ids[k] < 0);
    if (unknown.length)
      throw new Error(`the model does not know ${unknown.map((c) => JSON.stringify(c)).join(", ")}`);
    check(length >= 1 && options.temperature >= 0, "expected a length above 0, a temperature of 0 or more");
    check(options.topK >= 0 && options.topP > 0 && options.topP <= 1, "expected top-p above 0, at most 1");
    const writer = new Writer(this.network, options);
    const first = [...this.#encode(separator ?? ""), ...ids];
    if (!first.length) first.push(this.ids.get("\n") ?? 0);
    const drawn = [];
    let read = 0;
    let sent = 0;
    let ended = false;
    this.#inPieces(
      () => {
        ended ||= number !== this.writing;
        for (let k = 0; k < AT_ONCE && !ended; k++) {
          if (read < first.length) {
            writer.read([first[read++]]);
            continue;
          }
          drawn.push(this.vocabulary[writer.next()]);
          ended = drawn.length >= length || (separator !== null && endsWith(drawn, separator));
        }
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

  #check(layer, cell) {
    const { layers, units } = this.page.config;
    check(layer >= 0 && layer < layers && cell >= 0 && cell < units, "there is no such cell");
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

function check(ok, message) {
  if (!ok) throw new Error(message);
}

function endsWith(characters, stop) {
  const wanted = Array.from(stop);
  return wanted.length <= characters.length && characters.slice(-wanted.length).join("") === stop;
}
