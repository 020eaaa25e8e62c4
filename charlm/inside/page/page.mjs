// The page: a passage coloured by a cell, what is at a character, and a model that writes.
// The data stands in the document as JSON.

import { copy } from "./copy.mjs";
import { button, meaning, Panel, visible } from "./panel.mjs";
import { Pictures } from "./pictures.mjs";
import { ask, at, say } from "./questions.mjs";
import { View } from "./view.mjs";
import { Writing } from "./writing.mjs";

const data = JSON.parse(at("data").textContent);
const FIELDS = ["kind", "layer", "cell", "prompt", "temperature", "seed", "top_k", "top_p", "length"];
const MOST_CHANGE = 2; // bits: a change of surprise with the strongest colour
const LEAST = 3; // times that a character must occur to be named

// ---- the passage, coloured before the model is unpacked

const passage = new View(at("passage"), new Set(data.vocabulary), () => describe());
passage.setText(data.text);
passage.caret = Math.min(data.caret, passage.characters.length - 1);
passage.colour(Array.from(atob(data.colours), (c) => ((c.charCodeAt(0) << 24) >> 24) / 127));

const panel = new Panel(at("here"), "passage", data.vocabulary, {
  label: "What if another character stood here?",
  chosen: whatIf,
});

// Returns what the fields choose, after correcting them.
function chosen() {
  const within = (id, most) => {
    const value = Math.max(0, Math.min(most, Math.trunc(Number(at(id).value)) || 0));
    at(id).value = value;
    return value;
  };
  const layer = within("layer", data.config.layers - 1);
  return { kind: at("kind").value, layer, cell: within("cell", data.config.units - 1) };
}

// The state or gate that pictures of all cells show.
const letter = (kind) => (kind.length === 1 ? kind : data.letter);

// Keeps the page's state in its address.
function remember() {
  const state = new URLSearchParams(FIELDS.map((id) => [id, at(id).value]));
  state.set("at", passage.caret);
  try {
    history.replaceState(null, "", `#${state}`);
  } catch {
    // in a frame of a notebook the address cannot be changed
  }
}

function recall() {
  const state = new URLSearchParams(location.hash.slice(1));
  for (const id of FIELDS) {
    const before = at(id).value;
    if (state.has(id)) at(id).value = state.get(id);
    if (!at(id).checkValidity() || (id === "kind" && !at(id).value)) at(id).value = before;
  }
  const place = Number(state.get("at") ?? NaN);
  if (place >= 0 && place < passage.characters.length) passage.caret = Math.trunc(place);
}

let chosenLast = 0;
let shown = [passage, "passage"]; // the view whose characters the pictures show, and its name

// Colours both texts by the chosen cell, and shows what is at the carets.
function show() {
  const { kind, layer, cell } = chosen();
  colour();
  writing.colour();
  if (writing.text) writing.panel.show(writing.view, chosen());
  for (const chip of at("chips").children)
    chip.setAttribute("aria-pressed", chip.dataset.cell === `${kind} ${layer} ${cell}`);
  at("clamp").textContent = `Keep cell ${cell} at`;
  ask({ type: "mean", layer, cell }, ({ mean }) => (at("value").value = mean.toFixed(4)), () => {});
  at("change").textContent = "";
  at("back").disabled = true;
  describe();
}

function colour() {
  const number = ++chosenLast;
  const asked = { type: "colours", of: "passage", ...chosen(), position: passage.caret };
  ask(asked, ({ values }) => number === chosenLast && passage.colour(values), () => {});
}

function describe() {
  panel.show(passage, chosen());
  if (at("kind").value === "influence" && at("back").disabled) colour();
  draw(passage, "passage");
}

function draw(view, of) {
  shown = [view, of];
  const { kind, ...cell } = chosen();
  pictures.show(view, of, { kind: letter(kind), ...cell }, data.config.units);
  remember();
}

// ---- changes: a cell that keeps a value, another character

function clamp(value) {
  const { layer, cell } = chosen();
  change({ type: "clamp", layer, cell, value }, `With cell ${cell} of layer ${layer} kept at ${value}`);
}

function whatIf(character, position) {
  const text = `With ${visible(character)} instead of ${visible(passage.characters[position])}`;
  change({ type: "what_if", position, character }, text);
}

