// The page: shows a text coloured by a cell, what is at a character, and writes.
// WORKER is the script of its worker; the data stands in the document as JSON.

const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const characters = Array.from(data.text);
const known = new Set(data.vocabulary);

// ---- questions to the worker

const worker = new Worker(URL.createObjectURL(new Blob([WORKER], { type: "text/javascript" })));
const waiting = new Map(); // by the question's number
let asked = 0;

function ask(question, answered, transfer = []) {
  waiting.set(++asked, answered);
  worker.postMessage({ ...question, id: asked }, transfer);
}

worker.onmessage = ({ data: answer }) => {
  const answered = waiting.get(answer.id);
  if (answer.type !== "failed") return answered(answer);
  waiting.delete(answer.id);
  say(`Sorry: ${answer.message}.`);
};
worker.onerror = ({ message }) => say(`Sorry, the page cannot run its worker: ${message ?? "refused"}.`);

function say(text) {
  at("status").textContent = text;
}

async function unpacked(letters) {
  const packed = atob(letters);
  const bytes = new Uint8Array(packed.length);
  for (let k = 0; k < packed.length; k++) bytes[k] = packed.charCodeAt(k);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

// ---- the passage

const text = at("text");
text.textContent = data.text;
const node = text.firstChild;
const starts = []; // where each character begins in the document's text, which counts UTF-16
for (let k = 0, place = 0; k < characters.length; place += characters[k++].length) starts.push(place);
let boxes = null; // of the characters, in the passage
let shown = null; // { bytes, bits } of the chosen cell
let caret = Math.min(data.caret, characters.length - 1);

function measure() {
  const origin = text.getBoundingClientRect();
  const range = document.createRange();
  boxes = starts.map((start, k) => {
    range.setStart(node, start);
    range.setEnd(node, start + characters[k].length);
    return Array.from(range.getClientRects(), (r) => [r.left - origin.left, r.top - origin.top, r.width, r.height]);
  });
}

// Colours the part of the passage that can be seen.
function paint() {
  if (boxes === null) measure();
  const [canvas, passage] = [at("colours"), at("passage")];
  const scale = window.devicePixelRatio || 1;
  const [width, height, from] = [passage.clientWidth, passage.clientHeight, passage.scrollTop];
  canvas.width = width * scale;
  canvas.height = height * scale;
  Object.assign(canvas.style, { width: `${width}px`, height: `${height}px`, top: `${from}px` });
  const context = canvas.getContext("2d", { willReadFrequently: true }); // thousands of small boxes
  context.scale(scale, scale);
  context.translate(0, -from);
  const style = getComputedStyle(document.documentElement);
  const [high, low] = ["--high", "--low"].map((name) => style.getPropertyValue(name));
  const colours = Array.from({ length: 255 }, (_, k) => {
    const value = (k - 127) / 127;
    return `rgba(${value > 0 ? high : low}, ${(0.55 * Math.abs(value)).toFixed(3)})`;
  });
  boxes.forEach((ofCharacter, k) => {
    for (const box of ofCharacter) {
      if (box[1] + box[3] < from || box[1] > from + height) continue;
      if (!known.has(characters[k])) context.fillStyle = "rgba(128, 128, 128, 0.6)";
      else if (shown) context.fillStyle = colours[shown.bytes[k] + 127];
      else continue;
      context.fillRect(...box);
    }
  });
  context.strokeStyle = getComputedStyle(document.body).color;
  context.lineWidth = 2;
  const [x, y, w, h] = boxes[caret]?.[0] ?? [-9, -9, 0, 0];
  context.strokeRect(x, y, Math.max(w, 3), h);
}

// Returns what the fields choose, after correcting them.
function chosen() {
  const within = (id, most) => {
    const value = Math.max(0, Math.min(most, Math.trunc(Number(at(id).value)) || 0));
    at(id).value = value;
    return value;
  };
  const layer = within("layer", data.config.layers - 1);
  return { letter: at("letter").value, layer, cell: within("cell", data.config.units - 1) };
}

// Keeps the choice and the place in the page's address.
function remember() {
  const { letter, layer, cell } = chosen();
  history.replaceState(null, "", `#${letter}-${layer}-${cell}-${caret}`);
}

let chosenLast = 0;

function show() {
  const wanted = chosen();
  const number = ++chosenLast;
  ask({ type: "cell", ...wanted }, (answer) => {
    if (number !== chosenLast) return;
    shown = answer;
    paint();
    describe();
  });
  for (const chip of at("chips").children)
    chip.setAttribute("aria-pressed", chip.dataset.cell === `${wanted.layer} ${wanted.cell}` && chip.dataset.letter === wanted.letter);
  remember();
}

let described = 0;
const visible = (c) => ({ "\n": "newline", " ": "blank", "\t": "tab" })[c] ?? c;

// Shows what is at the caret: the exact values, the surprise, the likeliest next characters.
function describe() {
  const number = ++described; // an answer about an earlier character may come late
  const { layer, cell } = chosen();
  const here = characters[caret];
  at("here").textContent = `Character ${caret + 1} of ${characters.length}: ${visible(here)}`;
  if (!known.has(here)) {
    at("values").replaceChildren();
    at("next").textContent = "The model does not know this character, so it was not read.";
    return;
  }
  ask({ type: "exact", position: caret, layer, cell }, ({ values, bits, next }) => {
    if (number !== described) return;
    const rows = Object.entries(values).map(([letter, value]) => row(`${letter} of cell ${cell}`, value.toFixed(4)));
    rows.push(row("surprise", Number.isNaN(bits) ? "not measured" : `${bits.toFixed(2)} bits`));
    at("values").replaceChildren(...rows);
    const order = Array.from(next.keys()).sort((a, b) => next[b] - next[a]).slice(0, 5);
    const likely = order.map((k) => `${visible(data.vocabulary[k])} ${(100 * next[k]).toFixed(0)} %`);
    at("next").textContent = `Likeliest next: ${likely.join(", ")}`;
  });
}

function row(name, value) {
  const found = document.createElement("tr");
  for (const [kind, content] of [["th", name], ["td", value]]) {
    const part = document.createElement(kind);
    part.textContent = content;
    found.append(part);
  }
  return found;
}

function moveTo(place) {
  caret = Math.max(0, Math.min(characters.length - 1, place));
  scrollToCaret();
  remember();
  describe();
}

function scrollToCaret() {
  const passage = at("passage");
  const [, y, , h] = boxes[caret]?.[0] ?? [0, 0, 0, 0];
  if (y < passage.scrollTop || y + h > passage.scrollTop + passage.clientHeight) passage.scrollTop = y - 40;
  paint();
}

// Returns the nearest character in the line above (by -1) or below (by 1).
function inOtherLine(by) {
  const [x, y, , h] = boxes[caret]?.[0] ?? [0, 0, 0, 20];
  let best = caret;
  let least = Infinity;
  boxes.forEach(([box], k) => {
    const lines = box ? Math.round((box[1] - y) / h) : 0;
    const far = box ? Math.abs(box[0] - x) : Infinity;
    if (lines === by && far < least) [best, least] = [k, far];
  });
  return best;
}

at("passage").addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const place = {
    ArrowLeft: () => caret - 1,
    ArrowRight: () => caret + 1,
    ArrowUp: () => inOtherLine(-1),
    ArrowDown: () => inOtherLine(1),
    Home: () => 0,
    End: () => characters.length - 1,
  }[event.key];
  if (!place) return;
  event.preventDefault();
  moveTo(place());
});
at("passage").addEventListener("scroll", paint);

