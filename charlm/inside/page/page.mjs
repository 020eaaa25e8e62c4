// The page: a passage coloured by a cell, what is at a character, and a model that writes.
// The data stands in the document as JSON.

import { copy } from "./copy.mjs";
import { button, meaning, Panel, visible } from "./panel.mjs";
import { Pictures } from "./pictures.mjs";
import { ask, askLatest, element, say } from "./questions.mjs";
import { Snapshots } from "./snapshots.mjs";
import { View } from "./view.mjs";
import { Writing } from "./writing.mjs";

const data = JSON.parse(element("data").textContent);
const address = new URLSearchParams(location.hash.slice(1));
const CHOICE = ["kind", "layer", "cell"];
const FIELDS = [...CHOICE, "prompt", "temperature", "seed", "top_k", "top_p", "length"];
if (data.training) FIELDS.push("snapshot");
const MOST_CHANGE = 2; // bits: a change of surprise with the strongest colour
const LEAST = 3; // times that a character must occur to be named
let ready = false; // whether the passage was read

// ---- the passage, coloured before the model is unpacked

const passage = new View(element("passage"), new Set(data.vocabulary), () => describe());
passage.setText(data.text);
passage.caret = Math.min(data.caret, passage.characters.length - 1);
passage.colour(Array.from(atob(data.colours), (c) => ((c.charCodeAt(0) << 24) >> 24) / 127));

const panel = new Panel(element("here"), "passage", data.vocabulary, {
  label: "What if another character stood here?",
  chosen: whatIf,
});

// Returns what the fields choose, after correcting them.
function chosen() {
  const within = (id, most) => {
    const value = Math.max(0, Math.min(most, Math.trunc(Number(element(id).value)) || 0));
    element(id).value = value;
    return value;
  };
  const layer = within("layer", data.config.layers - 1);
  return { kind: element("kind").value, layer, cell: within("cell", data.config.units - 1) };
}

// The state or gate that pictures of all cells show.
const letter = (kind) => (kind.length === 1 ? kind : data.letter);

// Keeps the page's state in its address.
function remember() {
  const state = new URLSearchParams(FIELDS.map((id) => [id, element(id).value]));
  state.set("at", passage.caret);
  if (isNow()) state.delete("snapshot");
  try {
    history.replaceState(null, "", `#${state}`);
  } catch {
    // in a frame of a notebook the address cannot be changed
  }
}

// Fills the fields from the address, but not with what they do not accept.
function recall() {
  for (const id of FIELDS) {
    const field = element(id);
    const before = field.value;
    const given = address.get(id);
    if (given !== null && (id !== "snapshot" || /^\d+$/.test(given))) field.value = given;
    if (!field.checkValidity() || (id !== "prompt" && !field.value)) field.value = before;
  }
  const place = Number(address.get("at") ?? NaN);
  if (place >= 0 && place < passage.characters.length) passage.caret = Math.trunc(place);
}

let change = null; // marks the present change of the passage, so that answers to an earlier one are ignored
let shown = [passage, "passage"]; // the view whose characters the pictures show, and its name

// Colours both texts by the chosen cell, and shows what is at the carets.
function show() {
  const { kind, layer, cell } = chosen();
  undoChange();
  writing.show();
  for (const chip of element("chips").children)
    chip.setAttribute("aria-pressed", chip.dataset.cell === `${kind} ${layer} ${cell}`);
  element("clamp").textContent = `Set cell ${cell} to`;
  askLatest("mean", { type: "mean", layer, cell }, ({ mean }) => {
    element("value").value = mean.toFixed(4);
  });
  panel.show(passage, chosen());
  draw(...shown);
}

// Colours the passage, as it was at the slider's place in training.
function colour() {
  if (snapshots && !snapshots.isNow) return colourBefore();
  const question = { type: "colours", of: "passage", ...chosen(), position: passage.caret };
  askLatest("colours of passage", question, ({ values }) => change === null && isNow() && passage.colour(values));
}

const isNow = () => !snapshots || snapshots.isNow;

async function colourBefore() {
  const place = snapshots.slider.value;
  const values = await snapshots.colours(chosen());
  if (change !== null || place !== snapshots.slider.value) return;
  passage.colour(values ?? []);
  say(values ? "" : "Training was recorded for the surprise and for the state of the cells with a button only.");
}

function describe() {
  if (!ready) return;
  panel.show(passage, chosen());
  if (element("kind").value === "influence" && change === null) colour();
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
  apply({ type: "clamp", layer, cell, value }, `With cell ${cell} of layer ${layer} kept at ${value}`);
}