// Reads the passage with a change, colours it by what changes, and says what that is.
function change(question, text) {
  const number = ++chosenLast;
  ask(question, ({ done, all, before, bits }) => {
    if (number !== chosenLast) return;
    if (!bits) return say(`Reading the text again: ${Math.floor((100 * done) / all)} %`);
    say("");
    const difference = bits.map((x, k) => x - before[k]);
    passage.colour(difference.map((x) => x / MOST_CHANGE));
    at("back").disabled = false;
    at("change").textContent = `${text}: ${inWords(before, bits, difference)}`;
  });
}

function inWords(before, after, difference) {
  const known = Array.from(difference.keys()).filter((k) => !Number.isNaN(difference[k]));
  const mean = (values) => known.reduce((sum, k) => sum + values[k], 0) / known.length;
  const bits = `${mean(after).toFixed(4)} bits per character instead of ${mean(before).toFixed(4)}.`;
  const sums = new Map();
  for (const k of known) {
    const c = passage.characters[k];
    const [sum, n] = sums.get(c) ?? [0, 0];
    sums.set(c, [sum + difference[k], n + 1]);
  }
  const means = Array.from(sums).filter(([, [, n]]) => n >= LEAST).map(([c, [sum, n]]) => [c, sum / n]);
  means.sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));
  const named = means.slice(0, 4).map(([c, x]) => `${visible(c)} ${x < 0 ? "" : "+"}${x.toFixed(2)}`);
  return `${bits} Colours: orange is more surprising than before, blue less. ` +
    `Mean change by character: ${named.join(", ")}.`;
}

// ---- controls

// Chooses a cell.
function choose(kind, layer, cell) {
  Object.assign(at("kind"), { value: kind });
  Object.assign(at("layer"), { value: layer });
  Object.assign(at("cell"), { value: cell });
  show();
}

for (const finding of data.findings) {
  const { property, auc, layer, cell } = finding;
  const chip = button(`${property} (${auc.toFixed(2)})`, () => choose(data.letter, layer, cell));
  chip.dataset.cell = `${data.letter} ${layer} ${cell}`;
  at("chips").append(chip);
}

const pictures = new Pictures(at("strip"), at("map"), (layer, cell) =>
  choose(letter(at("kind").value), layer, cell),
);
const writing = new Writing(data, chosen, draw);

at("layer").max = data.config.layers - 1;
at("cell").max = data.config.units - 1;
for (const id of ["kind", "layer", "cell"]) at(id).addEventListener("change", show);
for (const id of FIELDS) at(id).addEventListener("change", remember);
at("off").addEventListener("click", () => clamp(0));
at("clamp").addEventListener("click", () => clamp(Number(at("value").value)));
at("back").addEventListener("click", show);
at("other").addEventListener("change", ({ target }) => {
  const [character] = target.value;
  if (character !== undefined) whatIf(character, passage.caret);
  target.value = "";
});
for (const kind of ["png", "svg"]) at(kind).addEventListener("click", () => copy(shown[0], kind));
at("select").addEventListener("click", () => {
  const view = [passage, writing.view].find((v) => v.selection());
  if (!view) return say("Select some characters of a text first: with the mouse, or with Shift and the arrow keys.");
  const [from, to] = view.selection();
  const of = view === passage ? "passage" : "written";
  const kind = letter(at("kind").value);
  ask({ type: "select", of, kind, from, to }, ({ cells }) =>
    at("selected").replaceChildren(...cells.map(({ layer, cell, difference }) => {
      const name = data.config.layers > 1 ? `layer ${layer}, cell ${cell}` : `cell ${cell}`;
      return button(`${name} (${difference < 0 ? "" : "+"}${difference.toFixed(1)})`, () => choose(kind, layer, cell));
    })),
  );
});

function start({ letters }) {
  const ways = Array.from(letters, (x) => [meaning(x), x]);
  ways.push(["surprise", "surprise"], ["influence on the marked character", "influence"]);
  at("kind").replaceChildren(...ways.map(([text, value]) => new Option(text, value)));
  at("kind").value = data.letter;
  at("layer").value = data.layer;
  at("cell").value = data.cell;
  recall();
  ask({ type: "read", text: data.text }, ({ done, all }) => {
    if (done < all) return say(`Reading the text: ${Math.floor((100 * done) / all)} %`);
    say("");
    for (const id of ["controls", "to_write", "tools"]) at(id).disabled = false;
    show();
    passage.moveTo(passage.caret);
  });
}

// after the first picture, which needs no model
requestAnimationFrame(() => setTimeout(() => {
  say("Unpacking the model");
  const { text, findings, colours, ...page } = data;
  const weights = at("weights").textContent;
  ask({ type: "open", page, weights, product: data.product }, start, (message) =>
    say(`Sorry, this browser cannot open the page: ${message}.`));
}, 0));
