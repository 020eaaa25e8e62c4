// Answers a page's questions about a network. It runs in a worker, so that the page never waits,
// and works in pieces of a few milliseconds, so that a new question never waits for an old one.
//
// A question names a text by `of`: "passage", which is given, or "written", which the network writes.

import { influence } from "./influence.mjs";
import { Reader } from "./reader.mjs";
import { Writer } from "./sampler.mjs";
import { networkOf } from "./weights.mjs";

const TURN = 30; // milliseconds of work between two checks for messages
const AT_ONCE = 8; // characters between two looks at the clock
const MOST_BITS = 8; // a surprise with the strongest colour
const MOST_NAMED = 5; // unknown characters in a message
const MOST_CELLS = 8; // that are named for a selection

export class Session {
  // post: sends a message to the page. later: calls a function once other messages were answered.
  constructor(post, later = (work) => setTimeout(work, 0)) {
    this.post = post;
    this.later = later;
    this.turns = {}; // a number for each kind of long work; work with an older one ends
    this.texts = {}; // { reader, hidden: characters before those that the page shows }
  }

  // Answers a message { type, id, ... } with { type, id, ... }; `id` is the page's own, and `more`
  // says that other answers to it follow.
  answer({ type, id, ...asked }) {
    try {
      this[`on_${type}`](asked, (answer) => this.post({ type, id, ...answer }));
    } catch (error) {
      this.post({ type: "failed", id, message: String(error.message), early: error.early === true });
    }
  }

  // The network of a page: its description, the bytes of its weights, and product.wasm or null.
  on_open({ page, buffer, product }, reply) {
    const open = (product) => (context) => networkOf(page, buffer, product, context);
    this.open = open(product);
    try {
      this.network = this.open(null);
    } catch (error) {
      if (!(error instanceof WebAssembly.CompileError)) throw error;
      this.open = open(null); // a browser without SIMD
      this.network = this.open(null);
    }
    this.page = page;
    this.inContext = { context: null, network: this.network }; // the last one that was asked for
    this.vocabulary = page.vocabulary;
    this.ids = new Map(page.vocabulary.map((character, k) => [character, k]));
    reply({ letters: new Reader(this.network, []).letters });
  }

