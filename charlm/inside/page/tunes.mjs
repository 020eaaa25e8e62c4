// The page of tunes: their scores, their sound, the cell that counts the bar, and a model that writes.

import { readTune } from "./abc.mjs";
import { isRight, playedOf } from "./performance.mjs";
import { ask, element, say } from "./questions.mjs";
import { RandomNumbers } from "./random.mjs";
import { drawCurve, drawScore } from "./score.mjs";
import { play } from "./strings.mjs";

const data = JSON.parse(element("data").textContent);
const END = "\n\n"; // of a tune
const LONGEST = 2000; // characters of a tune
const LONGEST_SOUND = 600; // seconds
const PATIENCE = 1; // seconds until the sound must have begun
const DRAFTS = 50; // that may be wrong, one after the other
const tunes = data.tunes;
let shown = null; // { text, tune, places, played }
let playing = null; // { now, isSilent, stop }
let ready = false; // whether the model was unpacked

function title(text, k) {
  return /^T:(.*)$/m.exec(text)?.[1].trim() || `Tune ${k + 1}`;
}

function list() {
  element("which").replaceChildren(...tunes.map((text, k) => new Option(`${k + 1}. ${title(text, k)}`, k)));
}

function show(k) {
  stop();
  element("which").value = k;
  const text = tunes[k];
  element("title").textContent = title(text, k);
  element("abc").textContent = text;
  const svg = element("score");
  svg.replaceChildren();
  svg.setAttribute("aria-label", `Score of ${title(text, k)}`);
  shown = null;
  try {
    const tune = readTune(text);
    shown = { text, tune, played: playedOf(tune), places: [] };
    shown.places = drawScore(svg, tune, Math.max(320, svg.parentElement.clientWidth));
    say("");
  } catch (error) {
    say(`This tune cannot be read: ${error.message}.`);
  }
  element("play").disabled = !shown;
  count();
}

// ---- the cell that counts the bar

// Returns the places of the characters of a text that the model reads: its fields only.
function readable(text) {
  const found = [];
  let at = 0;
  let header = true;
  for (const row of text.split("\n")) {
    const leaves = header && /^[A-Za-z]:/.test(row) && data.fields !== null && !data.fields.includes(row[0]);
    for (let k = 0; k <= row.length && !leaves; k++) if (at + k < text.length) found.push(at + k);
    if (row.startsWith("K:")) header = false;
    at += row.length + 1;
  }
  return found;
}

function count() {
  if (!ready || !data.cell || !shown) return;
  const { text, places } = shown;
  const characters = readable(text);
  const own = shown;
  ask({ type: "read", text: END + characters.map((k) => text[k]).join("") }, ({ done, all }) => {
    if (done < all || own !== shown) return;
    const { layer, cell } = data.cell;
    ask({ type: "colours", of: "passage", kind: data.letter, layer, cell, position: 0 }, ({ values }) => {
      if (own !== shown) return;
      const of = new Map(characters.map((k, j) => [k, values[j + END.length]]));
      drawCurve(element("score"), places, places.map(({ end }) => of.get(end - 1) || 0));
    });
  });
}

// ---- sound

function start() {
  stop();
  const tempo = Math.max(20, Math.min(400, Number(element("tempo").value) || 160));
  element("tempo").value = tempo;
  const seconds = 240 / tempo; // of a whole note
  const { sounds, notes, length } = shown.played;
  if (length * seconds > LONGEST_SOUND) return say(`This tune is longer than ${LONGEST_SOUND / 60} minutes.`);
  const timed = sounds.map(({ pitch, start, length }) => ({ pitch, start: start * seconds, length: length * seconds }));
  const places = new Map(shown.places.map((place) => [place.at, place]));
  const mine = (playing = play(timed));
  element("stop").disabled = false;
  let [k, marked] = [0, null];
  const mark = () => {
    if (playing !== mine) return marked?.element.classList.remove("sounding");
    if (mine.now() > PATIENCE) say(mine.isSilent() ? "This browser has no device that plays sound." : "");
    const now = mine.now() / seconds;
    if (now >= length) {
      stop();
      return marked?.element.classList.remove("sounding");
    }
    while (k + 1 < notes.length && notes[k + 1].start <= now) k++;
    const place = now >= 0 ? places.get(notes[k].at) : null;
    if (place !== marked) {
      marked?.element.classList.remove("sounding");
      place?.element.classList.add("sounding");
      marked = place;
      follow(place);
    }
    requestAnimationFrame(mark);
  };
  mark();
}

