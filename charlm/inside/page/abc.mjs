// Reads tunes in ABC notation. Specification: charlm/music/notation.py and signatures.py, which a
// test compares with this. Lengths are numbers: parts of a whole note.

const STEPS = { C: 0, D: 2, E: 4, F: 5, G: 7, A: 9, B: 11 };
const LETTERS = "CDEFGAB";
const ACCIDENTALS = { "^^": 2, "^": 1, "=": 0, _: -1, __: -2 };
const SHARPS = "FCGDAEB";
const MODES = { maj: 0, ion: 0, mix: -1, dor: -2, min: -3, m: -3, aeo: -3, phr: -4, loc: -5, lyd: 1 };
const TIMES = { 2: 3, 3: 2, 4: 3, 6: 2, 8: 3 };
const DECORATIONS =
  "trill[()]?|(?:lower|upper)?mordent|pralltriller|roll|(?:inverted)?turnx?|arpeggio|accent|" +
  "emphasis|(?:inverted)?fermata|tenuto|[0-5+>^]|plus|snap|slide|wedge|upbow|downbow|open|thumb|" +
  "breath|p{1,4}|m[pf]|f{1,4}|sfz|(?:crescendo|diminuendo|[<>])[()]|segno|coda|D\\.[SC]\\.|dacoda|" +
  "dacapo|fine|(?:short|medium|long)phrase";