at("passage").addEventListener("click", ({ clientX, clientY }) => {
  const origin = text.getBoundingClientRect();
  const [x, y] = [clientX - origin.left, clientY - origin.top];
  const inside = ([left, top, w, h]) => x >= left && x < left + w && y >= top && y < top + h;
  const found = boxes.findIndex((some) => some.some(inside));
  if (found >= 0) moveTo(found);
});

new ResizeObserver(() => {
  boxes = null;
  paint();
}).observe(text);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);

// ---- controls

for (const finding of data.findings) {
  const chip = document.createElement("button");
  chip.type = "button";
  chip.textContent = `${finding.property} (${finding.auc.toFixed(2)})`;
  chip.dataset.cell = `${finding.layer} ${finding.cell}`;
  chip.dataset.letter = data.letter;
  chip.addEventListener("click", () => {
    at("letter").value = data.letter;
    at("layer").value = finding.layer;
    at("cell").value = finding.cell;
    show();
  });
  at("chips").append(chip);
}

function start({ letters }) {
  for (const letter of letters) at("letter").append(new Option(letter, letter));
  const place = location.hash.match(/^#([a-z])-(\d+)-(\d+)-(\d+)$/);
  const [letter, layer, cell] = place ? place.slice(1) : [data.letter, data.layer, data.cell];
  if (place) caret = Math.min(Number(place[4]), characters.length - 1);
  at("letter").value = letters.includes(letter) ? letter : letters[0];
  at("layer").value = Math.min(layer, data.config.layers - 1);
  at("cell").value = Math.min(cell, data.config.units - 1);
  ask({ type: "read", text: data.text }, ({ done, all }) => {
    if (done < all) return say(`Reading the text: ${10 * Math.floor((10 * done) / all)} %`);
    say("");
    at("controls").disabled = false;
    at("to_write").disabled = false;
    show();
    scrollToCaret();
  });
}

at("layer").max = data.config.layers - 1;
at("cell").max = data.config.units - 1;
for (const id of ["letter", "layer", "cell"]) at(id).addEventListener("change", show);
paint();

// ---- writing

let writing = 0;

at("writing").addEventListener("submit", (event) => {
  event.preventDefault();
  const number = ++writing; // what an earlier writing still sends is not wanted
  const written = at("written");
  written.textContent = at("prompt").value;
  written.setAttribute("aria-busy", true); // a screen reader waits for the end
  say("");
  const value = (id) => Number(at(id).value);
  const options = { temperature: value("temperature"), seed: at("seed").value, topK: value("top_k") };
  Object.assign(options, { topP: value("top_p"), length: value("length"), prompt: at("prompt").value });
  ask({ type: "write", ...options }, ({ text: more, ended }) => {
    if (number !== writing) return;
    written.append(more);
    if (ended) written.setAttribute("aria-busy", false);
  });
});
at("stop").addEventListener("click", () => ask({ type: "stop" }, () => {}));

async function open() {
  say("Unpacking the model");
  const buffer = await unpacked(data.weights);
  const product = typeof WebAssembly === "object" ? new Uint8Array(await unpacked(data.product)) : null;
  const { weights, text: passage, ...page } = data;
  ask({ type: "open", page, buffer, product }, start, [buffer]);
}

open().catch((error) => say(`Sorry, this browser cannot open the page: ${error.message}.`));