// Scrolls to the note that sounds if it cannot be seen.
function follow(place) {
  const box = place?.element.getBoundingClientRect();
  if (box && (box.top < 0 || box.bottom > innerHeight)) place.element.scrollIntoView({ block: "center" });
}

function stop() {
  playing?.stop();
  playing = null;
  element("stop").disabled = true;
}

// ---- another tune

let stopped = false; // whether to write no more drafts

function another() {
  const first = Number(element("seed").value);
  const { value } = element("context");
  if (value !== "" && !fits(data.contexts[value], element("begin").value))
    return say(`A tune in ${data.contexts[value].name} cannot begin so; change one of them.`);
  element("write").disabled = true;
  element("end").disabled = false;
  stopped = false;
  const draft = (n) => {
    let text = "";
    const question = {
      type: "write", prompt: element("begin").value, length: LONGEST, seed: first, index: n,
      temperature: Number(element("temperature").value), topK: 0, topP: 1,
      context: chosen(first, n, element("begin").value),
    };
    const end = (message) => {
      element("write").disabled = false;
      element("end").disabled = true;
      say(message);
    };
    say(`Writing draft ${n + 1}`);
    ask(question, (answer) => {
      text += answer.text;
      if (!answer.ended) return;
      if (stopped) return end("Stopped.");
      if (text.endsWith(END) && valid(text)) {
        add(text);
        return end(`Written in ${n + 1} draft${n ? "s" : ""}; drafts in which a bar does not add up are dropped.`);
      }
      if (n + 1 < DRAFTS) return draft(n + 1);
      end(`All ${DRAFTS} drafts had a mistake; try a lower temperature, or another beginning.`);
    }, ({ message }) => end(`Sorry: ${message}.`));
  };
  draft(0);
}

// Returns whether a tune that begins so can be in a context.
function fits({ header }, begin) {
  const given = (name) => new RegExp(`^${name}: *(.*?) *$`, "m").exec(begin)?.[1];
  return Object.entries(header).every(([name, x]) => (given(name) ?? x) === x);
}

// Returns the number of the chosen context, or of one drawn for draft n, as often as among the training
// tunes, of those that go with the beginning; null if there is none.
function chosen(seed, n, begin) {
  const { value } = element("context");
  if (value !== "") return Number(value);
  const weights = data.contexts.map((context) => (fits(context, begin) ? context.weight : 0));
  let left = new RandomNumbers(seed, DRAFTS + n).next() * weights.reduce((sum, x) => sum + x, 0);
  const found = weights.findIndex((weight) => weight > 0 && (left -= weight) < 0);
  return found < 0 ? null : found;
}

function valid(text) {
  try {
    return isRight(readTune(text));
  } catch {
    return false;
  }
}

function add(text) {
  const k = tunes.length;
  const lines = text.trim().split("\n").filter((row) => !row.startsWith("X:"));
  if (!lines.some((row) => row.startsWith("T:"))) lines.unshift(`T:Tune ${k + 1}`);
  tunes.push([`X:${k + 1}`, ...lines, ""].join("\n"));
  list();
  show(k);
  element("seed").value = Number(element("seed").value) + 1;
}

// ---- controls

element("which").addEventListener("change", ({ target }) => show(Number(target.value)));
for (const [id, by] of [["before", -1], ["after", 1]])
  element(id).addEventListener("click", () => show((Number(element("which").value) + by + tunes.length) % tunes.length));
element("play").addEventListener("click", start);
element("stop").addEventListener("click", stop);
element("writing").addEventListener("submit", (event) => {
  event.preventDefault();
  another();
});
element("end").addEventListener("click", () => {
  stopped = true;
  ask({ type: "stop", kind: "write" }, () => {});
});
let width = innerWidth;
addEventListener("resize", () => {
  if (playing || innerWidth === width) return; // a phone's address bar changes the height only
  width = innerWidth;
  show(Number(element("which").value));
});

element("context").append(...data.contexts.map(({ name }, k) => new Option(name, k)));
element("context").parentElement.hidden = !data.contexts.length;
list();
show(0);
if (data.page) {
  say("Unpacking the model");
  ask({ type: "open", page: data.page, weights: element("weights").textContent, product: data.product }, () => {
    say("");
    ready = true;
    element("writing").hidden = false;
    count();
  }, ({ message }) => say(`Sorry, this browser cannot open the model: ${message}.`));
}