const NOTE = /(\^\^?|__?|=)?([A-Ga-g])([,']{0,9})/y;
const LENGTH = /(\d{0,4})(\/{0,7})(\d{0,4})(?![\d/])/y;
const BAR = /:*\|[\]|:]*|::+|\[\|/y;
const ENDING = /\[?(\d{1,2}(?:[-,]\d{1,2})*)(?!\d)/y;
const FIELD = /([A-Za-z]):([^%\n]*)[^\n]*/y;
const INLINE = /\[([IKLMmNPQRrUV]):([^\]\n]*)\]/y;
const SKIPPED = new RegExp(`"[^"\\n]*"|!(?:${DECORATIONS})!|%.*|[ \\t\\n\`)\\\\~.!uvHLMOPSTy$*]|\\((?!\\d)`, "y");
const BROKEN = /[<>]{1,3}/y;
const GRACES = /\{\/?([^}\n]*)\}/y;
const TUPLET = /\((\d)(?::(\d{0,2}))?(?::(\d{0,2}))?(?![:\d])/y;
const BETWEEN = "IKLMmNPQRrsTUVWw"; // fields that may stand between lines of music

// Returns { fields, events } of a tune: events are { type: "metre", length, shown }, { type: "key",
// signature }, { type: "bar", at, sign, ending } and { type: "note", at, end, heads, length, shown,
// graces, tied, tuplet }. `shown` is a length as it is written, without tuplets. A head has the
// `pitch`, a MIDI number, the `step` on the staff, 0 for middle C, and the written `accidental`.
// Throws an Error if the text is wrong.
export function readTune(text) {
  return new TuneReader(text).read();
}

// Returns the sharps (1) and flats (-1) of a key by letter.
export function keySignature(text) {
  if (["", "none", "None"].includes(text)) return {};
  const words = text.split(/\s+/).filter(Boolean).join(" ");
  const found = /^([A-G])([#b]?) ?([A-Za-z]*)((?: [a-z]+(?:=\S*)?)*)$/.exec(words);
  if (!found || found[3].length === 2) throw new Error(`there is no key ${text}`);
  const mode = ["", "m"].includes(found[3]) ? found[3] || "maj" : found[3].slice(0, 3).toLowerCase();
  const sharps = SHARPS.indexOf(found[1]) - 1 + MODES[mode] + { "#": 7, b: -7, "": 0 }[found[2]];
  if (!(sharps >= -7 && sharps <= 7)) throw new Error(`there is no key ${text}`);
  const letters = sharps > 0 ? SHARPS.slice(0, sharps) : [...SHARPS].reverse().slice(0, -sharps);
  return Object.fromEntries(Array.from(letters, (x) => [x, Math.sign(sharps)]));
}

// Returns a metre: the length of a bar, null for a free one, and its upper number.
export function metreOf(text) {
  if (text === "C" || text === "C|") return { length: 1, beats: text === "C" ? 4 : 2, below: text === "C" ? 4 : 2 };
  if (text.toLowerCase() === "none") return { length: null, beats: 4, below: 4 };
  const found = /^(\d{1,3})\/(\d{1,3})$/.exec(text);
  const [beats, below] = found ? [Number(found[1]), Number(found[2])] : [0, 0];
  if (!beats || !below || below & (below - 1)) throw new Error(`there is no metre ${text}`);
  return { length: beats / below, beats, below };
}

// Returns the repeats in which an ending such as "1,3-4" is played; none if it is wrong.
export function turnsOf(ending) {
  const found = new Set();
  for (const part of ending.split(",")) {
    const [first, last] = part.split("-");
    if (!/^\d+$/.test(first) || (last !== undefined && !/^\d+$/.test(last))) return new Set();
    for (let k = Number(first); k <= Number(last ?? first); k++) found.add(k);
  }
  return found.has(0) ? new Set() : found;
}

function check(ok, message) {
  if (!ok) throw new Error(message);
}

class TuneReader {
  constructor(text) {
    Object.assign(this, { text, at: 0, fields: {}, events: [], altered: {}, held: {}, letters: {} });
    Object.assign(this, { blank: false, tuplet: [], marks: 0, broken: 1, graces: [] });
  }

  // Matches an expression at this place.
  match(pattern) {
    pattern.lastIndex = this.at;
    return pattern.exec(this.text);
  }

  read() {
    while (this.at < this.text.length && !("K" in this.fields)) this.header();
    check("K" in this.fields, "it has no key");
    for (const [name, other] of [["M", "none"], ["L", ""], ["K", ""]]) this.field(name, this.fields[name] ?? other);
    while (this.at < this.text.length) this.symbol();
    check(!this.tuplet.length, "a tuplet is not complete");
    check(this.broken === 1, "a note is missing after > or <");
    return { fields: this.fields, events: this.events };
  }

  line() {
    const end = this.text.indexOf("\n", this.at);
    return this.text.slice(this.at, end < 0 ? undefined : end);
  }

  header() {
    const line = this.line();
    const found = this.match(FIELD);
    if (found) {
      check(!"MLK".includes(found[1]) || !(found[1] in this.fields), `two fields ${found[1]}:`);
      check(found[1] !== "V", "it has several voices");
      this.fields[found[1]] ??= found[2].trim();
    } else check(line.startsWith("%"), `${line} is no field`);
    this.at += line.length + 1;
  }

  field(name, value) {
    check(name !== "V", "it has several voices");
    if (name === "K") {
      this.signature = keySignature(value);
      this.events.push({ type: "key", signature: this.signature });
    } else if (name === "M") {
      this.metre = metreOf(value);
      this.events.push({ type: "metre", ...this.metre, shown: value });
    } else if (name === "L") {
      const found = /^1\/(\d{1,3})$|^1$/.exec(value);
      const number = found ? Number(found[1] ?? 1) : 0;
      check(!value || (number && !(number & (number - 1))), `there is no unit ${value}`);
      this.unit = value ? 1 / number : this.metre.length !== null && this.metre.length < 0.75 ? 1 / 16 : 1 / 8;
    }
  }

  symbol() {
    const { text, at } = this;
    if (at === 0 || text[at - 1] === "\n") {
      const line = this.line();
      const found = this.match(FIELD);
      if (found && BETWEEN.includes(found[1]) && !this.blank) {
        this.field(found[1], found[2].trim());
        this.at += line.length + 1;
        return;
      }
      check(!line.trim() || !this.blank, "there is more after an empty line");
      this.blank ||= !line.trim();
      if (this.at >= text.length) return;
    }
    let found;
    if ((found = this.match(INLINE))) this.field(found[1], found[2].trim());
    else if ((found = this.match(TUPLET))) this.beginTuplet(found);
    else if (text[at] === "{") found = this.readGraces();
    else if ((found = this.match(BAR))?.[0]) return this.barLine(found[0]);
    else if ((found = this.match(ENDING)) && text[at] === "[") this.ending(found[1]);
    else if ((found = this.match(SKIPPED))) {
      if (found[0] === "\n" || found[0] === " ") this.events.push({ type: found[0] === "\n" ? "line" : "space" });
    } else if ((found = this.match(BROKEN))) this.brokenRhythm(found[0]);
    else if (text[at] === "-") {
      const last = this.last("note");
      check(last?.heads.length, "a tie has no note before it");
      last.tied = last.heads.map(({ pitch }) => pitch);
      this.at++;
      return;
    } else return this.sound();
    this.at = at + found[0].length;
  }

  // The last event but spaces, if it is of this type.
  last(type) {
    const found = this.events.findLast((e) => !["line", "space", "key"].includes(e.type));
    return found?.type === type ? found : undefined;
  }

  barLine(sign) {
    check(!this.tuplet.length, "a tuplet is not complete");
    check(this.broken === 1, "a note is missing after > or <");
    const tied = (this.last("note")?.tied ?? []).map((pitch) => this.letters[pitch]);
    this.held = Object.fromEntries(Object.entries(this.altered).filter(([letter]) => tied.includes(letter)));
    this.events.push({ type: "bar", at: this.at, sign, ending: "" });
    this.altered = {};
    this.at += sign.length;
    const found = this.match(ENDING);
    if (!found) return;
    this.ending(found[1]);
    this.at += found[0].length;
  }

  ending(numbers) {
    const last = this.last("bar");
    check(last && !last.ending && turnsOf(numbers).size, `the ending ${numbers} is wrong`);
    last.ending = numbers;
  }

  beginTuplet(found) {
    check(!this.tuplet.length, "a tuplet is within another");
    const p = Number(found[1]);
    const compound = this.metre.beats % 3 === 0 && this.metre.beats > 3;
    const q = found[2] ? Number(found[2]) : (TIMES[p] ?? (compound ? 3 : 2));
    const r = found[3] ? Number(found[3]) : p;
    check(p >= 2 && q >= 1 && r >= 1, "a tuplet is wrong");
    this.tuplet = Array(r).fill(q / p);
    this.marks = p;
  }

  readGraces() {
    const found = this.match(GRACES);
    check(found, "grace notes do not end");
    const end = this.at + found[0].length - 1;
    this.at = end - found[1].length;
    while (this.at < end) {
      const note = this.match(NOTE);
      check(note, "grace notes are wrong");
      this.graces.push(this.head(note));
      this.at += note[0].length;
      this.at += this.match(LENGTH)?.[0].length ?? 0;
      while (this.at < end && this.text[this.at] === " ") this.at++;
    }
    this.at = end + 1 - found[0].length;
    return found;
  }

  brokenRhythm(signs) {
    const before = this.last("note");
    check(before && this.broken === 1 && new Set(signs).size === 1, `there is no note before ${signs}`);
    const short = 1 / 2 ** signs.length;
    const [mine, other] = signs[0] === ">" ? [2 - short, short] : [short, 2 - short];
    before.length *= mine;
    before.shown *= mine;
    this.broken = other;
  }

  sound() {
    const { at, text } = this;
    let [heads, tied, factor] = [[], [], null];
    this.letters = {};
    const note = this.match(NOTE);
    if (text[at] === "[") [heads, tied, factor] = this.chord();
    else if (text[at] === "z" || text[at] === "x") this.at++;
    else if (text[at] === "Z") return this.restsOfBars();
    else {
      check(note, `${text[at]} is no note`);
      heads = [this.head(note)];
      this.at += note[0].length;
    }
    const shown = this.lengthHere() * (factor ?? 1) * this.unit * this.broken;
    const tuplet = this.tuplet.length ? { p: this.marks, rest: this.tuplet.length - 1 } : null;
    const length = shown * (this.tuplet.pop() ?? 1);
    this.events.push({ type: "note", at, end: this.at, heads, length, shown, tied, graces: this.graces, tuplet });
    this.broken = 1;
    this.graces = [];
    this.held = {};
  }

  restsOfBars() {
    const { at } = this;
    check(this.metre.length !== null && !this.tuplet.length && this.broken === 1, "Z is wrong here");
    this.at++;
    const count = this.lengthHere();
    check(Number.isInteger(count) && count <= 99, "Z has a wrong number");
    for (let k = 0; k < count; k++) {
      if (k) this.events.push({ type: "bar", at, sign: "|", ending: "" });
      const { length } = this.metre;
      this.events.push({ type: "note", at, end: this.at, heads: [], length, shown: length, tied: [], graces: [], tuplet: null });
    }
  }

  chord() {
    const [heads, tied] = [[], []];
    let factor = null;
    this.at++;
    while (this.at < this.text.length && this.text[this.at] !== "]") {
      const note = this.match(NOTE);
      check(note, "a chord is wrong");
      heads.push(this.head(note));
      this.at += note[0].length;
      const length = this.lengthHere();
      factor ??= length;
      if (this.text[this.at] === "-") {
        tied.push(heads.at(-1).pitch);
        this.at++;
      }
    }
    check(this.at < this.text.length && heads.length, "a chord does not end");
    this.at++;
    return [heads, tied, factor];
  }

  head([, sign, written, octave]) {
    const letter = written.toUpperCase();
    if (sign) this.altered[letter] = ACCIDENTALS[sign];
    const raised = this.altered[letter] ?? this.held[letter] ?? this.signature[letter] ?? 0;
    const octaves = Number(written !== letter) + Array.from(octave).reduce((sum, x) => sum + (x === "'" ? 1 : -1), 0);
    const pitch = 60 + STEPS[letter] + raised + 12 * octaves;
    check(pitch >= 0 && pitch < 128, "a note is too high or too low");
    this.letters[pitch] = letter;
    return { pitch, step: LETTERS.indexOf(letter) + 7 * octaves, accidental: sign ?? "" };
  }

  lengthHere() {
    const found = this.match(LENGTH);
    check(found, "a length is wrong");
    const [all, number, slashes, below] = found;
    const [top, bottom] = [Number(number || 1), below ? Number(below) : 2 ** slashes.length];
    check(!(below && slashes.length !== 1) && top > 0 && top <= 999 && bottom > 0 && bottom <= 64, "a length is wrong");
    this.at += all.length;
    return top / bottom;
  }
}