  // The passage. Replies with the number of characters read so far, until all are read.
  on_read({ text }, reply) {
    const ids = this.#encode(text);
    const reader = new Reader(this.network, ids);
    this.texts.passage = { reader, hidden: 0 };
    this.#inPieces("read", () => reader.read(AT_ONCE), (ended) => {
      reply({ done: reader.done, all: ids.length, more: !ended });
    });
  }

  // Colours between -1 and 1 for the characters that were read, NaN for those without one.
  // kind: a state or gate; "surprise"; "influence", of each character on the one at `position`.
  on_colours({ of, kind, layer, cell, position }, reply) {
    const { reader, hidden } = this.#text(of, kind === "influence" ? position : 0);
    let values;
    if (kind === "surprise") values = Float32Array.from(reader.bits, (x) => Math.min(1, x / MOST_BITS));
    else if (kind === "influence") {
      values = influence(reader, position + hidden);
      const most = values.reduce((a, b) => Math.max(a, b), 0) || 1;
      values = values.map((x) => x / most);
    } else {
      this.#check(layer, cell);
      values = Float32Array.from(reader.bytes(kind, layer, cell), (x) => x / 127);
    }
    reply({ values: values.slice(hidden) });
  }

  // What is at a character: see Reader.exact. bits: its surprise.
  on_exact({ of, position, layer, cell }, reply) {
    this.#check(layer, cell);
    const { reader, hidden } = this.#text(of, position);
    reply(reader.exact(position + hidden, layer, cell));
  }

  on_mean({ layer, cell }, reply) {
    this.#check(layer, cell);
    reply({ mean: this.#text("passage").reader.mean(layer, cell) });
  }

  // The surprise of every character of the passage before and after a change, in bits: a cell whose
  // state keeps a value, or another character at a position.
  on_clamp({ layer, cell, value }, reply) {
    this.#check(layer, cell);
    const { reader } = this.#text("passage");
    this.#reread(0, reader.ids, { layer, cell, value }, reply);
  }

  on_what_if({ position, character }, reply) {
    const [id, ...others] = this.#known(this.#normalized(character));
    check(id !== undefined && !others.length, "expected one character");
    const ids = this.#text("passage", position).reader.ids.slice();
    ids[position] = id;
    this.#reread(position, ids, null, reply);
  }

  #reread(position, ids, clamp, reply) {
    const { reader } = this.texts.passage;
    const before = Float32Array.from(reader.bits);
    const work = reader.reread(position, ids, clamp);
    let at = { value: position };
    this.#inPieces(
      "reread",
      () => {
        for (let k = 0; k < AT_ONCE && !at.done; k++) at = work.next();
        return !at.done;
      },
      (ended) => {
        if (at.done) reply({ before, bits: at.value });
        else reply({ done: at.value, all: ids.length, more: !ended, stopped: ended });
      },
    );
  }

  // The cells whose state differs most between the characters from `from` to before `to` and the
  // other ones: { layer, cell, difference }, in standard deviations.
  on_select({ of, kind, from, to }, reply) {
    const { reader, hidden } = this.#text(of);
    const n = reader.cells;
    const [inside, all, squares] = [new Float64Array(n), new Float64Array(n), new Float64Array(n)];
    let [few, many] = [0, 0];
    for (let t = hidden; t < reader.done; t++) {
      if (reader.ids[t] < 0) continue;
      const row = reader.row(kind, t);
      const selected = t >= from + hidden && t < to + hidden;
      few += selected;
      many++;
      for (let j = 0; j < n; j++) {
        all[j] += row[j];
        squares[j] += row[j] * row[j];
        if (selected) inside[j] += row[j];
      }
    }
    check(few >= 1 && few < many, "select a part of the text first");
    const { H } = this.network;
    const cells = Array.from(all, (sum, j) => {
      const deviation = Math.sqrt(Math.max(0, squares[j] / many - (sum / many) ** 2)) || Infinity;
      const difference = (inside[j] / few - (sum - inside[j]) / (many - few)) / deviation;
      return { layer: Math.floor(j / H), cell: j % H, difference };
    });
    cells.sort((a, b) => Math.abs(b.difference) - Math.abs(a.difference));
    reply({ cells: cells.slice(0, MOST_CELLS) });
  }

  // Every state and gate of a cell at the characters from `from` to before `to`, as bytes.
  on_strip({ of, layer, cell, from, to }, reply) {
    this.#check(layer, cell);
    const { reader, hidden } = this.#text(of);
    const end = Math.min(to + hidden, reader.done);
    const place = layer * this.network.H + cell;
    const rows = {};
    for (const letter of reader.letters) {
      rows[letter] = new Int8Array(Math.max(0, end - from - hidden));
      for (let t = from + hidden; t < end; t++) rows[letter][t - from - hidden] = reader.row(letter, t)[place];
    }
    reply({ rows });
  }

  // A state or gate of all cells at the characters from `from` to before `to`: a row of bytes for
  // each, and the order of the cells by the length of their memory, the longest first.
  on_map({ of, kind, from, to }, reply) {
    const { reader, hidden } = this.#text(of);
    const end = Math.min(to + hidden, reader.done);
    const rows = [];
    for (let t = from + hidden; t < end; t++) rows.push(reader.row(kind, t).slice());
    reply({ rows, order: this.#byMemory(reader) });
  }

  #byMemory(reader) {
    if (this.memory?.reader === reader && this.memory.done === reader.done) return this.memory.order;
    const order = Array.from({ length: reader.cells }, (_, j) => j);
    this.memory = { reader, done: reader.done, order };
    const keeps = Array.from("fz").find((gate) => reader.letters.includes(gate));
    if (!keeps) return order;
    const sums = new Float64Array(reader.cells);
    for (let t = 0; t < reader.done; t++) reader.row(keeps, t).forEach((x, j) => (sums[j] += x));
    return order.sort((a, b) => sums[b] - sums[a]);
  }

  // Continues a prompt, as `charlm sample` does for the same options. Replies with the prompt, then
  // with what is new, and at the end, or once stopped, with `ended`. In a run of records a text
  // begins after their separator and ends with it. length 0: only reads the prompt.
  // typed: the prompt is brought into the Unicode form of the run's text. bare: it continues a text
  // that was written without a prompt, after a newline that the page does not show.
  // context: the number of one, or null for the mean of all.
  on_write({ prompt, length, typed = true, bare = false, context = null, ...options }, reply) {
    const { separator } = this.page;
    const read = typed ? this.#normalized(prompt) : prompt;
    const ids = this.#known(read);
    check(length >= 0 && options.temperature >= 0, "expected a length and a temperature of 0 or more");
    check(options.topK >= 0 && options.topP > 0 && options.topP <= 1, "expected top-p above 0, at most 1");
    const first = this.#encode(separator ?? "");
    if (!first.length && (bare || !ids.length)) first.push(this.ids.get("\n") ?? 0);
    if (this.inContext.context !== context) {
      const network = context === null ? this.network : this.open(context);
      this.inContext = { context, network };
    }
    const reader = new Reader(this.inContext.network, [...first, ...ids]);
    const writer = new Writer(reader, options);
    this.texts.written = { reader, hidden: first.length };
    let fresh = read; // what the page has not got yet
    const drawn = [];
    this.#inPieces(
      "write",
      () => {
        if (reader.done < reader.ids.length) return reader.read(AT_ONCE) || length > 0;
        for (let k = 0; k < AT_ONCE; k++) {
          drawn.push(this.vocabulary[writer.next()]);
          fresh += drawn.at(-1);
          if (drawn.length >= length || (separator !== null && endsWith(drawn, separator))) return false;
        }
        return true;
      },
      (ended) => {
        reply({ text: fresh, ended, more: !ended });
        fresh = "";
      },
    );
  }

  // Ends long work. kind: "write" or "reread".
  on_stop({ kind }, reply) {
    this.turns[kind] = (this.turns[kind] ?? 0) + 1;
    reply({});
  }

  // Returns a text of which the character at a position was read.
  #text(of, position = 0) {
    const found = this.texts[of];
    const read = found && position >= 0 && position + found.hidden < found.reader.done;
    if (!read) throw Object.assign(new Error("this was not read yet"), { early: true });
    return found;
  }

  #check(layer, cell) {
    const { layers, units } = this.page.config;
    check(layer >= 0 && layer < layers && cell >= 0 && cell < units, "there is no such cell");
  }

  // Returns the ids of a text's characters (code points, as in Python); -1 for unknown ones.
  #encode(text) {
    return Array.from(text, (c) => this.ids.get(c) ?? -1);
  }

  // Returns the ids of a text's characters, all of which the model must know.
  #known(text) {
    const ids = this.#encode(text);
    const unknown = [...new Set(Array.from(text).filter((_, k) => ids[k] < 0))].slice(0, MOST_NAMED);
    const named = unknown.map((c) => `${JSON.stringify(c)} (U+${hex(c)})`).join(", ");
    check(!unknown.length, `the model does not know ${named}`);
    return ids;
  }

  // Returns a text in the Unicode form of the run's text.
  #normalized(text) {
    const { normalize } = this.page;
    return normalize === "none" ? text : text.normalize(normalize.toUpperCase());
  }

  // Calls `work` while it returns true; after each piece calls `report` with whether it was the
  // last, and lets messages in. Work of the same kind that was asked for later ends it.
  #inPieces(kind, work, report) {
    const turn = (this.turns[kind] = (this.turns[kind] ?? 0) + 1);
    const piece = () => {
      const ends = Date.now() + TURN;
      let more = turn === this.turns[kind];
      while (more && Date.now() < ends) more = work();
      report(!more);
      if (more) this.later(piece);
    };
    piece();
  }
}

function check(ok, message) {
  if (!ok) throw new Error(message);
}

const hex = (c) => c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");

function endsWith(characters, stop) {
  const wanted = Array.from(stop);
  return wanted.length <= characters.length && characters.slice(-wanted.length).join("") === stop;
}