function whatIf(character, position) {
  const text = `With ${visible(character)} instead of ${visible(passage.characters[position])}`;
  apply({ type: "what_if", position, character }, text);
}

// Reads the passage with a change, colours it by what changes, and says what that is.
function apply(question, text) {
  const mine = (change = {});
  snapshots?.toNow(); // a change is one of the trained model
  element("back").disabled = false;
  ask(question, ({ done, all, stopped, before, bits }) => {
    if (change !== mine || stopped) return;
    if (!bits) return say(`Reading the text again: ${Math.floor((100 * done) / all)} %`);
    say("");
    const difference = bits.map((x, k) => x - before[k]);
    passage.colour(difference.map((x) => x / MOST_CHANGE));
    element("change").textContent = `${text}: ${inWords(before, bits, difference)}`;
  }, ({ message }) => {
    undoChange();
    say(`Sorry: ${message}.`);
  });
}

// Ends a change, or the reading for one, and shows the colours of the cell.
function undoChange() {
  if (change !== null) {
    change = null;
    ask({ type: "stop", kind: "reread" }, () => {});
    say("");
  }
  element("change").textContent = "";
  element("back").disabled = true;
  colour();
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
  element("kind").value = kind;
  element("layer").value = layer;
  element("cell").value = cell;
  show();
}

for (const finding of data.findings) {
  const { property, auc, layer, cell } = finding;
  const chip = button(`${property} (AUC ${auc.toFixed(2)})`, () => choose(data.letter, layer, cell));
  chip.dataset.cell = `${data.letter} ${layer} ${cell}`;
  element("chips").append(chip);
}

const pictures = new Pictures(element("strip"), element("map"), (layer, cell) =>
  choose(letter(element("kind").value), layer, cell),
);
const snapshots = data.training && new Snapshots(data.training, data.letter, data.epochs, () => {
  undoChange();
  remember();
});
const writing = new Writing(data, chosen, draw);

element("layer").max = data.config.layers - 1;
element("cell").max = data.config.units - 1;
for (const id of CHOICE) element(id).addEventListener("change", show);
for (const id of FIELDS) if (!CHOICE.includes(id)) element(id).addEventListener("change", remember);
element("off").addEventListener("click", () => clamp(0));
element("clamp").addEventListener("click", () => clamp(Number(element("value").value)));
element("back").addEventListener("click", undoChange);
element("other").addEventListener("change", ({ target }) => {
  if (target.value) whatIf(target.value, passage.caret);
  target.value = "";
});
for (const kind of ["png", "svg"]) element(kind).addEventListener("click", () => copy(shown[0], kind));
element("select").addEventListener("click", () => {
  const view = [passage, writing.view].find((v) => v.selection());
  if (!view) return say("Select some characters of a text first: with the mouse, or with Shift and the arrow keys.");
  const [from, to] = view.selection();
  const of = view === passage ? "passage" : "written";
  const kind = letter(element("kind").value);
  ask({ type: "select", of, kind, from, to }, ({ cells }) => {
    say("");
    element("selected").replaceChildren(...cells.map(({ layer, cell, difference }) => {
      const name = data.config.layers > 1 ? `layer ${layer}, cell ${cell}` : `cell ${cell}`;
      return button(`${name} (${difference < 0 ? "" : "+"}${difference.toFixed(1)})`, () => choose(kind, layer, cell));
    }));
  });
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => ready && draw(...shown));

function start({ letters }) {
  const options = Array.from(letters, (x) => [meaning(x), x]);
  options.push(["surprise", "surprise"], ["influence on the marked character", "influence"]);
  element("kind").replaceChildren(...options.map(([text, value]) => new Option(text, value)));
  element("kind").value = data.letter;
  element("layer").value = data.layer;
  element("cell").value = data.cell;
  ask({ type: "read", text: data.text }, ({ done, all }) => {
    if (done < all) return say(`Reading the text: ${Math.floor((100 * done) / all)} %`);
    say("");
    for (const id of ["controls", "to_write", "tools"]) element(id).disabled = false;
    recall(); // fields that are disabled accept anything
    snapshots?.show();
    ready = true;
    show();
    passage.moveTo(passage.caret);
  });
}

// after the first picture, which needs no model
requestAnimationFrame(() => setTimeout(() => {
  say("Unpacking the model");
  const { config, arrays, vocabulary, separator, normalize, product } = data;
  const page = { config, arrays, vocabulary, separator, normalize };
  const weights = element("weights").textContent;
  ask({ type: "open", page, weights, product }, start, ({ message }) =>
    say(`Sorry, this browser cannot open the page: ${message}.`));
}, 0));
